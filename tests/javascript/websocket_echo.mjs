// npm's `ws` as an echo, for tests/conformance: node websocket_echo.mjs server|client PORT
//
// The client connects over and over.

import { WebSocket, WebSocketServer } from "ws";

const [kind, port] = process.argv.slice(2);
const options = { maxPayload: 1_000_000, perMessageDeflate: { threshold: 0 } };

function echo(socket) {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("error", () => {}); // the close frame says it
}

function connect() {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { ...options, perMessageDeflate: true });
  echo(socket);
  socket.on("close", connect);
}

if (kind === "server") new WebSocketServer({ host: "127.0.0.1", port: Number(port), ...options }).on("connection", echo);
else connect();
