"""The cases: what one end of a WebSocket sends, and what the other must make of it.

Built from RFC 6455 and RFC 7692, whose sections they name.  They know nothing of Engine.IO, and not
which end sends: the other end is an echo, which sends each message back.  But every text begins
with a 4, so that it is a message to Engine.IO too; `any_text` marks the few where it does not.

Only data is here; play.py plays it.
"""

import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

FAMILIES = {
    "1": "framing and lengths",
    "2": "pings and pongs",
    "3": "reserved bits and masks",
    "4": "opcodes",
    "5": "fragmentation",
    "6": "UTF-8",
    "7": "closing",
    "8": "size and speed",
    "9": "limits",
    "10": "compression: negotiation",
    "11": "compression: messages",
}
# Why a reference does not do what a case asks for; each of these was looked into.
LIBRARY = ("websockets", "websockets client", "uvicorn")  # it reads frames with that library
WS = ("ws", "ws client")
LATE_UTF8 = dict.fromkeys((*LIBRARY, *WS), "looks at text when all of the message is there")
FEW_FRAGMENTS = dict.fromkeys(LIBRARY[:2], "takes some thousands of fragments at most")
AFTER_FINAL = dict.fromkeys((*LIBRARY, "wsproto"), "reads nothing more behind a final block")
NO_LIMIT = {"wsproto": "limits nothing by itself"}
NOT_CHECKED = {"wsproto": "does not check what it is offered"}
AS_JAVASCRIPT = {"ws": "reads numbers as JavaScript does"}
NEW_CODE = {"wsproto": "does not know the code, which was registered later"}


@dataclass(frozen=True)
class Frame:
    """One frame; `length` lies about its payload's length, `form` is how the length is written."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    length: int | None = None
    form: int | None = None
    # Masked when it must not be, or not masked when it must.
    wrong_mask: bool = False
    mask: bytes | None = None


@dataclass(frozen=True)
class Deflated:
    """A compressed message, with the sender's context, in so many fragments."""

    opcode: int
    payload: bytes
    fragments: int = 1


@dataclass(frozen=True)
class AwaitPong:
    """Nothing more is sent until this pong has come."""

    payload: bytes


Step = Frame | Deflated | AwaitPong


@dataclass(frozen=True)
class Case:
    """What is sent, and what comes of it."""

    number: str
    title: str
    clause: str
    sends: tuple[Step, ...]
    # The messages that come back, all of them and in this order.
    messages: tuple[str | bytes, ...] = ()
    # The code of the close frame that comes back, one of these; none: it stays open, until it is
    # closed with 1000.  None stands for a close frame without a code.
    closes: tuple[int | None, ...] = ()
    # It stays open, or is closed with one of these, and then messages may be missing.
    may_close: tuple[int, ...] = ()
    any_text: bool = False
    # It takes much time or memory.
    heavy: bool = False
    # Why these fail it, by their names.
    explained: Mapping[str, str] = field(default_factory=dict)
    # Sec-WebSocket-Extensions, of a client's request and of a server's answer.
    offer: str | None = None
    answer: str | None = None
    # What becomes of the handshake: "accepted", "declined" (also by refusing the handshake) or
    # "either".  Of an answer to a client: "refused", it ends the connection.
    negotiation: str = "accepted"

    @property
    def family(self) -> str:
        return self.number.partition(".")[0]

    @property
    def size(self) -> int:
        """Bytes that are sent, without headers and before they are compressed."""
        return sum(len(step.payload) for step in self.sends)

    @property
    def pongs(self) -> list[bytes]:
        """The payloads of the pings that may be answered."""
        frames = [step for step in self.sends if isinstance(step, Frame)]
        if self.closes:  # those before whatever closes it
            frames = list(takewhile(lambda frame: frame.opcode == PING, frames))
        return [frame.payload for frame in frames if frame.opcode == PING]


CASES: list[Case] = []


def case(
    family: int,
    title: str,
    clause: str,
    *sends: Step,
    messages: tuple[str | bytes, ...] = (),
    closes: int | tuple[int | None, ...] = (),
    may_close: tuple[int, ...] = (),
    any_text: bool = False,
    heavy: bool = False,
    explained: Mapping[str, str] | None = None,
    offer: str | None = None,
    answer: str | None = None,
    negotiation: str = "accepted",
) -> None:
    """Add a case, with the next number of its family."""
    number = f"{family}.{1 + sum(known.family == str(family) for known in CASES)}"
    CASES.append(
        Case(
            number,
            title,
            f"RFC {clause}",
            sends,
            messages,
            (closes,) if isinstance(closes, int) else closes,
            may_close,
            any_text,
            heavy,
            explained or {},
            offer,
            answer,
            negotiation,
        )
    )


def text(data: str | bytes = b"4text", fin: bool = True) -> Frame:
    return Frame(TEXT, data.encode() if isinstance(data, str) else data, fin)


def binary(data: bytes = b"\x00\xff", fin: bool = True) -> Frame:
    return Frame(BINARY, data, fin)


def cont(data: bytes = b"", fin: bool = True) -> Frame:
    return Frame(CONT, data, fin)


def ping(data: bytes = b"") -> Frame:
    return Frame(PING, data)


def pong(data: bytes = b"") -> Frame:
    return Frame(PONG, data)


