// A small Engine.IO v4 client: polling, WebSocket, and the upgrade from one to the other.
// It is here to be read, and to run the demo. For applications there is engine.io-client on npm.
//
//   const engine = new EngineIO("/engine.io/", ["polling", "websocket"]);
//   engine.addEventListener("message", (event) => console.log(event.detail));
//   engine.open();  engine.send("text");  engine.send(new Uint8Array([1, 2, 3]));
//
// Events; what they carry is in event.detail:
//   open      the handshake: sid, pingInterval, pingTimeout (milliseconds), maxPayload (bytes)
//   message   a string or a Uint8Array
//   ping      nothing; the server's heartbeat arrived and was answered
//   probe     nothing; a WebSocket is being tried while polling goes on
//   pause     nothing; the WebSocket answered, polling stops fetching
//   upgrade   nothing; from now on everything goes over the WebSocket
//   stay      why the upgrade failed; polling goes on
//   traffic   {transport, sent: true or false}, for every HTTP request, answer and frame
//   close     why the session ended; open() may be called again

const SEPARATOR = "\x1e";
const [OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP] = "0123456";
const PROBE_TIMEOUT = 10_000; // milliseconds; the server's upgrade timeout is the same

const utf8 = new TextEncoder();
const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

// Resolves with the next event of that type; rejects when the WebSocket closes first.
const next = (ws, type) => new Promise((resolve, reject) => {
  ws.addEventListener(type, resolve, { once: true });
  ws.addEventListener("close", () => reject(new Error("the WebSocket closed")), { once: true });
});

export class EngineIO extends EventTarget {
  state = "closed"; // closed -> opening -> open -> closing -> closed
  transport = null; // "polling" or "websocket"
  sid = null;
  maxPayload = Infinity; // bytes in one POST
  #outbox = []; // what waits to be sent: strings with their type digit, and Uint8Arrays
  #paused = false; // between the probe's answer and the end of the last poll
  #polling = null; // promise of the poll loop, null when none runs
  #posting = null; // promise of the POST loop, null when none runs
  #ws = null; // the WebSocket in use, or the one being probed
  #abort; #heartbeat; #window;

  constructor(path = "/engine.io/", transports = ["polling", "websocket"]) {
    super();
    this.path = path;
    this.transports = transports;
  }

  open() {
    if (this.state !== "closed") return;
    this.state = "opening";
    this.sid = null;
    this.maxPayload = Infinity;
    this.#outbox = [];
    this.#paused = false;
    this.#polling = this.#posting = this.#ws = null;
    this.#abort = new AbortController();
    this.transport = this.transports[0];
    if (this.transport === "websocket") this.#adopt(this.#connect());
    else this.#startPolling();
  }

  send(data) { // a string, Uint8Array or ArrayBuffer; kept back until the session is open
    if (this.state !== "opening" && this.state !== "open") return;
    this.#push(typeof data === "string" ? MESSAGE + data : new Uint8Array(data));
  }

  async close() {
    if (this.state === "open") {
      this.state = "closing";
      if (this.transport === "polling") this.#ws?.close(); // a probe under way
      this.#paused = false;
      this.#push(CLOSE);
      await this.#posting;
    }
    this.#end("client disconnect");
  }

  leave() { // for pagehide, when nothing can be waited for
    if (this.state === "open" && this.transport === "polling") {
      navigator.sendBeacon(this.#url("http", "polling"), CLOSE);
    }
    this.#end("client disconnect");
  }

  #emit(type, detail = null) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  #url(scheme, transport) {
    const url = new URL(this.path, location.href);
    url.protocol = scheme + (url.protocol === "https:" ? "s:" : ":");
    url.search = new URLSearchParams({ EIO: 4, transport, ...(this.sid && { sid: this.sid }) });
    return url;
  }

  // ---- packets

