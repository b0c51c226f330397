"""WebSockets whose peer breaks the rules, floods, does not read, or says nothing.

The rules are in tests/conformance, byte by byte.  Here it is what the server spends that counts,
and that the connection, the session and their memory end.
"""

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Iterator

import wire
from hostile.harness import Outcome, Target, case, variants
from wire import BINARY, CLOSE, PING, PONG, TEXT, frame

FRAMES, HANDSHAKES, FLOODS = "websocket frames", "websocket handshakes", "websocket floods"
COMPRESSION = "compression"

VIOLATION = ("transport error", "transport close")  # the second where the server reads the frames
POUR = 0.5  # seconds of a flood
# What a server may take for one connection: twice a message of the greatest size and its copies,
# in a process where other things go on as well.
MOST_MEMORY = 24_000_000  # bytes


@contextlib.contextmanager
def bounded(target: Target, most: int = MOST_MEMORY) -> Iterator[None]:
    """The server must not take more memory than this meanwhile, not even for a moment."""
    if target.is_floor:
        yield
        return
    before = target.server.rig.control("memory")
    target.server.rig.control("peak_memory")
    yield
    grown = target.server.rig.control("peak_memory") - before
    assert grown < most, f"{grown / 1e6:.1f} MB more for one connection"


def other_waits(target: Target) -> float:
    """Returns how many seconds another client needs to come and get its echo."""
    start = time.monotonic()
    other = target.websocket()
    other.send_text("4hello")
    while (got := other.read_frame()).opcode == PING:  # some servers send their own
        other.send(frame(PONG, got.payload))
    assert got.payload == b"4hello", got
    return time.monotonic() - start


def unrecorded(target: Target) -> wire.EngineWebSocket:
    """A client whose kernel takes in little, and whose messages the application does not note."""
    query = {"unrecorded": "1"}
    return wire.EngineWebSocket(target.endpoint, query, receive_buffer=4096)


def reason(target: Target, websocket: wire.EngineWebSocket) -> None:
    target.reason(websocket.sid, *VIOLATION)


# Frames


LENGTHS = {
    "16-bit zero": frame(TEXT, b"", form=126),
    "16-bit 125": frame(BINARY, b"x" * 125, form=126),
    "64-bit zero": frame(TEXT, b"", form=127),
    "64-bit 125": frame(BINARY, b"x" * 125, form=127),
    "64-bit 65535": frame(BINARY, b"x" * 65535, form=127),
}


@variants(FRAMES, LENGTHS, websocket=True, floor=True)
def length_not_in_its_shortest_form(target: Target, data: bytes) -> None:
    """Read as what it says or refused (RFC 6455, 5.2); nothing that comes behind is misread."""
    websocket = target.websocket()
    websocket.send(data + wire.text_frame("4behind"))
    with contextlib.suppress(EOFError, ConnectionResetError):
        got = websocket.read_frame()
        if got.opcode == BINARY:
            assert got.payload == b"x" * len(got.payload)
            got = websocket.read_frame()
        assert got in (wire.Frame(TEXT, b"4behind"),) or got.opcode == CLOSE, got


TOO_LONG = {
    "one more than the limit": frame(BINARY, b"", length=1_000_001, form=127),
    "a terabyte": frame(TEXT, b"", length=1 << 40, form=127),
    "as much as there is": frame(TEXT, b"", length=(1 << 63) - 1, form=127),
    "in the second fragment": frame(TEXT, b"4" * 1000, fin=False)
    + frame(0, b"", length=999_001, form=127),
    "behind a message": wire.text_frame("4quiet") + frame(TEXT, b"", length=1 << 40, form=127),
}


@variants(FRAMES, TOO_LONG, websocket=True, needs=("own_limit",))
def longer_than_the_limit(target: Target, data: bytes) -> None:
    """Refused by its head; none of it ever comes."""
    websocket = target.websocket()
    with bounded(target, 8_000_000):
        websocket.send(data)
        target.closed(websocket, 1009)
    reason(target, websocket)


