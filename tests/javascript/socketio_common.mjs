// What the scenarios of socket.io-client share; see tests/dropin.

import { io } from "socket.io-client";

const PATIENCE = 40_000; // milliseconds

setTimeout(() => {
  console.error(`${process.argv[1]}: nothing happened for too long`);
  process.exit(1);
}, PATIENCE).unref();

export function open(url, transports, auth) {
  return io(url, { transports, auth, forceNew: true, reconnection: false });
}

export function once(socket, event) {
  return new Promise((resolve) => socket.once(event, (...data) => resolve(data)));
}

// A client of sio_sync.py or sio_async.py.
export async function connected(url, transports, name) {
  const socket = open(url, transports, { token: "secret", name });
  const hello = once(socket, "hello");
  await once(socket, "connect");
  const [greeted] = await hello;
  if (greeted !== name) throw new Error(`greeted as ${greeted}`);
  return socket;
}

// Ask again and again until the answer is right; returns it.
export async function until(ask, isRight) {
  for (;;) {
    const answer = await ask();
    if (isRight(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// All that comes under a name, as it comes.
export function heard(socket, event) {
  const all = [];
  socket.on(event, (...data) => all.push(data));
  return all;
}
