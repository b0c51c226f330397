// What the scenarios share: a client as tests/test_javascript_client.py asks for it, and what it
// saw, as lines of JSON ([name, value]) on stdout.

import { createHash } from "node:crypto";
import diagnostics from "node:diagnostics_channel";
import { Fetch, NodeWebSocket, NodeXHR, Socket } from "engine.io-client";

export const TRANSPORTS = { fetch: Fetch, polling: NodeXHR, websocket: NodeWebSocket };
const PATIENCE = 20_000; // milliseconds until a scenario that hangs ends with an error

// {url, transports, options, ...}: transports by the names above, options as of engine.io-client.
export const given = JSON.parse(process.argv[2]);

export function report(name, value = null) {
  process.stdout.write(JSON.stringify([name, value]) + "\n");
}

// Nobody calls process.exit: the last packets leave after "close".
process.on("beforeExit", () => report("http", requests));

setTimeout(() => {
  console.error(`${process.argv[1]}: nothing happened for too long`);
  process.exit(1);
}, PATIENCE).unref();

export function client(binaryType = "nodebuffer") {
  const transports = given.transports.map((name) => TRANSPORTS[name]);
  const socket = new Socket(given.url, { ...given.options, transports });
  socket.binaryType = binaryType;
  socket.on("handshake", (opening) => report("opening", opening));
  socket.on("upgrade", (transport) => report("upgrade", transport.name));
  socket.on("upgradeError", (error) => report("upgradeError", error.message));
  socket.on("error", (error) => report("error", explain(error)));
  socket.on("close", (reason) => report("close", reason));
  return socket;
}

// Calls back when no upgrade is to come any more.  A little later than the event: from within it,
// close() would wait for an upgrade that is over.
export function whenSettled(socket, callback) {
  const names = new Set(given.transports.map((name) => TRANSPORTS[name].prototype.name));
  socket.once(names.size > 1 ? "upgrade" : "open", () => setImmediate(callback));
}

// Polling has the status and the body, a WebSocket an ErrorEvent, fetch a TypeError with a cause.
function explain(error) {
  return {
    message: error.message,
    status: typeof error.description === "number" ? error.description : null,
    body: error.context?.responseText ?? error.description?.message ?? null,
    cause: error.description?.cause?.message ?? null,
  };
}

// ["text", "a"], ["repeat", "a", 1000] or ["bytes", 256, "ArrayBuffer" | "Buffer"].
export function make([kind, value, detail]) {
  if (kind === "text") return value;
  if (kind === "repeat") return value.repeat(detail);
  const bytes = Buffer.alloc(value);
  for (let i = 0; i < value; i++) bytes[i] = i % 256;
  if (detail === "Buffer") return bytes;
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
}

// Short text as it is, everything else as [type, length, SHA-256].  The client hands on an empty
// text as undefined.
export function describe(data = "") {
  if (typeof data === "string" && data.length <= 200) return data;
  const type = data instanceof ArrayBuffer ? "ArrayBuffer" : data.constructor.name;
  const bytes = type === "ArrayBuffer" ? new Uint8Array(data) : data;
  const size = data.length ?? data.byteLength;
  return [type, size, createHash("sha256").update(bytes).digest("hex")];
}

// The HTTP requests that were answered, of both of Node's HTTP clients.
const requests = [];

function note(method, path, status, encoding, length, cookie) {
  const transport = new URL(path, "http://localhost").searchParams.get("transport");
  requests.push({ method, transport, status, encoding, length, cookie });
}

diagnostics.subscribe("http.client.response.finish", ({ request, response }) => {
  note(
    request.method,
    request.path,
    response.statusCode,
    response.headers["content-encoding"] ?? null,
    Number(request.getHeader("content-length") ?? 0),
    String(request.getHeader("cookie") ?? ""),
  );
});

diagnostics.subscribe("undici:request:headers", ({ request, response }) => {
  const headers = response.headers.map(String);
  const at = headers.findIndex((name) => name.toLowerCase() === "content-encoding");
  const encoding = at < 0 ? null : headers[at + 1];
  note(request.method, request.path, response.statusCode, encoding, request.contentLength ?? 0, "");
});
