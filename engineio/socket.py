"""One client of a sync server: the shell around `BaseSocket` that waits.

Who reads and who runs handlers is in `reader.py`. What polling clients send is dispatched by a
thread of its own per POST, since the POST must be answered while a handler waits.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engineio import payload
from engineio.base_server import BaseServer
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
    EngineIOError,
    PacketError,
    ProtocolError,
    QueueEmpty,
)
from engineio.inbox import MalformedError
from engineio.packet import Packet
from engineio.reader import Reader
from engineio.request import Environ, Request
from engineio.session import NOOP_PACKET, Carrier, Life
from engineio.websocket import packet_frame

if TYPE_CHECKING:
    from engineio.server import Server


class Socket(Reader, BaseSocket):
    """The connection of one client, over whatever transport. The server makes these."""

    server: "Server"

    _wire_form = staticmethod(packet_frame)
    _reason_of_kill = BaseServer.reason.SERVER_SHUTDOWN

    @property
    def queue(self) -> Any:
        """What waits for the client to fetch it, as a queue of packets (a copy)."""
        queue = self.server.create_queue()
        with self.lock:
            for packet in self.outbox:
                queue.put(packet)
        return queue

    # -- sending -------------------------------------------------------------------------------

    send = BaseSocket.push

    def _put(self, ws: Any, data: Any) -> None:
        ws.send(data)

    def _start_closing(self, ws: Any, code: int) -> None:
        ws.close(code)

    # -- the end -------------------------------------------------------------------------------

    def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session from the server's side; returns when the disconnect handler has.

        `abort` leaves the CLOSE packet out. `wait` is accepted and ignored: nothing here waits
        for the client.
        """
        if self._claim_close(abort, reason):
            self._finish(say_goodbye=not abort)

    def disown(self) -> None:
        """Be over without a word, in a process that was forked; a hub may run here as well."""
        super().disown()
        for websocket in (self.ws, self._probing):
            if websocket is not None:
                websocket.stream.disown()

    def accept(self) -> None:
        """Let the client in, after its connect handler has."""
        self._begin(self.open())

    def _begin(self, is_open: bool) -> None:
        if is_open:
            self.schedule_ping()
        else:
            self._finish(say_goodbye=True)

    def _finish(self, say_goodbye: bool) -> None:
        try:
            self.server._trigger_event("disconnect", self.sid, self.reason)
        finally:
            self._leave(say_goodbye)

    # -- receiving -----------------------------------------------------------------------------

    def receive(self, pkt: Packet) -> None:
        """Process one packet of the client. Raises `UnknownPacketError` for a wrong type."""
        try:
            role = self._receive([(pkt.packet_type, pkt.data)], 0)
        except MalformedError as error:
            if error.role:
                self._dispatch(error.role)
            raise error.__cause__ or error from None
        if role:
            self._dispatch(role)

    # -- heartbeat -----------------------------------------------------------------------------

    def _send_ping(self) -> None:
        if self.ws is not None:
            self.ws.protocol.max_size = self.server.max_http_buffer_size
        self._ping()

    def check_ping_timeout(self) -> bool:
        """Return whether the client still answers; otherwise its session ends."""
        return self._still_answers()

    # -- polling -------------------------------------------------------------------------------

    def handle_get_request(self, environ: Environ, start_response: Any) -> Any:
        """Answer a GET: a list of packets, or the WSGI response of a WebSocket.

        Raises `ProtocolError` with the status that answers a request that cannot be served.
        """
        request = Request.parse(environ)
        if not request.wants_websocket:
            return self._wait_for_packets(request.connection, request.packet_limit)
        upgrades = self.life is not Life.CONNECTING and not self.closed_early
        if upgrades and not self.start_upgrade():
            raise ProtocolError("an upgrade is under way")
        self.base64 = request.base64
        try:
            websocket = self.server._async["websocket"](self._websocket_handler, self.server)
            return websocket(environ, start_response)
        finally:
            if upgrades:
                self.end_upgrade()

    def poll(self) -> list[Packet]:
        """Wait for packets and return them; when the session ends, CLOSE is the last.

        Raises `QueueEmpty` if the poll was aborted, `OverlapError` while another one waits.
        """
        packets: list[Packet] = self._wait_for_packets(None, None)
        if not packets:
            raise QueueEmpty()
        return packets

    def _wait_for_packets(self, connection: Any, limit: int | None) -> list[Packet]:
        loop = self.server.loop
        self.start_poll()
        stop_watching = None
        try:
            packets = self.answer_poll(limit, nobody)
            if packets:
                return packets
            if connection is not None:
                stop_watching = loop.watch(connection.sock, self._poll_aborted)
            while not packets:
                waiter = loop.waiter()
                packets = self.answer_poll(limit, waiter.wake)
                if not packets:
                    is_probing = self.carrier is Carrier.PROBING
                    waiter.wait(PROBE_INTERVAL if is_probing else None)
                    if connection is not None and connection.has_hung_up():
                        # Whatever waits is not lost on a connection that is.
                        self._poll_aborted()
                        return []
                    packets = self.answer_poll(limit, nobody)
                    if not packets and self.carrier is Carrier.PROBING:
                        return [NOOP_PACKET]
            return packets
        finally:
            self.end_poll()
            if stop_watching is not None:
                stop_watching()

    def handle_post_request(self, environ: Environ) -> None:
        """Take in the packets of a POST; their handlers run in a thread of their own.

        Raises `ContentTooLongError` (the session lives), `OverlapError`, `PacketError` or another
        `ProtocolError` (the session ends).
        """
        self.start_post()
        role = 0
        try:
            body = self._read_body(environ)
            self._wait_for_room()
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

    def _read_body(self, environ: Environ) -> bytes:
        length = self._body_length(environ)
        server = self.server
        request = Request.parse(environ)
        server.bodies.begin(self, request.connection, server.body_timeout, server.loop)
        try:
            body = _read_exactly(environ["wsgi.input"], length, server.max_http_buffer_size)
        except AbortedError as error:
            if server.bodies.end(self):
                raise LateBodyError(f"a body took {server.body_timeout} s") from error
            raise
        finally:
            server.bodies.end(self)
        if request.jsonp_index is not None:
            body = payload.jsonp_unwrap(body)
        return body

    # -- WebSocket -----------------------------------------------------------------------------

    def _websocket_handler(self, ws: Any) -> None:
        """Talk to the client over a WebSocket until that ends."""
        if self.upgrading:  # also if the session has ended meanwhile
            frames = self._upgrade(ws)
            if frames is None:
                return
        else:
            frames = []
            self.carrier = Carrier.WEBSOCKET  # whoever ends it from now on leaves no farewell
            is_open = self.open()  # before the client learns its sid
            with self.lock:
                self._attach(ws, self.finish_upgrade())
            self._begin(is_open)
        if self.closing:
            self._connection_ended(ws)
            return
        self._own(ws, frames)

    def _upgrade(self, ws: Any) -> list[Any] | None:
        """Take the steps of an upgrade. Returns frames that came after it, None if it failed."""
        server = self.server
        self._probing = ws
        cancel = server.loop.call_later(server.upgrade_timeout, ws.close)
        try:
            if self.closing:  # whoever ended it may have been too early to close this WebSocket
                return None
            read = _reader_of(ws)
            while (frames := read()) is not None:
                for position, frame in enumerate(frames):
                    is_done = self._take_upgrade_step(ws, frame)
                    if is_done is not None:
                        return frames[position + 1 :] if is_done else None
                self._wake()
        except PacketError as error:
            server.log_fault(self.sid, error)
            ws.close(error.close_code)
        finally:
            cancel()
            self._probing = None
        return None

    def _read(self, role: int) -> None:
        """Read and dispatch until the connection ends or somebody else has the role."""
        ws = self.ws
        read = _reader_of(ws)
        while self._reader == role:
            if self._owner is not None and self._give_back(role):
                return
            if self._inbox_size > self.server.max_http_buffer_size:
                self._wait_for_room()
            frames = read()
            if frames is None:
                self._connection_ended(ws)
                return
            if dispatch := self._receive_frames(ws, frames, role):
                self._dispatch(dispatch)

    def _connection_ended(self, ws: Any, reason: str | None = None) -> None:
        """Clean up after the last byte; whoever reads it calls this."""
        if dispatch := self._end_connection(ws, reason):
            self._dispatch(dispatch)


def _reader_of(ws: Any) -> Callable[[], list[Any] | None]:
    """Return what reads a batch of frames: through `ws.wait` if somebody has replaced that."""
    if not is_replaced(ws, "wait"):
        read: Callable[[], list[Any] | None] = ws.read
        return read

    def wait() -> list[Any] | None:
        frame = ws.wait()
        return None if frame is None else [frame]

    return wait


def _read_exactly(stream: Any, length: int | None, limit: int) -> bytes:
    """Read a body of `length` bytes, or to its end but not beyond `limit`."""
    chunks = []
    size = 0
    while length is None or size < length:
        wanted = READ_CHUNK if length is None else min(length - size, READ_CHUNK)
        try:
            chunk = stream.read(wanted)
        except EngineIOError:
            raise
        except Exception as error:  # each server has errors of its own for this
            raise AbortedError("the body ended early") from error
        if not chunk:
            if length is None:
                break
            raise AbortedError("the body ended early")
        size += len(chunk)
        if size > limit:
            raise ContentTooLongError(f"more than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
