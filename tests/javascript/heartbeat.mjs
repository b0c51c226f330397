// Answers `pings` pings, then shows that the connection still works.

import { client, given, report } from "./common.mjs";

const socket = client();
let pings = 0;

socket.on("ping", () => {
  if (++pings === given.pings) socket.send("still here");
});

socket.on("message", (data) => {
  report("message", data);
  socket.close();
});
