"""What both clients share: options, URLs, the OPEN packet, the state of a connection.

A client is what applications hold; each time it connects it makes a connection, an object of its
own, so that what is left of an earlier one (a request that still waits, a handler that still runs)
cannot touch the next. Nothing here waits.

    life        OPEN --start_close()--> CLOSING --the disconnect handler has run--> CLOSED
    transport   POLLING --start_pause()--> PROBING --finish_upgrade()--> WEBSOCKET
                PROBING --end_pause()--> POLLING

While the WebSocket is being opened and probed the transport stays POLLING: requests go on. Once the
server has answered the probe it is PROBING: what is under way ends, nothing new begins, and when
the last request has ended the WebSocket takes over.
"""

import logging
import math
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from itertools import islice
from typing import Any, NamedTuple, TypeVar, overload
from urllib.parse import quote, urljoin, urlsplit

from engineio import json, payload
from engineio import packet as wire
from engineio.base_server import make_logger, printable
from engineio.events import Events
from engineio.exceptions import ConnectionError, PacketError
from engineio.inbox import END, Inbox
from engineio.packet import Packet, decode_frame
from engineio.session import CLOSE_PACKET, SEPARATOR_SIZE, Carrier, Life
from engineio.settings import POLLING, VALID_TRANSPORTS, WEBSOCKET
from engineio.websocket import encode_masked_frame

Handler = TypeVar("Handler", bound=Callable[..., Any])

default_logger = logging.getLogger("engineio.client")

connected_clients: list["BaseClient"] = []
"""Every client of this process that is connected now."""

original_signal_handler: Any = None
"""What handled SIGINT before the first client did."""

MAX_MESSAGE = 100_000_000  # bytes
MAX_SEND_BUFFER = 100_000_000  # bytes
MESSAGE_OVERHEAD = 100  # bytes

# What a server may ask for. JavaScript's setTimeout takes no more milliseconds than these, so no
# official client could keep to a longer interval either.
MAX_INTERVAL = 2**31 - 1  # milliseconds, 24 days
MAX_SID = 1000  # characters; it is part of every URL

MAX_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)

USER_AGENT = "python-engineio/5"

# python-engineio's own servers up to 4.15 refuse a POST of more packets than this.
LEGACY_SERVER_PACKETS = 16

# Used where `request_timeout` sets no limit, but something must not take for ever.
PATIENCE = 5.0  # seconds

LAST_POLL_TIME = 0.5  # seconds that the answer to the last GET may take after a goodbye

# A server may answer a poll with nothing in it, but whoever does so again and again is not asked
# as fast as it answers.
MAX_EMPTY_POLLS = 3
EMPTY_POLL_DELAY = 0.1  # seconds

# A message in a body of an error page, for the exception.
MAX_ERROR_BODY = 100_000  # bytes

PROBE = Packet(wire.PING, "probe")
UPGRADE_PACKET = Packet(wire.UPGRADE)

_HUGE = 10**15

_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
_PORTS = {"http": 80, "https": 443}


class Interruption:
    """A SIGINT that came while nobody could wait: in the hub of gevent or eventlet."""

    is_pending = False
    """The clients are being disconnected; what was done before at SIGINT comes afterwards."""

    def begin(self, clients: list["BaseClient"], sig: int, frame: Any) -> None:
        """Disconnect in a greenlet, and then go on with the signal in the hub."""
        self.is_pending = True
        loop = clients[0].loop
        loop.spawn(self._disconnect, loop, clients, sig, frame)
        loop.interrupted(frame)

    def _disconnect(self, loop: Any, clients: list["BaseClient"], sig: int, frame: Any) -> None:
        try:
            for client in clients:
                client.disconnect()
        finally:
            loop.soon(lambda: self._end(loop, sig, frame))

    def _end(self, loop: Any, sig: int, frame: Any) -> None:
        if not self.is_pending:
            return  # a second SIGINT has gone on already
        self.is_pending = False
        try:
            _pass_on(sig, frame)
        except BaseException as error:
            # For the program, as if it had come there: hubs would print it first.
            loop.hub().parent.throw(error)


interruption = Interruption()


