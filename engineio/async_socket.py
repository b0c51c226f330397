"""One client of an asyncio server: the shell around `BaseSocket` that waits.

"Thread" in `base_socket.py` means a task here.
"""

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engineio import payload
from engineio.async_reader import AsyncReader
from engineio.base_socket import (
    PROBE_INTERVAL,
    READ_CHUNK,
    AbortedError,
    BaseSocket,
    is_replaced,
    nobody,
)
from engineio.bodies import LateBodyError
from engineio.exceptions import (
    ContentTooLongError,
    PacketError,
    ProtocolError,
    QueueEmpty,
)
from engineio.inbox import MalformedError
from engineio.packet import Packet
from engineio.request import Environ, Request
from engineio.session import NOOP_PACKET, Carrier, Life
from engineio.websocket import packet_frame

if TYPE_CHECKING:
    from engineio.async_server import AsyncServer


def _message(packet: Packet, b64: bool) -> str | bytes:
    """Return a packet as a WebSocket message. Raises `PacketError` for what UTF-8 can't express."""
    message = packet.encode(b64)
    if not packet.binary and not message.isascii():
        packet.wire  # noqa: B018 - raises now what the server would raise too late
    return message


class AsyncSocket(AsyncReader, BaseSocket):
    """The connection of one client, over whatever transport. The server makes these."""

    server: "AsyncServer"

    _wire_form = staticmethod(_message)

    def __init__(self, server: "AsyncServer", sid: str) -> None:
        super().__init__(server, sid)
        # What goes on in another task than the request's keeps the request's context.
        self.context = contextvars.copy_context()

    @property
    def queue(self) -> Any:
        """What waits for the client to fetch it, as a queue of packets (a copy)."""
        queue = self.server.create_queue()
        for packet in self.outbox:
            queue.put_nowait(packet)
        return queue

    # -- sending -------------------------------------------------------------------------------

    async def send(self, pkt: Packet) -> bool:
        """Send a packet, without waiting. Returns False if the client is gone."""
        return self.push(pkt)

    def _put(self, ws: Any, data: Any) -> None:
        ws.put(data)

    def _start_closing(self, ws: Any, code: int) -> None:
        ws.end(code)

    # -- the end -------------------------------------------------------------------------------

    async def close(
        self, wait: bool = True, abort: bool = False, reason: str | None = None
    ) -> None:
        """End the session from the server's side; returns when the disconnect handler has.

        `abort` leaves the CLOSE packet out. `wait` is accepted and ignored: nothing here waits
        for the client.
        """
        if self._claim_close(abort, reason):
            await self.server.loop.finish(self._finish, not abort)

    async def end_now(self, reason: str) -> None:
        """End the session as `end` does, and return when the disconnect handler has."""
        if role := self._start_end(reason):
            await self.server.loop.finish(self._dispatch, role)

    async def accept(self) -> None:
        """Let the client in, after its connect handler has."""
        await self._begin(self.open())

    async def _begin(self, is_open: bool) -> None:
        if is_open:
            self.schedule_ping()
        else:
            await self.server.loop.finish(self._finish, True)

    async def _finish(self, say_goodbye: bool) -> None:
        try:
            await self.server._trigger_event("disconnect", self.sid, self.reason)
        finally:
            self._leave(say_goodbye)

    # -- receiving -----------------------------------------------------------------------------

    async def receive(self, pkt: Packet) -> None:
        """Process one packet of the client. Raises `UnknownPacketError` for a wrong type."""
        try:
            role = self._receive([(pkt.packet_type, pkt.data)], 0)
        except MalformedError as error:
            if error.role:
                await self._dispatch(error.role)
            raise error.__cause__ or error from None
        if role:
            await self._dispatch(role)

    # -- heartbeat -----------------------------------------------------------------------------

    async def _send_ping(self) -> None:
        self._ping()

    async def check_ping_timeout(self) -> bool:
        """Return whether the client still answers; otherwise its session ends."""
        return self._still_answers()

    # -- polling -------------------------------------------------------------------------------

    async def handle_get_request(self, environ: Environ) -> Any:
        """Answer a GET: a list of packets, or what a WebSocket leaves to the server.

        Raises `ProtocolError` with the status that answers a request that cannot be served.
        """
        request = Request.parse(environ)
        if not request.wants_websocket:
            return await self._wait_for_packets(request.connection, request.packet_limit)
        upgrades = self.life is not Life.CONNECTING and not self.closed_early
        if upgrades and not self.start_upgrade():
            raise ProtocolError("an upgrade is under way")
        self.base64 = request.base64
        try:
            websocket = self.server._async["websocket"](self._websocket_handler, self.server)
            return await websocket(environ)
        finally:
            if upgrades:
                self.end_upgrade()

    async def poll(self) -> list[Packet]:
        """Wait for packets and return them; when the session ends, CLOSE is the last.

        Raises `QueueEmpty` if the poll was aborted, `OverlapError` while another one waits.
        """
        packets: list[Packet] = await self._wait_for_packets(None, None)
        if not packets:
            raise QueueEmpty()
        return packets

    async def _wait_for_packets(self, connection: Any, limit: int | None) -> list[Packet]:
        loop = self.server.loop
        self.start_poll()
        try:
            packets = self.answer_poll(limit, nobody)
            while not packets:
                waiter = loop.waiter()
                self.waiter = waiter.wake
                stop_probing: Callable[[], None] | None = None
                if self.carrier is Carrier.PROBING:
                    stop_probing = loop.call_later(PROBE_INTERVAL, waiter.wake)
                try:
                    if connection is None:
                        await waiter.wait()
                    elif await connection.wait(waiter):
                        # Whatever waits is not lost on a connection that is.
                        self._poll_aborted()
                        return []
                finally:
                    if stop_probing is not None:
                        stop_probing()
                packets = self.answer_poll(limit, nobody)
                if not packets and self.carrier is Carrier.PROBING:
                    return [NOOP_PACKET]
            return packets
        finally:
            self.end_poll()

    async def handle_post_request(self, environ: Environ) -> None:
        """Take in the packets of a POST; their handlers run in a task of their own.

        Raises `ContentTooLongError` (the session lives), `OverlapError`, `PacketError` or another
        `ProtocolError` (the session ends).
        """
        self.start_post()
        role = 0
        try:
            body = await self._read_body(environ)
            if self._inbox_size > self.server.max_http_buffer_size:
                await self._wait_for_room()
            if self.closing:
                raise ProtocolError("the session ended while its POST was read")
            role = self._receive(payload.split(body), len(body))
        except MalformedError as error:
            role = error.role
            raise
        finally:
            self.end_post()
            if role:
                self.server.loop.spawn(self._dispatch, role)

    async def _read_body(self, environ: Environ) -> bytes:
        length = self._body_length(environ)
        server = self.server
        task = server.loop.current_task()
        server.bodies.begin(self, task, server.body_timeout, server.loop)
        try:
            body = await _read_exactly(environ["wsgi.input"], length, server.max_http_buffer_size)
        except asyncio.CancelledError:
            if not server.bodies.end(self):
                raise
            if hasattr(task, "uncancel") and task.uncancel():  # by somebody else too
                raise
            raise LateBodyError(f"a body took {server.body_timeout} s") from None
        finally:
            server.bodies.end(self)
        if Request.parse(environ).jsonp_index is not None:
            body = payload.jsonp_unwrap(body)
        return body

    # -- WebSocket -----------------------------------------------------------------------------

    async def _websocket_handler(self, ws: Any) -> None:
        """Talk to the client over a WebSocket until that ends."""
        self.context = contextvars.copy_context()
        if self.upgrading:  # also if the session has ended meanwhile
            if not await self._upgrade(ws):
                return
        else:
            is_open = self.open()  # before the client learns its sid
            self._attach(ws, self.finish_upgrade())
            await self._begin(is_open)
        if self.closing:
            await self._connection_ended(ws)
            return
        await self._own(ws)

    def _attach(self, ws: Any, packets: list[Packet]) -> None:
        super()._attach(ws, packets)
        if not ws.takes_frames:
            self._stream = ws.stream  # it sends through `ws.send`, also if somebody replaced that
        elif self._stream is not None:
            self._wire_form = packet_frame

    async def _upgrade(self, ws: Any) -> bool:
        """Take the steps of an upgrade. Returns whether the WebSocket carries the session now."""
        server = self.server
        self._probing = ws
        ws.reader = server.loop.current_task()
        cancel = server.loop.call_later(server.upgrade_timeout, ws.end)
        try:
            if self.closing:  # whoever ended it may have been too early to close this WebSocket
                return False
            while (frame := await ws.wait()) is not None:
                is_done = self._take_upgrade_step(ws, frame)
                if is_done is not None:
                    return is_done
                ws.stream.flush()
                self._wake()
        except PacketError as error:
            server.log_fault(self.sid, error)
            ws.end(error.close_code)
        except OSError:  # as in `_read`
            return False
        finally:
            cancel()
            self._probing = None
        return False

    async def _read(self, role: int) -> None:
        """Read and dispatch until the connection ends or somebody else has the role."""
        ws = self.ws
        ws.reader = self.server.loop.current_task()
        reads_all = ws.takes_frames and not is_replaced(ws, "wait")
        while self._reader == role:
            if self._owner is not None and self._give_back(role):
                return
            if self._inbox_size > self.server.max_http_buffer_size:
                await self._wait_for_room()
            if reads_all:
                frames = await ws.read()
            else:
                try:
                    frame = await ws.wait()
                except OSError:  # as python-engineio's drivers say it, and wrappers of them
                    frame = None
                frames = None if frame is None or self._is_too_long(ws, frame) else [frame]
            if frames is None:
                await self._connection_ended(ws)
                return
            if dispatch := self._receive_frames(ws, frames, role):
                await self._dispatch(dispatch)

    def _is_too_long(self, ws: Any, frame: str | bytes) -> bool:
        """Close a WebSocket for a message that is too long. The servers may not know the limit."""
        size = ws.size = len(frame)
        limit = self.server.max_http_buffer_size
        if size * 4 <= limit:  # whatever the text is
            return False
        if isinstance(frame, str):
            size = len(frame.encode(errors="surrogatepass"))
        if size > limit:
            ws.end(ContentTooLongError.close_code)
        return size > limit

    async def _connection_ended(self, ws: Any, reason: str | None = None) -> None:
        """Clean up after the last byte; whoever reads it calls this."""
        if dispatch := self._end_connection(ws, reason):
            await self.server.loop.finish(self._dispatch, dispatch)


async def _read_exactly(stream: Any, length: int | None, limit: int) -> bytes:
    """Read a body of `length` bytes, or to its end but not beyond `limit`."""
    chunks = []
    size = 0
    while length is None or size < length:
        wanted = READ_CHUNK if length is None else min(length - size, READ_CHUNK)
        try:
            chunk: bytes = await stream.read(wanted)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # each server has errors of its own for this
            raise AbortedError("the body ended early") from error
        if not chunk:
            if length is None:
                break
            raise AbortedError("the body ended early")
        if len(chunk) == length:
            return chunk
        size += len(chunk)
        if size > limit:
            raise ContentTooLongError(f"more than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
