"""One client of a sync server: the shell around `Session` that waits, reads and runs handlers.

Two roles move between threads (or greenlets; "thread" below means either):

- The *reader* reads the WebSocket. First it is the thread that the WSGI server gave to the
  request, the owner.
- The *dispatcher* takes messages out of the inbox and runs their handlers, in order. Usually the
  reader does that itself, between two reads. What polling clients send is dispatched by a thread
  of its own per POST, since the POST must be answered while a handler waits.

When a handler turns out to wait for something, the loop calls `overtake`: a second thread takes
over the roles of the one that is stuck (with `async_handlers=False` only reading, as handlers then
run one after the other). A role is held by whoever knows its current number; who comes back from
its handler and finds the number changed is no longer in charge.

`_inbox`, `_reader`, `_dispatcher`, `_parked` and `progress` are only changed with `lock` held.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

from engineio import packet as wire
from engineio import payload
from engineio.exceptions import (
    ContentTooLongError,
    EngineIOError,
    PacketError,
    ProtocolError,
    QueueEmpty,
    UnknownPacketError,
)
from engineio.packet import Packet, decode_frame
from engineio.request import Environ, Request, content_length
from engineio.session import (
    CLOSE_PACKET,
    NOOP_PACKET,
    Beat,
    Carrier,
    Life,
    Session,
)
from engineio.websocket import packet_frame

if TYPE_CHECKING:
    from engineio.server import Server

# How often a GET is ended while a WebSocket is being probed (the JavaScript server's interval).
PROBE_INTERVAL = 0.1  # seconds

# A client may have this many handlers waiting at a time; then it is not read until one returns.
MAX_RUNNING = 1000

READ_CHUNK = 65536

_END = object()  # in an inbox: the session has ended, its disconnect handler comes next
_roles = count(1)


class Socket(Session):
    """The connection of one client, over whatever transport. The server makes these."""

    upgrade_protocols = ["websocket"]

    def __init__(self, server: "Server", sid: str) -> None:
        super().__init__(sid, server, server.driver.lock())
        self.server = server
        self.session: dict[Any, Any] = {}
        self.last_ping: float | None = None
        self.ws: Any = None
        self.progress = 0
        self._stream: Any = None
        self._probing: Any = None
        self._inbox: deque[Any] = deque()
        self._inbox_size = 0
        self._running = 0
        self._room: Any = None
        self._dispatcher = 0
        self._reader = 0
        self._parked = False
        self._owner: Any = None
        self._connection_over = False

    @property
    def queue(self) -> Any:
        """What waits for the client to fetch it, as a queue of packets (a copy)."""
        queue = self.server.create_queue()
        with self.lock:
            for packet in self.outbox:
                queue.put(packet)
        return queue

    # -- sending -------------------------------------------------------------------------------

    def send(self, pkt: Packet) -> bool:
        """Send a packet, without waiting. Returns False if the client is gone."""
        server = self.server
        if server.log_info:
            server.log_packet(self.sid, "Sending", pkt.packet_type, pkt.data)
        stream = self._stream
        if stream is None:
            return self._send_slowly(pkt)
        if self.life is Life.CLOSED:
            return False
        stream.push(packet_frame(pkt, self.base64))
        if stream.size > server.max_send_buffer:
            self._check_buffer(stream)
        return True

    def _send_slowly(self, pkt: Packet) -> bool:
        """Send over polling, or over a WebSocket that takes whole messages only."""
        waiter = None
        with self.lock:
            if self.life is Life.CLOSED:
                return False
            websocket = self.ws
            if websocket is None:
                if payload.SEPARATOR in pkt.wire:
                    # It would arrive as two packets, the second one of the sender's making.
                    self.server.logger.warning(
                        "%s: text with U+001E cannot be sent over polling, dropped", self.sid
                    )
                    return True
                self.enqueue(pkt)
                waiter, self.waiter = self.waiter, None
                is_full = self.buffered > self.server.max_send_buffer
        if websocket is not None:
            websocket.send(pkt.encode(b64=self.base64))
            self._check_buffer(websocket.stream)
            return True
        if waiter is not None:
            waiter()
        if is_full:
            self._overflow()
        return True

    def _check_buffer(self, stream: Any) -> None:
        if stream.size > self.server.max_send_buffer:
            stream.flush()  # what was only gathered for one write is not the client's fault
            if stream.size > self.server.max_send_buffer:
                self._overflow()
                stream.abort()

    def _overflow(self) -> None:
        with self.lock:
            self.take()
        self.end(self.server.reason.SEND_BUFFER_FULL)

    def _wake(self) -> None:
        with self.lock:
            waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter()

    # -- the end -------------------------------------------------------------------------------

    def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session from the server's side; returns when the disconnect handler has.

        `abort` leaves the CLOSE packet out. `wait` is accepted and ignored: nothing here waits
        for the client.
        """
        reason = reason or self.server.reason.SERVER_DISCONNECT
        if not self.start_close(reason, says_goodbye=not abort):
            return
        with self.lock:
            self._inbox.clear()
        if not self.closed_early:
            self._finish(say_goodbye=not abort)

    def end(self, reason: str) -> None:
        """End the session for something the client did; the handler runs in a thread of its own."""
        role = self._start_end(reason)
        if role:
            self.server.loop.spawn(self._dispatch, role)

    def accept(self) -> None:
        """Let the client in, after its connect handler has."""
        self._begin(self.open())

    def _begin(self, is_open: bool) -> None:
        if is_open:
            self.schedule_ping()
        else:
            self._finish(say_goodbye=True)

    def _start_end(self, reason: str, close_code: int = 1000) -> int:
        """Begin the end, after the messages that came before it. Returns a role to dispatch."""
        if not self.start_close(reason):
            return 0
        if reason == self.server.reason.CLIENT_DISCONNECT:
            self._goodbye(NOOP_PACKET)
        else:
            self._goodbye(CLOSE_PACKET)
        self._close_websocket(close_code)
        return 0 if self.closed_early else self._deliver([_END])

    def _goodbye(self, pkt: Packet) -> None:
        """Answer the poll that waits, if one does."""
        with self.lock:
            if not self.is_polling:
                return
            self.enqueue(pkt)
        self._wake()

    def _finish(self, say_goodbye: bool) -> None:
        """Run the disconnect handler, then let the client and the tables know."""
        server = self.server
        try:
            server._trigger_event("disconnect", self.sid, self.reason)
        finally:
            with self.lock:
                self.life = Life.CLOSED
                server.heartbeat.discard(self.sid)
                if say_goodbye and self.carrier is not Carrier.WEBSOCKET:
                    self.enqueue(CLOSE_PACKET)
                    server.manager.leave(self)
                    server.plan_farewell(self.sid)
            server.manager.remove(self.sid)
            if self.ws is not None and say_goodbye:
                self.ws.send(CLOSE_PACKET.encode())
            self._close_websocket()
            self._wake()

    def _close_websocket(self, code: int = 1000) -> None:
        self._stream = None  # no data frame may follow the close frame
        websocket = self.ws or self._probing
        if websocket is not None:
            websocket.close(code)

    # -- receiving -----------------------------------------------------------------------------

    def receive(self, pkt: Packet) -> None:
        """Process one packet of the client. Raises `UnknownPacketError` for a wrong type."""
        try:
            role = self._receive([(pkt.packet_type, pkt.data)], 0)
        except _MalformedError as error:
            if error.role:
                self._dispatch(error.role)
            raise error.__cause__ or error from None
        if role:
            self._dispatch(role)

    def _receive(self, packets: Iterable[tuple[int, Any]], size: int, role: int = 0) -> int:
        """Process packets that came in `size` bytes; messages go to the inbox.

        Returns the role of dispatcher if the caller is to run the handlers. A bad packet ends the
        session (parse error) after the messages before it, and raises `PacketError` then.
        """
        messages: list[Any] = []
        try:
            for packet_type, data in packets:
                if packet_type == wire.MESSAGE:
                    messages.append(data)
                    continue
                self._receive_control(packet_type, data)
                if packet_type == wire.CLOSE:
                    return self._end_after(messages, self.server.reason.CLIENT_DISCONNECT, role)
        except PacketError as error:
            self.server.log_fault(self.sid, error)
            reason = self.server.reason.PARSE_ERROR
            role = self._end_after(messages, reason, role, error.close_code)
            raise _MalformedError(str(error), role) from error
        if not messages:
            return 0
        self._inbox_size += size
        return self._deliver(messages, role)

    def _end_after(
        self, messages: list[Any], reason: str, role: int, close_code: int = 1000
    ) -> int:
        dispatch = self._deliver(messages, role) if messages else 0
        return self._start_end(reason, close_code) or dispatch

    def _receive_control(self, packet_type: int, data: Any) -> None:
        server = self.server
        if server.log_info:
            server.log_packet(self.sid, "Received", packet_type, data)
        if packet_type == wire.PONG:
            if self.ponged():
                self.last_ping = None
                self.schedule_ping()
        elif packet_type not in (wire.CLOSE, wire.UPGRADE):
            raise UnknownPacketError(f"packet {packet_type} from a client")

    def _deliver(self, messages: list[Any], role: int = 0) -> int:
        """Put messages into the inbox. Returns a role if the caller must dispatch them."""
        with self.lock:
            self._inbox.extend(messages)
            if self._dispatcher and not (self._parked and self.server.async_handlers):
                return 0  # its dispatcher will come to them
            return self._make_dispatcher(role or next(_roles))

    def _make_dispatcher(self, role: int) -> int:
        """Give a role the inbox; `_dispatch` must be called with it. Call with `lock` held."""
        self._parked = False
        self._running += 1
        self._dispatcher = role
        return role

    def _dispatch(self, role: int) -> None:
        """Run the handlers of what is in the inbox, as long as this is the dispatcher."""
        if self.closed:  # a loop that shutdown() has ended must not start again
            with self.lock:
                self._inbox.clear()
                self._dispatcher = 0
                self._running -= 1
            return
        server = self.server
        loop = server.loop
        stream = self._stream
        held = False
        loop.enter(self, role)
        inbox = self._inbox
        lock = self.lock
        try:
            while True:
                with lock:
                    if self._dispatcher != role:
                        self._running -= 1
                        break
                    self._parked = False
                    if not inbox:
                        self._dispatcher = 0
                        self._running -= 1
                        self._inbox_size = 0
                        break
                    message = inbox.popleft()
                    self.progress += 1
                    is_last = not inbox
                if stream is not None:
                    # The answers of a batch leave in one write, with the last one.
                    if not is_last and not held:
                        held = True
                        stream.hold()
                    elif is_last and held:
                        held = False
                        stream.release()
                if message is _END:
                    self._finish(say_goodbye=False)
                elif self.life is not Life.CLOSED:
                    if server.log_info:
                        server.log_packet(self.sid, "Received", wire.MESSAGE, message)
                    server.handle_message(self.sid, message)
        except BaseException:  # killed, or the process exits
            with lock:
                self._running -= 1
                if self._dispatcher == role:
                    self._dispatcher = 0
            raise
        finally:
            loop.leave(self, role)
            if stream is not None and stream.size:
                stream.flush()
            if self._room is not None:
                self._make_room()

    def _make_room(self) -> None:
        with self.lock:
            room, self._room = self._room, None
        if room is not None:
            room.set()

    def overtake(self, entry: int) -> None:
        """Go on without the handler that the dispatcher `entry` is stuck in."""
        with self.lock:
            if self._dispatcher != entry:
                return
            reads = self._reader == entry and not self._connection_over
            dispatches = self.server.async_handlers
            if self._running >= MAX_RUNNING:
                return
            if not reads and not (dispatches and self._inbox):
                self._parked = True
                return
            role = next(_roles)
            if reads:
                self._reader = role
            if dispatches:
                self._make_dispatcher(role)
        if self._stream is not None:
            self._stream.flush()
        self.server.loop.spawn(self._follow, role, dispatches)

    def _follow(self, role: int, dispatches: bool) -> None:
        if dispatches:
            self._dispatch(role)
        if self._reader == role:
            self._read(role)

    def _wait_for_room(self) -> None:
        """Wait while the handlers are behind by more than one full message."""
        while self._inbox_size > self.server.max_http_buffer_size and self._dispatcher:
            with self.lock:
                if not self._dispatcher:
                    return
                room = self._room = self._room or self.server.create_event()
            room.wait()

    # -- heartbeat -----------------------------------------------------------------------------

    def schedule_ping(self) -> None:
        """Plan the next PING, one ping interval from now."""
        self.server.wake_at(self.plan_ping(time.monotonic()), self.sid)

    def _send_ping(self) -> None:
        self.last_ping = time.time()
        if self.ws is not None:
            self.ws.protocol.max_size = self.server.max_http_buffer_size
        self.server.wake_at(self.pinged(time.monotonic()), self.sid)
        self.send(Packet(wire.PING))

    def check_ping_timeout(self) -> bool:
        """Return whether the client still answers; otherwise its session ends."""
        if self.beat(time.monotonic()) is Beat.TIMEOUT:
            self.end(self.server.reason.PING_TIMEOUT)
            return False
        return True

    # -- polling -------------------------------------------------------------------------------

    def handle_get_request(self, environ: Environ, start_response: Any) -> Any:
        """Answer a GET: a list of packets, or the WSGI response of a WebSocket.

        Raises `ProtocolError` with the status that answers a request that cannot be served.
        """
        request = Request.parse(environ)
        if not request.wants_websocket:
            return self._wait_for_packets(request.connection, request.packet_limit)
        upgrades = self.connected
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
        server = self.server
        self.start_poll()
        stop_watching = None
        try:
            packets = self.answer_poll(limit, _nobody)
            if packets:
                return packets
            if connection is not None:
                stop_watching = server.loop.watch(connection.sock, self._poll_aborted)
            while not packets:
                event = server.create_event()
                packets = self.answer_poll(limit, event.set)
                if not packets:
                    is_probing = self.carrier is Carrier.PROBING
                    event.wait(PROBE_INTERVAL if is_probing else None)
                    if connection is not None and connection.has_hung_up():
                        # Whatever waits is not lost on a connection that is.
                        self._poll_aborted()
                        return []
                    packets = self.answer_poll(limit, _nobody)
                    if not packets and self.carrier is Carrier.PROBING:
                        return [NOOP_PACKET]
            return packets
        finally:
            self.end_poll()
            if stop_watching is not None:
                stop_watching()

    def _poll_aborted(self) -> None:
        self.end(self.server.reason.TRANSPORT_ERROR)

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
        except _MalformedError as error:
            role = error.role
            raise
        finally:
            self.end_post()
            if role:
                self.server.loop.spawn(self._dispatch, role)

    # -- WebSocket -----------------------------------------------------------------------------

    def _websocket_handler(self, ws: Any) -> None:
        """Talk to the client over a WebSocket until that ends."""
        if self.connected:
            frames = self._upgrade(ws)
            if frames is None:
                return
        else:
            frames = []
            is_open = self.open()  # before the client learns its sid
            with self.lock:
                self._attach(ws, self.finish_upgrade())
            self._begin(is_open)
        if self.closing:
            self._connection_ended(ws)
            return
        self._own(ws, frames)

    def _attach(self, ws: Any, packets: list[Packet]) -> None:
        """Let a WebSocket carry the session, `packets` first. Call with `lock` held."""
        for pkt in packets:
            ws.send(pkt.encode(b64=self.base64))
        self.ws = ws
        if not ws.is_compressed and "send" not in vars(ws):
            self._stream = ws.stream
        ws.stream.flush()

    def _upgrade(self, ws: Any) -> list[Any] | None:
        """Take the steps of an upgrade. Returns frames that came after it, None if it failed."""
        server = self.server
        self._probing = ws
        cancel = server.loop.call_later(server.upgrade_timeout, ws.close)
        try:
            read = _reader_of(ws)
            while (frames := read()) is not None:
                for position, frame in enumerate(frames):
                    answer = self.probe(*decode_frame(frame))
                    if answer is not None:
                        ws.send(answer.encode())
                    elif self._take_over(ws):
                        return frames[position + 1 :]
                    else:
                        return None
                self._wake()
        except PacketError as error:
            server.log_fault(self.sid, error)
            ws.close(error.close_code)
        finally:
            cancel()
            self._probing = None
        return None

    def _take_over(self, ws: Any) -> bool:
        with self.lock:
            if self.life is not Life.OPEN:
                return False
            self._attach(ws, self.finish_upgrade())
        self._wake()
        return True

    def _own(self, ws: Any, frames: list[Any]) -> None:
        """Read as long as nobody else does, in the thread that the request belongs to."""
        try:
            role = next(_roles)
            with self.lock:
                self._reader = role
            if dispatch := self._receive_frames(ws, frames, role):
                self._dispatch(dispatch)
            while True:
                self._read(role)
                with self.lock:
                    if self._connection_over:
                        return
                    event = self._owner = self.server.create_event()
                event.wait()
                with self.lock:
                    self._owner = None
                    if self._connection_over:
                        return
                    role = self._reader
        except BaseException:  # killed by the server, which stops
            self._connection_ended(ws, self.server.reason.SERVER_SHUTDOWN)
            raise

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

    def _give_back(self, role: int) -> bool:
        """Let the owner read again, which has nothing else to do."""
        with self.lock:
            if self._reader != role or self._owner is None:
                return False
            self._reader = next(_roles)
            owner = self._owner
        owner.set()
        return True

    def _receive_frames(self, ws: Any, frames: list[Any], role: int) -> int:
        if self.life is not Life.OPEN:
            return 0
        try:
            return self._receive(map(decode_frame, frames), ws.size, role)
        except _MalformedError as error:
            return error.role

    def _connection_ended(self, ws: Any, reason: str | None = None) -> None:
        """Clean up after the last byte; whoever reads it calls this."""
        reasons = self.server.reason
        if reason is None:
            reason = reasons.TRANSPORT_ERROR if ws.was_violated else reasons.TRANSPORT_CLOSE
        with self.lock:
            self._connection_over = True
            owner = self._owner
        dispatch = self._start_end(reason)
        ws.over()
        if owner is not None:
            owner.set()
        if dispatch:
            self._dispatch(dispatch)

    def _read_body(self, environ: Environ) -> bytes:
        """Read the body of a POST. Raises `ProtocolError` for one that can't be used."""
        limit = self.server.max_http_buffer_size
        request = Request.parse(environ)
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() == "application/octet-stream":
            raise ProtocolError("binary POST")
        try:
            length = content_length(environ)
        except ValueError as error:
            raise BadLengthError(str(error)) from error
        if length is not None and length > limit:
            raise ContentTooLongError(f"{length} bytes")
        if length is None and not _has_end(environ):
            if "HTTP_TRANSFER_ENCODING" in environ:
                raise BadLengthError("a chunked body that this server does not decode")
            length = 0  # RFC 9112, 6.3; reading on would wait for the next request
        body = _read_exactly(environ["wsgi.input"], length, limit)
        if request.jsonp_index is not None:
            body = payload.jsonp_unwrap(body)
        return body


class BadLengthError(ProtocolError):
    """A Content-Length that is none; the session lives."""


class AbortedError(ProtocolError):
    """The peer went away in the middle of a body."""


class _MalformedError(PacketError):
    """A bad packet, after `role` was given out for the good ones before it."""

    def __init__(self, message: str, role: int) -> None:
        super().__init__(message)
        self.role = role


def _has_end(environ: Environ) -> bool:
    """Tell whether reading a body without a declared length comes to an end."""
    return bool(environ.get("wsgi.input_terminated")) or "eventlet.input" in environ


def _nobody() -> None:
    """Wait for a poll that does not wait yet."""


def _reader_of(ws: Any) -> Callable[[], list[Any] | None]:
    """Return what reads a batch of frames: through `ws.wait` if somebody has replaced that."""
    if "wait" not in vars(ws):
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
