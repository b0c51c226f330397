// Sends `messages` once connected, all at once or, `inTurn`, each when the last came back.
// Reports "message" for each that comes back, and "deflate": what the WebSocket negotiated.

import { client, describe, given, make, report, whenSettled } from "./common.mjs";

const socket = client(given.binaryType);
const waiting = given.messages.map(make);
let missing = waiting.length;

whenSettled(socket, () => {
  report("deflate", socket.transport.ws?.extensions ?? null);
  const first = given.inTurn ? waiting.splice(0, 1) : waiting.splice(0);
  for (const message of first) socket.send(message);
});

socket.on("message", (data) => {
  report("message", describe(data));
  for (const next of waiting.splice(0, 1)) socket.send(next);
  if (--missing === 0) socket.close();
});
