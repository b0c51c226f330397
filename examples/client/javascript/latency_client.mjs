// How long does a message take there and back?  Ctrl-C ends.
//
// npm install, once, then: node latency_client.mjs [URL]
// The server is any that answers each message with one: the examples simple.py and latency.py, or
// the command `engineio serve`.

import { Socket } from "engine.io-client";

const socket = new Socket(process.argv[2] ?? "http://127.0.0.1:5000");
let sent = 0;

function ping() {
  sent = performance.now();
  socket.send("ping");
}

socket.on("open", () => {
  console.log("connected");
  ping();
});

socket.on("message", () => {
  const latency = (performance.now() - sent).toFixed(2);
  console.log(`latency is ${latency} ms over ${socket.transport.name}`);
  setTimeout(ping, 500);
});

socket.on("error", (error) => console.error("error:", error.message));
socket.on("close", (reason) => {
  console.log("disconnected:", reason);
  process.exit();
});

process.on("SIGINT", () => socket.close());
