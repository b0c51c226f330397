"""An Engine.IO server that does one thing wrong.

`Hostile` behaves until the step that a case replaces:

    open      the GET that opens a session          poll     a later GET
    post      a POST                                socket   a WebSocket without a session
    upgrade   a WebSocket for a session

A step is a function of an `Exchange`, one request and its connection.  When it returns, the
connection is closed.
"""

import base64
import gzip
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import wire
from peers import Head, Listener, response

OPENING: dict[str, Any] = {
    "sid": "abcdefghijklmnopqrst",
    "upgrades": ["websocket"],
    "pingInterval": 25000,
    "pingTimeout": 20000,
    "maxPayload": 1_000_000,
}
FLOOD = b"x" * 65536
ENOUGH = 400_000_000  # bytes; a client that takes so many takes all


class Exchange:
    """A request, and what the server can do about it."""

    def __init__(self, server: "Hostile", sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.head = Head(sock)
        self.body = self.head.read_body(sock) if self.head.method == "POST" else b""

    @property
    def step(self) -> str:
        if self.head.is_websocket:
            return "upgrade" if "sid" in self.head.query else "socket"
        if self.head.method == "POST":
            return "post"
        return "poll" if "sid" in self.head.query else "open"

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes | str, status: str = "200 OK", **headers: str) -> None:
        self.send(response(status, body.encode() if isinstance(body, str) else body, **headers))

    def hang(self) -> None:
        """Say nothing more, until the client has gone."""
        while self.sock.recv(65536):
            pass

    def flood(self, data: bytes = FLOOD) -> None:
        """Send this again and again, until the client has gone."""
        while self.server.flooded < ENOUGH:
            self.sock.sendall(data)
            self.server.flooded += len(data)

    def drip(self, data: bytes) -> None:
        """Send this again and again, slowly: no single wait of the client is long."""
        while not self.server.stopped.wait(0.1):
            self.sock.sendall(data)

    def accept(self, **headers: str) -> None:
        """Send the 101 of a WebSocket."""
        key = self.head.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        fields = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key.encode()).digest()).decode(),
        }
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        self.send(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode())

    def text(self, data: str) -> None:
        self.send(frame(wire.TEXT, data.encode()))

    def receive(self) -> str:
        """The text of the next frame from the client, which is short."""
        head = self._exactly(2)
        size = head[1] & 0x7F
        assert size < 126, "a frame that no test sends"
        mask = self._exactly(4)
        return wire.mask_bytes(self._exactly(size), mask).decode("utf-8", "replace")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise ConnectionResetError("the client has gone")
            data += more
        return data


Step = Callable[[Exchange], None]


def frame(opcode: int, payload: bytes = b"", **options: Any) -> bytes:
    """A frame as a server sends it: not masked."""
    return wire.frame(opcode, payload, **{"mask": None, **options})


def opening(**changes: Any) -> str:
    """An OPEN packet; None leaves something out."""
    fields = {**OPENING, **changes}
    return "0" + json.dumps({name: value for name, value in fields.items() if value is not None})


# What a server does that is not hostile.


def good_open(exchange: Exchange) -> None:
    exchange.answer(opening())


def good_poll(exchange: Exchange) -> None:
    """Wait; an upgrade that has been probed ends it, or the client."""
    while not exchange.server.probed.wait(0.05):
        if exchange.server.stopped.is_set():
            return
    exchange.answer("6")


def good_post(exchange: Exchange) -> None:
    if exchange.body != b"1":
        exchange.server.received.set()
        exchange.answer("ok")
        return
    exchange.server.probed.set()  # the poll that waits ends
    exchange.answer("ok")


def good_socket(exchange: Exchange) -> None:
    exchange.accept()
    exchange.text(opening(upgrades=[]))
    exchange.hang()


def good_upgrade(exchange: Exchange) -> None:
    exchange.accept()
    assert exchange.receive() == "2probe"
    exchange.server.probed.set()
    exchange.text("3probe")
    exchange.hang()


GOOD: dict[str, Step] = {
    "open": good_open,
    "poll": good_poll,
    "post": good_post,
    "socket": good_socket,
    "upgrade": good_upgrade,
}


class Hostile(Listener):
    """The server of one case."""

    def __init__(self, steps: dict[str, Step]) -> None:
        self.probed = threading.Event()
        self.received = threading.Event()
        self.flooded = 0
        self._steps = {**GOOD, **steps}
        super().__init__(self._exchange)

    def _exchange(self, sock: socket.socket) -> None:
        exchange = Exchange(self, sock)
        self._steps[exchange.step](exchange)