@case(FRAMES, websocket=True, floor=True)
def top_bit_of_a_length(target: Target) -> None:
    websocket = target.websocket()
    websocket.send(frame(BINARY, b"", length=1 << 63, form=127) + bytes(1000))
    target.closed(websocket, 1002, 1009)
    reason(target, websocket)


TRUNCATED = {
    "after one byte": b"\x81",
    "in a 16-bit length": frame(TEXT, b"x" * 300)[:3],
    "in a 64-bit length": frame(TEXT, b"", length=70000)[:7],
    "in the mask": frame(TEXT, b"hello")[:4],
    "in the payload": frame(TEXT, b"4hello")[:-1],
    "in a large payload": frame(BINARY, b"x" * 1_000_000)[:-1],
    "between fragments": frame(TEXT, b"4hello", fin=False),
    "in a ping": frame(PING, b"hello")[:-1],
    "in a close frame": wire.close_frame(1000)[:-1],
}


@variants(
    FRAMES,
    {f"{where}, {end}": (TRUNCATED[where], end) for where in TRUNCATED for end in ("FIN", "RST")},
    websocket=True,
)
def truncated(target: Target, how: tuple[bytes, str]) -> None:
    data, end = how
    websocket = target.websocket()
    websocket.send(data)
    (websocket.reset if end == "RST" else websocket.close)()
    target.reason(websocket.sid, "transport close")
    assert target.server.messages(websocket.sid) == []


@case(FRAMES, websocket=True, server="big")
def sixteen_megabytes_announced(target: Target) -> None:
    """And never sent.  Nothing is set aside for them, whatever the limit."""
    with bounded(target, 8_000_000):
        websockets = [target.websocket() for _ in range(5)]
        for websocket in websockets:
            websocket.send(frame(BINARY, b"", length=16_000_000) + bytes(100))
        other = target.websocket()
        other.send_text("4hello")
        assert other.receive() == "4hello"


@case(FRAMES, websocket=True)
def control_frames_between_fragments(target: Target) -> None:
    websocket = target.websocket()
    between = frame(PING, b"x") + frame(PONG, b"y" * 125)
    websocket.send(frame(TEXT, b"4", fin=False))
    websocket.send(b"".join(between + frame(0, b"z", fin=False) for _ in range(1000)))
    websocket.send(frame(0))
    while (got := websocket.read_frame()).opcode == PONG:
        assert got.payload == b"x", got
    assert got == wire.Frame(TEXT, b"4" + b"z" * 1000), got


