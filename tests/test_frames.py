"""FrameWebSocket on a connection that does what asyncio's transports do, byte by byte."""

import asyncio
import functools
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from engineio.async_drivers._frames import READ_AHEAD, FrameWebSocket

import peers
import wire
from engineio.async_server import AsyncServer
from engineio.exceptions import ProtocolError
from engineio.websocket import WebSocketProtocol, encode_frame

LIMIT = 1000  # bytes

Environ = dict[str, Any]


def handshake(**changes: str) -> Environ:
    return {
        "REQUEST_METHOD": "GET",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": "AAAAAAAAAAAAAAAAAAAAAA==",
        **changes,
    }


class Connection:
    """A transport, and what the peer sees of it."""

    def __init__(self) -> None:
        self.lost: Callable[[], None] = lambda: None
        self.written = b""
        self.unsent = 0
        self.calls: list[str] = []
        self.is_open = True

    def write(self, data: bytes) -> None:
        assert self.is_open
        self.written += data
        self.calls.append("write")

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self._end("close")

    def abort(self) -> None:
        self._end("abort")

    def _end(self, how: str) -> None:
        self.calls.append(how)
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().call_soon(self.lost)

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """What was written, frame by frame; all are whole, and short enough."""
        frames, rest = [], self.written
        while rest:
            size, start = rest[1], 2
            if size == 126:
                size, start = int.from_bytes(rest[2:4], "big"), 4
            assert size < 127
            frames.append((rest[0], rest[start : start + size]))
            rest = rest[start + size :]
        return frames


class WebSocket(FrameWebSocket):  # type: ignore[misc]
    """The WebSocket of a framework that there is none of."""

    connection: Connection

    async def accept(self, environ: Environ, headers: list[tuple[str, str]]) -> Connection:
        """Answer the handshake. Returns the transport."""
        self.connection = Connection()
        self.connection.lost = self.feed_eof
        return self.connection


