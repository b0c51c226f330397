// The JavaScript engine.io as an echo server: node server.mjs ws|eiows PORT
//
// Options are the defaults, as they are for the Python servers. A broadcast hands ws a frame that
// was encoded once, as socket.io does.

import { createRequire } from "node:module";
import http from "node:http";

import { Server } from "engine.io";
import { Sender } from "ws";

const [engine, port] = process.argv.slice(2);
const require = createRequire(import.meta.url);
const options = { pingInterval: Number(process.env.BENCH_PING_INTERVAL) * 1000 };
if (engine === "eiows") {
  options.wsEngine = require(process.env.BENCH_EIOWS || "eiows").Server;
}

const server = http.createServer((request, response) => response.end());
const io = new Server(options);
io.attach(server);

function broadcast(data) {
  const wsPreEncodedFrame = Sender.frame(Buffer.from("4" + data), {
    readOnly: false,
    mask: false,
    rsv1: false,
    opcode: 1,
    fin: true,
  });
  for (const client of Object.values(io.clients)) {
    client.send(data, { wsPreEncodedFrame });
  }
}

io.on("connection", (client) => {
  client.on("message", (data) => {
    if (data === "bcast") {
      broadcast(data);
    } else {
      client.send(data);
    }
  });
});

server.listen({ host: "127.0.0.1", port: Number(port), backlog: 2048 });