def close(code: int | None = 1000, reason: bytes = b"") -> Frame:
    return Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def pieces(opcode: int, data: bytes, size: int) -> tuple[Frame, ...]:
    """A message in fragments of that size, the last one as short as it comes."""
    starts = range(0, max(len(data), 1), size)
    return tuple(
        Frame(CONT if at else opcode, data[at : at + size], fin=at + size >= len(data))
        for at in starts
    )


def letters(size: int) -> str:
    return ("4" + "abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1))[:size]


def every_byte(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


BEFORE, AFTER = text("4before"), text("4after")
NORMAL = (1000,)

# 1. Framing and lengths.

LENGTHS = (1, 2, 124, 125, 126, 127, 128, 129, 255, 256, 65533, 65534, 65535, 65536, 65537)
case(1, "empty text", "6455, 5.6", text(""), messages=("",), any_text=True)
case(1, "text that is no packet", "6455, 5.6", text("hello"), messages=("hello",), any_text=True)
case(1, "empty binary", "6455, 5.6", binary(b""), messages=(b"",))
for size in LENGTHS:
    case(1, f"text of {size}", "6455, 5.2", text(letters(size)), messages=(letters(size),))
    some = every_byte(size)
    case(1, f"binary of {size}", "6455, 5.2", binary(some), messages=(some,))
case(
    1,
    "text and binary in turn",
    "6455, 5.6",
    *(text("4one"), binary(b"two"), text("4three"), binary(b"")),
    messages=("4one", b"two", "4three", b""),
)
many = tuple(letters(size) for size in range(1, 300))
case(1, "a text of each length up to 299", "6455, 5.2", *map(text, many), messages=many)
for opcode, name in ((TEXT, "text"), (PING, "ping")):
    for form in (126, 127):
        # The shortest form is a MUST for the sender; what the receiver does is not said.
        case(
            1,
            f"{name} of 5 with its length in {2 if form == 126 else 8} bytes",
            "6455, 5.2",
            Frame(opcode, b"4long", form=form),
            messages=("4long",) if opcode == TEXT else (),
            may_close=(1002,),
        )
case(
    1,
    "text of 200 with its length in 8 bytes",
    "6455, 5.2",
    Frame(TEXT, letters(200).encode(), form=127),
    messages=(letters(200),),
    may_close=(1002,),
)
case(1, "nothing but the closing handshake", "6455, 7.1.1")

# 2. Pings and pongs.

case(2, "empty ping", "6455, 5.5.2", ping())
case(2, "ping with text", "6455, 5.5.2", ping(b"hello"))
case(2, "ping with bytes", "6455, 5.5.2", ping(b"\x00\xff\xfe\xfd\x80"))
case(2, "ping of 124", "6455, 5.5.2", ping(every_byte(124)))
case(2, "ping of 125", "6455, 5.5", ping(every_byte(125)))
for size in (126, 127, 65535, 65536):
    case(2, f"ping of {size}", "6455, 5.5", ping(every_byte(size)), closes=1002)
    case(2, f"pong of {size}", "6455, 5.5", pong(every_byte(size)), closes=1002)
case(2, "empty pong nobody asked for", "6455, 5.5.3", pong())
case(2, "pong nobody asked for", "6455, 5.5.3", pong(b"unasked"))
case(2, "pong of 125 nobody asked for", "6455, 5.5.3", pong(every_byte(125)))
case(
    2,
    "pong, ping, message",
    "6455, 5.5.3",
    *(pong(b"unasked"), ping(b"asked"), text("4message")),
    messages=("4message",),
)
case(2, "ten pings", "6455, 5.5.3", *(ping(b"ping %d" % n) for n in range(10)))
case(2, "a thousand pings", "6455, 5.5.3", *(ping(b"ping %d" % n) for n in range(1000)))
case(
    2,
    "each ping when the last was answered",
    "6455, 5.5.2",
    *(step for n in range(10) for step in (ping(b"%d" % n), AwaitPong(b"%d" % n))),
)
case(
    2,
    "pings between messages",
    "6455, 5.5.2",
    *(step for n in range(10) for step in (ping(b"%d" % n), text(f"4m{n}"))),
    messages=tuple(f"4m{n}" for n in range(10)),
)
case(
    2,
    "ping between a message and the close",
    "6455, 5.5.2",
    BEFORE,
    ping(b"p"),
    messages=("4before",),
)
case(2, "a thousand pongs", "6455, 5.5.3", *[pong(b"x")] * 1000, BEFORE, messages=("4before",))

# 3. Reserved bits and masks.

for rsv in range(1, 8):
    for opcode, name in ((TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (PONG, "pong")):
        case(
            3,
            f"reserved bits {rsv:03b} in a {name} frame",
            "6455, 5.2",
            *(BEFORE, Frame(opcode, b"4bits", rsv=rsv), AFTER),
            messages=("4before",),
            closes=1002,
        )
    case(
        3,
        f"reserved bits {rsv:03b} in a close frame",
        "6455, 5.2",
        Frame(CLOSE, close().payload, rsv=rsv),
        closes=1002,
    )
    case(
        3,
        f"reserved bits {rsv:03b} in a continuation",
        "6455, 5.2",
        *(text("4a", fin=False), Frame(CONT, b"b", rsv=rsv)),
        closes=1002,
    )
case(3, "reserved bits in a frame without data", "6455, 5.2", Frame(TEXT, rsv=7), closes=1002)
for name, frame in {
    "text": Frame(TEXT, b"4mask", wrong_mask=True),
    "empty binary": Frame(BINARY, wrong_mask=True),
    "ping": Frame(PING, b"mask", wrong_mask=True),
    "close": Frame(CLOSE, close().payload, wrong_mask=True),
    "large binary": Frame(BINARY, every_byte(70000), wrong_mask=True),
}.items():
    case(
        3,
        f"{name} masked, or not, against the rule",
        "6455, 5.1",
        *(BEFORE, frame, AFTER),
        messages=("4before",),
        closes=1002,
    )
case(
    3,
    "continuation masked, or not, against the rule",
    "6455, 5.1",
    *(text("4a", fin=False), Frame(CONT, b"b", wrong_mask=True)),
    closes=1002,
)
for mask in (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01", b"\x80\x00\x00\x00"):
    some = every_byte(300)
    case(3, f"mask {mask.hex()}", "6455, 5.3", Frame(BINARY, some, mask=mask), messages=(some,))
case(
    3,
    "payloads of every length modulo the mask's",
    "6455, 5.3",
    *(Frame(BINARY, every_byte(size), mask=b"\x01\x20\x83\xf4") for size in range(20)),
    messages=tuple(every_byte(size) for size in range(20)),
)

# 4. Opcodes.

for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    title = f"reserved opcode {opcode}"
    case(4, title, "6455, 5.2", Frame(opcode), AFTER, closes=1002)
    case(4, f"{title} with data", "6455, 5.2", Frame(opcode, b"4data"), AFTER, closes=1002)
    case(
        4,
        f"{title} after a message",
        "6455, 5.2",
        *(BEFORE, Frame(opcode, b"4data"), ping(b"not answered")),
        messages=("4before",),
        closes=1002,
    )
    case(
        4,
        f"{title} between fragments",
        "6455, 5.4",
        *(text("4a", fin=False), Frame(opcode, b"4data"), cont(b"b")),
        closes=1002,
    )
    case(
        4,
        f"{title}, not final",
        "6455, 5.2",
        Frame(opcode, b"4data", fin=False),
        closes=1002,
    )

# 5. Fragmentation.

case(5, "text in two", "6455, 5.4", text("4ab", fin=False), cont(b"cd"), messages=("4abcd",))
case(5, "binary in two", "6455, 5.4", binary(b"ab", fin=False), cont(b"cd"), messages=(b"abcd",))
for size in (1, 2, 3, 7, 125, 126):
    data = letters(500)
    frames = pieces(TEXT, data.encode(), size)
    case(5, f"text of 500 in fragments of {size}", "6455, 5.4", *frames, messages=(data,))
    frames = pieces(BINARY, every_byte(500), size)
    title = f"binary of 500 in fragments of {size}"
    case(5, title, "6455, 5.4", *frames, messages=(every_byte(500),))
case(5, "empty fragment first", "6455, 5.4", text("", False), cont(b"4ab"), messages=("4ab",))
case(5, "empty fragment last", "6455, 5.4", text("4ab", False), cont(b""), messages=("4ab",))
case(
    5,
    "empty fragments all over",
    "6455, 5.4",
    *(text("", False), cont(b"", False), cont(b"4ab", False), cont(b"", False), cont(b"")),
    messages=("4ab",),
)
case(
    5,
    "binary of empty fragments",
    "6455, 5.4",
    *(binary(b"", False), cont(b"", False), cont(b"")),
    messages=(b"",),
)
case(
    5,
    "text of empty fragments",
    "6455, 5.4",
    *(text("", False), cont(b"", False), cont(b"")),
    messages=("",),
    any_text=True,
)
case(
    5,
    "three messages in fragments",
    "6455, 5.4",
    *(
        text("4a", False),
        cont(b"b"),
        binary(b"c", False),
        cont(b"d"),
        text("4e", False),
        cont(b"f"),
    ),
    messages=("4ab", b"cd", "4ef"),
)
for name, frame in {
    "empty ping": ping(),
    "ping": ping(b"p"),
    "ping of 125": ping(b"p" * 125),
}.items():
    case(
        5,
        f"{name} between fragments",
        "6455, 5.4",
        *(text("4a", False), frame, cont(b"b")),
        messages=("4ab",),
    )
    case(
        5,
        f"{name} between fragments is answered at once",
        "6455, 5.5.2",
        *(text("4a", False), frame, AwaitPong(frame.payload), cont(b"b")),
        messages=("4ab",),
    )
case(
    5,
    "pings and pongs between many fragments",
    "6455, 5.4",
    *(text("4", False), ping(b"1"), cont(b"a", False), pong(b"x"), ping(b"2"), cont(b"b", False)),
    *(ping(b"3"), pong(), cont(b"c")),
    messages=("4abc",),
)
case(
    5,
    "a ping between all of a hundred fragments",
    "6455, 5.4",
    *(
        step
        for n in range(100)
        for step in (Frame(CONT if n else TEXT, b"4", n == 99), ping(b"%d" % n))
    ),
    messages=("4" * 100,),
)
for opcode, name in ((PING, "ping"), (PONG, "pong"), (CLOSE, "close")):
    payload = close().payload if opcode == CLOSE else b"data"
    case(
        5,
        f"{name} frame that is not final",
        "6455, 5.5",
        *(Frame(opcode, payload, fin=False), cont(b"rest")),
        closes=1002,
    )
    case(
        5,
        f"empty {name} frame that is not final",
        "6455, 5.5",
        Frame(opcode, fin=False),
        closes=1002,
    )
    case(
        5,
        f"{name} frame between fragments that is not final",
        "6455, 5.5",
        *(text("4a", False), Frame(opcode, payload, fin=False), cont(b"b")),
        closes=1002,
    )
for fin in (True, False):
    last = "last" if fin else "middle"
    case(5, f"{last} fragment of nothing", "6455, 5.4", cont(b"4x", fin), AFTER, closes=1002)
    case(5, f"empty {last} fragment of nothing", "6455, 5.4", cont(b"", fin), closes=1002)
    case(
        5,
        f"{last} fragment of nothing after a message",
        "6455, 5.4",
        *(BEFORE, cont(b"4x", fin), AFTER),
        messages=("4before",),
        closes=1002,
    )
    case(
        5,
        f"{last} fragment behind the end of a message in fragments",
        "6455, 5.4",
        *(text("4a", False), cont(b"b"), cont(b"c", fin)),
        messages=("4ab",),
        closes=1002,
    )
for first, name in ((text("4a", False), "text"), (binary(b"a", False), "binary")):
    for second, other in ((text("4b"), "text"), (binary(b"b"), "binary")):
        case(5, f"{other} within a {name}", "6455, 5.4", first, second, cont(b"c"), closes=1002)
        unfinished = Frame(second.opcode, second.payload, fin=False)
        title = f"fragment of a {other} within a {name}"
        case(5, title, "6455, 5.4", first, unfinished, cont(b"c"), closes=1002)
case(
    5,
    "text within a text, behind its second fragment",
    "6455, 5.4",
    *(text("4a", False), cont(b"b", False), text("4c")),
    closes=1002,
)

# 6. UTF-8.

VALID = {
    "U+0000": "\0",
    "U+0001": "\1",
    "U+001E": "\x1e",
    "U+007F": "\x7f",
    "U+0080": "\x80",
    "U+07FF": "\u07ff",
    "U+0800": "\u0800",
    "U+0FFF": "\u0fff",
    "U+2028": "\u2028",
    "U+D7FF, before the surrogates": "\ud7ff",
    "U+E000, behind them": "\ue000",
    "U+FDD0, a noncharacter": "\ufdd0",
    "U+FEFF, a byte order mark": "\ufeff",
    "U+FFFD": "\ufffd",
    "U+FFFE": "\ufffe",
    "U+FFFF": "\uffff",
    "U+10000": "\U00010000",
    "U+1FFFE": "\U0001fffe",
    "U+FFFFF": "\U000fffff",
    "U+10FFFF": "\U0010ffff",
    "combining characters": "e\u0301o\u0308",
    "words of many scripts": "Grüße, κόσμε, мир, 世界, 안녕, שלום, 👋🏽",
}
for name, characters in VALID.items():
    whole = f"4x{characters}y"
    encoded = whole.encode()
    case(6, name, "6455, 8.1 and 3629", text(whole), messages=(whole,))
    splits = [
        frame
        for at in range(1, len(encoded))
        for frame in (text(encoded[:at], fin=False), cont(encoded[at:]))
    ]
    title = f"{name}, split at each byte"
    case(6, title, "6455, 5.6", *splits, messages=(whole,) * (len(splits) // 2))

# Each rule of RFC 3629, section 4, and how it is broken.
INVALID = {
    "a lone continuation 80": b"\x80",
    "a lone continuation BF": b"\xbf",
    "two continuations": b"\x80\xbf",
    "a continuation behind a whole character": b"\xc3\xa4\xa4",
    "C0 80, overlong": b"\xc0\x80",
    "C1 BF, overlong": b"\xc1\xbf",
    "E0 80 80, overlong": b"\xe0\x80\x80",
    "E0 9F BF, overlong": b"\xe0\x9f\xbf",
    "F0 80 80 80, overlong": b"\xf0\x80\x80\x80",
    "F0 8F BF BF, overlong": b"\xf0\x8f\xbf\xbf",
    "U+D800, a surrogate": b"\xed\xa0\x80",
    "U+DBFF, a surrogate": b"\xed\xaf\xbf",
    "U+DC00, a surrogate": b"\xed\xb0\x80",
    "U+DFFF, a surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "U+110000": b"\xf4\x90\x80\x80",
    "F5": b"\xf5\x80\x80\x80",
    "F7": b"\xf7\xbf\xbf\xbf",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "FE FF": b"\xfe\xff",
    "two bytes cut by a letter": b"\xc3x",
    "three bytes cut by a letter": b"\xe2\x82x",
    "three bytes cut early by a letter": b"\xe2x",
    "four bytes cut by a letter": b"\xf0\x9f\x98x",
    "four bytes cut early by a letter": b"\xf0\x9fx",
    "a sequence cut by another": b"\xe2\x82\xe2\x82\xac",
}
for name, bad in INVALID.items():
    case(
        6,
        f"{name}",
        "6455, 8.1 and 3629, 4",
        *(BEFORE, text(b"4x" + bad), AFTER),
        messages=("4before",),
        closes=1007,
    )
    case(
        6,
        f"{name}, in the second fragment",
        "6455, 8.1",
        *(text("4x", fin=False), cont(bad + b"y")),
        closes=1007,
    )
    # The message never ends.
    case(
        6,
        f"{name}, found before the message ends",
        "6455, 8.1",
        *(text(b"4x" + bad[:1], fin=False), cont(bad[1:] + b"y", fin=False)),
        closes=1007,
        explained=LATE_UTF8,
    )
for bad in (b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"):
    title = f"cut at the end: {bad.hex(' ')}"
    case(6, title, "6455, 8.1", text(b"4x" + bad), AFTER, closes=1007)
    frames = (text(b"4x" + bad, fin=False), cont(b""))
    case(6, f"{title}, before an empty fragment", "6455, 8.1", *frames, closes=1007)
    frames = (text(b"4x" + bad, fin=False), cont(b"y"))
    case(6, f"{title}, before another", "6455, 8.1", *frames, closes=1007)
case(
    6,
    "no binary message is looked at",
    "6455, 5.6",
    *(binary(bad) for bad in INVALID.values()),
    *(frame for bad in INVALID.values() for frame in (binary(bad, fin=False), cont(bad))),
    messages=(*INVALID.values(), *(bad + bad for bad in INVALID.values())),
)
case(6, "no ping is looked at", "6455, 5.5.2", *map(ping, INVALID.values()))
case(
    6,
    "a character whose bytes come around a ping",
    "6455, 5.4",
    *(
        text(b"4\xe2", False),
        ping(b"\xff"),
        AwaitPong(b"\xff"),
        cont(b"\x82", False),
        cont(b"\xac"),
    ),
    messages=("4\u20ac",),
)

# 7. Closing.

GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
FREE_CODES = (3000, 3500, 3999, 4000, 4500, 4999)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32768, 65535)
case(7, "no code", "6455, 5.5.1", close(None), closes=(None, 1000))
for code in (*GOOD_CODES, *FREE_CODES):
    clause = "6455, 7.4.1" if code in GOOD_CODES else "6455, 7.4.2"
    known = NEW_CODE if code == 1014 else None
    case(7, f"code {code}", clause, close(code), closes=code, explained=known)
    title, sent = f"code {code} with a reason", close(code, b"reason")
    case(7, title, clause, sent, closes=code, explained=known)
for code in BAD_CODES:
    case(7, f"code {code}", "6455, 7.4", close(code), closes=1002)
    case(7, f"code {code} with a reason", "6455, 7.4", close(code, b"reason"), closes=1002)
case(7, "half a code", "6455, 5.5.1", Frame(CLOSE, b"\x03"), closes=1002)
for size in (1, 122, 123):
    case(7, f"reason of {size}", "6455, 5.5", close(1000, b"x" * size), closes=1000)
for size in (124, 125, 70000):
    case(7, f"reason of {size}", "6455, 5.5", close(1000, b"x" * size), closes=1002)
case(7, "reason beyond ASCII", "6455, 5.5.1", close(1000, "Grüße 👋".encode()), closes=1000)
for name, bad in INVALID.items():
    case(7, f"reason with {name}", "6455, 8.1", close(1000, b"x" + bad), closes=(1007, 1002))
case(7, "message, close", "6455, 5.5.1", BEFORE, close(), messages=("4before",), closes=1000)
case(7, "close, message", "6455, 5.5.1", close(), AFTER, closes=1000)
case(7, "close, ping", "6455, 5.5.1", close(), Frame(PING, b""), closes=1000)
case(7, "close, close", "6455, 5.5.1", close(), close(1001), closes=1000)
case(7, "close, reserved opcode", "6455, 5.5.1", close(), Frame(3, b"x"), closes=1000)
case(7, "close, garbage", "6455, 5.5.1", close(), Frame(15, b"\xff" * 200, rsv=7), closes=1000)
case(7, "close, 100 messages", "6455, 5.5.1", close(), *[AFTER] * 100, closes=1000)
case(7, "close, large message", "6455, 5.5.1", close(), binary(every_byte(65536)), closes=1000)
case(
    7,
    "large message, close",
    "6455, 5.5.1",
    *(binary(every_byte(65536)), close()),
    messages=(every_byte(65536),),
    closes=1000,
)
# That a close frame may come between fragments is said; what becomes of their message is not.
frames = (text("4a", False), close(), cont(b"b"))
case(7, "close between fragments", "6455, 5.4", *frames, closes=(1000, 1002))
case(7, "ping, close", "6455, 5.5.2", ping(b"p"), close(), closes=1000)

# 8. Size and speed.

for size in (256, 1024, 4096, 16384, 262144, 900000):
    heavy = size > 70000
    data = letters(size)
    case(8, f"text of {size:,}", "6455, 5.2", text(data), messages=(data,), heavy=heavy)
    some = every_byte(size)
    case(8, f"binary of {size:,}", "6455, 5.2", binary(some), messages=(some,), heavy=heavy)
for size in (64, 256, 1024, 4096, 16384, 65536):
    some = every_byte(262144)
    frames = pieces(BINARY, some, size)
    title = f"binary of 262,144 in fragments of {size:,}"
    case(8, title, "6455, 5.4", *frames, messages=(some,), heavy=True)
    data = ("4" + "\u20ac" * 100000)[: 262144 // 3]
    frames = pieces(TEXT, data.encode(), size)
    title = f"text of 262,144 in fragments of {size:,}"
    case(8, title, "6455, 5.4", *frames, messages=(data,), heavy=True)
data = letters(10000)
frames = pieces(TEXT, data.encode(), 1)
case(
    8,
    "text of 10,000 in fragments of 1",
    "6455, 5.4",
    *frames,
    messages=(data,),
    heavy=True,
    explained=FEW_FRAGMENTS,
)
for size in (0, 16, 64, 125, 126, 1024):
    some = every_byte(size)
    title = f"a thousand binary messages of {size:,}"
    frames = (binary(some),) * 1000
    case(8, title, "6455, 5.2", *frames, messages=(some,) * 1000, heavy=True)
    if size:
        data = letters(size)
        title = f"a thousand texts of {size:,}"
        frames = (text(data),) * 1000
        case(8, title, "6455, 5.2", *frames, messages=(data,) * 1000, heavy=True)

# 9. Limits: what is too long is refused by what its header says.

case(
    9,
    "a length of 2**40, header only",
    "6455, 7.4.1",
    *(BEFORE, Frame(BINARY, length=2**40, form=127)),
    messages=("4before",),
    closes=1009,
    explained=NO_LIMIT,
)
case(
    9,
    "a length of 2**62, header only",
    "6455, 7.4.1",
    Frame(TEXT, length=2**62, form=127),
    closes=1009,
    explained=NO_LIMIT,
)
for length in (2**63, 2**64 - 1):
    case(
        9,
        f"a length of {length:#x}, header only",
        "6455, 5.2",
        Frame(BINARY, length=length, form=127),
        closes=(1002, 1009),
    )
case(
    9,
    "a second fragment of 2**40, header only",
    "6455, 7.4.1",
    *(text("4a", False), Frame(CONT, length=2**40, form=127)),
    closes=1009,
    explained=NO_LIMIT,
)
for opcode, name in ((PING, "ping"), (CLOSE, "close")):
    case(
        9,
        f"a {name} of 2**40, header only",
        "6455, 5.5",
        Frame(opcode, length=2**40, form=127),
        closes=(1002, 1009),
    )
case(
    9,
    "20,000 empty fragments",
    "6455, 10.4",
    *(binary(b"", False), *[cont(b"", False)] * 20000, cont(b"end")),
    messages=(b"end",),
    may_close=(1008, 1009),
    heavy=True,
)
case(
    9,
    "a thousand fragments of 2,000 bytes",
    "6455, 10.4",
    *pieces(BINARY, every_byte(900000), 2000),
    messages=(every_byte(900000),),
    heavy=True,
)

# 10. Compression: negotiation.  The first ones are offers to a server.

NAME = "permessage-deflate"
HELLO = Deflated(TEXT, b"4hello")


def offer(
    title: str,
    clause: str,
    parameters: str,
    negotiation: str = "accepted",
    explained: Mapping[str, str] | None = None,
) -> None:
    """Offer this to a server; what it accepts must carry a message both ways."""
    whole = f"{NAME}; {parameters}" if parameters else NAME
    case(
        10,
        title,
        f"7692, {clause}",
        *(HELLO, HELLO),
        messages=("4hello", "4hello"),
        offer=whole,
        negotiation=negotiation,
        explained={**NOT_CHECKED, **(explained or {})},
    )


offer("no parameters", "7.1", "")
offer("client_max_window_bits", "7.1.2.2", "client_max_window_bits")
for bits in range(8, 16):
    kind = "either" if bits == 8 else "accepted"  # zlib has no window of 8
    offer(f"client_max_window_bits={bits}", "7.1.2.2", f"client_max_window_bits={bits}", kind)
    offer(f"server_max_window_bits={bits}", "7.1.2.1", f"server_max_window_bits={bits}", kind)
offer("a quoted value", "5.1", 'server_max_window_bits="10"')
offer("server_no_context_takeover", "7.1.1.1", "server_no_context_takeover")
offer("client_no_context_takeover", "7.1.1.2", "client_no_context_takeover")
offer(
    "all parameters",
    "7.1",
    "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; "
    "client_max_window_bits=12",
)
for bad_value in ("7", "16", "0", "-8", "08", "010", "1e1", "ten", '""', "99999999999999999999"):
    for name in ("server_max_window_bits", "client_max_window_bits"):
        offered = f"{name}={bad_value}"
        offer(offered, "7.1.2", offered, "declined", AS_JAVASCRIPT)
offer("server_max_window_bits without a value", "7.1.2.1", "server_max_window_bits", "declined")
offer("server_no_context_takeover=1", "7.1.1.1", "server_no_context_takeover=1", "declined")
offer("client_no_context_takeover=1", "7.1.1.2", "client_no_context_takeover=1", "declined")
offer("an unknown parameter", "7.1", "window=10", "declined")
offer("an unknown parameter behind a good one", "7.1", "client_max_window_bits; x", "declined")
offer(
    "a parameter twice",
    "7.1",
    "server_max_window_bits=10; server_max_window_bits=10",
    "declined",
)
for title, header, kind in (
    ("a bad offer, then a good one", f"{NAME}; x=1, {NAME}", "accepted"),
    ("a good offer, then a bad one", f"{NAME}, {NAME}; x=1", "accepted"),
    ("an unknown extension", "x-unknown; a=b", "declined"),
    ("an unknown extension, then a good offer", f"x-unknown; a=b, {NAME}", "accepted"),
    ("the draft of another time", "x-webkit-deflate-frame", "declined"),
    ("nothing between commas", f",, {NAME},", "either"),
    ("no name", "; a=b", "declined"),
    ("no parameter behind its semicolon", f"{NAME};", "declined"),
    ("an equals sign alone", f"{NAME}; =", "declined"),
    ("half a quoted value", f'{NAME}; server_max_window_bits="10', "declined"),
    ("another spelling of the name", "permessage_deflate", "declined"),
    ("a thousand offers", ", ".join([f"{NAME}; x=1"] * 200), "declined"),
):
    case(
        10,
        title,
        "7692, 5.1 and 6455, 9.1",
        HELLO,
        messages=("4hello",),
        offer=header,
        negotiation=kind,
        explained=NOT_CHECKED,
    )
case(
    10,
    "no offer, no compression",
    "6455, 9.1",
    *(text("4plain"), Frame(TEXT, b"4bits", rsv=4)),
    messages=("4plain",),
    closes=1002,
)

# These are answers to a client that has offered permessage-deflate; client_max_window_bits.
for parameters in (
    "",
    "server_max_window_bits=9",
    "server_max_window_bits=15",
    "client_max_window_bits=9",
    "client_max_window_bits=15",
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_no_context_takeover; client_no_context_takeover; client_max_window_bits=10",
):
    case(
        10,
        f"answer with {parameters or 'no parameters'}",
        "7692, 7.1",
        *(HELLO, HELLO, text("4plain")),
        messages=("4hello", "4hello", "4plain"),
        answer=f"{NAME}; {parameters}" if parameters else NAME,
    )
for title, header in {
    "with server_max_window_bits=16": f"{NAME}; server_max_window_bits=16",
    "with server_max_window_bits=7": f"{NAME}; server_max_window_bits=7",
    "with server_max_window_bits and no value": f"{NAME}; server_max_window_bits",
    "with client_max_window_bits=16": f"{NAME}; client_max_window_bits=16",
    "with client_max_window_bits and no value": f"{NAME}; client_max_window_bits",
    "with server_no_context_takeover=1": f"{NAME}; server_no_context_takeover=1",
    "with an unknown parameter": f"{NAME}; x=1",
    "with a parameter twice": f"{NAME}; client_max_window_bits=10; client_max_window_bits=10",
    "that accepts it twice": f"{NAME}, {NAME}",
    "of another extension": "x-unknown",
    "of another extension besides": f"{NAME}, x-unknown",
    "that is malformed": f"{NAME}; =",
}.items():
    case(
        10,
        f"answer {title}",
        "7692, 7.1 and 6455, 4.1",
        answer=header,
        negotiation="refused",
        explained={"ws client": "takes the first of two"} if header.count(NAME) == 2 else None,
    )

# 11. Compression: messages.

PLAIN = NAME
WINDOW = f"{NAME}; client_max_window_bits"
# No window of 32 KiB holds the same twice: who looks further back than agreed is found out.
_noise = random.Random(7692).randbytes(20000)
FAR = _noise + _noise[:400] + _noise


def deflate_case(
    title: str,
    clause: str,
    *sends: Step,
    offer: str = WINDOW,
    answer: str = NAME,
    messages: tuple[str | bytes, ...] = (),
    closes: int | tuple[int | None, ...] = (),
    heavy: bool = False,
    explained: Mapping[str, str] | None = None,
) -> None:
    """Add a case for both ends, with an offer that is accepted."""
    case(
        11,
        title,
        f"7692, {clause}",
        *sends,
        offer=offer,
        answer=answer,
        messages=messages,
        closes=closes,
        heavy=heavy,
        explained=explained,
    )


for size in (1, 100, 125, 126, 127, 1000, 65535, 65536, 200000):
    data = letters(size)
    title = f"text of {size:,}"
    deflate_case(title, "7.2", Deflated(TEXT, data.encode()), messages=(data,), heavy=size > 70000)
    noise = random.Random(size).randbytes(size)
    title = f"noise of {size:,}"
    deflate_case(title, "7.2", Deflated(BINARY, noise), messages=(noise,), heavy=size > 70000)
deflate_case("empty binary", "7.2.3.6", Deflated(BINARY, b""), messages=(b"",))
deflate_case("the same text ten times", "7.2.3.2", *[HELLO] * 10, messages=("4hello",) * 10)
deflate_case(
    "compressed and not, in turn",
    "6.1",
    *(HELLO, text("4plain"), HELLO, binary(b"plain"), HELLO),
    messages=("4hello", "4plain", "4hello", b"plain", "4hello"),
)
for count in (2, 3, 10, 50):
    data = letters(2000)
    deflate_case(
        f"text in {count} fragments",
        "6.1",
        *(Deflated(TEXT, data.encode(), count), HELLO),
        messages=(data, "4hello"),
    )
deflate_case(
    "text whose characters are split",
    "6.1",
    Deflated(TEXT, ("4" + "\u20ac" * 50).encode(), 40),
    messages=("4" + "\u20ac" * 50,),
)
for bits in range(9, 16):
    deflate_case(
        f"a server's window of {bits}",
        "7.1.2.1",
        *(Deflated(BINARY, FAR), Deflated(BINARY, FAR)),
        offer=f"{NAME}; server_max_window_bits={bits}",
        answer=f"{NAME}; server_max_window_bits={bits}",
        messages=(FAR, FAR),
    )
    deflate_case(
        f"a client's window of {bits}",
        "7.1.2.2",
        *(Deflated(BINARY, FAR), Deflated(BINARY, FAR)),
        offer=f"{NAME}; client_max_window_bits={bits}",
        answer=f"{NAME}; client_max_window_bits={bits}",
        messages=(FAR, FAR),
    )
for side in ("server", "client"):
    deflate_case(
        f"{side}_no_context_takeover",
        f"7.1.1.{1 if side == 'server' else 2}",
        *([HELLO] * 5),
        offer=f"{NAME}; {side}_no_context_takeover",
        answer=f"{NAME}; {side}_no_context_takeover",
        messages=("4hello",) * 5,
    )
# The examples of the RFC: their messages are "Hello", sent here as binary ones.
EXAMPLES = {
    "7.2.3.1": bytes.fromhex("f248cdc9c90700"),
    "7.2.3.3": bytes.fromhex("000500faff48656c6c6f00"),
    "7.2.3.5": bytes.fromhex("f248050000 00ffffcac9c90700"),
}
for clause, payload in EXAMPLES.items():
    deflate_case("the RFC's example", clause, Frame(BINARY, payload, rsv=4), messages=(b"Hello",))
deflate_case(
    "the RFC's example in fragments",
    "7.2.3.1",
    *(Frame(BINARY, EXAMPLES["7.2.3.1"][:3], fin=False, rsv=4), cont(EXAMPLES["7.2.3.1"][3:])),
    messages=(b"Hello",),
)
deflate_case(
    "the RFC's example with the window shared",
    "7.2.3.2",
    Frame(BINARY, EXAMPLES["7.2.3.1"], rsv=4),
    Frame(BINARY, bytes.fromhex("f200110000"), rsv=4),
    messages=(b"Hello", b"Hello"),
)
FINAL = bytes.fromhex("f348cdc9c9070000")
deflate_case(
    "the RFC's example of a final block",
    "7.2.3.4",
    Frame(BINARY, FINAL, rsv=4),
    messages=(b"Hello",),
)
deflate_case(
    "messages behind a final block",
    "7.2.3.4",
    *(Frame(BINARY, FINAL, rsv=4), Frame(BINARY, EXAMPLES["7.2.3.1"], rsv=4)),
    *(Frame(BINARY, FINAL, rsv=4), Frame(BINARY, FINAL, rsv=4)),
    messages=(b"Hello",) * 4,
    explained=AFTER_FINAL,
)
deflate_case(
    "an empty fragment last",
    "7.2.1",
    *(Frame(BINARY, EXAMPLES["7.2.3.1"], fin=False, rsv=4), cont(b"")),
    messages=(b"Hello",),
)
deflate_case(
    "ping between fragments",
    "6.1",
    *(Frame(BINARY, EXAMPLES["7.2.3.1"][:3], fin=False, rsv=4), ping(b"p"), AwaitPong(b"p")),
    cont(EXAMPLES["7.2.3.1"][3:]),
    messages=(b"Hello",),
    explained={"wsproto": "forgets at a ping that the message is compressed"},
)
deflate_case(
    "the bit in a continuation",
    "6.1",
    *(Frame(BINARY, EXAMPLES["7.2.3.1"][:3], fin=False, rsv=4),),
    Frame(CONT, EXAMPLES["7.2.3.1"][3:], rsv=4),
    closes=1002,
)
deflate_case(
    "the bit in a continuation of a plain message",
    "6.1",
    *(binary(b"a", fin=False), Frame(CONT, b"b", rsv=4)),
    closes=1002,
)
for opcode, name in ((PING, "ping"), (PONG, "pong"), (CLOSE, "close")):
    payload = close().payload if opcode == CLOSE else b"data"
    deflate_case(f"the bit in a {name}", "6", Frame(opcode, payload, rsv=4), closes=1002)
for rsv in (1, 2, 3, 5, 6, 7):
    deflate_case(
        f"reserved bits {rsv:03b}", "6", Frame(BINARY, EXAMPLES["7.2.3.1"], rsv=rsv), closes=1002
    )
# What is wrong with compressed data has no code of its own.
for name, payload in {
    "a block of the reserved type": b"\x07\xff\xff",
    "a stored block whose length is wrong": bytes.fromhex("000500000048656c6c6f00"),
    "a look back before the start": bytes.fromhex("f200110000"),
    "noise": random.Random(1).randbytes(300),
}.items():
    deflate_case(
        f"{name}, compressed",
        "7.2.2",
        *(HELLO, text("4plain"), Frame(BINARY, payload, rsv=4), AFTER)
        if "back" not in name
        else (text("4plain"), Frame(BINARY, payload, rsv=4), AFTER),
        messages=("4hello", "4plain") if "back" not in name else ("4plain",),
        closes=(1002, 1003, 1007),
    )
for name in ("FF", "U+D800, a surrogate", "E0 80 80, overlong"):
    deflate_case(
        f"{name}, compressed",
        "6.2",
        Deflated(TEXT, b"4x" + INVALID[name]),
        closes=1007,
    )
deflate_case(
    "cut UTF-8, compressed, in fragments", "6.2", Deflated(TEXT, b"4x\xe2\x82", 2), closes=1007
)
deflate_case(
    "20 MB of zeros in 20 kB",
    "8",
    Deflated(BINARY, bytes(20_000_000)),
    closes=1009,
    explained=NO_LIMIT,
)
deflate_case(
    "20 MB of zeros in ten fragments",
    "8",
    Deflated(BINARY, bytes(20_000_000), 10),
    closes=1009,
    heavy=True,
    explained=NO_LIMIT,
)
deflate_case(
    "a thousand texts",
    "7.2.3.2",
    *(Deflated(TEXT, b"4message %d of a thousand" % n) for n in range(1000)),
    messages=tuple(f"4message {n} of a thousand" for n in range(1000)),
    heavy=True,
)
