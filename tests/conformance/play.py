"""Plays a case: is one end of a WebSocket, choosing each byte, and judges the other end.

Nothing here imports engineio or a WebSocket library.
"""

import contextlib
import random
import select
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import wire
from conformance.cases import (
    CLOSE,
    CONT,
    TEXT,
    AwaitPong,
    Case,
    Deflated,
    Frame,
    close,
)

PATIENCE = 20.0  # seconds for what must come; other jobs may have the machine
IMPATIENCE = 0.5  # seconds for what is known not to come
TAIL = b"\x00\x00\xff\xff"  # RFC 7692, 7.2.1
BYTEWISE = 70_000  # bytes; more than that is not sent one by one
SHORT = 16  # bytes; so much can be sent without a look at what comes

PASS, LAX, FAIL = "pass", "lax", "fail"
EARLY = "closes before it has answered all messages"


# How the bytes of a case are cut into segments.


def whole(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """All at once."""
    yield data


def bytewise(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Byte by byte."""
    if len(data) > BYTEWISE:
        return chopped(data, rng)
    return (data[at : at + 1] for at in range(len(data)))


def chopped(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Anywhere, mostly in small pieces."""
    at = 0
    while at < len(data):
        size = rng.choice((1, 2, 3, rng.randint(1, 20), rng.randint(1, 2000), 1 + len(data) // 3))
        yield data[at : at + size]
        at += size


WAYS: dict[str, Callable[[bytes, random.Random], Iterator[bytes]]] = {
    "whole": whole,
    "bytewise": bytewise,
    "chopped": chopped,
}


@dataclass(frozen=True)
class Result:
    """What came of a case.

    lax: not what the case says, but nothing that the RFC forbids.
    """

    grade: str
    note: str = ""


class Wrong(Exception):  # noqa: N818 - an outcome
    """The other end did what it must not."""


# Compression


@dataclass(frozen=True)
class Agreement:
    """What was negotiated of permessage-deflate."""

    parameters: dict[str, str | None]

    def bits(self, side: str) -> int:
        return int(self.parameters.get(f"{side}_max_window_bits") or 15)

    def forgets(self, side: str) -> bool:
        return f"{side}_no_context_takeover" in self.parameters


def parameters_of(header: str) -> dict[str, str | None]:
    """The parameters of one permessage-deflate."""
    name, *parts = [part.strip() for part in header.split(";")]
    if name != "permessage-deflate":
        raise Wrong(f"answers with {header!r}")
    found: dict[str, str | None] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if key in found:
            raise Wrong(f"answers with {key} twice")
        found[key] = value.strip('"') if equals else None
    return found


def check_answer(answer: str, offers: str) -> Agreement:
    """What a server's answer means, if it is right for one of the offers (RFC 7692, 7.1)."""
    answered = parameters_of(answer)
    for name, value in answered.items():
        if name.endswith("_no_context_takeover"):
            if value is not None:
                raise Wrong(f"answers with {name}={value}")
        elif name not in ("server_max_window_bits", "client_max_window_bits"):
            raise Wrong(f"answers with the unknown {name}")
        elif value is None or value not in map(str, range(8, 16)):
            raise Wrong(f"answers with {name}={value}")
    problems = []
    for offer in offers.split(","):
        with contextlib.suppress(Wrong):
            offered = parameters_of(offer.strip())
            if not (problem := _mismatch(answered, offered)):
                return Agreement(answered)
            problems.append(problem)
    raise Wrong(f"answers with {answer!r}: {problems}")


def _mismatch(answered: dict[str, str | None], offered: dict[str, str | None]) -> str:
    if "server_no_context_takeover" in offered.keys() - answered.keys():
        return "server_no_context_takeover is missing"
    wanted = offered.get("server_max_window_bits")
    if wanted and int(answered.get("server_max_window_bits") or 99) > int(wanted):
        return "server_max_window_bits is larger than wanted"
    if "client_max_window_bits" in answered:
        if "client_max_window_bits" not in offered:
            return "client_max_window_bits was not offered"
        if int(answered["client_max_window_bits"] or 99) > int(
            offered["client_max_window_bits"] or 15
        ):
            return "client_max_window_bits is larger than offered"
    return ""


# One end


@dataclass
class Peer:
    """One end of a WebSocket whose handshake is done."""

    sock: socket.socket
    # Whether this end is the client's, which masks.
    masks: bool
    agreement: Agreement | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _is_over: bool = False
    _deflater: Any = None
    _inflater: Any = None

    @property
    def _sides(self) -> tuple[str, str]:
        """This end and the other one, as the parameters name them."""
        return ("client", "server") if self.masks else ("server", "client")

    # -- sending --

    def encode(self, frame: Frame, rng: random.Random) -> bytes:
        mask = None
        if self.masks != frame.wrong_mask:
            mask = frame.mask or rng.randbytes(4)
        return wire.frame(
            frame.opcode,
            frame.payload,
            fin=frame.fin,
            rsv=frame.rsv,
            mask=mask,
            length=frame.length,
            form=frame.form,
        )

    def compress(self, message: Deflated) -> list[Frame]:
        """The frames of a compressed message, or of a plain one if nothing was agreed."""
        data = message.payload
        if self.agreement is not None:
            here, _ = self._sides
            if self._deflater is None or self.agreement.forgets(here):
                # zlib makes no window of 8; what is sent then is too short to tell.
                bits = max(self.agreement.bits(here), 9)
                self._deflater = zlib.compressobj(wbits=-bits)
            data = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
            data = data.removesuffix(TAIL) or b"\x00"  # 7.2.3.6
        size = -(-len(data) // message.fragments) or 1
        starts = range(0, len(data), size) or range(1)
        rsv = 4 if self.agreement else 0
        return [
            Frame(
                CONT if at else message.opcode,
                data[at : at + size],
                fin=at + size >= len(data),
                rsv=0 if at else rsv,
            )
            for at in starts
        ]

    def send(self, pieces: Iterator[bytes]) -> None:
        """Send, and take what comes meanwhile; the other end may have gone already."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number, piece in enumerate(pieces):
                if len(piece) < SHORT and number % 256:
                    self.sock.sendall(piece)
                    continue
                data = memoryview(piece)
                while data:
                    readable, writable, _ = select.select([self.sock], [self.sock], [], PATIENCE)
                    if readable and not self._is_over:
                        self._fill()
                    if writable:
                        data = data[self.sock.send(data[:65536]) :]
                    elif not readable:
                        raise Wrong("takes nothing more")

    # -- receiving --

    def _fill(self) -> None:
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        self._is_over = not data

    def _need(self, size: int) -> None:
        while len(self._buffer) < size:
            if self._is_over:
                raise EOFError
            self._fill()

    def read_frame(self) -> Frame:
        """The next frame.  EOFError when the connection has ended, TimeoutError for silence."""
        self._need(2)
        first, second = self._buffer[:2]
        if bool(second & 0x80) == self.masks:
            raise Wrong("masks" if self.masks else "does not mask")
        size, start = second & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            self._need(start)
            smallest = 126 if size == 126 else 65536
            size = int.from_bytes(self._buffer[2:start], "big")
            if size < smallest:
                raise Wrong("writes a length in more bytes than it needs")
        mask = b""
        if not self.masks:
            start += 4
            self._need(start)
            mask = bytes(self._buffer[start - 4 : start])
        self._need(start + size)
        payload = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        if mask:
            payload = wire.mask_bytes(payload, mask)
        return Frame(first & 15, payload, bool(first & 0x80), first >> 4 & 7)

    def read_until(self, end: bytes) -> bytes:
        """All up to and with `end`; for the head of a handshake."""
        while (at := self._buffer.find(end)) < 0:
            self._need(len(self._buffer) + 1)
        data = bytes(self._buffer[: at + len(end)])
        del self._buffer[: at + len(end)]
        return data

    def decompress(self, payload: bytes) -> bytes:
        _, there = self._sides
        assert self.agreement is not None
        if self._inflater is None or self.agreement.forgets(there):
            # With just the window that was agreed on: who looks back further is found out.
            self._inflater = zlib.decompressobj(wbits=-self.agreement.bits(there))
        try:
            data: bytes = self._inflater.decompress(payload + TAIL)
        except zlib.error as error:
            raise Wrong(f"compresses wrongly: {error}") from None
        return data

    def ends(self) -> bool:
        """Whether nothing more comes, and the connection ends."""
        try:
            while not self._is_over:
                self._fill()
        except TimeoutError:
            return False
        if self._buffer:
            raise Wrong(f"sends {bytes(self._buffer[:50])!r} after its close frame")
        return True

    def end(self) -> None:
        self.sock.close()


@dataclass
class Record:
    """What the other end has sent so far."""

    peer: Peer
    messages: list[str | bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    is_closed: bool = False
    # Of its close frame; 0: there was none.
    code: int | None = 0
    _parts: list[Frame] = field(default_factory=list)

    def take(self) -> None:
        """Take one more frame."""
        frame = self.peer.read_frame()
        if frame.rsv and (frame.rsv != 4 or not self.peer.agreement or frame.opcode >= CLOSE):
            raise Wrong(f"sets reserved bits {frame.rsv:03b}")
        match frame.opcode:
            case 0 | 1 | 2:
                self._take_fragment(frame)
            case 10:
                self.pongs.append(frame.payload)
            case 8:
                self.is_closed = True
                self.code = struct.unpack("!H", frame.payload[:2])[0] if frame.payload else None
            case 9:
                raise Wrong("sends a ping")  # it may, but none of these do
            case _:
                raise Wrong(f"sends opcode {frame.opcode}")

    def _take_fragment(self, frame: Frame) -> None:
        if (frame.opcode == CONT) != bool(self._parts):
            raise Wrong("fragments wrongly")
        self._parts.append(frame)
        if not frame.fin:
            return
        first, payload = self._parts[0], b"".join(part.payload for part in self._parts)
        self._parts = []
        if first.rsv:
            payload = self.peer.decompress(payload)
        self.messages.append(payload.decode() if first.opcode == TEXT else payload)


def play(case: Case, peer: Peer, way: str, is_server: bool, patience: float = PATIENCE) -> Result:
    """Play a case against whatever is at the other end of `peer`.

    `is_server` says that it is a server, which has to end the connection first.
    """
    peer.sock.settimeout(patience)
    record = Record(peer)
    try:
        return _play(case, peer, way, record, is_server)
    except TimeoutError:
        missing = "no close frame" if case.closes else "silence"
        note = f"{missing} after {len(record.messages)} messages and {len(record.pongs)} pongs"
    except EOFError:
        note = f"ends the connection after {_short(record.messages)}, {_short(record.pongs)}"
        if case.closes and _is_start(record.messages, case.messages):
            return Result(LAX, "ends the connection without a close frame")
    except Wrong as wrong:
        note = str(wrong)
    finally:
        peer.end()
    return Result(FAIL, note)


def _play(case: Case, peer: Peer, way: str, record: Record, is_server: bool) -> Result:
    rng = random.Random(f"{case.number} {way}")
    cut = WAYS[way]
    data: list[bytes] = []
    for step in case.sends:
        match step:
            case Deflated():
                data += [peer.encode(frame, rng) for frame in peer.compress(step)]
            case Frame():
                data.append(peer.encode(step, rng))
            case AwaitPong():
                peer.send(cut(b"".join(data), rng))
                data = []
                while step.payload not in record.pongs:
                    record.take()
    peer.send(cut(b"".join(data), rng))
    pongs = case.pongs
    if case.closes:
        while not record.is_closed:
            record.take()
        result = _judge_end(case, record)
        has_closed = any(isinstance(step, Frame) and step.opcode == CLOSE for step in case.sends)
    else:
        while not record.is_closed and (
            len(record.messages) < len(case.messages) or (pongs and pongs[-1] not in record.pongs)
        ):
            record.take()
        result = _judge_life(case, record)
        has_closed = not record.is_closed
        if has_closed:
            peer.send(iter([peer.encode(close(), rng)]))
            while not record.is_closed:
                record.take()
            if record.code != 1000:
                raise Wrong(f"answers close code 1000 with {record.code}")
            if len(record.messages) > len(case.messages):
                raise Wrong(f"sends also {_short(record.messages[len(case.messages) :])}")
    _check_pongs(record.pongs, pongs)
    if not has_closed:
        peer.send(iter([peer.encode(close(record.code), rng)]))
    if not is_server:  # it waits for the server to end the connection (7.1.1)
        with contextlib.suppress(OSError):  # it has not waited
            peer.sock.shutdown(socket.SHUT_WR)
    if not peer.ends():
        raise Wrong("does not end the connection")
    return result


def _judge_life(case: Case, record: Record) -> Result:
    if record.is_closed:
        if record.code in case.may_close and _is_start(record.messages, case.messages):
            return Result(PASS)
        raise Wrong(f"closes with {record.code} after {_short(record.messages)}")
    if record.messages != list(case.messages):
        raise Wrong(f"sends {_short(record.messages)} for {_short(list(case.messages))}")
    return Result(PASS)


def _judge_end(case: Case, record: Record) -> Result:
    if record.code not in case.closes:
        raise Wrong(f"closes with {record.code} after {_short(record.messages)}")
    if record.messages == list(case.messages):
        return Result(PASS)
    if _is_start(record.messages, case.messages):
        return Result(LAX, EARLY)
    raise Wrong(f"sends {_short(record.messages)} for {_short(list(case.messages))}")


def _check_pongs(got: list[bytes], pings: list[bytes]) -> None:
    """Of several pings, only the last need be answered (RFC 6455, 5.5.3)."""
    rest = iter(pings)
    if not all(any(payload == ping for ping in rest) for payload in got):
        raise Wrong(f"sends pongs {_short(got)} for pings {_short(pings)}")


def _is_start(got: list[str | bytes], expected: tuple[str | bytes, ...]) -> bool:
    return got == list(expected[: len(got)])


def _short(items: Any) -> str:
    shown = [item if len(item) <= 30 else f"{item[:30]!r}... of {len(item)}" for item in items[:4]]
    return f"{shown}{f' and {len(items) - 4} more' if len(items) > 4 else ''}"


def expect_refusal(peer: Peer) -> Result:
    """See a client end a connection whose handshake it must not accept."""
    peer.sock.settimeout(PATIENCE)
    record = Record(peer)
    try:
        while not record.is_closed and not record.messages:  # it was sent one to answer
            record.take()
        if record.messages or record.code in (1000, None):
            return Result(FAIL, "accepts it")
    except EOFError:
        pass
    except (TimeoutError, Wrong) as error:
        return Result(FAIL, f"accepts it: {error or 'waits'}")
    finally:
        peer.end()
    return Result(PASS)
