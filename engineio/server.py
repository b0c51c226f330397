"""The synchronous server."""

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from engineio import packet as wire
from engineio import response
from engineio.base_server import BaseServer
from engineio.base_server import default_logger as default_logger
from engineio.base_socket import BadLengthError
from engineio.driver import SYNC_MODES, Driver, Loop, load
from engineio.exceptions import ContentTooLongError, DriverError, ProtocolError
from engineio.packet import Packet
from engineio.request import (
    BAD_REQUEST,
    REQUEST_KEY,
    Connect,
    Environ,
    Poll,
    Post,
    Preflight,
    Reject,
    Request,
    Upgrade,
    route,
)
from engineio.response import Response
from engineio.session import Beat, Life
from engineio.settings import WEBSOCKET
from engineio.socket import Socket


class Server(BaseServer):
    """An Engine.IO server for WSGI: threads, eventlet, gevent, and gevent inside uWSGI.

    Sizes are in bytes, times in seconds. A value that cannot work raises `ValueError`. The options
    are attributes that may be set later, except `async_mode`, `json`, `monitor_clients` and
    `client_manager`.

    :param async_mode: "threading", "eventlet", "gevent" or "gevent_uwsgi". By default what the
        process runs on: inside uWSGI "gevent_uwsgi", in a process patched by eventlet or gevent
        that one, else the first of eventlet, gevent_uwsgi, gevent and threading that is installed
        and, at the first request, fits the server it came through.
    :param ping_interval: How often clients are asked whether they are there, default 25. A tuple
        adds a grace period to what clients are told: (interval, grace).
    :param ping_timeout: How long they may take to answer, default 20.
    :param max_http_buffer_size: The largest message or POST accepted, default 1,000,000.
    :param allow_upgrades: Whether polling clients may change to WebSocket, default True.
    :param http_compression: Whether poll responses are compressed, default True.
    :param compression_threshold: From which size on they are, default 1024.
    :param cookie: Name of a cookie that carries the sid, or a mapping of its attributes with the
        key "name", whose values are strings, True for flags, or functions. Default: no cookie.
    :param cors_allowed_origins: Which pages may connect: None (default) for those of the same
        origin, "*", an origin, a list of them, ``function(origin, environ)``, or [] for no CORS
        handling at all.
    :param cors_credentials: Whether cookies may come along, default True.
    :param logger: True logs at INFO, False (default) at ERROR, or a `logging.Logger`.
    :param json: A module with `dumps` and `loads` to use instead of `engineio.json`, for the whole
        process.
    :param async_handlers: Whether the next message of a client is handled while a handler of an
        earlier one still waits, default True. They start in order either way.
    :param monitor_clients: Whether clients that do not answer are dropped, default True.
    :param transports: The transports to offer, "polling" and "websocket"; default both.
    :param max_send_buffer: How much may wait for one client before it is disconnected (send
        buffer full), default 16 MiB.
    :param max_total_send_buffer: How much may wait for all clients together before the slowest are
        disconnected (send buffer full), default None: no limit but each client's. Looked at twice
        a second.
    :param max_clients: How many clients there may be; beyond, handshakes get a 503. Default None:
        any number.
    :param max_clients_per_address: How many of them may come from one address (of IPv6: one /64
        network); beyond, 429. Default None: any number.
    :param max_handshakes_per_address: How many handshakes a second an address may make; beyond,
        429. Default None: any number.
    :param trusted_proxies: Addresses and networks whose forwarded headers count, "" for a Unix
        socket: X-Forwarded-For in the limits per address, X-Forwarded-Proto and -Host in the
        same-origin check. Default None: the former of nobody, the latter of everybody.
    :param upgrade_timeout: How long a WebSocket may take to replace polling, default 10.
    :param body_timeout: How long the body of a POST may take, default 30; beyond, 408 and the
        session ends. Web servers that take a body in before they pass the request on have a limit
        of their own, or none.
    :param per_message_deflate: Whether WebSocket compression is negotiated, default False, for
        messages of `compression_threshold` bytes and more; a mapping gives the arguments of
        `websockets`' `ServerPerMessageDeflateFactory`.
    :param client_manager: What owns the table of clients, default `engineio.manager.Manager()`.
    :param kwargs: Unknown options are ignored, with one warning that names them.
    """

    driver: Driver

    def _set_up(self) -> None:
        self._loop: Loop | None = None
        self._start_lock = self.driver.lock()
        self._service: Any = None
        self._service_over: Any = None
        self._fitting: set[type | None] = set()

    def async_modes(self) -> list[str]:
        """Return the modes of this kind of server, in the order they are tried."""
        return SYNC_MODES

    @property
    def loop(self) -> Loop:
        """The loop of the thread that serves requests."""
        loop = self._loop
        if loop is None:
            with self._start_lock:
                loop = self._loop = self._loop or self.driver.loop()
            self.driver.at_exit(_shutdown_later(self))
        return loop

    # -- what applications call ------------------------------------------------------------------

    def send(self, sid: str, data: Any) -> None:
        """Send a message to a client, without waiting.

        `data`: str, bytes (binary), a dict or list (JSON), or anything else as its `str`. An
        unknown sid is a warning in the log. Raises what encoding the data raises.
        """
        if not self.manager.send(sid, Packet(wire.MESSAGE, data)):
            self._warn_unknown(sid)

    def send_packet(self, sid: str, pkt: Packet) -> None:
        """Send a packet to a client, without waiting. One packet may go to many clients."""
        if not self.manager.send(sid, pkt):
            self._warn_unknown(sid)

    def broadcast(self, data: Any, skip: str | Iterable[str] | None = None) -> None:
        """Send a message to every client, encoded once, without waiting.

        `data` as for `send`; `skip`: a sid, or several, that do not get it.
        """
        self._broadcast(data, skip)

    def get_session(self, sid: str) -> dict[Any, Any]:
        """Return the dictionary kept for a client; changes to it stay.

        Raises `KeyError` for an unknown sid.
        """
        session: dict[Any, Any] = self._get_socket(sid).session
        return session

    def save_session(self, sid: str, session: dict[Any, Any]) -> None:
        """Replace the dictionary kept for a client. Raises `KeyError` for an unknown sid."""
        self._get_socket(sid).session = session

    @contextmanager
    def session(self, sid: str) -> Iterator[dict[Any, Any]]:
        """Return the dictionary kept for a client, saved when the `with` block ends.

        Raises `KeyError` for an unknown sid.
        """
        session = self.get_session(sid)
        yield session
        self.save_session(sid, session)

    def disconnect(self, sid: str | None = None) -> None:
        """Disconnect a client, or all of them: first its disconnect handler runs, then it is told.

        Does not wait for the client. An unknown sid is no error.
        """
        if sid is None:
            self._close_all(self.reason.SERVER_DISCONNECT)
        elif (socket := self.manager.get(sid)) is not None:
            socket.close()

    def _close_all(self, reason: str) -> None:
        for socket in self.manager.all():
            socket.close(reason=reason)

    def handle_request(self, environ: Environ, start_response: Any) -> list[bytes]:
        """Answer a request: the WSGI application itself.

        Raises `DriverError` if the async mode cannot work under the server of the request.
        """
        log_info = self.logger.isEnabledFor(logging.INFO)
        if log_info is not self.log_info:
            self.log_info = log_info
        connection = self.find_connection(environ)
        request = Request.parse(environ)
        if connection is not None:
            connection.set_nodelay(is_last=request.wants_websocket)
        request.connection = connection
        environ[REQUEST_KEY] = request
        try:
            answer = self._answer(request, start_response, connection)
        finally:
            environ.pop(REQUEST_KEY, None)
        if isinstance(answer, list):
            return answer  # what a WebSocket leaves to the WSGI server
        if connection is not None and connection.is_open_websocket:
            connection.refuse(answer["response"])
            ended: list[bytes] = connection.end(start_response)
            return ended
        answer = response.finish(answer, environ, self)
        if connection is not None and connection.closes_silently:
            answer["headers"].append(("Connection", "close"))
        start_response(answer["status"], answer["headers"])
        return [answer["response"]]

    def shutdown(self) -> None:
        """Disconnect all clients (server shutdown) and end the threads of this server."""
        self._close_all(self.reason.SERVER_SHUTDOWN)
        with self._start_lock:
            handle, self.service_task_handle = self.service_task_handle, None
            event, self._service = self._service, None
            over = self._service_over
        if handle is not None:
            # Who has come meanwhile found a service that ends now.
            self._close_all(self.reason.SERVER_SHUTDOWN)
            event.set()
            over.wait()  # it may not have begun
            handle.join()
        with self._start_lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function in a thread or greenlet, as the async mode has it. Returns it, started.

        It has a `join` method.
        """
        self._mode_is_open = False
        thread = self.driver.thread(target=target, args=args, kwargs=kwargs)
        thread.start()
        return thread

    def sleep(self, seconds: float = 0) -> None:
        """Wait for a number of seconds, as the async mode has it."""
        self.driver.sleep(seconds)

    # -- requests --------------------------------------------------------------------------------

    def _answer(
        self, request: Request, start_response: Any, connection: Any
    ) -> Response | list[bytes]:
        decision = route(request, self, self.manager)
        if isinstance(decision, Poll):
            return self._answer_poll(decision.session, request, start_response)
        if isinstance(decision, Post):
            return self._answer_post(decision.session, request)
        if isinstance(decision, Reject):
            return self._refuse(decision, request)
        if isinstance(decision, Preflight):
            return response.text("")
        try:
            if isinstance(decision, Upgrade):
                websocket: list[bytes] = decision.session.handle_get_request(
                    request.environ, start_response
                )
                return websocket
            return self._connect(decision, request, start_response, connection)
        except ProtocolError as error:
            reject = Reject(error.status, BAD_REQUEST, "bad-upgrade")
            self.logger.debug("WebSocket refused: %s", error)
            return self._refuse(reject, request)

    def _stop_reading(self, reader: Any) -> None:
        if reader is not None:
            reader.stop_reading()

    def _answer_poll(self, socket: Socket, request: Request, start_response: Any) -> Response:
        try:
            packets = socket.handle_get_request(request.environ, start_response)
        except ProtocolError as error:
            return self._end_badly(socket, error)
        if socket.closed and not socket.outbox:
            self.manager.left(socket.sid)
            self.heartbeat.discard(socket.sid)
        return self._ok(packets, jsonp_index=request.jsonp_index)

    def _answer_post(self, socket: Socket, request: Request) -> Response:
        try:
            socket.handle_post_request(request.environ)
        except ContentTooLongError:
            self.admission.count("refused", "max_http_buffer_size")
            return response.empty(413)
        except BadLengthError as error:
            self.log_fault(socket.sid, error)
            return self._bad_request()
        except ProtocolError as error:
            return self._end_badly(socket, error)
        return self._ok(headers=[])

    def _connect(
        self, decision: Connect, request: Request, start_response: Any, connection: Any
    ) -> Response | list[bytes]:
        environ = request.environ
        is_websocket = decision.transport == WEBSOCKET
        if is_websocket:
            self._async["websocket"](None, self).check(environ)
        if "uwsgi.version" in environ:
            # uWSGI empties its dictionary after the request; applications keep this one.
            environ = dict(environ)
            del environ[REQUEST_KEY]
        socket = Socket(self, self.generate_id())
        upgrades = self._upgrades(socket.sid, decision.transport) if connection else []
        socket.push(self._open_packet(socket.sid, upgrades))
        if refusal := self._admit(socket, environ):
            return self._refuse(refusal, request)
        accepted = False
        try:
            self._start_service()  # now: a shutdown that ends it finds this client
            verdict = self._trigger_event("connect", socket.sid, environ)
            accepted = verdict is None or verdict is True
        finally:
            if not accepted:
                with socket.lock:
                    socket.life = Life.CLOSED
                self.forget(socket)
        if not accepted:
            self.logger.warning("Application rejected connection")
            self.admission.count("refused", "connect handler")
            return self._unauthorized(verdict)
        self.admission.count("connects", decision.transport)
        if is_websocket:
            try:
                websocket: list[bytes] = socket.handle_get_request(environ, start_response)
                return websocket
            finally:
                if not socket.closing or (socket.closed_early and not socket.closed):
                    # The handshake failed halfway.
                    socket.accept()
                    socket.end(self.reason.TRANSPORT_CLOSE)
        socket.accept()
        with socket.lock:
            packets = socket.take(request.packet_limit)
        headers = []
        if self.cookie is not None:
            headers.append(("Set-Cookie", response.cookie_header(socket.sid, self.cookie)))
        return self._ok(packets, headers=headers, jsonp_index=request.jsonp_index)

    def handle_message(self, sid: str, data: Any) -> None:
        """Run the handler of a message."""
        handler = self.handlers.get("message")
        if handler is not None:
            try:
                handler(sid, data)
            except Exception:
                self.logger.exception("message handler error")

    def _trigger_event(self, event: str, *args: Any, run_async: bool = False) -> Any:
        """Run the handler of an event. Returns what it returns; False if it raises."""
        if run_async:
            return self.start_background_task(self._trigger_event, event, *args)
        handler = self.handlers.get(event)
        if handler is None:
            return None
        try:
            return handler(*args[: self._arguments_of(event, handler)])
        except Exception:
            self.logger.exception("%s handler error", event)
            return False

    def find_connection(self, environ: Environ) -> Any:
        """Return the connection a request came over, or None where it can't be reached.

        Raises `DriverError` if the async mode can't wait on it.
        """
        connection = self.driver.connection(environ)
        sock = None if connection is None else connection.sock
        kind = None if sock is None else type(sock)
        if kind not in self._fitting:
            with self._start_lock:  # the first requests may come at the same time
                if not self.driver.fits(sock):
                    self._change_mode(environ, sock)
                self._fitting.add(kind)
                self._mode_is_open = False
            connection = self.driver.connection(environ)
        return connection

    def _change_mode(self, environ: Environ, sock: Any) -> None:
        """Choose another mode if nobody chose this one. Raises `DriverError` otherwise."""
        fitting = None
        for mode in self.async_modes():
            try:
                driver = load(mode)
            except DriverError:
                continue
            if driver.fits(sock):
                fitting = mode
                break
        if fitting is not None and self._mode_is_open:
            self._use(fitting, driver)
            return
        server = self.driver.server_name(environ)
        advice = f"choose async_mode={fitting!r}" if fitting else "choose another server"
        raise DriverError(
            f"async_mode {self.async_mode!r} cannot work under {server}, which does not run on "
            f"it: {advice}, or run the application on a server for {self.async_mode}"
        )

    # -- heartbeat -------------------------------------------------------------------------------

    def _start_service(self) -> None:
        if self.service_task_handle is not None:
            return
        with self._start_lock:
            if self.service_task_handle is not None:
                return
            self._service = self.service_task_event = event = self.driver.event()
            over = self._service_over = self.driver.event()
            handle = self.driver.thread(target=self._service_task, args=(event, over))
            self.service_task_handle = handle
        try:
            handle.start()  # eventlet waits here, so without the lock
        except BaseException:  # no more threads can be had
            self.service_task_handle = None
            raise

    def _service_task(self, event: Any, over: Any) -> None:
        """Send pings and drop clients that do not answer: one thread for all clients.

        `event` ends a wait, and tells this task from those that a shutdown has ended.
        """
        try:
            self._serve_deadlines(event)
        finally:
            over.set()

    def _serve_deadlines(self, event: Any) -> None:
        server_stops = self.driver.server_stops()
        while True:
            event.clear()
            if self._service is not event:  # after clear(), or the call of a shutdown were lost
                return
            due = self.heartbeat.next_due()
            wait = self._service_wait(due, server_stops is not None)
            if wait is None or wait > 0:
                event.wait(wait)
            if server_stops is not None and server_stops():
                self._disconnect_for_stop()
            self._limit_send_buffers()
            now = time.monotonic()
            stalled = self._was_stalled(due, now)
            self.log_info = self.logger.isEnabledFor(logging.INFO)
            for sid in self.heartbeat.pop_due(now):
                try:
                    self._beat(sid, now, stalled)
                except Exception:
                    self.logger.exception("heartbeat error")

    def _beat(self, sid: str, now: float, stalled: bool) -> None:
        self.manager.left(sid)
        socket = self.manager.get(sid)
        if socket is None:
            return
        beat = socket.beat(now, stalled)
        if beat is Beat.PING:
            socket._send_ping()
        elif beat is Beat.TIMEOUT:
            if self.start_service_task:
                socket.end(self.reason.PING_TIMEOUT)
        elif beat is not None:
            socket.wake_at(beat)


def _shutdown_later(server: Server) -> Callable[[], None]:
    """Return what disconnects a server's clients when the process exits, if it still exists."""
    reference = weakref.ref(server)

    def shutdown() -> None:
        remaining = reference()
        if remaining is not None and remaining.manager.sockets:
            remaining.shutdown()

    return shutdown
