// Two processes that share their clients through Redis: node socketio_redis.mjs URL OTHER_URL

import assert from "node:assert/strict";
import { connected, heard, once, until } from "./socketio_common.mjs";

const [, , here, there] = process.argv;
const one = await connected(here, ["polling"], "one");
const other = await connected(there, ["websocket"], "other");
const clients = [one, other];
const told = clients.map((client) => heard(client, "told"));

// Rooms, from both sides; each is told in the order it was said in.
for (const client of clients) await client.emitWithAck("join", "both");
for (const client of clients) {
  for (const text of ["a", "b", "c"]) {
    await client.emitWithAck("tell", "both", `${text} of ${client === one ? "one" : "other"}`);
  }
  const [last] = client === one ? ["c of one"] : ["c of other"];
  await until(
    () => told.every((all) => all.some(([text]) => text === last)),
    (all) => all,
  );
}
const expected = ["a of one", "b of one", "c of one", "a of other", "b of other", "c of other"];
for (const all of told) assert.deepEqual(all.flat(), expected);
await one.emitWithAck("tell", "both", "not me");
await until(
  () => told[1].length,
  (length) => length === 7,
);
assert.equal(told[0].length, 6);

// A broadcast with binary data, and what a process without clients sends (see the test).
const news = clients.map((client) => heard(client, "news"));
one.emit("broadcast", 10);
await until(
  () => news,
  (all) => all.every((some) => some.length === 10),
);
for (const all of news) {
  assert.deepEqual(
    all.map(([item]) => item.data),
    all.map((_, index) => Buffer.from([index, 255])),
  );
}
const outside = Promise.all(clients.map((client) => once(client, "outside")));
process.stdout.write("ready\n");
for (const data of await outside) assert.deepEqual(data, [Buffer.from("from outside")]);

// Clients of the other process, by their sid: asked, put into a room, disconnected.
for (const [client, peer] of [clients, [...clients].reverse()]) {
  peer.removeAllListeners("question");
  peer.on("question", (question, reply) => reply(`${question}: ${peer.id}`));
  const answered = once(client, "answered");
  client.emit("ask", "who", peer.id);
  assert.deepEqual(await answered, [`who: ${peer.id}`]);
}
await one.emitWithAck("join", "invited", other.id);
const invited = once(other, "told");
await until(
  async () => {
    await one.emitWithAck("tell", "invited", "you are in");
    return told[1].at(-1)[0];
  },
  (text) => text === "you are in",
);
assert.deepEqual(await invited, ["you are in"]);
const ending = once(other, "disconnect");
one.emit("kick", other.id);
assert.equal((await ending)[0], "io server disconnect");
one.disconnect();
