"""WebSockets of frameworks that let us have the connection: our own frames, in and out.

It is the fast way: all frames of a read are parsed at once, all answers leave in one write, and a
broadcast is encoded once. And the rules of `engineio.websocket` hold, whatever the framework's.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from engineio.websocket import WebSocketProtocol, handshake

from ._asyncio import (
    ABNORMAL,
    CLOSE_TIMEOUT,
    NORMAL,
    AsyncLoop,
    AsyncStream,
    AsyncWebSocket,
    Message,
    read_in_small_parts,
)

# Bytes that may wait to be handled before the connection is not read for a while.
READ_AHEAD = 1 << 18
# What is compressed may be a thousand times its size, so it is taken in parts of this many.
COMPRESSED_PART = 2048
# What is taken before it is the others' turn: as pings of six bytes, this is much work.
LARGEST_PART = 1 << 16

Environ = dict[str, Any]


class Transport(Protocol):
    """A connection, as asyncio's transports are."""

    def write(self, data: bytes) -> None:
        """Write soon, without waiting."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be written."""

    def can_write_eof(self) -> bool:
        """Return whether `write_eof` works."""

    def write_eof(self) -> None:
        """Tell the peer that nothing more will be written."""

    def pause_reading(self) -> None:
        """Leave what comes where it is."""

    def resume_reading(self) -> None:
        """Take what comes again."""

    def close(self) -> None:
        """End the connection when everything is written."""

    def abort(self) -> None:
        """End the connection at once."""


def was_closed_twice(transport: Transport) -> bool:
    """Tell whether asyncio's TLS transport has forgotten its connection, as it does then.

    It raises an exception in the hands of whoever asks it something from now on.
    """
    return getattr(transport, "_ssl_protocol", transport) is None


class FrameStream:
    """What waits to be written. Nothing here waits."""

    __slots__ = ("_loop", "_out", "_transport", "is_dirty", "is_lost", "is_over", "size")

    def __init__(self, transport: Transport, loop: AsyncLoop) -> None:
        self.size = 0
        """Bytes pushed and not yet passed to the operating system, or not known to be."""
        self.is_dirty = False
        self.is_lost = False
        """The connection has ended: uvloop's transports raise an exception from now on."""
        self.is_over = False
        """The close frame has been pushed: no message may come behind it (RFC 6455, 5.5.1)."""
        self._transport = transport
        self._loop = loop
        self._out: list[bytes] = []
        read_in_small_parts(transport)

    def push(self, data: bytes) -> None:
        """Write soon, in one piece with whatever else is pushed until then."""
        if self.is_over:
            return
        self.size += len(data)
        self._out.append(data)
        if not self.is_dirty:
            self.is_dirty = True
            self._loop.dirty.append(self)
            self._loop.schedule()

    def flush(self) -> None:
        """Write now as much as goes without waiting; the rest follows by itself."""
        self.is_dirty = False
        if self.is_lost or was_closed_twice(self._transport):
            self._out.clear()
            self.size = 0
            return
        out = self._out
        if out:
            self._out = []
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))
        self.size = self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """End the connection at once."""
        self._out.clear()
        self._transport.abort()


