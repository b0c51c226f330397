// What the admin UI sees of an instrumented server: node socketio_admin.mjs URL MODE

import assert from "node:assert/strict";
import { connected, heard, once, open, until } from "./socketio_common.mjs";

const [, , url, mode] = process.argv;
const isDevelopment = mode === "development";

const refused = open(`${url}/admin`, ["websocket"], { username: "u", password: "wrong" });
assert.equal((await once(refused, "connect_error"))[0].message, "authentication failed");
refused.disconnect();

const early = await connected(url, ["websocket"], "early");
const admin = open(`${url}/admin`, ["polling", "websocket"], { username: "u", password: "p" });
const seen = {};
for (const event of [
  ...["config", "all_sockets", "server_stats", "socket_connected", "socket_disconnected"],
  ...["room_joined", "room_left", "event_received", "event_sent"],
]) {
  seen[event] = heard(admin, event);
}
await once(admin, "connect");

async function sees(event, isRight) {
  const all = await until(
    () => seen[event].filter((data) => isRight(...data)),
    (found) => found.length,
  );
  return all[0];
}

const [{ supportedFeatures }] = await sees("config", () => true);
assert.equal(supportedFeatures.includes("ALL_EVENTS"), isDevelopment);
if (isDevelopment) {
  const [sockets] = await sees("all_sockets", () => true);
  const known = sockets.find((socket) => socket.id === early.id);
  assert.equal(known.transport, "websocket");
  assert.equal(known.handshake.address, "127.0.0.1");
  assert.ok(known.rooms.includes("everybody"));
}

const user = await connected(url, ["polling"], "user");
assert.equal(await user.emitWithAck("echo", "hello"), "hello");
const gone = once(user, "disconnect");
const userId = user.id; // it has none afterwards
if (isDevelopment) {
  const [socket] = await sees("socket_connected", ({ id }) => id === user.id);
  assert.equal(socket.transport, "polling");
  assert.equal(socket.handshake.url, "/socket.io/");
  assert.equal(socket.handshake.query.EIO, "4");
  // Every ping tells it again.
  await until(
    () => seen.socket_connected.filter(([{ id }]) => id === user.id),
    (all) => all.length >= 3,
  );
  await sees("room_joined", (_, room, id) => room === "everybody" && id === user.id);
  await sees("event_received", (_, id, [event]) => event === "echo" && id === user.id);
  await sees("event_sent", (_, id, [event]) => event === "hello" && id === user.id);

  admin.emit("join", "/", "by hand", user.id);
  await sees("room_joined", (_, room, id) => room === "by hand" && id === user.id);
  const told = once(user, "told");
  admin.emit("emit", "/", "by hand", "told", "by the admin");
  assert.deepEqual(await told, ["by the admin"]);
  admin.emit("leave", "/", "by hand", user.id);
  await sees("room_left", (_, room, id) => room === "by hand" && id === user.id);
  admin.emit("_disconnect", "/", false, user.id);
  assert.equal((await gone)[0], "io server disconnect");
  await sees("socket_disconnected", (_, id) => id === userId);
} else {
  user.disconnect();
}

// The engine's part: connections, packets and bytes are counted, over both transports.
await until(
  () => new Set(seen.server_stats.flatMap(([stats]) => stats.aggregatedEvents).map(({ type }) => type)),
  (types) =>
    ["rawConnection", "rawDisconnection", "packetsIn", "packetsOut", "bytesIn", "bytesOut"].every(
      (type) => types.has(type),
    ),
);
// Who polled has gone; `early` and the admin have WebSockets.
await sees(
  "server_stats",
  (stats) => stats.clientsCount === 2 && stats.pollingClientsCount === 0,
);
await sees("server_stats", (stats) =>
  stats.namespaces.some(({ name, socketsCount }) => name === "/" && socketsCount === 1),
);
if (!isDevelopment) assert.deepEqual(seen.event_received, []);
early.disconnect();
admin.disconnect();