  #receive(packet) {
    if (this.state !== "opening" && this.state !== "open") return;
    if (typeof packet !== "string") return this.#emit("message", new Uint8Array(packet));
    const data = packet.slice(1);
    switch (packet[0]) {
      case OPEN: return this.#opened(JSON.parse(data));
      case CLOSE: return this.#end("server disconnect");
      case PING:
        this.#beat();
        this.#push(PONG + data);
        return this.#emit("ping");
      case MESSAGE: return this.#emit("message", data);
      case "b": return this.#emit("message", fromBase64(data));
      case NOOP: return;
      default: return this.#end("parse error");
    }
  }

  #opened(handshake) {
    this.state = "open";
    this.sid = handshake.sid;
    this.maxPayload = handshake.maxPayload ?? Infinity;
    this.#window = handshake.pingInterval + handshake.pingTimeout;
    this.#beat();
    this.#emit("open", handshake);
    this.#flush();
    const wanted = this.transport === "polling" && this.transports.includes("websocket");
    if (wanted && handshake.upgrades.includes("websocket")) this.#upgrade();
  }

  #beat() { // the server is thought gone when no ping came for one interval and one timeout
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(() => this.#end("ping timeout"), this.#window);
  }

  #push(packet) {
    this.#outbox.push(packet);
    this.#flush();
  }

  #flush() {
    if (this.state === "opening" || this.state === "closed" || !this.#outbox.length) return;
    if (this.transport === "polling") {
      if (!this.#paused) this.#posting ??= this.#post();
      return;
    }
    for (const packet of this.#outbox.splice(0)) {
      this.#ws.send(packet);
      this.#emit("traffic", { transport: "websocket", sent: true });
    }
  }

  #end(reason) {
    if (this.state === "closed") return;
    this.state = "closed";
    clearTimeout(this.#heartbeat);
    this.#abort.abort();
    this.#ws?.close();
    this.#emit("close", reason);
  }

  // ---- polling

  async #request(method, body) {
    const { signal } = this.#abort;
    if (method === "POST") this.#emit("traffic", { transport: "polling", sent: true });
    const url = this.#url("http", "polling");
    const response = await fetch(url, { method, body, signal, cache: "no-store" });
    const text = await response.text();
    if (signal.aborted || !response.ok) throw new Error(`HTTP status ${response.status}`);
    if (method === "GET") this.#emit("traffic", { transport: "polling", sent: false });
    return text;
  }

  #startPolling() { this.#polling ??= this.#poll(); }

  async #poll() {
    const { signal } = this.#abort;
    try {
      while (!signal.aborted && !this.#paused && this.state !== "closing") {
        const payload = await this.#request("GET");
        payload.split(SEPARATOR).forEach((packet) => this.#receive(packet));
      }
    } catch {
      if (!signal.aborted) this.#end("transport error");
    }
    if (signal === this.#abort.signal) this.#polling = null; // else open() was called again
  }

  async #post() {
    const { signal } = this.#abort;
    try {
      while (this.#outbox.length && !this.#paused) await this.#request("POST", this.#batch());
    } catch {
      if (!signal.aborted) this.#end("transport error");
    }
    if (signal === this.#abort.signal) this.#posting = null;
  }

  #batch() { // as many packets as fit into maxPayload; a single larger one goes alone
    const parts = [];
    let size = -1; // one separator fewer than packets
    while (this.#outbox.length) {
      const packet = this.#outbox[0];
      const text = typeof packet === "string" ? packet : "b" + toBase64(packet);
      size += utf8.encode(text).length + 1;
      if (parts.length && size > this.maxPayload) break;
      parts.push(text);
      this.#outbox.shift();
    }
    return parts.join(SEPARATOR);
  }

  // ---- WebSocket

  #connect() {
    const ws = new WebSocket(this.#url("ws", "websocket"));
    ws.binaryType = "arraybuffer";
    return ws;
  }

  #adopt(ws) {
    this.#ws = ws;
    ws.onmessage = ({ data }) => {
      this.#emit("traffic", { transport: "websocket", sent: false });
      try {
        this.#receive(data);
      } catch {
        this.#end("parse error");
      }
    };
    ws.onclose = () => {
      if (ws === this.#ws) this.#end(this.sid ? "transport close" : "transport error");
    };
  }

  async #upgrade() {
    this.#emit("probe");
    const { signal } = this.#abort;
    const ws = (this.#ws = this.#connect());
    const timer = setTimeout(() => ws.close(), PROBE_TIMEOUT);
    try {
      await next(ws, "open");
      ws.send(PING + "probe");
      const answer = (await next(ws, "message")).data;
      if (answer !== PONG + "probe") throw new Error("the probe was not answered");
      this.#paused = true; // the server ends the waiting poll; a POST under way may finish
      this.#emit("pause");
      await Promise.all([this.#polling, this.#posting]);
      if (this.state !== "open") return;
      if (ws.readyState !== WebSocket.OPEN) throw new Error("the WebSocket closed");
      ws.send(UPGRADE);
      this.#adopt(ws);
      this.transport = "websocket";
      this.#emit("upgrade");
      this.#flush();
    } catch (error) {
      ws.close();
      if (signal.aborted || this.state !== "open") return;
      this.#paused = false;
      this.#startPolling();
      this.#flush();
      this.#emit("stay", error.message);
    } finally {
      clearTimeout(timer);
    }
  }
}
