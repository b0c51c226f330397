"""What the sockets of both kinds of server do without waiting; `reader.py` has the terms.

`Socket` and `AsyncSocket` wait, read and run handlers; each decision on the way is made here.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engineio import packet as wire
from engineio import payload
from engineio.exceptions import (
    ContentTooLongError,
    ProtocolError,
    UnknownPacketError,
)
from engineio.inbox import END, Inbox
from engineio.packet import Packet, decode_frame
from engineio.request import Environ, content_length
from engineio.session import CLOSE_PACKET, NOOP_PACKET, Beat, Carrier, Life, Session

if TYPE_CHECKING:
    from engineio.base_server import BaseServer

# How often a GET is ended while a WebSocket is being probed (the JavaScript server's interval).
PROBE_INTERVAL = 0.1  # seconds

READ_CHUNK = 65536


class BaseSocket(Inbox, Session):
    """The connection of one client, over whatever transport; a shell waits for it."""

    upgrade_protocols = ["websocket"]

    server: "BaseServer"

    # As in Session, what few ever change.
    last_ping: float | None = None
    admitted: str | None = None
    """What the server's `Admission` counts it as, as long as it does."""
    _probing: Any = None

    _reason_of_close = "client disconnect"

    # What a WebSocket is given: a frame where we write to the network, else a message.
    _wire_form: Callable[[Packet, bool], Any]

    def __init__(self, server: "BaseServer", sid: str) -> None:
        super().__init__(sid, server, server.driver.lock())
        self.server = server
        self.session: dict[Any, Any] = {}
        self.ws: Any = None
        self._stream: Any = None
        self._set_up_inbox()

    # -- what a shell supplies -------------------------------------------------------------------

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
            self.overflow()
        return True

    def _check_buffer(self, stream: Any) -> None:
        if stream.size > self.server.max_send_buffer:
            stream.flush()  # what was only gathered for one write is not the client's fault
            if stream.size > self.server.max_send_buffer:
                self.overflow()

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        websocket = self.ws
        return self.buffered if websocket is None else websocket.stream.size

    def overflow(self) -> None:
        """End the session since too much waits to be sent."""
        with self.lock:
            self.take()
        self.end(self.server.reason.SEND_BUFFER_FULL)
        if self.ws is not None:
            self.ws.stream.abort()  # nothing that waits is to wait on

    def disown(self) -> None:
        """Be over without a word, in a process that was forked: the client is the parent's."""
        self.life = Life.CLOSED
        self._stream = None

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
        server.forget(self)
        server.admission.count("disconnects", self.reason or server.reason.TRANSPORT_ERROR)
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

    # -- heartbeat -----------------------------------------------------------------------------

    def schedule_ping(self) -> None:
        """Plan the next PING, one ping interval from now."""
        self.wake_at(self.plan_ping(time.monotonic()))

    def _ping(self) -> None:
        self.last_ping = time.time()
        self.wake_at(self.pinged(time.monotonic()))
        self.push(Packet(wire.PING))

    def wake_at(self, due: float) -> None:
        """Have the heartbeat loop look at this session when its deadline comes."""
        with self.lock:
            if self.life is not Life.CLOSED:  # else it has left the heap for good
                self.server.wake_at(due, self.sid)

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


def _has_end(environ: Environ) -> bool:
    """Tell whether reading a body without a declared length comes to an end."""
    return bool(environ.get("wsgi.input_terminated")) or "eventlet.input" in environ
