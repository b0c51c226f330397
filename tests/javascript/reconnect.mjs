// Loses its server, says so, and tries again with new clients until there is one.

import { client, report, whenSettled } from "./common.mjs";

const RETRY = 100; // milliseconds
let isBack = false;

function connect() {
  const socket = client();

  whenSettled(socket, () => {
    report("open", socket.id);
    if (isBack) socket.send("back again");
    isBack = true;
  });

  socket.on("message", (data) => {
    report("message", data);
    socket.close();
  });

  socket.on("close", (reason) => {
    if (reason !== "forced close") setTimeout(connect, RETRY);
  });
}

connect();
