// The demo page: draws what an EngineIO client reports, and reconnects when it closes.
// Whatever comes from outside goes into the page as textContent, and no longer than LOG_TEXT.

import { EngineIO } from "./engineio.js";

const PING_EVERY = 500; // milliseconds between two latency messages
const SAMPLES = 120; // one minute of them
const LOG_LINES = 200;
const LOG_TEXT = 120; // characters of a log line
const RETRY_FIRST = 500, RETRY_MOST = 5000; // milliseconds; doubles from one to the other

const $ = (id) => document.getElementById(id);
const show = (id, text) => { $(id).textContent = text; };
const ms = (value) => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
const NAMES = { polling: "Polling", websocket: "WebSocket" };

let engine = null; // an EngineIO while connected or connecting
let wanted = false; // the person wants to be connected
let retry = { delay: RETRY_FIRST, timer: 0 };
let opening = 0; // when the handshake was begun
let lastBeat = null;
let lastChange = 0; // newest client count seen on this connection
let nextId = 1;
const texts = new Map(); // id -> {text, sent}
const bytes = []; // {data, sent}; binary messages have no id, but they come back in order
const pings = new Map(); // id -> sent
let samples = []; // {value, transport}

// ---- log

function log(text, kind = "") {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString("en-GB");
  const words = document.createElement("span");
  words.textContent = text.length > LOG_TEXT ? `${text.slice(0, LOG_TEXT)}…` : text;
  item.className = kind;
  item.append(time, words);
  $("log").prepend(item);
  if ($("log").children.length > LOG_LINES) $("log").lastChild.remove();
}

// ---- the state, in words and as a picture

function status(state, words) {
  document.body.dataset.state = state;
  show("status", words);
  show("connect", wanted ? "Disconnect" : "Connect");
}

function lanes(transport, probing = false) {
  document.body.dataset.transport = transport;
  show("transport", NAMES[transport] ?? "–");
  $("lane-polling").dataset.use = transport === "polling" ? "on" : "off";
  $("lane-websocket").dataset.use = transport === "websocket" ? "on" : probing ? "probe" : "off";
}

function step(name) {
  const item = $(`step-${name}`);
  item.className = "done";
  item.lastElementChild.textContent = `+${ms(performance.now() - opening)}`;
}

