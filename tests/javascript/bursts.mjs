// `count` numbers each way, and `count` messages the server sends by itself.  With an upgrade the
// numbers go out before it, while it is under way and after it.

import { client, given, report } from "./common.mjs";

const socket = client();
const { count } = given;
const echoes = [];
const bursts = [];
const over = new Set();
let next = 0;

function send(upTo) {
  while (next < Math.min(upTo, count)) socket.send(String(next++));
}

socket.on("open", () => {
  socket.send(`burst:${count}`);
  send(count / 4);
  if (given.transports.length === 1) send(count);
  // A few more in each round of the event loop, until the upgrade begins.
  const trickle = setInterval(() => send(Math.min(next + 1, count / 2)), 1);
  socket.once("upgrading", () => {
    clearInterval(trickle);
    send((count * 3) / 4);
  });
  socket.once("close", () => clearInterval(trickle));
});

socket.once("upgrade", () => send(count));

socket.on("message", (data) => {
  over.add(socket.transport.name);
  if (data.startsWith("burst-")) bursts.push(data);
  else echoes.push(data);
  if (echoes.length === count && bursts.length === count) socket.close();
});

socket.on("close", () => {
  report("echoes", echoes);
  report("bursts", bursts);
  report("over", [...over]);
});