def signal_handler(sig: int, frame: Any) -> Any:
    """Handle SIGINT: disconnect all clients of this process, then do what was done before."""
    clients = [client for client in connected_clients if not client.is_asyncio_based()]
    if interruption.is_pending:  # and the user does not want to wait for it
        clients.clear()
        interruption.is_pending = False
    if any(not client._may_wait() for client in clients):
        return interruption.begin(clients, sig, frame)
    for client in clients:
        if client.state == "connected":
            client._interrupt()
    return _pass_on(sig, frame)


def _pass_on(sig: int, frame: Any) -> Any:
    if callable(original_signal_handler):
        return original_signal_handler(sig, frame)
    if original_signal_handler is signal.SIG_DFL:  # the process shall end at once
        signal.signal(sig, signal.SIG_DFL)
        return signal.raise_signal(sig)
    return signal.default_int_handler(sig, frame)


class Opening(NamedTuple):
    """What a server's OPEN packet says, checked."""

    sid: str
    upgrades: list[str]
    ping_interval: float
    """Seconds."""
    ping_timeout: float
    """Seconds."""
    max_payload: int | None
    """Bytes that the body of a POST may have, or None if the server has not said."""
    max_packets: int | None = None
    """Packets that the body of a POST may have, or None for any number."""

    @property
    def patience(self) -> float:
        """Seconds within which the next PING must come."""
        return self.ping_interval + self.ping_timeout


def read_opening(packet_type: int, data: Any) -> Opening:
    """Return what an OPEN packet says.

    Raises `ConnectionError` for another packet, and for values that nobody can work with.
    """
    if packet_type != wire.OPEN:
        raise ConnectionError("OPEN packet not returned by server")
    if not isinstance(data, dict):
        raise ConnectionError("Unexpected response from server", "the OPEN packet has no data")
    sid = data.get("sid")
    if not isinstance(sid, str) or not 0 < len(sid) <= MAX_SID or not _is_unicode(sid):
        raise _unusable("sid", sid)
    upgrades = data.get("upgrades", [])
    if not isinstance(upgrades, list):
        raise _unusable("upgrades", upgrades)
    max_payload = data.get("maxPayload")
    if max_payload is not None and (not _is_number(max_payload) or max_payload < 1):
        raise _unusable("maxPayload", max_payload)
    return Opening(
        sid,
        [upgrade for upgrade in upgrades if isinstance(upgrade, str)],
        _seconds("pingInterval", data.get("pingInterval")),
        _seconds("pingTimeout", data.get("pingTimeout")),
        None if max_payload is None else int(max_payload),
        LEGACY_SERVER_PACKETS if _is_legacy(data) else None,
    )


def read_opening_frame(frame: str | bytes) -> Opening:
    """Return what the first frame of a WebSocket says.

    Raises `ConnectionError` for anything but an OPEN packet.
    """
    try:
        packet_type, data = decode_frame(frame)
    except PacketError:
        raise ConnectionError("Unexpected response from server") from None
    if packet_type != wire.OPEN:
        raise ConnectionError("no OPEN packet")
    return read_opening(packet_type, data)


def read_payload_with_opening(body: bytes) -> tuple[Opening, list[tuple[int, Any]]]:
    """Return what the answer to the first GET holds: the OPEN packet, and the packets behind it.

    Raises `ConnectionError` for anything else.
    """
    try:
        packets = list(payload.split(body))
    except PacketError:
        raise ConnectionError("Unexpected response from server") from None
    return read_opening(*packets[0]), packets[1:]


def _unusable(name: str, value: Any) -> ConnectionError:
    return ConnectionError(
        "Unexpected response from server", f"{name} is {printable(repr(value)[:200])}"
    )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -_HUGE < value < _HUGE  # and so no NaN, nor what has no float


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_legacy(data: dict[str, Any]) -> bool:
    """Tell python-engineio up to 4.15 by the order of its OPEN packet, which nobody else has."""
    names = [name for name in data if name in ("pingInterval", "pingTimeout")]
    return names == ["pingTimeout", "pingInterval"]


def _seconds(name: str, value: Any) -> float:
    if not _is_number(value) or not 0 < value <= MAX_INTERVAL:
        raise _unusable(name, value)
    return float(value / 1000.0)


class Response(NamedTuple):
    """An answer that was read whole."""

    status: int
    body: bytes
    url: str
    """Where it came from, after redirects."""

    def check(self) -> None:
        """Raise `ConnectionError` with the server's body unless the status says success."""
        if not 200 <= self.status < 300:
            raise ConnectionError(
                f"Unexpected status code {self.status} in server response", decoded(self.body)
            )


