// The JavaScript Engine.IO server behind the client tests: node server.mjs PORT
//
// To a client and to a test it is what tests/apps/contract_app.py is: a server for each set of
// options at /<name>/, commands in messages and in the query, and calls by POST /control.  On
// another port, which the call `tls_port` names, it listens with TLS.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { Server } from "engine.io";

const SERVERS = {
  "engine.io": {},
  beat: { pingInterval: 300, pingTimeout: 20_000 },
  drop: { pingInterval: 200, pingTimeout: 500 },
  small: { maxHttpBufferSize: 1000 },
  big: { maxHttpBufferSize: 20_000_000 },
  cookie: { cookie: { name: "io", httpOnly: false } },
  polling_only: { transports: ["polling"] },
};
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

function summary(data) {
  if (typeof data === "string" && data.length <= 200) return data;
  const sha1 = createHash("sha1").update(data).digest("hex");
  return typeof data === "string" ? { text: data.length, sha1 } : { binary: data.length, sha1 };
}

class Application {
  events = {};
  environs = {};
  tokens = {};

  constructor(options) {
    this.io = new Server({ ...options, allowRequest: this.allow });
    this.io.on("connection", (client) => this.connect(client));
  }

  allow = (request, answer) => {
    const refusal = new URL(request.url, "http://localhost").searchParams.get("answer");
    answer(refusal ? "keep out" : null, !refusal);
  };

  count(sid, event) {
    const begins = (seen) => event.every((part, at) => JSON.stringify(part) === JSON.stringify(seen[at]));
    return (this.events[sid] ?? []).filter(begins).length;
  }

  connect(client) {
    const { request, id } = client;
    const url = new URL(request.url, "http://localhost");
    this.environs[id] = environ(request, url);
    this.tokens[url.searchParams.get("token")] = id;
    this.events[id] = [["connect"]];
    for (let i = 0; i < Number(url.searchParams.get("welcome") ?? 0); i++) client.send(`welcome-${i}`);
    client.on("message", (data = "") => {  // an empty text is undefined
      this.events[id].push(["message", summary(data)]);
      this.answer(client, data);
    });
    client.on("close", (reason) => this.events[id].push(["disconnect", reason]));
  }

  answer(client, data) {
    const [command, argument] = typeof data === "string" ? data.split(/:(.*)/s) : ["", ""];
    if (command.startsWith("quiet")) return;
    if (command === "burst") {
      for (let i = 0; i < Number(argument); i++) client.send(`burst-${i}`);
    } else if (command === "close") {
      client.close();
    } else if (command === "size") {
      client.send("x".repeat(Number(argument)));
    } else if (command === "bytes") {
      client.send(Buffer.alloc(Number(argument)));
    } else {
      client.send(data);
    }
  }
}

// The names that WSGI has for these.
function environ(request, url) {
  const named = { PATH_INFO: url.pathname, QUERY_STRING: url.search.slice(1) };
  for (const [name, value] of Object.entries(request.headers)) {
    named[`HTTP_${name.toUpperCase().replaceAll("-", "_")}`] = String(value);
  }
  return named;
}

const applications = {};
for (const [name, options] of Object.entries(SERVERS)) applications[name] = new Application(options);

// Each takes {server, sid, ...} as its counterpart in contract_app.py does.
const calls = {
  counts: () => ({ sessions: calls.sids().length, fds: readdirSync("/proc/self/fd").length }),
  sids: () =>
    Object.entries(applications).flatMap(([name, { io }]) => Object.keys(io.clients).map((sid) => [name, sid])),
  threads: () => [],
  tasks: () => [],
  files: () => readdirSync("/proc/self/fd"),
  tls_port: () => secure.address().port,
  events: ({ server, sid }) => applications[server].events[sid] ?? [],
  environ: ({ server, sid }) => applications[server].environs[sid],
  transport: ({ server, sid }) => applications[server].io.clients[sid]?.transport.name ?? null,
  disconnect: ({ server, sid }) => applications[server].io.clients[sid]?.close(),
  send: ({ server, sid, data, binary }) => {
    applications[server].io.clients[sid].send(binary ? Buffer.from(binary, "base64") : data);
  },
  burst: ({ server, sid, count, size = 0 }) => {
    const client = applications[server].io.clients[sid];
    for (let i = 0; i < count; i++) client.send(`burst-${i}` + "x".repeat(size));
  },
  async wait({ server, sid, event, count, timeout }) {
    const deadline = Date.now() + timeout * 1000;
    while (applications[server].count(sid, event) < count) {
      if (Date.now() > deadline) return false;
      await sleep(0.005);
    }
    return true;
  },
  async token({ server, token, timeout }) {
    const deadline = Date.now() + timeout * 1000;
    while (!(token in applications[server].tokens) && Date.now() < deadline) await sleep(0.005);
    return applications[server].tokens[token] ?? null;
  },
};

const nameOf = (request) => request.url.split(/[/?]/)[1];

async function serve(request, response) {
  const application = applications[nameOf(request)];
  if (application) {
    application.io.handleRequest(request, response);
    return;
  }
  const chunks = await request.toArray();
  const { call, ...given } = JSON.parse(Buffer.concat(chunks));
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify((await calls[call](given)) ?? null));
}

function upgrade(request, socket, head) {
  const application = applications[nameOf(request)];
  if (application) application.io.handleUpgrade(request, socket, head);
  else socket.destroy();
}

const pem = readFileSync(new URL("../data/tls/server.pem", import.meta.url));
const secure = https.createServer({ key: pem, cert: pem }, serve).on("upgrade", upgrade);
secure.listen({ host: "127.0.0.1", port: 0 }, () => {
  const plain = http.createServer(serve).on("upgrade", upgrade);
  plain.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
});
