"""What the sockets of both kinds of server do without waiting; `socket.py` has the terms.

`Socket` and `AsyncSocket` wait, read and run handlers; each decision on the way is made here.
"""

import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import TYPE_CHECKING, Any

from engineio import packet as wire
from engineio import payload
from engineio.exceptions import (
    ContentTooLongError,
    PacketError,
    ProtocolError,
    UnknownPacketError,
)
from engineio.packet import Packet, decode_frame
from engineio.request import Environ, content_length
from engineio.session import CLOSE_PACKET, NOOP_PACKET, Beat, Carrier, Life, Session

if TYPE_CHECKING:
    from engineio.base_server import BaseServer

# How often a GET is ended while a WebSocket is being probed (the JavaScript server's interval).
PROBE_INTERVAL = 0.1  # seconds

# A client may have this many handlers waiting at a time; then it is not read until one returns.
MAX_RUNNING = 1000

READ_CHUNK = 65536

NOTHING = object()
END = object()  # in an inbox: the session has ended, its disconnect handler comes next
roles = count(1)


class BaseSocket(Session):
    """The connection of one client, over whatever transport; a shell waits for it."""

    upgrade_protocols = ["websocket"]

    server: "BaseServer"

    # As in Session, what few ever change.
    last_ping: float | None = None
    _probing: Any = None
    _room: Any = None
    _parked = False
    _owner: Any = None
    _connection_over = False

    # What a WebSocket is given: a frame where we write to the network, else a message.
    _wire_form: Callable[[Packet, bool], Any]

    def __init__(self, server: "BaseServer", sid: str) -> None:
        super().__init__(sid, server, server.driver.lock())
        self.server = server
        self.session: dict[Any, Any] = {}
        self.ws: Any = None
        self.progress = 0
        self._stream: Any = None
        # What the dispatcher takes from is in reverse, so that taking one is as cheap from a list
        # as from a deque, which would be the largest part of an idle client.
        self._inbox: list[Any] = []
        self._batch: list[Any] = []
        self._inbox_size = 0
        self._running = 0
        self.dispatcher = 0
        self._reader = 0

    # -- what a shell supplies -------------------------------------------------------------------

    def _dispatch(self, role: int) -> Any:
        """Run the handlers of what is in the inbox, as long as this is the dispatcher."""
        raise NotImplementedError

    def _follow(self, role: int, dispatches: bool) -> Any:
        """Go on in a second thread: dispatch first, then read if `role` is the reader's."""
        raise NotImplementedError

    def _put(self, ws: Any, data: Any) -> None:
        """Send one message over a WebSocket, without waiting."""
        raise NotImplementedError

    def _start_closing(self, ws: Any, code: int) -> None:
        """Begin the closing handshake of a WebSocket, without waiting."""
        raise NotImplementedError

    # -- sending -------------------------------------------------------------------------------

    def push(self, pkt: Packet) -> bool:
        """Send a packet, without waiting. Returns False if the client is gone."""
        server = self.server
        if server.log_info:
            server.log_packet(self.sid, "Sending", pkt.packet_type, pkt.data)
        stream = self._stream
        if stream is None:
            return self._push_slowly(pkt)
        if self.life is Life.CLOSED:
            return False
        stream.push(self._wire_form(pkt, self.base64))
        if stream.size > server.max_send_buffer:
            self._check_buffer(stream)
        return True

    def _push_slowly(self, pkt: Packet) -> bool:
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
            self._put(websocket, pkt.encode(b64=self.base64))
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

    def end(self, reason: str) -> None:
        """End the session for something the client did; the handler runs in a thread of its own."""
        role = self._start_end(reason)
        if role:
            self.server.loop.spawn(self._dispatch, role)

    def _claim_close(self, abort: bool, reason: str | None) -> bool:
        """Begin the end from the server's side. Returns whether the caller must finish it."""
        reason = reason or self.server.reason.SERVER_DISCONNECT
        if not self.start_close(reason, says_goodbye=not abort):
            return False
        self._clear_inbox()
        return not self.closed_early

    def _start_end(self, reason: str, close_code: int = 1000) -> int:
        """Begin the end, after the messages that came before it. Returns a role to dispatch."""
        if not self.start_close(reason):
            return 0
        if reason == self.server.reason.CLIENT_DISCONNECT:
            self._goodbye(NOOP_PACKET)
        else:
            self._goodbye(CLOSE_PACKET)
        self._close_websocket(close_code)
        return 0 if self.closed_early else self._deliver([END])

    def _goodbye(self, pkt: Packet) -> None:
        """Answer the poll that waits, if one does."""
        with self.lock:
            if not self.is_polling:
                return
            self.enqueue(pkt)
        self._wake()

    def _leave(self, say_goodbye: bool) -> None:
        """Let the client and the tables know, once the disconnect handler has run."""
        server = self.server
        with self.lock:
            self.life = Life.CLOSED
            server.heartbeat.discard(self.sid)
            if say_goodbye and self.carrier is not Carrier.WEBSOCKET:
                self.enqueue(CLOSE_PACKET)
                server.manager.leave(self)
                server.plan_farewell(self.sid)
        server.manager.remove(self.sid)
        if self.ws is not None and say_goodbye:
            self._put(self.ws, CLOSE_PACKET.encode())
        self._close_websocket()
        self._wake()

    def _close_websocket(self, code: int = 1000) -> None:
        self._stream = None  # no data frame may follow the close frame
        websocket = self.ws or self._probing
        if websocket is not None:
            self._start_closing(websocket, code)

    # -- receiving -----------------------------------------------------------------------------

    def _receive(self, packets: Iterable[tuple[int, Any]], size: int, role: int = 0) -> int:
        """Process packets that came in `size` bytes; messages go to the inbox.

        Returns the role of dispatcher if the caller is to run the handlers. A bad packet ends the
        session (parse error) after the messages before it, and raises `MalformedError` then.
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
            raise MalformedError(str(error), role) from error
        if not messages:
            return 0
        self._inbox_size += size
        return self._deliver(messages, role)

    def _receive_frames(self, ws: Any, frames: list[Any], role: int) -> int:
        """Process what came over a WebSocket. Returns the role of dispatcher, as `_receive`."""
        if self.life is not Life.OPEN:
            return 0
        try:
            return self._receive(map(decode_frame, frames), ws.size, role)
        except MalformedError as error:
            return error.role

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
            if self._batch or self._inbox or self.dispatcher:
                self._inbox.extend(messages)
                if self.dispatcher and not (self._parked and self.server.async_handlers):
                    return 0  # its dispatcher will come to them
            else:
                messages.reverse()
                self._batch = messages
            return self._make_dispatcher(role or next(roles))

    def _next_message(self, role: int) -> Any:
        """Take a message out of the inbox, or `NOTHING` if `role` has no more to dispatch."""
        with self.lock:
            if self.dispatcher != role:
                self._running -= 1
                return NOTHING
            self._parked = False
            batch = self._batch
            if not batch:
                self._batch, self._inbox = self._inbox, batch
                batch = self._batch
                if not batch:
                    self.dispatcher = 0
                    self._running -= 1
                    self._inbox_size = 0
                    return NOTHING
                batch.reverse()
            self.progress += 1
            return batch.pop()

    @property
    def _has_messages(self) -> bool:
        return bool(self._batch or self._inbox)

    def _clear_inbox(self) -> None:
        with self.lock:
            self._inbox.clear()
            self._batch.clear()

    def _let_go(self, role: int, goes_on: bool = True) -> None:
        """End a dispatcher that will not come back to its inbox.

        Another one goes on with what is left there, the end of the session perhaps.
        """
        with self.lock:
            self._running -= 1
            if self.dispatcher != role:
                return
            self.dispatcher = 0
            if not goes_on or not self._has_messages:
                return
            other = self._make_dispatcher(next(roles))
        self.server.loop.spawn(self._dispatch, other)

    def _make_dispatcher(self, role: int) -> int:
        """Give a role the inbox; `_dispatch` must be called with it. Call with `lock` held."""
        self._parked = False
        self._running += 1
        self.dispatcher = role
        return role

    def _make_room(self) -> None:
        with self.lock:
            room, self._room = self._room, None
        if room is not None:
            room.set()

    def overtake(self, entry: int) -> None:
        """Go on without the handler that the dispatcher `entry` is stuck in."""
        with self.lock:
            if self.dispatcher != entry:
                return
            reads = self._reader == entry and not self._connection_over
            dispatches = self.server.async_handlers
            if self._running >= MAX_RUNNING:
                return
            if not reads and not (dispatches and self._has_messages):
                self._parked = True
                return
            role = next(roles)
            if reads:
                self._reader = role
            if dispatches:
                self._make_dispatcher(role)
        if self._stream is not None:
            self._stream.flush()
        self.server.loop.spawn(self._follow, role, dispatches)

    def _give_back(self, role: int) -> bool:
        """Let the owner read again, which has nothing else to do."""
        with self.lock:
            if self._reader != role or self._owner is None:
                return False
            self._reader = next(roles)
            owner = self._owner
        owner.set()
        return True

    # -- heartbeat -----------------------------------------------------------------------------

    def schedule_ping(self) -> None:
        """Plan the next PING, one ping interval from now."""
        self.server.wake_at(self.plan_ping(time.monotonic()), self.sid)

    def _ping(self) -> None:
        self.last_ping = time.time()
        self.server.wake_at(self.pinged(time.monotonic()), self.sid)
        self.push(Packet(wire.PING))

    def _still_answers(self) -> bool:
        if self.beat(time.monotonic()) is Beat.TIMEOUT:
            self.end(self.server.reason.PING_TIMEOUT)
            return False
        return True

    def _poll_aborted(self) -> None:
        self.end(self.server.reason.TRANSPORT_ERROR)

    # -- WebSocket -----------------------------------------------------------------------------

    def _attach(self, ws: Any, packets: list[Packet]) -> None:
        """Let a WebSocket carry the session, `packets` first. Call with `lock` held."""
        for pkt in packets:
            self._put(ws, pkt.encode(b64=self.base64))
        self.ws = ws
        if not ws.is_compressed and not is_replaced(ws, "send"):
            self._stream = ws.stream
        ws.stream.flush()

    def _take_upgrade_step(self, ws: Any, frame: Any) -> bool | None:
        """Take one step of an upgrade. Returns True if that was the last one, None if not.

        False if the session has ended meanwhile. Raises `PacketError` for a frame that makes the
        upgrade fail.
        """
        answer = self.probe(*decode_frame(frame))
        if answer is None:
            return self._take_over(ws)
        self._put(ws, answer.encode())
        return None

    def _take_over(self, ws: Any) -> bool:
        with self.lock:
            if self.life is not Life.OPEN:
                return False
            self._attach(ws, self.finish_upgrade())
        self._wake()
        return True

    def _end_connection(self, ws: Any, reason: str | None) -> int:
        """Begin the end that the last byte is. Returns a role to dispatch."""
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
        return dispatch

    def _body_length(self, environ: Environ) -> int | None:
        """Return how many bytes the body of a POST has, None for as many as there are.

        Raises `ProtocolError` for a body that can't be used.
        """
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() == "application/octet-stream":
            raise ProtocolError("binary POST")
        try:
            length = content_length(environ)
        except ValueError as error:
            raise BadLengthError(str(error)) from error
        if length is not None and length > self.server.max_http_buffer_size:
            raise ContentTooLongError(f"{length} bytes")
        if length is None and not _has_end(environ):
            if "HTTP_TRANSFER_ENCODING" in environ:
                raise BadLengthError("a chunked body that this server does not decode")
            length = 0  # RFC 9112, 6.3; reading on would wait for the next request
        return length


def nobody() -> None:
    """Stand in for what wakes a poll that does not wait yet."""


def is_replaced(ws: Any, method: str) -> bool:
    """Tell whether somebody has put something in the place of a WebSocket's method.

    Unlike a look into `vars(ws)`, this makes Python keep no dictionary for the object.
    """
    return getattr(getattr(ws, method), "__self__", None) is not ws


class BadLengthError(ProtocolError):
    """A Content-Length that is none; the session lives."""


class AbortedError(ProtocolError):
    """The peer went away in the middle of a body."""


class MalformedError(PacketError):
    """A bad packet, after `role` was given out for the good ones before it."""

    def __init__(self, message: str, role: int) -> None:
        super().__init__(message)
        self.role = role


def _has_end(environ: Environ) -> bool:
    """Tell whether reading a body without a declared length comes to an end."""
    return bool(environ.get("wsgi.input_terminated")) or "eventlet.input" in environ