function clearSteps() {
  for (const item of document.querySelectorAll(".steps li")) {
    item.className = "";
    item.lastElementChild.textContent = "–";
  }
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");

function dot({ transport, sent }) { // a packet on its way along the lane
  const lane = $(`lane-${transport}`);
  if (calm.matches || document.hidden || lane.childElementCount > 12) return;
  const packet = document.createElement("em");
  lane.append(packet);
  const path = sent ? ["0%", "100%"] : ["100%", "0%"];
  packet.animate({ left: path }, { duration: 450, easing: "ease-in-out" })
    .finished.finally(() => packet.remove());
}

// ---- connecting

function connect() {
  clearTimeout(retry.timer);
  wanted = true;
  const transports = new FormData($("connection")).get("transports").split(" ");
  const mine = (engine = new EngineIO("/engine.io/", transports));
  for (const [type, handler] of Object.entries(handlers)) {
    // A client that was replaced may still report its end; that is old news then.
    mine.addEventListener(type, (event) => mine === engine && handler(event.detail));
  }
  opening = performance.now();
  lastChange = 0;
  clearSteps();
  lanes("");
  $(`lane-${transports[0]}`).dataset.use = "probe";
  status("opening", "Connecting");
  show("sentence", `Opening a session over ${NAMES[transports[0]]}.`);
  engine.open();
}

function disconnect() {
  wanted = false;
  clearTimeout(retry.timer);
  if (engine) engine.close();
  else closed("client disconnect");
}

function closed(reason) {
  engine = null;
  lastBeat = null;
  const lost = texts.size + bytes.length;
  texts.clear();
  pings.clear();
  bytes.length = 0;
  lanes("");
  for (const id of ["latency", "clients", "heartbeat", "sid"]) show(id, "–");
  if (lost) {
    show("text-result", "The connection was lost.");
    show("bytes-result", "The connection was lost.");
  }
  if (!wanted) {
    status("closed", "Not connected");
    show("sentence", `The session ended: ${reason}.`);
    return;
  }
  status("waiting", "Reconnecting");
  const seconds = (retry.delay / 1000).toFixed(1);
  show("sentence", `The session ended: ${reason}. Trying again in ${seconds} s.`);
  retry.timer = setTimeout(connect, retry.delay);
  retry.delay = Math.min(retry.delay * 2, RETRY_MOST);
}

const handlers = {
  open({ sid, pingInterval, pingTimeout }) {
    retry.delay = RETRY_FIRST;
    lastBeat = performance.now();
    step("open");
    lanes(engine.transport);
    show("sid", sid);
    status("open", "Connected");
    const every = `a ping every ${pingInterval / 1000} s, ${pingTimeout / 1000} s to answer`;
    show("sentence", `Connected over ${NAMES[engine.transport]}; ${every}.`);
    log(`Connected over ${NAMES[engine.transport]}`, "good");
  },
  probe() {
    step("probe");
    lanes("polling", true);
    show("sentence", "Polling works. A WebSocket is being tried while polling goes on.");
    log("Probing a WebSocket while polling goes on");
  },
  pause() {
    step("pause");
    show("sentence", "The WebSocket answered. The last poll is ending.");
    log("The WebSocket answered; polling pauses");
  },
  upgrade() {
    step("upgrade");
    lanes("websocket");
    const took = ms(performance.now() - opening);
    show("sentence", `Upgraded: began on polling, on WebSocket after ${took}.`);
    log(`Upgraded to WebSocket after ${took}`, "good");
  },
  stay(reason) {
    lanes("polling");
    show("sentence", `No upgrade (${reason}). Polling goes on.`);
    log(`No upgrade: ${reason}`, "bad");
  },
  ping() {
    lastBeat = performance.now();
    $("heartbeat").getAnimations().forEach((animation) => animation.cancel());
    if (!calm.matches) $("heartbeat").animate({ opacity: [0.2, 1] }, 600);
  },
  traffic: dot,
  message(data) {
    if (typeof data === "string") received(JSON.parse(data));
    else receivedBytes(data);
  },
  close(reason) {
    log(`Closed: ${reason}`, wanted ? "bad" : "");
    closed(reason);
  },
};

// ---- messages

function received(message) {
  const now = performance.now();
  if (message.type === "welcome") {
    show("server", `${message.server}, ${message.async_mode}`);
  } else if (message.type === "clients" && message.change > lastChange) {
    lastChange = message.change;
    show("clients", message.count);
    log(`${message.count} ${message.count === 1 ? "client" : "clients"} connected`);
  } else if (message.type === "ping" && pings.has(message.id)) {
    sample(now - pings.get(message.id));
    pings.delete(message.id);
  } else if (message.type === "echo" && texts.has(message.id)) {
    const { text, sent } = texts.get(message.id);
    texts.delete(message.id);
    const equal = message.text === text;
    result("text-result", equal, `${text.length} characters`, now - sent);
  }
}

function receivedBytes(data) {
  const { data: original, sent } = bytes.shift() ?? { data: new Uint8Array(), sent: 0 };
  const equal = data.length === original.length && data.every((byte, i) => byte === original[i]);
  const size = `${original.length.toLocaleString("en")} bytes`;
  result("bytes-result", equal, size, performance.now() - sent);
}

function result(id, equal, what, took) {
  const words = equal ? `${what} came back equal in ${ms(took)}` : `${what} came back different`;
  $(id).className = equal ? "good" : "bad";
  show(id, words);
  log(words, equal ? "good" : "bad");
}

function pending(id, words) {
  $(id).className = "";
  show(id, words);
}

function ready(id) {
  if (engine?.state === "open") return true;
  pending(id, "Not connected.");
  return false;
}

function sendBytes(data) {
  if (!ready("bytes-result")) return;
  // In a POST bytes are base64: four characters for three bytes, and one to mark them.
  const most = Math.floor(((engine.maxPayload - 1) / 4) * 3) - 3;
  if (data.length > most) {
    pending("bytes-result", `Too large: this server takes ${most.toLocaleString("en")} bytes.`);
    return;
  }
  bytes.push({ data, sent: performance.now() });
  pending("bytes-result", `${data.length.toLocaleString("en")} bytes sent …`);
  engine.send(data);
}

// ---- latency

function sample(value) {
  samples.push({ value, transport: engine.transport });
  samples = samples.slice(-SAMPLES);
  const sorted = samples.map((each) => each.value).sort((a, b) => a - b);
  show("latency", ms(value));
  const median = ms(sorted[Math.floor(sorted.length / 2)]);
  show("latency-summary", `Median ${median}, longest ${ms(sorted.at(-1))} of the last minute.`);
  plot();
}

function plot() {
  const canvas = $("plot");
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  const left = 56, top = 8, bottom = height - 8;
  const longest = Math.max(1, ...samples.map((each) => each.value));
  const unit = 10 ** Math.floor(Math.log10(longest));
  const ceiling = [1, 2, 5, 10].map((factor) => factor * unit).find((each) => each >= longest);
  const y = (value) => bottom - (value / ceiling) * (bottom - top);
  const x = (index) => left + ((index + SAMPLES - samples.length) / (SAMPLES - 1)) * (width - left - 6);

  pen.font = `12px ${style.fontFamily}`;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.fillStyle = colour("soft");
  pen.strokeStyle = colour("line");
  for (const part of [0, 0.5, 1]) {
    pen.beginPath();
    pen.moveTo(left, y(ceiling * part));
    pen.lineTo(width, y(ceiling * part));
    pen.stroke();
    pen.fillText(part ? `${ceiling * part} ms` : "0", left - 8, y(ceiling * part));
  }
  if (!samples.length) return;
  pen.lineWidth = 2;
  pen.lineJoin = pen.lineCap = "round";
  samples.forEach(({ value, transport }, index) => {
    pen.strokeStyle = colour(transport);
    pen.beginPath();
    pen.moveTo(x(Math.max(0, index - 1)), y(samples[Math.max(0, index - 1)].value));
    pen.lineTo(x(index), y(value));
    pen.stroke();
  });
  const last = samples.at(-1);
  pen.fillStyle = colour(last.transport);
  pen.beginPath();
  pen.arc(x(samples.length - 1), y(last.value), 4, 0, 2 * Math.PI);
  pen.fill();
}

// ---- what the person does

$("connection").addEventListener("submit", (event) => {
  event.preventDefault();
  if (wanted) disconnect();
  else connect();
});

$("connection").addEventListener("change", async () => {
  if (!wanted) return;
  const old = engine;
  wanted = false;
  closed("other transports were chosen");
  wanted = true;
  await old?.close();
  if (wanted && !engine) connect();
});

$("text-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!ready("text-result")) return;
  const id = nextId++;
  const text = $("text").value;
  texts.set(id, { text, sent: performance.now() });
  pending("text-result", "Sent …");
  engine.send(JSON.stringify({ type: "echo", id, text }));
});

$("bytes").addEventListener("click", () => {
  sendBytes(crypto.getRandomValues(new Uint8Array(65_536))); // as many as one call gives
});

$("file").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) sendBytes(new Uint8Array(await file.arrayBuffer()));
});

addEventListener("pagehide", () => engine?.leave());
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", plot);
new ResizeObserver(plot).observe($("plot"));

setInterval(() => {
  if (engine?.state !== "open" || pings.size) return; // one at a time
  const id = nextId++;
  pings.set(id, performance.now());
  engine.send(JSON.stringify({ type: "ping", id }));
}, PING_EVERY);

setInterval(() => {
  if (lastBeat !== null) show("heartbeat", `${Math.round((performance.now() - lastBeat) / 1000)} s ago`);
}, 250);

connect();