# The cases.

REFUSED = "ConnectionError"
POLLING_LIVES = "it stays on polling"
LIVES = "it lives"
ERROR = "transport error"
PARSE = "parse error"
PING_TIMEOUT = "ping timeout"


@dataclass
class Case:
    """What the server does wrong, and how the client's story may end."""

    name: str
    transports: list[str]
    ends: tuple[str, ...]
    steps: dict[str, Step] = field(default_factory=dict)


CASES: list[Case] = []


def case(name: str, transports: str, *ends: str, **steps: Step) -> None:
    CASES.append(Case(name, transports.split("+"), ends, steps))


def raw(data: bytes) -> Step:
    """Send this and close."""
    return lambda exchange: exchange.send(data)


def answer(body: bytes | str, status: str = "200 OK", **headers: str) -> Step:
    return lambda exchange: exchange.answer(body, status, **headers)


def nothing(exchange: Exchange) -> None:
    """Close at once."""


def silence(exchange: Exchange) -> None:
    exchange.hang()


def started(data: bytes) -> Step:
    """Begin like this, and say no more."""

    def step(exchange: Exchange) -> None:
        exchange.send(data)
        exchange.hang()

    return step


def endless(start: bytes, data: bytes = FLOOD) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.send(start)
        exchange.flood(data)

    return step


def dripping(start: bytes, data: bytes) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.send(start)
        exchange.drip(data)

    return step


def reset(exchange: Exchange) -> None:
    linger = struct.pack("ii", 1, 0)
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def redirect(location: str, status: str = "302 Found") -> Step:
    return lambda exchange: exchange.answer("", status, Location=location)


def redirect_loop(exchange: Exchange) -> None:
    exchange.answer("", "307 Temporary Redirect", Location=exchange.head.target)


# A kilobyte that is a megabyte.
BOMB = gzip.compress(bytes(1_000_000), 9)

OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS_BODY = OK + b"Content-Type: text/plain\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + FLOOD + b"\r\n"
HEADERS = b"X-More: " + b"y" * 1000 + b"\r\n"
LONG_BODY = OK + b"Content-Length: 1000000000000\r\n\r\n"

# What any answer to any request may be.
for step, ends in (("open", REFUSED), ("poll", ERROR), ("post", ERROR)):
    case(f"{step}: closes at once", "polling", ends, **{step: nothing})
    case(f"{step}: resets", "polling", ends, **{step: reset})
    case(f"{step}: is no HTTP", "polling", ends, **{step: raw(b"SSH-2.0-OpenSSH_9.2\r\n")})
    case(f"{step}: closes in the status", "polling", ends, **{step: raw(b"HTTP/1.1 20")})
    case(f"{step}: closes in the body", "polling", ends, **{step: raw(LONG_BODY + b"4x")})
    case(f"{step}: 500", "polling", ends, **{step: answer("<html>", "500 Oh No")})
    case(f"{step}: 400", "polling", ends, **{step: answer('{"code":1}', "400 Bad Request")})
    case(f"{step}: 101", "polling", ends, **{step: raw(b"HTTP/1.1 101 Upgrade\r\n\r\n")})
    case(f"{step}: endless body", "polling", ends, **{step: endless(ENDLESS_BODY)})
    case(f"{step}: endless chunks", "polling", ends, **{step: endless(CHUNKED, CHUNK)})
    case(f"{step}: endless headers", "polling", ends, **{step: endless(OK, HEADERS)})
    case(f"{step}: endless header", "polling", ends, **{step: endless(OK + b"X: ")})
    case(f"{step}: endless status", "polling", ends, **{step: endless(b"HTTP/1.1 200 ")})
    wrong_gzip = answer(b"no gzip", Content_Encoding="gzip")
    case(f"{step}: broken gzip", "polling", ends, **{step: wrong_gzip})
    bombs = endless(OK + b"Content-Encoding: gzip\r\n\r\n", BOMB)
    case(f"{step}: gzip bombs", "polling", ends, **{step: bombs})
    case(f"{step}: redirects in circles", "polling", ends, **{step: redirect_loop})
    for location in ("", "file:///etc/passwd", "http://", "http://[", "gopher://x/", "//\x00"):
        redirecting = redirect(location)
        case(f"{step}: redirects to {location!r}", "polling", ends, **{step: redirecting})

