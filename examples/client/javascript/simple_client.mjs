// Send text, JSON and bytes, print what comes back, and disconnect.
//
// npm install, once, then: node simple_client.mjs [URL]
// The server is one that sends back what it gets: the examples simple.py, or the command
// `engineio serve`.

import { Socket } from "engine.io-client";

const messages = ["hello", JSON.stringify({ a: [1, 2, 3] }), Buffer.from([0, 1, 2])];
let received = 0;

const socket = new Socket(process.argv[2] ?? "http://127.0.0.1:5000");

socket.on("open", () => {
  console.log("connected over", socket.transport.name);
  for (const message of messages) socket.send(message);
});

// Text is a string, also if it is JSON; what to make of it is up to you. Bytes are a Buffer.
socket.on("message", (data) => {
  console.log("received", data);
  received += 1;
  // After the upgrade, if one is under way: closing waits for it.
  if (received === messages.length) socket.close();
});

socket.on("error", (error) => console.error("error:", error.message));
socket.on("close", (reason) => console.log("disconnected:", reason));
