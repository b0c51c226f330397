// Reports what it is told when it cannot connect, or that it could.

import { client, report } from "./common.mjs";

const socket = client();

socket.on("open", () => {
  report("open", socket.transport.name);
  socket.close();
});