class Peer:
    """A WebSocket whose handler notes what it reads until there is no more."""

    def __init__(self, **options: Any) -> None:
        self.eio = AsyncServer(async_mode="asgi", max_http_buffer_size=LIMIT, **options)
        self.eio._enter_loop()
        self.reads: list[list[Any] | None] = []
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.echoes = False
        self.one_by_one = False
        self.ws = WebSocket(self._handle, self.eio)
        self.task = asyncio.ensure_future(self.ws(handshake()))

    async def _handle(self, ws: Any) -> None:
        while True:
            await self.may_read.wait()
            if self.one_by_one:
                message = await ws.wait()
                messages = None if message is None else [message]
            else:
                messages = await ws.read()
            self.reads.append(messages)
            if messages is None:
                return
            if self.echoes:
                for message in messages:
                    ws.stream.push(encode_frame(message))  # as AsyncSocket does

    @property
    def messages(self) -> list[Any]:
        return [message for read in self.reads if read is not None for message in read]

    async def settle(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)

    async def feed(self, data: bytes, step: int | None = None) -> None:
        """Have bytes arrive, `step` at a time."""
        await self.settle()
        step = step or len(data)
        for start in range(0, len(data), step):
            self.ws.feed(data[start : start + step])
            await asyncio.sleep(0)
        await self.settle()

    @property
    def connection(self) -> Connection:
        return self.ws.connection

    async def __aenter__(self) -> "Peer":
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Lose the connection, and wait until nobody has anything to do with it."""
        if not self.ws._is_lost:
            self.connection.is_open = False
            self.ws.feed_eof()
        await self.task
        await self.eio.shutdown()
        assert not asyncio.all_tasks() - {asyncio.current_task()}


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine function as a test."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run


SENT = [
    ("text", b"hello"),
    ("text", "grüße, мир".encode()),
    ("binary", b""),
    ("text", b"x" * 125),
    ("binary", bytes(range(256))),
    ("text", b"end"),
]


def sent_bytes() -> bytes:
    frames = [wire.frame(getattr(wire, kind.upper()), payload) for kind, payload in SENT]
    # In the middle of them a ping, and a message in fragments.
    frames.insert(2, wire.frame(wire.PING, b"alive?"))
    frames.insert(4, wire.frame(wire.TEXT, b"in", fin=False) + wire.frame(0, b" parts"))
    return b"".join(frames)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
@in_loop
async def test_frames_arrive_however_they_are_cut(step: int) -> None:
    async with Peer() as peer:
        await peer.feed(sent_bytes(), step)
        expected: list[Any] = [
            payload.decode() if kind == "text" else payload for kind, payload in SENT
        ]
        expected.insert(3, "in parts")
        assert peer.messages == expected
        assert peer.connection.frames == [(0x8A, b"alive?")]


@in_loop
async def test_frames_split_at_every_byte() -> None:
    whole = sent_bytes()
    async with Peer() as reference:
        await reference.feed(whole)
    assert len(reference.messages) == len(SENT) + 1
    for position in range(1, len(whole)):
        async with Peer() as peer:
            await peer.feed(whole[:position])
            await peer.feed(whole[position:])
            assert peer.messages == reference.messages


@in_loop
async def test_what_arrives_together_is_read_together_and_answered_in_one_write() -> None:
    async with Peer() as peer:
        peer.echoes = True
        await peer.feed(b"".join(wire.frame(wire.TEXT, b"%d" % n) for n in range(20)))
        assert len(peer.reads) == 1
        assert peer.connection.frames == [(0x81, b"%d" % n) for n in range(20)]
        assert peer.connection.calls == ["write"]


@in_loop
async def test_who_wants_one_message_at_a_time_gets_one() -> None:
    async with Peer() as peer:
        peer.one_by_one = True
        await peer.feed(wire.text_frame("first"))
        await peer.feed(wire.text_frame("a") + wire.text_frame("b"))
        await peer.feed(wire.text_frame("c") + wire.close_frame())
        assert peer.reads == [["first"], ["a"], ["b"], ["c"], None]


VIOLATIONS = {
    "not masked": (wire.frame(wire.TEXT, b"x", mask=None), 1002),
    "reserved bit": (wire.frame(wire.TEXT, b"x", rsv=4), 1002),
    "reserved opcode": (wire.frame(3, b"x"), 1002),
    "bad UTF-8": (wire.frame(wire.TEXT, b"\xff"), 1007),
    "too long": (wire.frame(wire.TEXT, b"x" * (LIMIT + 1)), 1009),
    "too long, said its head": (wire.frame(wire.TEXT, b"x" * (LIMIT + 1))[:8], 1009),
    "too long in parts": (
        wire.frame(wire.TEXT, b"x" * LIMIT, fin=False) + wire.frame(0, b"x"),
        1009,
    ),
    "bad close code": (wire.close_frame(1005), 1002),
    "a fragment of nothing": (wire.frame(0, b"x"), 1002),
    "a long ping": (wire.frame(wire.PING, b"x" * 126), 1002),
}


@pytest.mark.parametrize("name", VIOLATIONS)
@in_loop
async def test_a_violation_ends_it_with_its_code(name: str) -> None:
    data, code = VIOLATIONS[name]
    async with Peer() as peer:
        peer.echoes = True
        await peer.feed(wire.text_frame("before") + data + wire.text_frame("after"))
        # What came before is answered before the close frame, what came after is not looked at.
        assert peer.reads == [["before"], None]
        (first, echo), (last, closing) = peer.connection.frames
        assert (first, echo) == (0x81, b"before")
        assert last == 0x88
        assert int.from_bytes(closing[:2], "big") == code
        assert peer.ws.was_violated
        # The close frame is the last word, and no reset takes it away.
        assert peer.connection.calls[-1] == "write_eof"
        assert peer.connection.is_open


@in_loop
async def test_a_violation_in_a_later_segment_waits_for_the_answer_too() -> None:
    async with Peer() as peer:
        peer.echoes = True
        await peer.settle()
        peer.ws.feed(wire.text_frame("before"))  # and nobody has read it yet
        peer.ws.feed(VIOLATIONS["reserved opcode"][0])
        await peer.settle()
        assert [head for head, _ in peer.connection.frames] == [0x81, 0x88]


@in_loop
async def test_no_answer_comes_behind_the_close_frame() -> None:
    async with Peer() as peer:
        peer.may_read.clear()
        await peer.feed(VIOLATIONS["reserved opcode"][0])
        peer.ws.stream.push(encode_frame("late"))
        await peer.settle()
        assert [head for head, _ in peer.connection.frames] == [0x88]
        peer.may_read.set()


@in_loop
async def test_a_message_as_long_as_the_limit_is_read() -> None:
    async with Peer() as peer:
        await peer.feed(wire.text_frame("x" * LIMIT), 100)
        assert peer.messages == ["x" * LIMIT]


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999, None])
@in_loop
async def test_the_peer_closes(code: int | None) -> None:
    async with Peer() as peer:
        await peer.feed(wire.text_frame("last") + wire.close_frame(code))
        assert peer.reads == [["last"], None]
        # The same code comes back, then the connection is closed.
        expected = b"" if code is None else code.to_bytes(2, "big")
        assert peer.connection.frames == [(0x88, expected)]
        assert not peer.connection.is_open
        assert not peer.ws.was_violated
        await peer.task
        assert peer.connection.calls.count("close") == 1


@in_loop
async def test_the_peer_vanishes() -> None:
    async with Peer() as peer:
        await peer.feed(wire.text_frame("last") + wire.text_frame("cut off")[:-1])
        peer.connection.is_open = False
        peer.ws.feed_eof()
        await peer.task
        assert peer.reads == [["last"], None]
        assert peer.connection.written == b""
        assert not peer.ws.was_violated


@in_loop
async def test_we_close_and_the_peer_answers() -> None:
    async with Peer() as peer:
        await peer.ws.close(4000, "enough")
        assert peer.connection.frames == [(0x88, (4000).to_bytes(2, "big") + b"enough")]
        await peer.ws.send("nothing may follow")
        assert len(peer.connection.frames) == 1
        await peer.feed(wire.text_frame("on its way") + wire.close_frame(4000))
        assert not peer.connection.is_open
        await peer.task


@in_loop
async def test_a_peer_that_does_not_answer_a_close_is_left() -> None:
    async with Peer() as peer:
        peer.ws.close_timeout = 0.05
        await peer.ws.close()
        await peer.task
        assert peer.connection.calls[-1] == "abort"


@in_loop
async def test_answers_on_a_lost_connection_are_dropped() -> None:
    async with Peer() as peer:
        peer.echoes = True
        peer.may_read.clear()
        await peer.feed(wire.text_frame("first"))
        peer.connection.is_open = False
        peer.ws.feed_eof()
        peer.may_read.set()
        await peer.task
        assert peer.messages == ["first"]
        peer.ws.stream.push(wire.text_frame("later"))
        peer.ws.stream.flush()  # with uvloop an exception, which kept others from being flushed
        assert not peer.ws.stream.size


@in_loop
async def test_a_half_closed_connection_is_lost() -> None:
    """The peer shuts its side down without a close frame: what it sent is handled."""
    async with Peer() as peer:
        peer.echoes = True
        peer.may_read.clear()
        await peer.feed(wire.text_frame("first"))
        peer.ws.feed(wire.text_frame("second"))
        peer.ws.feed_eof()
        peer.may_read.set()
        await peer.settle()
        assert peer.messages == ["first", "second"]
        assert peer.reads[-1] is None


@in_loop
async def test_a_reader_that_is_behind_stops_the_connection_and_starts_it_again() -> None:
    async with Peer() as peer:
        await peer.feed(wire.text_frame("first"))
        peer.may_read.clear()
        await peer.feed(wire.text_frame("read before the wait"))
        frame = wire.text_frame("x" * LIMIT)
        count = READ_AHEAD // len(frame)
        await peer.feed(frame * count, len(frame))
        assert peer.connection.calls == []
        await peer.feed(frame * 2, len(frame))
        assert peer.connection.calls == ["pause"]
        peer.may_read.set()
        await peer.settle()
        assert peer.connection.calls == ["pause", "resume"]
        assert len(peer.messages) == count + 4


@in_loop
async def test_what_a_slow_peer_leaves_in_the_transport_counts() -> None:
    async with Peer() as peer:
        peer.connection.unsent = 12_345
        peer.ws.put("x")
        assert peer.ws.stream.size == 3
        await peer.settle()
        assert peer.ws.stream.size == 12_345


@in_loop
async def test_send_that_was_replaced_is_used_in_order() -> None:
    async with Peer() as peer:
        send, seen = peer.ws.send, []

        async def logged(data: Any) -> None:
            seen.append(data)
            await asyncio.sleep(0)
            await send(data)

        peer.ws.send = logged
        for word in ("one", "two", "three"):
            peer.ws.put(word)
        while len(peer.connection.frames) < 3:
            await asyncio.sleep(0)
        assert seen == ["one", "two", "three"]
        assert [payload for _, payload in peer.connection.frames] == [b"one", b"two", b"three"]


@in_loop
async def test_a_handler_that_fails_ends_the_connection() -> None:
    eio = AsyncServer(async_mode="asgi")
    eio._enter_loop()

    async def fail(ws: Any) -> None:
        raise RuntimeError("mine")

    ws = WebSocket(fail, eio)
    with pytest.raises(RuntimeError, match="mine"):
        await ws(handshake())
    assert ws.connection.calls == ["abort"]
    await eio.shutdown()


@in_loop
async def test_a_bad_handshake_is_refused_before_anything_is_accepted() -> None:
    eio = AsyncServer(async_mode="asgi")
    eio._enter_loop()
    ws = WebSocket(lambda ws: None, eio)
    for bad in (handshake(HTTP_SEC_WEBSOCKET_VERSION="8"), handshake(CONTENT_LENGTH="3")):
        with pytest.raises(ProtocolError):
            ws.check(bad)
        with pytest.raises(ProtocolError):
            await ws(bad)
    assert not hasattr(ws, "connection")
    await eio.shutdown()


@in_loop
async def test_a_connection_that_ends_after_the_server_has_shut_down() -> None:
    async with Peer() as peer:
        peer.ws.end()
        await peer.eio.shutdown()
        await peer.feed(wire.close_frame())
        await peer.task
        assert peer.reads == [None]
        assert not peer.connection.is_open


@in_loop
async def test_a_tls_connection_that_somebody_else_closes_too() -> None:
    """asyncio's transport forgets its connection then, and raises exceptions."""
    eio = AsyncServer(async_mode="asgi")
    eio._enter_loop()
    loop = asyncio.get_running_loop()
    tls = peers.server_context()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=tls)
    trust = ssl.create_default_context(cafile=peers.CA)
    host, port = server.sockets[0].getsockname()
    transport, _ = await loop.create_connection(asyncio.Protocol, host, port, ssl=trust)
    ws = FrameWebSocket(None, eio).open(transport, WebSocketProtocol(LIMIT))
    ws.close_timeout = 0.01
    ws.put("hello")
    transport.close()
    transport.close()
    await asyncio.wait_for(ws.linger(), 8)
    assert await ws.read() is None
    ws.finished()
    server.close()
    await eio.shutdown()