class FrameWebSocket(AsyncWebSocket):
    """A WebSocket on a connection of our own. A driver supplies `accept` and calls `feed`."""

    takes_frames = True
    protocol: WebSocketProtocol

    close_timeout = CLOSE_TIMEOUT
    """Seconds that the closing handshake may take."""

    _has_hung_up = False

    def __init__(self, handler: Callable[..., Any], server: Any) -> None:
        super().__init__(handler, server)
        self._transport: Any = None
        self._loop: Any = None
        self._messages: list[Message] = []
        self._fed = 0
        self._not_fed = b""
        self._feeds_soon = False
        self._is_paused = False
        self._is_lost = False
        self._has_failed = False
        self._last_words = b""
        self._waiter: asyncio.Future[None] | None = None
        self._patched: AsyncStream | None = None

    @property
    def was_violated(self) -> bool:  # type: ignore[override]
        """Whether the connection ended because the peer broke the WebSocket protocol."""
        protocol = self.protocol
        return not protocol.closed_by_peer and protocol.close_code not in (None, ABNORMAL)

    def check(self, environ: Environ) -> None:
        """Raise `ProtocolError` if the handshake can't succeed."""
        handshake(environ, self.server.per_message_deflate)

    async def accept(self, environ: Environ, headers: list[tuple[str, str]]) -> Any:
        """Answer the handshake. Returns the transport."""
        raise NotImplementedError

    def start(self, environ: Environ) -> None:
        """Begin to take bytes, if that is not `read`'s work."""

    async def __call__(self, environ: Environ) -> Any:
        """Accept the handshake and run the handler."""
        answer = handshake(environ, self.server.per_message_deflate)
        self.is_compressed = bool(answer.extensions)
        self.protocol = WebSocketProtocol(
            self.server.max_http_buffer_size, answer.extensions, self.server.compression_threshold
        )
        self._transport = await self.accept(environ, answer.headers)
        self._loop = self.server.loop
        self.stream: Any = FrameStream(self._transport, self._loop)
        try:
            self.start(environ)
            await self.handler(self)
            await self.linger()
        except BaseException:
            self.abort()
            raise
        finally:
            self.finished()

    def open(self, transport: Transport, protocol: WebSocketProtocol) -> "FrameWebSocket":
        """Use a connection whose handshake is done, as clients do; call `feed` with what comes."""
        self._transport = transport
        self.protocol = protocol
        self._loop = self.server.loop
        self.stream = FrameStream(transport, self._loop)
        return self

    async def linger(self) -> None:
        """Wait for the end of the connection, which comes soon."""
        self.over()
        while not self._is_lost:
            await self._wait()
            if self.protocol.closed_by_peer:
                self._hang_up()

    # -- what comes in --

    def feed(self, data: bytes) -> None:
        """Take bytes of the peer."""
        part = COMPRESSED_PART if self.is_compressed else LARGEST_PART
        if len(data) <= part and not self._not_fed:
            self._feed(data)
            return
        data = self._not_fed + data
        position = 0
        while position < min(len(data), LARGEST_PART) and self._fed <= READ_AHEAD:
            end = position + max(part, self.protocol.wants)
            self._feed(data[position:end])
            position = end
        self._not_fed = data[position:]
        if self._not_fed:
            if not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
            if self._fed <= READ_AHEAD:
                self._feed_soon()

    def _feed_soon(self) -> None:
        if not self._feeds_soon:
            self._feeds_soon = True
            self._loop.loop.call_soon(self._feed_rest)

    def _feed_rest(self) -> None:
        self._feeds_soon = False
        self.feed(b"")
        if self._is_paused and not self._not_fed and self._fed <= READ_AHEAD:
            self._resume()

    def _feed(self, data: bytes) -> None:
        protocol = self.protocol
        messages = protocol.receive(data)
        if messages:
            self._messages += messages
            self._fed += sum(map(len, messages)) if self.is_compressed else len(data)
            if self._fed > READ_AHEAD and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
        if protocol.has_output:
            output = protocol.data_to_send()
            if self._messages and not protocol.is_open:
                # The answers to these come before the close frame; after it none may.
                self._last_words += output
            elif self.stream.size < self.server.max_send_buffer or not protocol.is_open:
                self._push_control(output)  # who reads no pongs is sent no more
        if protocol.close_code is not None or messages:
            self._wake()

    def feed_eof(self) -> None:
        """Note that the connection has ended."""
        self._is_lost = self.stream.is_lost = True
        self.protocol.receive_eof()
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        # Not the server's own: it has none any more while connections end after a shutdown.
        self._waiter = self._loop.loop.create_future()
        await self._waiter

    async def read(self) -> list[Message] | None:
        """Wait for messages and return all there are, or None when there will be no more."""
        if self._last_words and not self._messages:
            self._say_last_words()
        while not self._messages:
            if self.protocol.close_code is not None:
                return None
            await self._wait()
        messages, self._messages = self._messages, []
        self.size, self._fed = self._fed, 0
        if self._not_fed:
            self._feed_soon()
        elif self._is_paused:
            self._resume()
        return messages

    def _resume(self) -> None:
        self._is_paused = False
        if not self._is_lost:
            self._transport.resume_reading()

    async def wait(self) -> Message | None:
        """Wait for one message and return it, or None when there will be no more."""
        if not self._messages:
            messages = await self.read()
            if messages is None:
                return None
            self._messages[:0] = messages
        return self._messages.pop(0)

    # -- what goes out --

    def put(self, data: Message) -> None:
        """Send one message soon, through `send` if somebody has replaced that."""
        if getattr(self.send, "__self__", None) is self:  # nobody has replaced it
            self._push(data)
            return
        if self._patched is None:
            self._patched = AsyncStream(self, self.server.loop)
        self._patched.push(data)

    async def send(self, message: Message) -> None:
        """Send one message: str as text, bytes as binary."""
        self._push(message)

    def _push(self, data: Message) -> None:
        if self.protocol.is_open or self._last_words:
            self.stream.push(self.protocol.encode(data))

    def _push_control(self, data: bytes) -> None:
        """Push what the protocol itself has to say."""
        stream = self.stream
        stream.is_over = False
        stream.push(data)
        stream.is_over = not self.protocol.is_open

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close frame."""
        self._start_closing(code, reason)

    def end(self, code: int = NORMAL) -> None:
        """Start the closing handshake; the connection ends when the peer answers, or soon."""
        if self._patched is not None:
            self._patched.flush()
        self._start_closing(code)

    def _say_last_words(self) -> None:
        words, self._last_words = self._last_words, b""
        if words:
            self._push_control(words)

    def _start_closing(self, code: int, reason: str = "") -> None:
        self._say_last_words()
        self._has_failed = self._has_failed or code != NORMAL
        frame = self.protocol.close(code, reason)
        if frame:
            self._push_control(frame)
            self.stream.flush()
            self._end_soon()

    def _end_soon(self) -> None:
        if self._cancel_abort is None:
            self._cancel_abort = self._loop.call_later(self.close_timeout, self.abort)

    def over(self) -> None:
        """See to it that the connection ends soon, without waiting."""
        self.end()
        if self._is_lost:
            return
        self.stream.flush()
        transport = self._transport
        if was_closed_twice(transport):  # the second time by its peer, or by aiohttp
            self._end_soon()
            return
        self._fed = 0
        if self._not_fed:
            self._feed_soon()  # for the close frame that may be there
        elif self._is_paused:
            self._is_paused = False
            transport.resume_reading()
        if self.protocol.closed_by_peer:
            self._hang_up()
        elif (self.was_violated or self._has_failed) and transport.can_write_eof():
            # The close frame is the last word (RFC 6455, 7.1.7). To close with bytes unread would
            # make it a reset, which could take the close frame with it.
            transport.write_eof()
        self._end_soon()

    def _hang_up(self) -> None:
        # Only once, see `was_closed_twice`.
        if not self._has_hung_up:
            self._has_hung_up = True
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once, also for the one that reads."""
        if not self._is_lost:
            self._transport.abort()
            self.feed_eof()
