// One client for each of `ways` ({name, url, transports}), all at once.  Each sends `messages`, one
// when the last has come back, and closes.  Reports [name, what came back] and [name:error, why].

import { Socket } from "engine.io-client";
import { describe, given, make, report, TRANSPORTS } from "./common.mjs";

for (const { name, url, transports } of given.ways) {
  const wanted = transports.map((transport) => TRANSPORTS[transport]);
  const socket = new Socket(url, { ...given.options, transports: wanted });
  const waiting = given.messages.map(make);
  const echoes = [];

  const next = () => {
    if (waiting.length) socket.send(waiting.shift());
    else socket.close();
  };

  socket.once("handshake", ({ upgrades }) => {
    const isPossible = transports.length === 1 || upgrades.includes(transports[1]);
    if (!isPossible) waiting.length = 0;
    const last = isPossible && transports.length > 1 ? "upgrade" : "open";
    socket.once(last, () => setImmediate(next));
  });
  socket.on("message", (data) => {
    echoes.push(describe(data));
    next();
  });
  for (const event of ["error", "upgradeError"]) {
    socket.on(event, (error) => report(`${name}:error`, String(error.description?.message ?? error)));
  }
  socket.on("close", (reason) => report(name, reason === "forced close" ? echoes : reason));
}
