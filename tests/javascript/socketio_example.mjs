// What socket.io-client sees of tests/dropin/apps/example_*.py: node socketio_example.mjs URL

import assert from "node:assert/strict";
import { heard, once, open, until } from "./socketio_common.mjs";

const url = process.argv[2];
const page = await fetch(`${url}/`);
assert.equal(page.status, 200);
assert.equal(await page.text(), "the example's page");

const witness = open(url, ["polling"]);
const all = heard(witness, "response");
await until(
  () => all.length,
  (length) => length === 1,
);
for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
  const socket = open(url, transports);
  const responses = heard(socket, "response");
  const ticks = heard(socket, "tick");
  await until(
    () => ticks.length,
    (length) => length > 1,
  );
  const text = `hello over ${transports}`;
  socket.emit("say", text);
  socket.emit("join", text);
  socket.emit("say_to_all", text);
  await until(
    () => responses.length,
    (length) => length === 4,
  );
  assert.deepEqual(responses.flat(), ["connected", text, `in ${text}`, text]);
  await until(
    () => all.at(-1)[0],
    (last) => last === text,
  );
  await until(
    () => socket.io.engine.transport.name,
    (transport) => transport === transports.at(-1),
  );
  const ending = once(socket, "disconnect");
  socket.emit("disconnect_request");
  assert.equal((await ending)[0], "io server disconnect");
}
assert.equal(all.length, 4);
witness.disconnect();
