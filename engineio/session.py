"""One client's session: what state it is in, what waits to be sent, when it must be heard from.

    life        CONNECTING --open()--> OPEN --start_close()--> CLOSING --closed--> CLOSED
    transport   POLLING --start_upgrade()--> UPGRADING --2probe--> PROBING --5--> WEBSOCKET
                UPGRADING, PROBING --end_upgrade()--> POLLING

Nothing here waits, looks at a clock or does I/O; time is an argument (seconds, monotonic).

Threads: any thread may call any method. Every method that changes state holds `lock` for a few
lines of Python and never waits inside, so the lock may be the plain one of the operating system
in every async mode, greenlets included. Claims (`start_close`, `start_poll`, `start_post`,
`start_upgrade`) are won by the first caller; the others are told so and nobody waits for anybody.
`outbox`, `buffered` and `waiter` are only touched with `lock` held.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any

from engineio import packet as wire
from engineio.exceptions import OverlapError, PacketError
from engineio.packet import Packet
from engineio.settings import Settings

CLOSE_PACKET = Packet(wire.CLOSE)
NOOP_PACKET = Packet(wire.NOOP)
PROBE_ANSWER = Packet(wire.PONG, "probe")

SEPARATOR_SIZE = 1

# Bytes of memory that a waiting packet takes besides its text, as measured.  Without them a client
# that makes the server send it empty messages would hold a hundred times what it is allowed.
PACKET_COST = 190


class Life(Enum):
    """How far a session has come."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Carrier(Enum):
    """What carries the packets of a session."""

    POLLING = "polling"
    UPGRADING = "upgrading"
    PROBING = "probing"
    WEBSOCKET = "websocket"


class Beat(Enum):
    """What the heartbeat asks of the shell."""

    PING = "ping"
    TIMEOUT = "timeout"