VIOLATIONS = {
    "unmasked": (frame(TEXT, b"4x", mask=None), 1002),
    "unmasked and large": (frame(BINARY, bytes(100_000), mask=None), 1002),
    "every reserved bit": (frame(TEXT, b"4x", rsv=7), 1002),
    "compressed without an agreement": (frame(TEXT, wire.deflated(b"4x"), rsv=4), 1002),
    **{f"opcode {code}": (frame(code, b"4x"), 1002) for code in (3, 7, 11, 15)},
    "long ping": (frame(PING, b"x" * 126), 1002),
    "endless ping": (frame(PING, b"x", length=1 << 62, form=127), 1009),
    "fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "continuation of nothing": (frame(0, b"4x"), 1002),
    "message inside a message": (frame(TEXT, b"4", fin=False) + frame(BINARY, b"x"), 1002),
    "UTF-8 broken across fragments": (
        frame(TEXT, b"4\xe2\x82", fin=False) + frame(0, b"\x20"),
        1007,
    ),
    "UTF-8 cut by the end": (frame(TEXT, b"4\xe2", fin=False) + frame(0, b"\x82"), 1007),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    **{
        f"close code {code}": (wire.close_frame(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    },
    "close reason not UTF-8": (frame(CLOSE, b"\x03\xe8\xff\xfe"), 1007),
    "random": (b"\x7f" + os.urandom(1000), 1002),
    "HTTP": (b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789", 1002),
}


@variants(FRAMES, VIOLATIONS, websocket=True, floor=True)
def violation(target: Target, what: tuple[bytes, int]) -> None:
    """Ends the connection and the session; what comes behind it is never looked at."""
    data, code = what
    websocket = target.websocket()
    websocket.send(data + wire.text_frame("4behind") * 1000)
    target.closed(websocket, code, 1002)
    reason(target, websocket)
    if not target.is_floor:
        assert target.server.messages(websocket.sid) == []


PACKETS = {
    "none": "",
    "unknown type": "7",
    "letter": "x" * 1000,
    "not ASCII": "٤hello",
    "control characters": "\r\n\x00\x1b[2J\x7f\u2028LOG ERROR",
    "bad base64": "b====",
    "open": '0{"sid":"x","pingInterval":1}',
    "ping": "2",
    "probe": "2probe",
    "noop": "6",
}


@variants(FRAMES, PACKETS, websocket=True)
def no_packet(target: Target, text: str) -> None:
    """Text that is no packet, or none that a client may send."""
    websocket = target.websocket()
    websocket.send_text(text, *["4behind"] * 5)  # more, and hypercorn does not take our close
    target.closed(websocket, 1002)
    target.reason(websocket.sid, "parse error")
    assert target.server.messages(websocket.sid) == []


@case(FRAMES, websocket=True)
def empty_binary_messages(target: Target) -> None:
    websocket = target.websocket()
    websocket.send(frame(BINARY) * 1000 + wire.text_frame("4hello"))
    assert [websocket.receive() for _ in range(1000)] == [b""] * 1000
    assert websocket.receive() == "4hello"


CLOSES = {"close frame": wire.close_frame(1000), "close packet": wire.text_frame("1")}


@variants(FRAMES, CLOSES, websocket=True, needs=("own_frames",))
def data_behind_the_close(target: Target, data: bytes) -> None:
    websocket = target.websocket()
    websocket.send(data + wire.text_frame("4late") * 10_000)
    target.closed(websocket, 1000)
    target.reason(websocket.sid, "transport close", "client disconnect")
    assert target.server.messages(websocket.sid) == []


@case(FRAMES, websocket=True, limit=8.0)
def close_never_answered(target: Target) -> None:
    """The server waits a few seconds at most, whatever else comes."""
    websocket = target.websocket()
    target.server.call("disconnect", sid=websocket.sid)
    assert websocket.receive() == "1"
    assert websocket.read_close() in (1000, None)
    deadline = time.monotonic() + 6.0
    while websocket.pour(wire.text_frame("4late") * 100, 0.3):  # some close it a moment later
        assert time.monotonic() < deadline, "it still reads"
    target.reason(websocket.sid, "server disconnect")
    assert target.server.messages(websocket.sid) == []


@case(FRAMES, websocket=True, limit=5.0)
def every_first_byte(target: Target) -> None:
    """And every second one: each frame is right, refused, or waited for."""
    seen = []
    for first in range(0, 256, 5):
        websocket = target.websocket()
        seen.append(websocket.sid)
        websocket.send(bytes((first, first * 7 % 256)) + bytes(20))
        websocket.reset()
    for sid in seen:
        target.reason(sid, *VIOLATION, "parse error")


# Handshakes


def handshake(
    target: Target,
    *lines: str,
    method: str = "GET",
    version: str = "HTTP/1.1",
    without: tuple[str, ...] = (),
) -> wire.Response:
    """The answer to a WebSocket handshake with more header lines, or fewer."""
    headers = wire.websocket_headers(**dict.fromkeys(without))
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    extra = "".join(f"{line}\r\n" for line in lines)
    path = target.target(wire.websocket_query())
    body = "hello" if "Content-Length" in extra else ""
    request = f"{method} {path} {version}\r\nHost: 127.0.0.1\r\n{fields}{extra}\r\n{body}"
    return target.raw(request.encode("latin-1"))


KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
REFUSED = {
    "no Upgrade": ((), ("Upgrade",)),
    "Upgrade to something else": (("Upgrade: h2c",), ("Upgrade",)),
    "Upgrade with a suffix": (("Upgrade: websocket2",), ("Upgrade",)),
    "no key": ((), ("Sec_WebSocket_Key",)),
    "two keys": ((KEY,), ()),
    "empty key": (("Sec-WebSocket-Key:",), ("Sec_WebSocket_Key",)),
    "short key": (("Sec-WebSocket-Key: AAAA",), ("Sec_WebSocket_Key",)),
    "long key": ((f"Sec-WebSocket-Key: {'A' * 4000}==",), ("Sec_WebSocket_Key",)),
    "no base64": (("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==",), ("Sec_WebSocket_Key",)),
    "no version": ((), ("Sec_WebSocket_Version",)),
    "two versions": (("Sec-WebSocket-Version: 13",), ()),
    **{
        f"version {version}": ((f"Sec-WebSocket-Version: {version}",), ("Sec_WebSocket_Version",))
        for version in ("0", "8", "12", "14", "99", "013", "13, 8", "-13", "x" * 1000)
    },
    "body": (("Content-Length: 0005",), ()),
}
# ASGI servers and their WebSocket libraries read these as they like: refused or not, they answer.
TOLERATED = ("two versions", "version 013", "version 13, 8", "version -13", "two keys", "body")


@variants(HANDSHAKES, {name: (name, *how) for name, how in REFUSED.items()}, websocket=True)
def refused(target: Target, how: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    name, lines, without = how
    answer = handshake(target, *lines, without=without)
    if answer.status == 101 and not target.spec.own_handshake:
        assert name in TOLERATED, answer
        return
    target.refused(answer)


@case(HANDSHAKES, websocket=True)
def no_connection_header(target: Target) -> None:
    """Not every server passes it on, so its absence alone is no reason to refuse."""
    answer = handshake(target, without=("Connection",))
    assert answer.status == 101 or 400 <= answer.status < 500, answer


@variants(HANDSHAKES, ("POST", "PUT", "HEAD", "OPTIONS", "TRACE", "BREW"), websocket=True)
def method(target: Target, name: str) -> None:
    connection = target.connect()
    fields = wire.websocket_headers(Content_Length="0")
    connection.send_request(name, target.target(wire.websocket_query()), fields)
    with contextlib.suppress(EOFError, ConnectionResetError):
        answer = connection.read_response(name)
        preflight = name == "OPTIONS" and answer.status == 200
        assert preflight or 400 <= answer.status < 500 or answer.status == 501, answer


@variants(
    HANDSHAKES, ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP/1", "http/1.1", ""), lines=2
)
def version(target: Target, text: str) -> None:
    """Refused or accepted as HTTP/1.1, but answered, and nothing is left."""
    path = target.target(wire.websocket_query())
    fields = "".join(f"{name}: {value}\r\n" for name, value in wire.websocket_headers().items())
    connection = target.connect()
    connection.send(f"GET {path} {text}\r\nHost: a\r\n{fields}\r\n".encode())
    with contextlib.suppress(EOFError, ConnectionResetError):
        first = connection.read_exactly(12)
        assert not first.startswith(b"HTTP/1.1 5") or first.endswith((b"501", b"505")), first


LISTS = {
    "subprotocols": [f"Sec-WebSocket-Protocol: {', '.join(f'p{n}' for n in range(1000))}"],
    "subprotocols that are none": ["Sec-WebSocket-Protocol: , ,;\x0b=\x7f,\xff"],
    "extensions": [f"Sec-WebSocket-Extensions: {', '.join(f'x{n}' for n in range(1000))}"],
    "extensions that are none": ['Sec-WebSocket-Extensions: ;;,="\\", permessage-deflate;;'],
    "one name, 60 lines": [f"Sec-WebSocket-Extensions: x-{n}; a=1" for n in range(60)],
    "7,000 bytes of Upgrade": [f"Upgrade: {'x, ' * 2300}websocket"],
    "7,000 bytes of Connection": [f"Connection: {'x, ' * 2300}Upgrade"],
}


@variants(HANDSHAKES, LISTS, websocket=True, server="deflate")
def lists(target: Target, lines: list[str]) -> None:
    """Whoever offers this gets nothing of it, or a refusal."""
    answer = handshake(target, *lines)
    assert answer.status == 101 or 400 <= answer.status < 500, answer
    assert answer.header("Sec-WebSocket-Protocol") is None, answer


OFFER = "permessage-deflate; client_max_window_bits"
OFFERS = {
    "250 good ones": ", ".join([OFFER] * 160),
    "many bad ones": ", ".join(["permessage-deflate; server_max_window_bits=7"] * 160),
    "many parameters": "permessage-deflate" + "; client_max_window_bits" * 280,
    "huge number": "permessage-deflate; client_max_window_bits=" + "9" * 6000,
    "open quote": 'permessage-deflate; client_max_window_bits="' + "\\" * 3000,
    "every script's digits": "permessage-deflate; server_max_window_bits=\xb9\xb2",
}


@variants(HANDSHAKES, OFFERS, websocket=True, server="deflate", needs=("own_deflate",))
def offers(target: Target, offer: str) -> None:
    answer = handshake(target, f"Sec-WebSocket-Extensions: {offer}")
    assert answer.status == 101 or 400 <= answer.status < 500, answer


@variants(HANDSHAKES, {"one line": 1, "a line each": 10_000}, websocket=True)
def ten_thousand_offers(target: Target, lines: int) -> None:
    """More than a head may have anywhere: refused, or cut off."""
    offer = "Sec-WebSocket-Extensions: " + ", ".join([OFFER] * (10_000 // lines))
    fields = "".join(f"{name}: {value}\r\n" for name, value in wire.websocket_headers().items())
    request = f"GET {target.target(wire.websocket_query())} HTTP/1.1\r\nHost: a\r\n{fields}"
    answer = target.answer(f"{request}{(offer + chr(13) + chr(10)) * lines}\r\n".encode())
    assert answer is None or answer.status == 101 or 400 <= answer.status < 500, answer


@case(HANDSHAKES, websocket=True)
def frames_before_the_answer(target: Target) -> None:
    """A thousand frames in one segment with a handshake that is refused: none is a request."""
    query = wire.websocket_query("unknown")
    head = wire.request_bytes("GET", target.target(query), wire.websocket_headers())
    connection = target.connect()
    connection.send(head + wire.text_frame("4hello") * 1000)
    target.refused(connection.read_response(), 1)


# Floods


FLOODS_OF = {
    "Engine.IO pongs": wire.text_frame("3"),
    "quiet messages": wire.text_frame("4quiet"),
}
# What other code than ours reads is that code's to bound.
OUR_FLOODS = {
    "pings": frame(PING, b"x" * 125),
    "empty pings": frame(PING),
    "pongs": frame(PONG, b"x" * 125),
    "empty messages": frame(BINARY),
    "upgrade packets": wire.text_frame("5"),
}


@variants(FLOODS, OUR_FLOODS, websocket=True, needs=("own_frames",), limit=2.0)
@variants(FLOODS, FLOODS_OF, websocket=True, limit=2.0)
def flood(target: Target, data: bytes) -> Outcome:
    """As many as go into half a second, by somebody who reads nothing; others do not wait."""
    websocket = unrecorded(target)
    with bounded(target):
        websocket.pour(data * 1000, POUR)
        took = other_waits(target)
    websocket.reset()
    target.reason(websocket.sid, "transport close")
    return Outcome(took)


@case(FLOODS, websocket=True, server="send_buffer", needs=("own_frames",), limit=6.0)
def pongs_never_read(target: Target) -> None:
    """Beyond max_send_buffer, which is 100,000 bytes here, no more of them are kept."""
    websocket = unrecorded(target)
    sid = websocket.sid
    while not target.server.call("unsent", sid=sid):  # until the kernels take no more
        target.server.call("burst", sid=sid, count=5, size=10_000)
    for _ in range(1000):
        websocket.send(frame(PING, b"x" * 125))
        time.sleep(0.001)  # most pings are answered by themselves then
    unsent = target.server.call("unsent", sid=sid)
    assert unsent < 101_000, unsent
    websocket.reset()
    target.reason(sid, "transport close")


@variants(
    FLOODS,
    {"empty": b"", "of one byte": b"x"},
    websocket=True,
    needs=("own_frames",),
    limit=4.0,
)
def fragments(target: Target, data: bytes) -> None:
    """Of one message, as many as go into half a second."""
    websocket = target.websocket()
    with bounded(target):
        websocket.send(frame(TEXT, b"4quiet", fin=False))
        websocket.pour(frame(0, data, fin=False) * 1000, POUR)
    target.closed(websocket, 1008, 1009)
    websocket.reset()
    reason(target, websocket)
    assert target.server.messages(websocket.sid) == []


@case(FLOODS, websocket=True, limit=4.0)
def fragments_one_by_one(target: Target) -> None:
    """Each in a segment of its own."""
    websocket = target.websocket()
    websocket.send(frame(TEXT, b"4quiet", fin=False))
    data = frame(0, b"x", fin=False)
    with bounded(target), contextlib.suppress(OSError):
        for _ in range(20_000):
            websocket.send(data)
    websocket.reset()
    reason(target, websocket)


@case(FLOODS, websocket=True, server="send_buffer", limit=4.0)
def messages_never_read(target: Target) -> None:
    """max_send_buffer is 100,000 bytes here."""
    websocket = wire.EngineWebSocket(target.endpoint, receive_buffer=4096)
    with bounded(target):
        target.server.call("burst", sid=websocket.sid, count=200, size=100_000)
        target.reason(websocket.sid, "send buffer full")


@case(FLOODS, websocket=True, server="send_buffer", limit=4.0)
def echoes_never_read(target: Target) -> None:
    websocket = unrecorded(target)
    with bounded(target):
        websocket.pour(wire.text_frame("4" + "x" * 10_000) * 10, 3.0)
        target.reason(websocket.sid, "send buffer full", "transport close")


@case(FLOODS, websocket=True, limit=2.0)
def handlers_never_ready(target: Target) -> Outcome:
    """A client whose handlers wait is not read from without end."""
    websocket = unrecorded(target)
    with bounded(target, 60_000_000):
        sent = websocket.pour(wire.text_frame("4sleep:1:" + "x" * 10_000) * 10, POUR)
        took = other_waits(target)
    assert sent < 60_000_000, f"{sent} bytes were read"
    websocket.reset()
    target.reason(websocket.sid, "transport close")
    return Outcome(took)


@case(FLOODS, websocket=True, limit=4.0)
def byte_by_byte(target: Target) -> None:
    """A message of 30,000 bytes in as many segments."""
    websocket = target.websocket()
    data = wire.text_frame("4" + "x" * 30_000)
    for at in range(len(data)):
        websocket.send(data[at : at + 1])
    assert websocket.receive() == "4" + "x" * 30_000


@case(FLOODS, websocket=True, limit=4.0)
def a_hundred_come_and_go(target: Target) -> None:
    """Half of them with a close frame, the others without."""
    websockets = [target.websocket() for _ in range(100)]
    for number, websocket in enumerate(websockets):
        if number % 2:
            websocket.send(wire.close_frame(1001))
        websocket.reset()
    for websocket in websockets:
        target.reason(websocket.sid, "transport close")


# Compression


def compressed(target: Target, **query: str) -> wire.EngineWebSocket:
    """A WebSocket with permessage-deflate; each message of the server stands alone."""
    offer = "permessage-deflate; server_no_context_takeover; client_max_window_bits"
    headers = wire.websocket_headers(Sec_WebSocket_Extensions=offer)
    return CompressedWebSocket(target.endpoint, query, headers)


class CompressedWebSocket(wire.EngineWebSocket):
    """Its messages are decompressed as they come."""

    def read_frame(self) -> wire.Frame:
        got = super().read_frame()
        if not got.rsv:
            return got
        assert got.rsv == 4, got
        plain = zlib.decompressobj(-15).decompress(got.payload + b"\0\0\xff\xff")
        return wire.Frame(got.opcode, plain, got.fin)


def bomb(size: int) -> bytes:
    return wire.deflated(bytes(size))


BOMBS = {
    "50 MB of zeros": frame(BINARY, bomb(50_000_000), rsv=4),
    "text": frame(TEXT, wire.deflated(b"4" + b"x" * 50_000_000), rsv=4),
    "one byte too many": frame(BINARY, bomb(1_000_001), rsv=4),
    "in its last fragment": frame(BINARY, b"", fin=False, rsv=4) + frame(0, bomb(20_000_000)),
}


@variants(COMPRESSION, BOMBS, websocket=True, server="deflate", needs=("own_deflate",))
def bombs(target: Target, data: bytes) -> None:
    websocket = compressed(target)
    with bounded(target, 8_000_000):
        websocket.send(data)
        target.closed(websocket, 1009)
    reason(target, websocket)
    assert target.server.messages(websocket.sid) == []


@case(COMPRESSION, websocket=True, server="deflate", needs=("own_deflate",))
def a_bomb_in_many_fragments(target: Target) -> None:
    """Each inflates to less than the limit; it is their sum that counts."""
    websocket = compressed(target)
    data = bomb(20_000_000)
    with bounded(target, 8_000_000):
        websocket.send(frame(BINARY, data[:100], fin=False, rsv=4))
        with contextlib.suppress(OSError):
            for at in range(100, len(data), 100):
                websocket.send(frame(0, data[at : at + 100], fin=False))
        target.closed(websocket, 1009)
    reason(target, websocket)


@variants(
    COMPRESSION,
    {"handled at once": b"4quiet", "handlers that wait": b"4sleep:1:"},
    websocket=True,
    server="deflate",
    needs=("own_deflate",),
    limit=2.0,
)
def bombs_below_the_limit(target: Target, start: bytes) -> Outcome:
    """A thousand bytes each, and a megabyte when inflated."""
    websocket = compressed(target, unrecorded="1")
    data = frame(TEXT, wire.deflated(start + b"x" * 990_000), rsv=4)
    with bounded(target, 60_000_000):
        websocket.pour(data * 100, POUR)
        took = other_waits(target)
    websocket.reset()
    target.reason(websocket.sid, "transport close", "send buffer full")
    return Outcome(took)


RUBBISH = {
    "random": b"\xff\xff\xff\xff rubbish",
    "reserved block type": b"\x07",
    "a distance too far": zlib.compress(b"x" * 100)[2:-4][:3] + b"\xff" * 10,
    "stored block with a wrong length": struct.pack("<BHH", 0, 5, 5) + b"hello",
}


@variants(COMPRESSION, RUBBISH, websocket=True, server="deflate", needs=("own_deflate",))
def no_deflate(target: Target, data: bytes) -> None:
    websocket = compressed(target)
    websocket.send(frame(TEXT, data, rsv=4) + wire.text_frame("4behind"))
    target.closed(websocket, 1002, 1007)
    reason(target, websocket)
    assert target.server.messages(websocket.sid) == []


@case(COMPRESSION, websocket=True, server="deflate", needs=("own_deflate",))
def compressed_control_frame(target: Target) -> None:
    websocket = compressed(target)
    websocket.send(frame(PING, wire.deflated(b"hello"), rsv=4))
    target.closed(websocket, 1002)
    reason(target, websocket)


@case(COMPRESSION, websocket=True, server="deflate", needs=("own_deflate",))
def compressed_continuation(target: Target) -> None:
    websocket = compressed(target)
    websocket.send(frame(TEXT, b"4", fin=False) + frame(0, wire.deflated(b"x"), rsv=4))
    target.closed(websocket, 1002)
    reason(target, websocket)


@case(COMPRESSION, websocket=True, server="deflate", needs=("own_deflate",), limit=4.0)
def empty_blocks_without_end(target: Target) -> None:
    """Compressed fragments that inflate to nothing never reach the limit of size."""
    websocket = compressed(target)
    with bounded(target):
        websocket.send(frame(TEXT, b"", fin=False, rsv=4))
        websocket.pour(frame(0, b"\x00\x00\x00\xff\xff" * 20, fin=False) * 1000, POUR)
    target.closed(websocket, 1008, 1009, 1002)
    reason(target, websocket)
