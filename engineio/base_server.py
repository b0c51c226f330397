"""What the sync and the asyncio server share: options, logging, answers. Nothing here waits."""

import logging
import os
import secrets
import time
import warnings
import weakref
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, TypeVar, overload

from engineio import packet as wire
from engineio import payload, response
from engineio.admission import Admission
from engineio.bodies import Bodies, LateBodyError
from engineio.driver import AsyncDriver, Driver, choose
from engineio.events import Events
from engineio.exceptions import PacketError, ProtocolError
from engineio.heartbeat import Heartbeat
from engineio.manager import Manager
from engineio.packet import Packet
from engineio.request import (
    Environ,
    Reject,
    Request,
    client_address,
)
from engineio.response import Headers, Response
from engineio.settings import NEW_OPTIONS, VALID_TRANSPORTS, WEBSOCKET, Settings

Handler = TypeVar("Handler", bound=Callable[..., Any])

default_logger = logging.getLogger("engineio.server")

# Flask-SocketIO leaves this in when it passes its options on; nobody mistyped anything.
PASSED_BY_OTHERS = {"message_queue"}

SID_RANDOM_BYTES = 12  # 96 bits, as many as python-engineio's; 3 bytes more tell processes apart
SERVICE_CHECK = 0.5  # seconds between looks at what nothing tells: a server that stops, buffers
FAREWELL_TIME = 30.0  # seconds a client may take to fetch the packet that says it was closed

_LOG_DATA = 200  # characters of a packet's data that are logged