BAD_PAYLOADS = {
    "is empty": b"",
    "is a page": b"<html><body>It works!</body></html>",
    "is no UTF-8": b"4\xff\xfe",
    "has an unknown packet": b"4a\x1e9x",
    "has an empty packet": b"4a\x1e\x1e4b",
    "has bad base64": b"b!!!!",
    "has digits of another script": "\N{ARABIC-INDIC DIGIT FOUR}x".encode(),
}
for what, body in BAD_PAYLOADS.items():
    case(f"open: {what}", "polling", REFUSED, open=answer(body))
    case(f"poll: {what}", "polling", PARSE, ERROR, poll=answer(body))

BAD_OPENINGS = {
    "is no JSON": "0{sid",
    "has nothing": "0",
    "is null": "0null",
    "is a list": "0[]",
    "is a number": "012",
    "is a text": '0"x"',
    "is empty": "0{}",
    "is another packet": "4hello",
    "is a ping": "2",
    "is binary": "bAAAA",
    "is deep": "0" + "[" * 100_000,
    "is deeper": '0{"sid":' * 50_000,
    "has a huge number": opening().replace("25000", "9" * 5000),
    "has NaN": opening().replace("25000", "NaN"),
    "has Infinity": opening().replace("25000", "1e999"),
    "has no sid": opening(sid=None),
    "has a number for a sid": opening(sid=12),
    "has an empty sid": opening(sid=""),
    "has a huge sid": opening(sid="x" * 1_000_000),
    "has a sid that is no text": opening(sid="\ud800"),
    "has upgrades that are none": opening(upgrades="websocket"),
}
for name in ("pingInterval", "pingTimeout"):
    intervals: list[Any] = [0, -1, 10**18, 1e18, 2**31, "25000", True, [25000], {}]
    for value in intervals:
        BAD_OPENINGS[f"has {name} {value!r}"] = opening(**{name: value})
    BAD_OPENINGS[f"has no {name}"] = opening(**{name: None})
for value in (0, -5, "much", [1]):
    BAD_OPENINGS[f"has maxPayload {value!r}"] = opening(maxPayload=value)


def socket_opening(text: str) -> Step:
    """Accept a WebSocket and send this first."""

    def step(exchange: Exchange) -> None:
        exchange.accept()
        exchange.text(text)
        exchange.hang()

    return step


for what, text in BAD_OPENINGS.items():
    case(f"open: {what}", "polling", REFUSED, open=answer(text))
    case(f"socket: {what}", "websocket", REFUSED, socket=socket_opening(text))

# Handshakes of a WebSocket.
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def accepting(**headers: str) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.accept(**headers)
        if exchange.step == "socket":
            exchange.text(opening(upgrades=[]))
        exchange.hang()

    return step


