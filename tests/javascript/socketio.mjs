// What socket.io-client sees of tests/dropin/apps/sio_sync.py, or of sio_async.py: everything is
// asserted here.  node socketio.mjs URL

import assert from "node:assert/strict";
import { connected, once, open, until } from "./socketio_common.mjs";

const TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]];
const url = process.argv[2];
// The application remembers all who have left; `names` tells ours from others.
const names = Math.random().toString(36).slice(2);

async function rejected(transports) {
  const socket = open(url, transports, { token: "wrong" });
  const [error] = await once(socket, "connect_error");
  assert.equal(error.message, "wrong token");
  assert.deepEqual(error.data, { got: { token: "wrong" } });
  assert.equal(socket.connected, false);
  socket.disconnect();
}

async function acknowledgements(socket) {
  const values = ["text", "grüße 世界 🌍", 12, 1.5, true, null, [1, [2]], { a: { b: [] } }];
  const answer = await new Promise((resolve) =>
    socket.emit("echo", ...values, (...all) => resolve(all)),
  );
  assert.deepEqual(answer, values);
  assert.deepEqual(await socket.emitWithAck("nobody knows", 1), ["anything", "nobody knows", 1]);
  const asked = once(socket, "answered");
  socket.once("question", (question, reply) => reply({ question, answer: Buffer.from([42]) }));
  socket.emit("ask", "why?");
  assert.deepEqual(await asked, [{ question: "why?", answer: Buffer.from([42]) }]);
  const later = once(socket, "later");
  socket.emit("later", "at last");
  assert.deepEqual(await later, ["at last"]);
}

async function binary(socket) {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
  const data = { name: "x", parts: [bytes, Buffer.alloc(0), { deep: Buffer.alloc(100_000, 7) }] };
  assert.deepEqual(await socket.emitWithAck("echo", data), data);
}

async function rooms(one, other) {
  const heard = { one: [], other: [] };
  one.on("told", (data) => heard.one.push(data));
  other.on("told", (data) => heard.other.push(data));
  assert.deepEqual(await one.emitWithAck("join", "a"), ["a", "everybody"]);
  await other.emitWithAck("join", "b");
  await one.emitWithAck("join", "both");
  await other.emitWithAck("join", "both");
  await one.emitWithAck("tell", "a", "to a");
  await one.emitWithAck("tell", "b", "to b");
  await one.emitWithAck("tell", "both", "to both");
  await one.emitWithAck("tell", "both", "not me");
  assert.deepEqual(await one.emitWithAck("leave", "a"), ["both", "everybody"]);
  await one.emitWithAck("tell", "a", "nobody");
  await one.emitWithAck("shut", "both");
  await one.emitWithAck("tell", "both", "nobody");
  await other.emitWithAck("echo", "all of it has come");
  assert.deepEqual(heard, { one: ["to a", "to both"], other: ["to b", "to both", "not me"] });
}

async function broadcast(sockets) {
  const COUNT = 30;
  const all = sockets.map(
    (socket) =>
      new Promise((resolve) => {
        const news = [];
        socket.on("news", (item) => {
          news.push(item);
          if (news.length === COUNT) resolve(news);
        });
      }),
  );
  sockets[0].emit("broadcast", COUNT);
  for (const news of await Promise.all(all)) {
    news.forEach((item, index) => {
      assert.deepEqual(item, { number: index, data: Buffer.from([index, 255]) });
    });
  }
}

async function namespaces(transports) {
  const refused = open(`${url}/chat`, transports, { name: "Mallory" });
  assert.ok((await once(refused, "connect_error"))[0] instanceof Error);
  refused.disconnect();
  const chat = open(`${url}/chat`, transports);
  await once(chat, "connect");
  const said = once(chat, "said");
  assert.equal(await chat.emitWithAck("say", "hello"), 5);
  assert.deepEqual(await said, ["hello"]);
  chat.disconnect();
}

for (const transports of TRANSPORTS) {
  const others = transports[0] === "polling" ? ["websocket"] : ["polling"];
  const name = `${names} ${transports}`;
  await rejected(transports);
  const one = await connected(url, transports, `${name} one`);
  const other = await connected(url, others, `${name} other`);
  await acknowledgements(one);
  await binary(one);
  await rooms(one, other);
  await broadcast([one, other]);
  await namespaces(transports);
  assert.equal((await one.emitWithAck("whoami")).asked, 1);
  assert.deepEqual(await one.emitWithAck("whoami"), { name: `${name} one`, asked: 2 });
  await until(
    () => one.emitWithAck("transport"),
    (transport) => transport === transports.at(-1),
  );
  assert.equal(one.io.engine.transport.name, transports.at(-1));
  const ending = once(other, "disconnect");
  other.emit("kick");
  assert.equal((await ending)[0], "io server disconnect");
  one.disconnect();

  const witness = await connected(url, others, `${name} witness`);
  const ours = ([who]) => who.startsWith(name);
  const left = await until(
    async () => (await witness.emitWithAck("who_has_left")).filter(ours),
    (gone) => gone.length === 2,
  );
  assert.deepEqual(Object.fromEntries(left), {
    [`${name} one`]: "client disconnect",
    [`${name} other`]: "server disconnect",
  });
  witness.disconnect();
}
