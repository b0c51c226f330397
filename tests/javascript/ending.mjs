// Ends the connection: `how` is "client" (close), "early" (close while an upgrade is pending),
// "server" (asks it to disconnect) or "never" (waits for whatever else ends it).

import { client, given, report, whenSettled } from "./common.mjs";

const socket = client();

if (given.how === "early") {
  socket.on("open", () => socket.close());
} else {
  whenSettled(socket, () => {
    report("settled");
    if (given.how === "client") socket.close();
    if (given.how === "server") socket.send("close");
  });
}