BAD_HANDSHAKES: dict[str, Step] = {
    "closes at once": nothing,
    "resets": reset,
    "is no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "says 200": answer("hello"),
    "says 400": answer('{"code":3}', "400 Bad Request"),
    "says 400 for ever": endless(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "says 400 and much": endless(b"HTTP/1.1 400 Bad\r\nContent-Length: 1000000000000\r\n\r\n"),
    "closes in the head": raw(SWITCHING),
    "has no key": started(SWITCHING + b"\r\n"),
    "has a wrong key": accepting(Sec_WebSocket_Accept="AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "has no Upgrade": accepting(Upgrade=""),
    "has an extension nobody offered": accepting(Sec_WebSocket_Extensions="permessage-deflate"),
    "has endless headers": endless(SWITCHING, HEADERS),
    "has an endless header": endless(SWITCHING + b"X: "),
    "redirects in circles": redirect_loop,
    "redirects to nowhere": redirect("http://127.0.0.1:1/"),
    "redirects to a file": redirect("file:///etc/passwd"),
}
for what, step_ in BAD_HANDSHAKES.items():
    case(f"socket: {what}", "websocket", REFUSED, socket=step_)
    # aiohttp takes a 101 without Upgrade for an ordinary answer, and uses the connection again.
    ends_upgrade = (POLLING_LIVES, ERROR) if what == "has no Upgrade" else (POLLING_LIVES,)
    case(f"upgrade: {what}", "polling+websocket", *ends_upgrade, upgrade=step_)

# Frames.
BAD_FRAMES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "unknown packet": (frame(wire.TEXT, b"9x"), (PARSE, ERROR)),
    "empty text": (frame(wire.TEXT), (PARSE, ERROR)),
    "no packet": (frame(wire.TEXT, b"hello"), (PARSE, ERROR)),
    "bad base64": (frame(wire.TEXT, b"b!!!!"), (PARSE, ERROR)),
    "no UTF-8": (frame(wire.TEXT, b"4\xff\xfe"), (PARSE, ERROR)),
    "reserved opcode": (frame(3, b"x"), (PARSE, ERROR)),
    "reserved bit": (frame(wire.TEXT, b"4x", rsv=4), (PARSE, ERROR)),
    "masked": (wire.frame(wire.TEXT, b"4x"), (PARSE, ERROR)),
    "long ping": (frame(9, b"x" * 126), (PARSE, ERROR)),
    "fragmented ping": (frame(9, b"x", fin=False), (PARSE, ERROR)),
    "continuation of nothing": (frame(0, b"x"), (PARSE, ERROR)),
    "text within a text": (frame(1, b"4a", fin=False) + frame(1, b"4b"), (PARSE, ERROR)),
    "huge": (frame(wire.TEXT, b"4x", length=2**62, form=127), (PARSE, ERROR)),
    "negative": (frame(wire.TEXT, b"4x", length=2**63, form=127), (PARSE, ERROR)),
    "close with code 1005": (frame(8, struct.pack("!H", 1005)), (PARSE, ERROR)),
    "close with half a code": (frame(8, b"\x03"), (PARSE, ERROR)),
    "close": (frame(8, struct.pack("!H", 1001)), (ERROR,)),
    "half a frame": (frame(wire.TEXT, b"4xxxx")[:4], (ERROR,)),
    "deep JSON": (frame(wire.TEXT, b"4" + b"[" * 100_000), (LIVES,)),
    "deep JSON in objects": (frame(wire.TEXT, b'4{"a":' * 20_000), (LIVES,)),
    "huge number": (frame(wire.TEXT, b"4[" + b"9" * 5000 + b"]"), (LIVES,)),
    "second OPEN": (frame(wire.TEXT, opening().encode()), (LIVES, PARSE, ERROR)),
    "PONG": (frame(wire.TEXT, b"3"), (LIVES, PARSE, ERROR)),
    "UPGRADE": (frame(wire.TEXT, b"5"), (LIVES, PARSE, ERROR)),
}


def socket_frames(data: bytes, hangs: bool) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.accept()
        exchange.text(opening(upgrades=[]))
        exchange.send(data)
        if hangs:
            exchange.hang()

    return step


def upgrade_frames(data: bytes, hangs: bool) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.accept()
        assert exchange.receive() == "2probe"
        exchange.server.probed.set()
        exchange.text("3probe")
        assert exchange.receive() == "5"
        exchange.send(data)
        if hangs:
            exchange.hang()

    return step


for what, (data, possible) in BAD_FRAMES.items():
    hangs = what != "half a frame"
    case(f"frame: {what}", "websocket", *possible, socket=socket_frames(data, hangs))
for what in ("unknown packet", "huge", "close", "half a frame", "deep JSON"):
    data, possible = BAD_FRAMES[what]
    sending = upgrade_frames(data, what != "half a frame")
    case(f"frame after an upgrade: {what}", "polling+websocket", *possible, upgrade=sending)


def socket_flood(data: bytes, start: bytes = b"") -> Step:
    def step(exchange: Exchange) -> None:
        exchange.accept()
        exchange.text(opening(upgrades=[]))
        exchange.send(start)
        exchange.flood(data)

    return step


def socket_reset(exchange: Exchange) -> None:
    exchange.accept()
    exchange.text(opening(upgrades=[]))
    time.sleep(0.05)
    reset(exchange)


fragment = frame(0, b"x" * 60_000, fin=False)
first = frame(1, b"4", fin=False)
case("frame: resets", "websocket", ERROR, socket=socket_reset)
case("frame: endless fragments", "websocket", ERROR, PARSE, socket=socket_flood(fragment, first))
tiny = frame(0, b"x", fin=False) * 1000
case("frame: tiny fragments", "websocket", ERROR, PARSE, socket=socket_flood(tiny, first))
nothing_at_all = frame(0, b"", fin=False) * 1000
case(
    "frame: empty fragments", "websocket", ERROR, PARSE, socket=socket_flood(nothing_at_all, first)
)
long = frame(wire.TEXT, b"4", length=90_000_000, form=127)
case("frame: longer than allowed", "websocket", ERROR, PARSE, socket=socket_flood(FLOOD, long))

# Upgrades that fail; the session goes on over polling.


def probe_answer(data: bytes, hangs: bool = True) -> Step:
    def step(exchange: Exchange) -> None:
        exchange.accept()
        exchange.receive()
        exchange.send(data)
        if hangs:
            exchange.hang()

    return step


BAD_PROBES = {
    "another packet": frame(wire.TEXT, b"4hello"),
    "another probe": frame(wire.TEXT, b"3wrong"),
    "binary": frame(wire.BINARY, b"3probe"),
    "no packet": frame(wire.TEXT, b"hello"),
    "a huge frame": frame(wire.TEXT, b"3", length=2**62, form=127),
    "a close": frame(8, struct.pack("!H", 1000)),
}
for what, data in BAD_PROBES.items():
    case(f"probe: {what}", "polling+websocket", POLLING_LIVES, upgrade=probe_answer(data))
case("probe: closes", "polling+websocket", POLLING_LIVES, upgrade=probe_answer(b"", hangs=False))


def closes_after_the_upgrade(exchange: Exchange) -> None:
    exchange.accept()
    exchange.receive()
    exchange.server.probed.set()
    exchange.text("3probe")
    exchange.receive()


case("upgrade: closes after it", "polling+websocket", ERROR, upgrade=closes_after_the_upgrade)

# Silence, at every step.  The option request_timeout is 1 s there.
SHORT = {"pingInterval": 300, "pingTimeout": 700}


def short_open(exchange: Exchange) -> None:
    exchange.answer(opening(**SHORT))


def silent_socket(exchange: Exchange) -> None:
    exchange.accept()
    exchange.text(opening(upgrades=[], **SHORT))
    exchange.hang()


def silent_after_accept(exchange: Exchange) -> None:
    exchange.accept()
    exchange.hang()


def silent_in_a_frame(exchange: Exchange) -> None:
    exchange.accept()
    exchange.text(opening(upgrades=[], **SHORT))
    exchange.send(frame(wire.TEXT, b"4xxxx")[:4])
    exchange.hang()


def dripping_frame(exchange: Exchange) -> None:
    exchange.accept()
    exchange.text(opening(upgrades=[], **SHORT))
    exchange.send(frame(wire.TEXT, b"4", length=100_000))
    exchange.drip(b"x")


SILENT: list[Case] = []
_before, CASES = CASES, SILENT
case("silence: open", "polling", REFUSED, open=silence)
case("silence: in the head", "polling", REFUSED, open=started(OK))
case("silence: in the body", "polling", REFUSED, open=started(LONG_BODY + b"0{"))
case("drips: the head", "polling", REFUSED, open=dripping(OK + b"X: ", b"y"))
case("drips: headers", "polling", REFUSED, open=dripping(OK, b"X: y\r\n"))
case("drips: the body", "polling", REFUSED, open=dripping(LONG_BODY, b"x"))
case("drips: chunks", "polling", REFUSED, open=dripping(CHUNKED, b"1\r\nx\r\n"))
case("drips: 100", "polling", REFUSED, open=dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))
case("silence: poll", "polling", PING_TIMEOUT, open=short_open, poll=silence)
case("drips: poll", "polling", PING_TIMEOUT, open=short_open, poll=dripping(LONG_BODY, b"x"))
case("silence: post", "polling", ERROR, post=silence)
case("drips: post", "polling", ERROR, PING_TIMEOUT, open=short_open, post=dripping(LONG_BODY, b"x"))
case("silence: socket", "websocket", REFUSED, socket=silence)
case("silence: in the handshake", "websocket", REFUSED, socket=started(SWITCHING))
case("drips: the handshake", "websocket", REFUSED, socket=dripping(SWITCHING + b"X: ", b"y"))
case("drips: 400", "websocket", REFUSED, socket=dripping(b"HTTP/1.1 400 Bad\r\n\r\n", b"x"))
case("silence: no OPEN", "websocket", REFUSED, socket=silent_after_accept)
case("silence: after OPEN", "websocket", PING_TIMEOUT, socket=silent_socket)
case("silence: in a frame", "websocket", PING_TIMEOUT, socket=silent_in_a_frame)
case("drips: a frame", "websocket", PING_TIMEOUT, socket=dripping_frame)
case("silence: upgrade", "polling+websocket", POLLING_LIVES, upgrade=silence)
case(
    "drips: upgrade", "polling+websocket", POLLING_LIVES, upgrade=dripping(SWITCHING + b"X: ", b"y")
)
case("silence: probe", "polling+websocket", POLLING_LIVES, upgrade=silent_after_accept)
CASES = _before
