// What socket.io-client sees of tests/dropin/apps/flask_app.py: node socketio_flask.mjs URL MODE

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { heard, once, open, until } from "./socketio_common.mjs";

const [, , url, mode] = process.argv;
const TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]];
const names = Math.random().toString(36).slice(2);

async function get(path, options) {
  const response = await fetch(url + path, options);
  assert.equal(response.status, 200);
  return response;
}

// Log in on the page, and connect with the cookie of its session.
async function user(transports, name) {
  const cookie = (await get(`/login/${name}`)).headers.get("set-cookie").split(";")[0];
  const socket = io(url, {
    transports,
    query: { x: "1" },
    extraHeaders: { cookie, "x-agent": "node" },
    forceNew: true,
    reconnection: false,
  });
  const welcome = once(socket, "welcome");
  await once(socket, "connect");
  assert.deepEqual(await welcome, [{ name, args: "1" }]);
  return socket;
}

async function check(transports, others) {
  const name = `${names}${transports.join("")}`;
  const refused = open(url, transports, { name: "Mallory" });
  const [error] = await once(refused, "connect_error");
  assert.deepEqual([error.message, error.data], ["go away", { name: "Mallory" }]);
  refused.disconnect();

  const one = await user(transports, `${name}one`);
  const other = await user(others, `${name}other`);

  // Events, acknowledgements, binary data, sessions, background tasks, errors.
  const message = once(one, "message");
  one.send("hello");
  assert.deepEqual(await message, ["HELLO"]);
  const json = once(one, "json");
  one.emit("json", { a: 1 });
  assert.deepEqual(await json, [{ got: { a: 1 } }]);
  const data = { bytes: Buffer.from([0, 1, 255]), text: "ä" };
  assert.deepEqual(await one.emitWithAck("echo", data), data);
  await one.emitWithAck("echo");
  assert.deepEqual(await one.emitWithAck("count"), {
    ...{ name: `${name}one`, events: 2, sid: one.id, namespace: "/", event: "count" },
    agent: "node",
  });
  one.on("question", (question, reply) => reply(`${question} because`));
  for (const event of ["ask", "ask_and_wait"]) {
    const answered = once(one, "answered");
    one.emit(event, "why?");
    const expected = event === "ask" ? [`${name}one`, "why? because"] : "why? because";
    assert.deepEqual(await answered, [expected]);
  }
  const ticks = heard(one, "ticked");
  one.emit("tick");
  await until(
    () => ticks.flat(),
    (all) => all.join() === "0,1,2",
  );
  const failed = once(one, "failed");
  one.emit("fail");
  assert.deepEqual(await failed, [["LookupError", "on purpose"]]);

  // Rooms and broadcasts, over both transports at once; a page tells a room something.
  const told = [one, other].map((socket) => heard(socket, "told"));
  const news = [one, other].map((socket) => once(socket, "news"));
  one.emit("broadcast", data);
  for (const item of await Promise.all(news)) assert.deepEqual(item, [data]);
  assert.deepEqual(await one.emitWithAck("enter", name), [name]);
  assert.deepEqual(await other.emitWithAck("enter", name), [name]);
  await one.emitWithAck("tell", name, "both");
  await one.emitWithAck("tell", name, "others", false);
  const announced = [one, other].map((socket) => once(socket, "announced"));
  await get(`/announce/${name}/hear`);
  for (const item of await Promise.all(announced)) assert.deepEqual(item, ["hear"]);
  assert.deepEqual(await one.emitWithAck("leave", name), []);
  await other.emitWithAck("tell", name, "the rest");
  await other.emitWithAck("shut", name);
  await other.emitWithAck("tell", name, "nobody");
  await one.emitWithAck("echo");
  assert.deepEqual(told.map((all) => all.flat()), [["both"], ["both", "others", "the rest"]]);

  const chat = open(`${url}/chat`, transports);
  assert.deepEqual(await once(chat, "welcome"), [{ namespace: "/chat" }]);
  const said = once(chat, "said");
  assert.equal(await chat.emitWithAck("say", "hello"), 5);
  assert.deepEqual(await said, ["hello"]);
  chat.disconnect();

  await until(
    () => one.io.engine.transport.name,
    (transport) => transport === transports.at(-1),
  );
  const ending = once(other, "disconnect");
  other.emit("leave_me");
  assert.equal((await ending)[0], "io server disconnect");
  one.disconnect();
  const left = await until(
    async () => (await (await get("/left")).json()).filter(([who]) => who.startsWith(name)),
    (all) => all.length === 2,
  );
  assert.deepEqual(Object.fromEntries(left), {
    [`${name}one`]: "client disconnect",
    [`${name}other`]: "server disconnect",
  });
}

assert.equal(await (await get("/")).text(), "a page");
assert.equal((await (await get("/mode")).json()).mode, mode);
for (const transports of TRANSPORTS) {
  await check(transports, transports[0] === "polling" ? ["websocket"] : ["polling"]);
}