class Session:
    """The state of one client; `Socket` and `AsyncSocket` are its shells.

    `lock` guards everything in here; see the top of this module.
    """

    # What few sessions ever change is kept on the class until they do: with more than 30
    # attributes of its own, a session would take 700 bytes more.
    reason: str | None = None
    closed_early = False
    """Closed by the application while its connect handler was still running."""
    says_goodbye = False
    """Closed by the application: the next GET, or the one that waits, is told so."""
    base64 = False
    _polling = False
    _posting = False

    def __init__(self, sid: str, settings: Settings, lock: AbstractContextManager[Any]) -> None:
        self.sid = sid
        self.settings = settings
        self.lock = lock
        self.life = Life.CONNECTING
        self.carrier = Carrier.POLLING
        self.outbox: list[Packet] = []
        self.buffered = 0
        self.waiter: Callable[[], Any] | None = None
        self._ping_due: float | None = None
        self._pong_due: float | None = None

    # -- life --------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the connect handler has accepted the client and it has not been closed."""
        return self.life is Life.OPEN

    @property
    def closing(self) -> bool:
        """Whether the end has begun."""
        return self.life is Life.CLOSING or self.life is Life.CLOSED

    @property
    def closed(self) -> bool:
        """Whether the session has ended and its disconnect handler has run."""
        return self.life is Life.CLOSED

    @property
    def upgrading(self) -> bool:
        """Whether a WebSocket is trying to take over from polling."""
        return self.carrier is Carrier.UPGRADING or self.carrier is Carrier.PROBING

    @property
    def upgraded(self) -> bool:
        """Whether a WebSocket carries the packets."""
        return self.carrier is Carrier.WEBSOCKET

    def open(self) -> bool:
        """Accept the client. Returns False if it was closed before it was ever open."""
        with self.lock:
            if self.life is not Life.CONNECTING:
                return False
            self.life = Life.OPEN
            return True

    def start_close(self, reason: str, says_goodbye: bool = False) -> bool:
        """Begin the end. Returns True the first time only: that caller runs the handler."""
        with self.lock:
            if self.life is Life.CLOSING or self.life is Life.CLOSED:
                return False
            self.closed_early = self.life is Life.CONNECTING
            self.life = Life.CLOSING
            self.reason = reason
            self.says_goodbye = says_goodbye and self.carrier is not Carrier.WEBSOCKET
            return True

    # -- sending -----------------------------------------------------------------------------

    def enqueue(self, packet: Packet) -> None:
        """Keep a packet until a poll or an upgrade fetches it. Call with `lock` held."""
        self.buffered += len(packet.wire) + PACKET_COST
        self.outbox.append(packet)

    def take(self, limit: int | None = None) -> list[Packet]:
        """Take out what is buffered, at most `limit` packets. Call with `lock` held."""
        if limit is None or len(self.outbox) <= limit:
            packets, self.outbox = self.outbox, []
            self.buffered = 0
        else:
            packets, self.outbox = self.outbox[:limit], self.outbox[limit:]
            self.buffered -= sum(len(packet.wire) + PACKET_COST for packet in packets)
        return packets

    # -- polling -----------------------------------------------------------------------------

    def start_poll(self) -> None:
        """Claim the poll. Raises `OverlapError` while another GET of this client waits."""
        with self.lock:
            if self._polling:
                raise OverlapError("poll while another one waits")
            self._polling = True

    def answer_poll(self, limit: int | None, waiter: Callable[[], Any]) -> list[Packet]:
        """Return what answers the poll now. Nothing: `waiter` is called when to ask again."""
        with self.lock:
            self.waiter = None
            if self.carrier is Carrier.WEBSOCKET:
                # The client sent 5 while it polled. What is buffered has gone to the WebSocket.
                return [NOOP_PACKET]
            packets = self.take(limit)
            if packets:
                return packets
            if self.life is Life.CLOSED:
                return [CLOSE_PACKET]
            self.waiter = waiter
            return packets

    def end_poll(self) -> None:
        """Let the next poll in."""
        with self.lock:
            self.waiter = None
            self._polling = False

    @property
    def is_polling(self) -> bool:
        """Whether a GET of this client is being answered."""
        return self._polling

    def start_post(self) -> None:
        """Claim the POST. Raises `OverlapError` while another one is being read."""
        with self.lock:
            if self._posting:
                raise OverlapError("POST while another one is read")
            self._posting = True

    def end_post(self) -> None:
        """Let the next POST in."""
        with self.lock:
            self._posting = False

    # -- upgrade -----------------------------------------------------------------------------

    def start_upgrade(self) -> bool:
        """Claim the upgrade. Returns False when one is under way or done."""
        with self.lock:
            if self.carrier is not Carrier.POLLING or self.life is not Life.OPEN:
                return False
            self.carrier = Carrier.UPGRADING
            return True

    def probe(self, packet_type: int, data: Any) -> Packet | None:
        """Take one step of the upgrade with a packet that came over the new WebSocket.

        Returns the packet that answers it, or None when the client has sent its UPGRADE packet
        and the WebSocket may take over. Raises `PacketError` for anything else, after which that
        WebSocket is of no more use and polling goes on.
        """
        if packet_type == wire.PING and data == "probe" and self.carrier is Carrier.UPGRADING:
            self.carrier = Carrier.PROBING
            return PROBE_ANSWER
        if packet_type == wire.UPGRADE and self.carrier is Carrier.PROBING:
            return None
        raise PacketError(f"packet {packet_type} does not belong in an upgrade")

    def finish_upgrade(self) -> list[Packet]:
        """Hand over to the WebSocket. Returns what it must carry first. Call with `lock` held."""
        self.carrier = Carrier.WEBSOCKET
        return self.take()

    def end_upgrade(self) -> None:
        """Give an upgrade up: polling goes on, and the client may try again."""
        with self.lock:
            if self.carrier is not Carrier.WEBSOCKET:
                self.carrier = Carrier.POLLING

    # -- heartbeat ---------------------------------------------------------------------------

    def plan_ping(self, now: float) -> float:
        """Plan the next ping one interval from now. Returns when the session is due."""
        with self.lock:
            self._pong_due = None
            self._ping_due = now + self.settings.ping_interval
            return self._ping_due

    def pinged(self, now: float) -> float:
        """Note that a PING was sent. Returns when its PONG is due."""
        with self.lock:
            self._ping_due = None
            self._pong_due = now + self.settings.ping_timeout
            return self._pong_due

    def ponged(self) -> bool:
        """Note a PONG. Returns False if none was expected."""
        with self.lock:
            expected = self._pong_due is not None
            self._pong_due = None
            return expected

    def beat(self, now: float, stalled: bool = False) -> Beat | float | None:
        """Say what is due: a `Beat`, or when to ask again, or None for never.

        `stalled` says that this process itself was late to ask (suspended, or its loop was
        blocked): the PONG may be lying in a buffer nobody read, so it gets another ping_timeout.
        """
        with self.lock:
            if self.life is not Life.OPEN:
                return None
            if self._pong_due is not None:
                if now < self._pong_due:
                    return self._pong_due
                if stalled:
                    self._pong_due = now + self.settings.ping_timeout
                    return self._pong_due
                return Beat.TIMEOUT
            if self._ping_due is not None:
                return Beat.PING if now >= self._ping_due else self._ping_due
            return None