def decoded(body: bytes | str | None) -> Any:
    """Return what the JSON in the body of a refusal says, None if it is none."""
    try:
        return json.loads(body or "")
    except (ValueError, RecursionError):
        return None


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme (http or https), host and port of a URL; ws counts as http."""
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme, parts.scheme)
    return scheme, parts.hostname, parts.port or _PORTS.get(scheme)


def redirect_of(url: str, location: str | None) -> tuple[str, bool]:
    """Return where an answer redirects to, and whether that is the same origin.

    Credentials may go to the same origin only. Raises `ConnectionError` for a redirect that
    nobody can follow.
    """
    if not location:
        raise ConnectionError("Redirect without a location")
    try:
        target = urljoin(url, location)
        if urlsplit(target).scheme not in _SCHEMES:
            # urljoin knows no relative references of ws URLs in some versions of Python.
            scheme = urlsplit(url).scheme
            target = scheme + urljoin("http" + url.removeprefix(scheme), location)[4:]
        origin = origin_of(target)
    except ValueError as error:
        raise ConnectionError(f"Redirect to {printable(location)}: {error}") from None
    if origin[0] not in _PORTS or not origin[1]:
        raise ConnectionError(f"Redirect to {printable(location)}")
    return target, origin == origin_of(url)


def redirected_endpoint(url: str) -> tuple[str, str]:
    """Return base URL and path of the endpoint that a handshake was redirected to."""
    parts = urlsplit(url)
    own = ("transport", "EIO", "t")
    query = "&".join(
        each for each in parts.query.split("&") if each and each.partition("=")[0] not in own
    )
    return f"{parts.scheme}://{parts.netloc}/?{query}", parts.path


def websocket_url(url: str) -> str:
    """Return the URL of the WebSocket that belongs to one for polling."""
    before, _, after = url.rpartition("transport=polling&EIO=4")
    return f"ws{before.removeprefix('http')}transport=websocket&EIO=4{after}"


class BaseClient(Events):
    """Options and helpers of a client; see `Client` for the parameters."""

    class reason:  # noqa: N801 - the public name
        """Why a client was disconnected, as given to the disconnect handler."""

        CLIENT_DISCONNECT = "client disconnect"
        SERVER_DISCONNECT = "server disconnect"
        TRANSPORT_ERROR = "transport error"
        PING_TIMEOUT = "ping timeout"
        PARSE_ERROR = "parse error"
        SEND_BUFFER_FULL = "send buffer full"

    # What a connection, like a server's socket, asks its owner for.
    async_handlers = True
    loop: Any
    driver: Any

    def __init__(
        self,
        logger: bool | logging.Logger = False,
        json: Any = None,
        request_timeout: float | None = 5,
        http_session: Any = None,
        ssl_verify: bool = True,
        handle_sigint: bool = True,
        websocket_extra_options: dict[str, Any] | None = None,
        timestamp_requests: bool = True,
        *,
        max_http_buffer_size: int = MAX_MESSAGE,
        max_send_buffer: int = MAX_SEND_BUFFER,
    ) -> None:
        self.driver = self._load_driver()
        if json is not None:
            Packet.json = json
        self.logger = make_logger(logger, default_logger)
        self.log_info = self.logger.isEnabledFor(logging.INFO)
        self.request_timeout = request_timeout
        self.ssl_verify = ssl_verify
        self.handle_sigint = handle_sigint
        self.websocket_extra_options = websocket_extra_options or {}
        self.timestamp_requests = timestamp_requests
        self.max_http_buffer_size = max_http_buffer_size
        self.max_send_buffer = max_send_buffer
        self.handlers = {}
        self.base_url: str | None = None
        self.transports: list[str] | None = None
        self.current_transport: str | None = None
        self.sid: str | None = None
        self.upgrades: list[str] | None = None
        self.ping_interval: float | None = None
        self.ping_timeout: float | None = None
        self.http: Any = None
        self.http_factory: Callable[[], Any] | None = None
        if callable(http_session):
            self.http_factory = http_session
        else:
            self.http = http_session
        self.external_http = self.http is not None
        self.ws: Any = None
        self.read_loop_task: Any = None
        self.write_loop_task: Any = None
        self.queue_empty = self.get_queue_empty_exception()
        self.state = "disconnected"
        self._connection: Any = None
        self._last_connection: Any = None
        self._arity = {}
        self._set_up()

    def _load_driver(self) -> Any:
        """Return the driver. Raises `DriverError` if a package is missing."""
        raise NotImplementedError

    def _set_up(self) -> None:
        """Give a kind of client what it keeps besides."""

    def is_asyncio_based(self) -> bool:
        """Return whether the handlers may be coroutines."""
        return False

    @overload
    def on(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def on(self, event: str, handler: Callable[..., Any]) -> None: ...
    def on(self, event: str, handler: Callable[..., Any] | None = None) -> Any:
        """Register the handler of an event: "connect", "message" or "disconnect".

        Works as a decorator, or as a call with `handler`. A later handler replaces an earlier one.

        - ``connect()``: before `connect` returns; if it raises, `connect` does.
        - ``message(data)``: str, bytes, or what the JSON in a text message says.
        - ``disconnect(reason)`` or ``disconnect()``: a text of `reason`; exactly once for each
          connection.

        Raises `ValueError` for any other event.
        """
        return self._register(event, handler)

    def transport(self) -> str | None:
        """Return "polling" or "websocket", or None before the first connection."""
        return self.current_transport

    def create_queue(self, *args: Any, **kwargs: Any) -> Any:
        """Return a queue that suits this client."""
        raise NotImplementedError

    def get_queue_empty_exception(self) -> type[Exception]:
        """Return what a queue of `create_queue` raises when it has nothing to give."""
        raise NotImplementedError

    def create_event(self, *args: Any, **kwargs: Any) -> Any:
        """Return an event (set, clear, is_set, wait) that suits this client."""
        raise NotImplementedError

    def disconnect(self, abort: bool = False, reason: str | None = None) -> Any:
        """Disconnect from the server."""
        raise NotImplementedError

    def _may_wait(self) -> bool:
        """Tell whether a signal handler may wait here."""
        return True

    def _interrupt(self) -> None:
        """Disconnect because of SIGINT."""
        raise NotImplementedError

    def _forget_session(self) -> None:
        """Close the HTTP session if it is ours."""
        raise NotImplementedError

    def _install_signal_handler(self) -> None:
        """Handle SIGINT from now on, if that is possible here and nobody of us does yet."""
        global original_signal_handler  # noqa: PLW0603 - python-engineio's public name
        if not self.handle_sigint or original_signal_handler is not None:
            return
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as nohup leaves it
            return
        with suppress(ValueError):  # not the main thread
            original_signal_handler = signal.signal(signal.SIGINT, signal_handler)

    # -- connecting ----------------------------------------------------------------------------

    def _start_connecting(self, transports: str | Iterable[str] | None) -> list[str]:
        """Claim the client for one attempt to connect. Returns the transports to try."""
        if self.state != "disconnected":
            raise ValueError("Client is not in a disconnected state")
        wanted = [transports] if isinstance(transports, str) else transports
        valid = [each for each in wanted or VALID_TRANSPORTS if each in VALID_TRANSPORTS]
        if wanted is not None and not valid:
            raise ValueError("No valid transports provided")
        return valid or list(VALID_TRANSPORTS)

    def _get_engineio_url(self, url: str, engineio_path: str, transport: str) -> str:
        """Return the URL of the endpoint for a transport: the path of `url` does not matter.

        Raises `ConnectionError` if `url` is no HTTP or WebSocket URL.
        """
        try:
            parts = urlsplit(url)
            scheme = _SCHEMES[parts.scheme]
            if not parts.hostname or (parts.port or 1) < 0:
                raise KeyError(url)
        except (KeyError, ValueError):
            raise ConnectionError(f"Not an HTTP or WebSocket URL: {printable(url)}") from None
        if transport == WEBSOCKET:
            scheme = "ws" + scheme[4:]
        path = engineio_path.strip("/")
        query = f"{parts.query}&" if parts.query else ""
        path = f"/{path}/" if path else "/"
        return f"{scheme}://{parts.netloc}{path}?{query}transport={transport}&EIO=4"

    def _get_url_timestamp(self) -> str:
        """Return what tells caches that this is a new request, for the end of a URL."""
        return f"&t={time.time()}" if self.timestamp_requests else ""

    @staticmethod
    def _with_sid(url: str, sid: str) -> str:
        return f"{url}&sid={quote(sid, safe='')}"

    def _open(self, opening: Opening, transport: str, connection: "BaseConnection") -> None:
        """Be connected."""
        self.sid = opening.sid
        self.upgrades = opening.upgrades
        self.ping_interval = opening.ping_interval
        self.ping_timeout = opening.ping_timeout
        self.current_transport = transport
        self.ws = connection.ws
        self._connection = connection
        self.state = "connected"
        connected_clients.append(self)
        self.logger.info("%s: connected over %s", printable(opening.sid), transport)

    def _may_upgrade(self) -> bool:
        return WEBSOCKET in (self.upgrades or ()) and WEBSOCKET in (self.transports or ())

    def _closed(self, connection: "BaseConnection") -> None:
        """Be disconnected, if `connection` is the one that this client has."""
        if self._connection is not connection:
            return
        self._connection = None
        self.ws = None
        self.state = "disconnected"
        self.sid = None
        with suppress(ValueError):
            connected_clients.remove(self)

    def _disconnected(self, connection: "BaseConnection") -> None:
        """Forget what a connection used, if no later one uses it."""
        if self._connection is None and self._last_connection is connection:
            self._forget_session()

    # -- logging -------------------------------------------------------------------------------

    def log_fault(self, sid: str, error: Exception) -> None:
        """Log what the server did wrong."""
        self.logger.warning("%s: %s, aborting", printable(sid), printable(str(error)))

    def log_packet(self, sid: str, what: str, packet_type: int, data: Any) -> None:
        """Log one packet; check `log_info` first, which costs less than the call."""
        shown = "<binary>" if isinstance(data, wire.binary_types) else printable(data)
        name = wire.packet_names[packet_type]
        self.logger.info("%s: %s packet %s data %s", printable(sid), what, name, shown)


class BaseConnection(Inbox):
    """One connection of a client, over whatever transport; a shell waits for it."""

    server: Any  # the client: `Inbox` and `Reader` call it by what it is to the other side

    _reason_of_close = BaseClient.reason.SERVER_DISCONNECT
    _reason_of_kill = BaseClient.reason.TRANSPORT_ERROR

    def __init__(self, client: Any, opening: Opening, lock: AbstractContextManager[Any]) -> None:
        self.server = client
        self.client = client
        self.loop = client.loop
        self.opening = opening
        self.sid = opening.sid
        self.lock = lock
        self.life = Life.OPEN
        self.carrier = Carrier.POLLING
        self.reason: str | None = None
        self.ws: Any = None
        self._stream: Any = None
        self.outbox: list[Packet] = []
        self.buffered = 0
        self._polls = False
        self._posts = False
        self._on_paused: Callable[[], Any] | None = None
        self._alive_until = math.inf
        self._cancel_look: Callable[[], None] | None = None
        self._set_up_inbox()

    # -- what a shell supplies -------------------------------------------------------------------

    def _post_soon(self) -> None:
        """Have somebody send what is in the outbox in POST requests, as long as there is any."""
        raise NotImplementedError

    def _abort(self) -> None:
        """End whatever the connection waits for in the network."""
        raise NotImplementedError

    def _start_closing(self, ws: Any, code: int) -> None:
        """Begin the closing handshake of a WebSocket, without waiting."""
        raise NotImplementedError

    # -- life ------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection has ended and its disconnect handler has run."""
        return self.life is Life.CLOSED

    def start_close(self, reason: str) -> bool:
        """Begin the end. Returns True the first time only: that caller runs the handler."""
        with self.lock:
            if self.life is not Life.OPEN:
                return False
            self.life = Life.CLOSING
            self.reason = reason
            return True

    def end(self, reason: str) -> None:
        """End the connection for something that happened to it; the handler runs elsewhere."""
        role = self._start_end(reason)
        if role:
            self.loop.spawn(self._dispatch, role)

    def _start_end(self, reason: str, close_code: int = 1000) -> int:
        """Begin the end, after the messages that came before it. Returns a role to dispatch."""
        if not self.start_close(reason):
            return 0
        with self.lock:
            self._take()
        self._close_websocket(close_code)
        return self._deliver([END])

    def _claim_close(self, reason: str, says_goodbye: bool = True) -> bool:
        """Begin the end from the application's side. Returns whether the caller must finish it."""
        if says_goodbye:
            # Before the life changes: nothing may be sent after it, and all that was sent before.
            with self.lock:
                if self.life is not Life.OPEN:
                    return False
            self.push(CLOSE_PACKET)
        if not self.start_close(reason):
            return False
        self._clear_inbox()
        return True

    def _close_websocket(self, code: int = 1000) -> None:
        self._stream = None  # no data frame may follow the close frame
        if self.ws is not None:
            self._start_closing(self.ws, code)

    # -- sending ---------------------------------------------------------------------------------

    def push(self, pkt: Packet) -> bool:
        """Send a packet, without waiting. Returns False if the connection has ended.

        Raises what `Packet.encode` raises for data that cannot be sent.
        """
        client = self.client
        if client.log_info:
            client.log_packet(self.sid, "Sending", pkt.packet_type, pkt.data)
        stream = self._stream
        if stream is None:
            return self._push_slowly(pkt)
        if self.life is not Life.OPEN:
            return False
        stream.push(encode_masked_frame(pkt.encode()))
        if stream.size > client.max_send_buffer:
            self._check_buffer(stream)
        return True

    def _push_slowly(self, pkt: Packet) -> bool:
        """Send over polling, or over a WebSocket that takes whole messages only."""
        starts = is_full = False
        with self.lock:
            if self.life is not Life.OPEN:
                return False
            websocket = self.ws
            if websocket is None:
                if payload.SEPARATOR in pkt.wire:
                    # It would arrive as two packets, the second one of the sender's making.
                    self.client.logger.warning(
                        "text with U+001E cannot be sent over polling, dropped"
                    )
                    return True
                self.outbox.append(pkt)
                self.buffered += len(pkt.wire) + SEPARATOR_SIZE
                is_full = self.buffered > self.client.max_send_buffer
                starts = self._may_start_posting()
        if websocket is not None:
            self._put(websocket, pkt.encode())
        elif is_full:
            self.end(self.client.reason.SEND_BUFFER_FULL)
        elif starts:
            self._post_soon()
        return True

    def _put(self, ws: Any, data: Any) -> None:
        """Send one message over a WebSocket, without waiting."""
        ws.send(data)

    def _check_buffer(self, stream: Any) -> None:
        stream.flush()  # what was only gathered for one write is not the server's fault
        if stream.size > self.client.max_send_buffer:
            self.end(self.client.reason.SEND_BUFFER_FULL)
            stream.abort()

    def _take(self) -> list[Packet]:
        """Take out what is buffered. Call with `lock` held."""
        packets, self.outbox = self.outbox, []
        self.buffered = 0
        return packets

    # -- polling ---------------------------------------------------------------------------------

    def _may_start_posting(self) -> bool:
        """Claim the POST requests if there is something to send. Call with `lock` held."""
        if self._posts or not self.outbox or self.carrier is not Carrier.POLLING:
            return False
        self._posts = True
        return True

    def next_post(self) -> list[Packet]:
        """Return the packets of the next POST, within what the server takes; none: stop posting.

        A single packet that is larger goes alone.
        """
        with self.lock:
            packets: list[Packet] = []
            if self.carrier is Carrier.POLLING and self.life is not Life.CLOSED:
                packets = self._take_within(self.opening.max_payload, self.opening.max_packets)
            self._posts = bool(packets)
        if not packets:
            self._tell_paused()
        return packets

    def _take_within(self, limit: int | None, most: int | None) -> list[Packet]:
        size = -SEPARATOR_SIZE
        count = 0
        for packet in islice(self.outbox, most):
            size += len(packet.wire) + SEPARATOR_SIZE
            if count and limit is not None and size > limit:
                break
            count += 1
        if count == len(self.outbox):
            return self._take()
        packets, self.outbox = self.outbox[:count], self.outbox[count:]
        self.buffered -= sum(len(packet.wire) + SEPARATOR_SIZE for packet in packets)
        return packets

    def start_poll(self) -> bool:
        """Claim the next GET. Returns False if there must be none: the end, or an upgrade."""
        with self.lock:
            self._polls = self.carrier is Carrier.POLLING and self.life is Life.OPEN
            polls = self._polls
        if not polls:
            self._tell_paused()
        return polls

    def end_poll(self) -> None:
        """Note that a GET has ended, and what it brought is in the inbox."""
        with self.lock:
            self._polls = False
        self._tell_paused()

    # -- upgrade ---------------------------------------------------------------------------------

    def start_pause(self, on_paused: Callable[[], Any]) -> bool:
        """Let polling come to its end for an upgrade; `on_paused` is called when it has.

        Returns False if the connection has ended.
        """
        with self.lock:
            if self.life is not Life.OPEN:
                return False
            self.carrier = Carrier.PROBING
            self._on_paused = on_paused
        self._tell_paused()
        return True

    def _tell_paused(self) -> None:
        with self.lock:
            if self._posts or (self._polls and self.life is Life.OPEN):
                return
            on_paused, self._on_paused = self._on_paused, None
        if on_paused is not None:
            on_paused()

    @property
    def is_paused(self) -> bool:
        """Whether neither a GET nor a POST is under way."""
        return not (self._polls or self._posts)

    def end_pause(self) -> None:
        """Give an upgrade up: polling goes on."""
        with self.lock:
            if self.carrier is not Carrier.PROBING:
                return
            self.carrier = Carrier.POLLING
            self._on_paused = None
            starts = self._may_start_posting()
        if starts:
            self._post_soon()

    def finish_upgrade(self, ws: Any) -> bool:
        """Let a WebSocket take over, with what waits in the outbox first.

        Returns False if polling has not come to its end, or the connection has.
        """
        with self.lock:
            if self.life is not Life.OPEN or not self.is_paused:
                return False
            packets = self._take()
            self._put(ws, UPGRADE_PACKET.encode())
            for packet in packets:
                self._put(ws, packet.encode())
            self._attach(ws)
            if self.client._connection is self:
                self.client.current_transport = WEBSOCKET
                self.client.ws = ws
        return True

    def _attach(self, ws: Any) -> None:
        """Let a WebSocket carry the connection."""
        self.carrier = Carrier.WEBSOCKET
        self.ws = ws
        self._stream = ws.stream

    # -- receiving -------------------------------------------------------------------------------

    def _deliver(self, messages: list[Any], role: int = 0, size: int = 0, largest: int = 0) -> int:
        # Small messages take more memory here than they took in the network.
        size += MESSAGE_OVERHEAD * len(messages)
        return super()._deliver(messages, role, size, largest)

    def _receive_control(self, packet_type: int, data: Any) -> None:
        client = self.client
        if client.log_info:
            client.log_packet(self.sid, "Received", packet_type, data)
        if packet_type == wire.PING:
            self._alive_until = time.monotonic() + self.opening.patience
            self.push(Packet(wire.PONG, data))
        elif packet_type not in (wire.CLOSE, wire.NOOP):
            # Nothing that a client can act on, nor a reason to leave: python-engineio's answer.
            client.logger.warning(
                "%s: unexpected packet of type %s", printable(self.sid), packet_type
            )

    # -- heartbeat -------------------------------------------------------------------------------

    def watch(self) -> None:
        """End the connection when the server falls silent."""
        self._alive_until = time.monotonic() + self.opening.patience
        self._cancel_look = self.loop.call_later(self.opening.patience, self._look)

    def _look(self) -> None:
        delay = self.time_left(time.monotonic())
        if delay > 0:
            self._cancel_look = self.loop.call_later(delay, self._look)
        else:
            self._cancel_look = None
            self._ping_missed()

    def _ping_missed(self) -> None:
        self.client.logger.warning("Server has stopped communicating, aborting")
        self.end(self.client.reason.PING_TIMEOUT)
        self._abort()

    def stop_watching(self) -> None:
        """Forget the deadline."""
        cancel, self._cancel_look = self._cancel_look, None
        if cancel is not None:
            cancel()

    def time_left(self, now: float) -> float:
        """Return how many seconds the server has until it must have sent a PING.

        If this process itself was held up (suspended, or its loop was blocked), what the server
        sent may be lying in a buffer that nobody read: it gets another ping timeout.
        """
        left = self._alive_until - now
        if left < -min(1.0, self.opening.ping_timeout / 2):
            left = self.opening.ping_timeout
            self._alive_until = now + left
        return left


def split_url_credentials(url: str) -> tuple[str, str] | None:
    """Return user and password if a URL has them."""
    parts = urlsplit(url)
    if not parts.username and not parts.password:
        return None
    return parts.username or "", parts.password or ""


__all__ = [
    "POLLING",
    "WEBSOCKET",
    "BaseClient",
    "BaseConnection",
    "Opening",
    "connected_clients",
    "default_logger",
    "signal_handler",
]