class BaseServer(Events, Settings):
    """Options and helpers of a server; see `Server` for the parameters."""

    compression_methods = ["gzip", "deflate"]
    valid_transports = VALID_TRANSPORTS
    sequence_number = 0

    class reason:  # noqa: N801 - the public name
        """Why a client was disconnected, as given to the disconnect handler."""

        SERVER_DISCONNECT = "server disconnect"
        CLIENT_DISCONNECT = "client disconnect"
        PING_TIMEOUT = "ping timeout"
        TRANSPORT_CLOSE = "transport close"
        TRANSPORT_ERROR = "transport error"
        PARSE_ERROR = "parse error"
        SEND_BUFFER_FULL = "send buffer full"
        SERVER_SHUTDOWN = "server shutdown"

    def __init__(
        self,
        async_mode: str | None = None,
        ping_interval: float | tuple[float, float] = 25,
        ping_timeout: float = 20,
        max_http_buffer_size: int = 1_000_000,
        allow_upgrades: bool = True,
        http_compression: bool = True,
        compression_threshold: int = 1024,
        cookie: Any = None,
        cors_allowed_origins: Any = None,
        cors_credentials: bool = True,
        logger: bool | logging.Logger = False,
        json: Any = None,
        async_handlers: bool = True,
        monitor_clients: bool | None = None,
        transports: str | list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "max_http_buffer_size": max_http_buffer_size,
            "allow_upgrades": allow_upgrades,
            "http_compression": http_compression,
            "compression_threshold": compression_threshold,
            "cookie": cookie,
            "cors_allowed_origins": cors_allowed_origins,
            "cors_credentials": cors_credentials,
            "async_handlers": async_handlers,
            "transports": transports,
        }
        for option in NEW_OPTIONS:
            if option in kwargs:
                options[option] = kwargs.pop(option)
        for option, value in options.items():
            setattr(self, option, value)
        if json is not None:
            Packet.json = json
        self.logger = make_logger(logger, default_logger)
        self.log_info = self.logger.isEnabledFor(logging.INFO)
        self.log_message_keys: set[str] = set()
        self.handlers = {}
        self.start_service_task = True if monitor_clients is None else monitor_clients
        self.manager: Any = kwargs.pop("client_manager", None) or Manager()
        self._arity = {}
        self._openings: dict[int, tuple[Any, dict[str, Any], str]] = {}
        self._numbers = count(secrets.randbelow(1 << 24))
        # Nothing depends on an automatic choice yet, so the first request may still change it.
        self._mode_is_open = async_mode is None
        self._use(*choose(async_mode, self.async_modes()))
        self._begin()
        _servers.add(self)
        unknown = sorted(set(kwargs) - PASSED_BY_OTHERS)
        if unknown:
            warnings.warn(f"ignored unknown options: {', '.join(unknown)}", stacklevel=2)

    def _begin(self) -> None:
        """Have no clients, and nothing that runs."""
        self.service_task_handle: Any = None
        self.service_task_event: Any = None
        self.heartbeat = Heartbeat(self.driver.lock())
        self.admission = Admission(self.driver.lock())
        self.bodies = Bodies(self._stop_reading, self.driver.lock())
        self._set_up()

    def _leave_to_parent(self) -> None:
        """Begin anew in a process that was forked: clients and threads are the parent's."""
        for socket in self.manager.all():
            socket.disown()
            self.manager.remove(socket.sid)
        self._begin()  # whoever held a lock at that moment does not exist here

    def _set_up(self) -> None:
        """Give a kind of server what it keeps besides."""

    def _stop_reading(self, reader: Any) -> None:
        """Stop who reads the body of a POST; `Bodies` has been told who that is."""
        raise NotImplementedError

    driver: Any
    loop: Any

    def _use(self, mode: str, driver: Driver | AsyncDriver) -> None:
        self.async_mode = mode
        self.driver = driver
        self._async = driver.primitives()

    def async_modes(self) -> list[str]:
        """Return the modes of this kind of server, in the order they are tried."""
        raise NotImplementedError

    def is_asyncio_based(self) -> bool:
        """Return whether the handlers may be coroutines."""
        return False

    @property
    def sockets(self) -> dict[str, Any]:
        """The clients' sockets by sid."""
        sockets: dict[str, Any] = self.manager.sockets
        return sockets

    @property
    def sids(self) -> tuple[str, ...]:
        """The clients that are connected now: a copy, safe to go through while they come and go."""
        return tuple(socket.sid for socket in self.manager.all() if socket.connected)

    def stats(self) -> dict[str, Any]:
        """Return numbers for a monitoring system.

        - ``clients``: those connected now, by transport.
        - ``send_buffer``: bytes that wait for them.
        - ``connects``: clients let in since the start, by the transport they began with.
        - ``disconnects``: clients that went, by reason.
        - ``refused``: requests that were refused, by the option or rule that they came up against.
        """
        sockets = [socket for socket in self.manager.all() if socket.connected]
        websockets = sum(socket.upgraded for socket in sockets)
        return {
            "clients": {"polling": len(sockets) - websockets, "websocket": websockets},
            "send_buffer": sum(socket.unsent for socket in sockets),
            **self.admission.totals(),
        }

    @overload
    def on(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def on(self, event: str, handler: Callable[..., Any]) -> None: ...
    def on(self, event: str, handler: Callable[..., Any] | None = None) -> Any:
        """Register the handler of an event: "connect", "message" or "disconnect".

        Works as a decorator, or as a call with `handler`. A later handler replaces an earlier one.

        - ``connect(sid, environ)`` or ``connect(sid)``: None or True lets the client in; False, or
          anything else that JSON can express, rejects it.
        - ``message(sid, data)``: str, bytes, or what the JSON in a text message says.
        - ``disconnect(sid, reason)`` or ``disconnect(sid)``: a text of `Server.reason`; exactly
          once for each client that was let in.

        Raises `ValueError` for any other event.
        """
        return self._register(event, handler)

    def transport(self, sid: str) -> str:
        """Return "polling" or "websocket". Raises `KeyError` for an unknown sid."""
        return "websocket" if self._get_socket(sid).upgraded else "polling"

    def generate_id(self) -> str:
        """Return a new sid: 20 URL-safe characters that nobody can guess."""
        number = next(self._numbers) & 0xFFFFFF
        self.__dict__["sequence_number"] = number  # past the look whether it is an option
        unique = os.urandom(SID_RANDOM_BYTES) + number.to_bytes(3, "big")
        return urlsafe_b64encode(unique).decode()

    def create_queue(self, *args: Any, **kwargs: Any) -> Any:
        """Return a queue that suits the async mode."""
        self._mode_is_open = False
        return self.driver.queue(*args, **kwargs)

    def get_queue_empty_exception(self) -> type[Exception]:
        """Return what a queue of `create_queue` raises when it has nothing to give."""
        empty: type[Exception] = self.driver.queue_empty
        return empty

    def create_event(self, *args: Any, **kwargs: Any) -> Any:
        """Return an event (set, clear, is_set, wait) that suits the async mode."""
        self._mode_is_open = False
        return self.driver.event(*args, **kwargs)

    def _broadcast(self, data: Any, skip: str | Iterable[str] | None) -> None:
        packet = Packet(wire.MESSAGE, data)
        skipped = {skip} if isinstance(skip, str) else set(skip or ())
        for socket in self.manager.all():
            if socket.connected and socket.sid not in skipped:
                socket.push(packet)

    def wake_at(self, due: float, sid: str) -> None:
        """Have a session looked after when its deadline comes."""
        if self.heartbeat.push(due, sid) and self.service_task_event is not None:
            self.service_task_event.set()

    def plan_farewell(self, sid: str) -> None:
        """Forget an ended session when its client had enough time to fetch its last packets."""
        self.wake_at(time.monotonic() + FAREWELL_TIME, sid)

    def _get_socket(self, sid: str) -> Any:
        socket = self.manager.get(sid)
        if socket is None:
            raise KeyError("Session not found")
        if socket.closed:
            raise KeyError("Session is disconnected")
        return socket

    # -- who comes and goes ----------------------------------------------------------------------

    def _admit(self, socket: Any, environ: Environ) -> Reject | None:
        """Take a new session in, or return why not."""
        admitted = self.admission.admit(self, client_address(environ, self), time.monotonic())
        if isinstance(admitted, Reject):
            return admitted
        socket.admitted = admitted
        self.manager.add(socket)
        return None

    def forget(self, socket: Any) -> None:
        """Take a session out that has ended."""
        self.manager.remove(socket.sid)
        admitted, socket.admitted = socket.admitted, None
        if admitted is not None:
            self.admission.leave(admitted)

    # -- heartbeat -----------------------------------------------------------------------------

    def _service_wait(self, due: float | None, looks_for_stop: bool) -> float | None:
        """Return how long the heartbeat loop may sleep, in seconds; None: until it is woken."""
        wait = None if due is None else due - time.monotonic()
        if looks_for_stop or self.max_total_send_buffer is not None:
            wait = SERVICE_CHECK if wait is None else min(wait, SERVICE_CHECK)
        return wait

    def _limit_send_buffers(self) -> None:
        """Disconnect the slowest clients if too much waits for all of them together."""
        limit = self.max_total_send_buffer
        if limit is None:
            return
        buffers = [(socket.unsent, socket) for socket in self.manager.all()]
        total = sum(unsent for unsent, _ in buffers)
        if total <= limit:
            return
        for unsent, socket in sorted(buffers, key=lambda each: each[0], reverse=True):
            self._log_error_once(
                f"{socket.sid}: {unsent} bytes wait for it, {total} for all clients",
                "max_total_send_buffer",
            )
            socket.overflow()
            total -= unsent
            if total <= limit:
                break

    def _disconnect_for_stop(self) -> None:
        """Have every client disconnected (server shutdown), without waiting for that."""
        for socket in self.manager.all():
            if not socket.closing:
                self.loop.spawn(socket.close, True, False, self.reason.SERVER_SHUTDOWN)

    def _was_stalled(self, due: float | None, now: float) -> bool:
        """Tell whether this process was held up itself (a blocked loop, SIGSTOP)."""
        return due is not None and now - due > min(1.0, self.ping_timeout / 2)

    # -- answers -------------------------------------------------------------------------------

    def _open_packet(self, sid: str, upgrades: list[str]) -> Packet:
        # All but the sid is the same for nearly all clients, and encoded once.
        interval = self.ping_interval + self.ping_interval_grace_period
        made_of = (upgrades, self.ping_timeout, interval, self.max_http_buffer_size, Packet.json)
        known = self._openings.get(len(upgrades))
        if known is None or known[0] != made_of:
            rest = {
                "upgrades": upgrades,
                # The official server's order. python-engineio has them the other way round, and
                # by that our clients know it, with its limits.
                "pingInterval": round(interval * 1000),
                "pingTimeout": round(self.ping_timeout * 1000),
                "maxPayload": self.max_http_buffer_size,
            }
            text = Packet.json.dumps(rest, separators=(",", ":"))
            known = self._openings[len(upgrades)] = (made_of, rest, text.lstrip()[1:])
        _, rest, text = known
        packet = Packet(wire.OPEN, {"sid": sid, **rest})
        sid_text = Packet.json.dumps(sid, separators=(",", ":"))
        packet.encode_cache = f'{wire.OPEN}{{"sid":{sid_text},{text}'
        return packet

    def _upgrades(self, sid: str, transport: str) -> list[str]:
        possible = self.allow_upgrades and WEBSOCKET in self.transports
        return [WEBSOCKET] if possible and transport != WEBSOCKET else []

    def _ok(
        self,
        packets: list[Packet] | None = None,
        headers: Headers | None = None,
        jsonp_index: int | str | None = None,
    ) -> Response:
        if packets is None:
            return response.text("ok", headers=headers)
        body = payload.join(packets)
        if jsonp_index is None:
            return response.text(body, headers=headers)
        body = payload.jsonp_wrap(body, str(jsonp_index))
        return response.text(body, response.JAVASCRIPT, headers=headers)

    def _bad_request(self, message: str | None = None) -> Response:
        return response.error(400, 3, message or "Bad request")

    def _method_not_found(self) -> Response:
        return response.error(405, 3, "Method not found")

    def _unauthorized(self, message: Any = None) -> Response:
        return response.unauthorized(message)

    def _cors_headers(self, environ: Environ) -> Headers:
        return response.cors_headers(environ, self)

    def _refuse(self, reject: Reject, request: Request) -> Response:
        code, message = reject.error
        self.admission.count("refused", reject.log_key)
        self._log_error_once(f"{message}: {_describe(request)}", reject.log_key)
        if reject.status == 405:
            return self._method_not_found()
        return response.error(reject.status, code, message)

    def _end_badly(self, socket: Any, error: ProtocolError) -> Response:
        """End a session whose client broke the protocol, and answer its request."""
        if not socket.closing:  # else it has ended for this, and that was logged
            self.log_fault(socket.sid, error)
        malformed = isinstance(error, PacketError)
        socket.end(self.reason.PARSE_ERROR if malformed else self.reason.TRANSPORT_ERROR)
        if isinstance(error, LateBodyError):
            self.admission.count("refused", "body_timeout")
            return response.empty(error.status)
        return self._bad_request()

    # -- logging -------------------------------------------------------------------------------

    def _log_error_once(self, message: str, message_key: str) -> None:
        """Log what peers do wrong: the first of its kind as an error, the others as info."""
        if message_key not in self.log_message_keys:
            self.log_message_keys.add(message_key)
            self.logger.error(
                "%s (further occurrences of this error will be logged with level INFO)", message
            )
        else:
            self.logger.info(message)

    def _warn_unknown(self, sid: str) -> None:
        self.logger.warning("Cannot send to sid %s", printable(sid))

    def log_fault(self, sid: str, error: Exception) -> None:
        """Log what a connected client did wrong."""
        self._log_error_once(f"{sid}: {printable(str(error))}", type(error).__name__)

    def log_packet(self, sid: str, what: str, packet_type: int, data: Any) -> None:
        """Log one packet; check `log_info` first, which costs less than the call."""
        shown = "<binary>" if isinstance(data, wire.binary_types) else printable(data)
        self.logger.info(
            "%s: %s packet %s data %s", sid, what, wire.packet_names[packet_type], shown
        )


_servers: weakref.WeakSet[BaseServer] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for server in list(_servers):
        server._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _describe(request: Request) -> str:
    environ = request.environ
    parts = [request.method, environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")]
    if origin := environ.get("HTTP_ORIGIN"):
        parts.append(f"from {origin}")
    return printable(" ".join(parts))


def printable(value: Any) -> str:
    """Return a value as one short line of text for a log, control characters escaped."""
    text = (value if isinstance(value, str) else repr(value))[: _LOG_DATA + 1]
    if not text.isprintable():
        text = ascii(text)[1:-1]  # before it is cut: an escape is longer than its character
    return text if len(text) <= _LOG_DATA else text[:_LOG_DATA] + "..."


def make_logger(logger: bool | logging.Logger, default: logging.Logger) -> logging.Logger:
    """Return the logger an application asked for: its own, or ours at INFO (True) or ERROR.

    With a bool, a level and a handler are only set where the application has set none: a second
    handler would print every line twice.
    """
    if not isinstance(logger, bool):
        return logger
    if default.level == logging.NOTSET:
        default.setLevel(logging.INFO if logger else logging.ERROR)
        if not default.hasHandlers():
            default.addHandler(logging.StreamHandler())
    return default
