"""The client for scripts: threads, or the greenlets that gevent or eventlet make of them.

A connection has one thread of its own, `read_loop_task`, which reads and runs the handlers (see
`reader.py`). Over polling another one, of a pool, sends what waits and ends when nothing does. One
more thread serves all clients of the process: it keeps time limits, finishes writes that would
block, and notices handlers that wait.
"""

import _thread
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from engineio import base_client, payload
from engineio import packet as wire
from engineio.base_client import (
    EMPTY_POLL_DELAY,
    LAST_POLL_TIME,
    MAX_EMPTY_POLLS,
    PATIENCE,
    PROBE,
    BaseClient,
    BaseConnection,
    Opening,
    origin_of,
    read_opening_frame,
    read_payload_with_opening,
    redirected_endpoint,
    websocket_url,
)
from engineio.base_server import printable
from engineio.dial import HTTP, WebSocketDialer, check_installed, new_session
from engineio.driver import load
from engineio.exceptions import ConnectionError
from engineio.inbox import MalformedError
from engineio.packet import Packet
from engineio.reader import Reader
from engineio.session import Life
from engineio.settings import POLLING, WEBSOCKET
from engineio.websocket import ClientProtocol

default_logger = base_client.default_logger


class Client(BaseClient):
    """An Engine.IO client that blocks, with an API of methods and callbacks.

    Works with threads; in a process that gevent or eventlet has patched, with greenlets. Needs
    the packages of the extra `client`.

    logger: True logs at level INFO, False errors only, or a logger of your own.
    json: a module with `dumps` and `loads`, for all packets of the process.
    request_timeout: seconds that a request may take; also how long `disconnect` waits for what
        was sent before. None sets no limit to requests.
    http_session: a `requests.Session`, or a function that returns one for each connection. Its
        cookies, authentication, certificates and proxies are used for the WebSocket too.
    ssl_verify: False not to check the server's certificate.
    handle_sigint: disconnect when the process is interrupted (Ctrl-C), and then do what would
        have been done. Works for clients made in the main thread.
    websocket_extra_options: arguments for `websocket.create_connection` of websocket-client.
    timestamp_requests: add the time to the query of GET requests, against caches.
    max_http_buffer_size: bytes that a message from the server may have, or the body of an answer.
    max_send_buffer: bytes that may wait to be sent; beyond, the connection ends.

    Raises `DriverError` if a package is missing.
    """

    def _load_driver(self) -> Any:
        check_installed()
        return load("threading")

    def _set_up(self) -> None:
        self._connecting = self.driver.lock()
        self._install_signal_handler()

    @property
    def queue(self) -> Any:
        """What waits to be sent over polling, as a queue of packets (a copy)."""
        queue = self.create_queue()
        connection = self._connection
        if connection is not None:
            with connection.lock:
                for packet in connection.outbox:
                    queue.put(packet)
        return queue

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    # -- what applications call ------------------------------------------------------------------

    def connect(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        transports: str | Iterable[str] | None = None,
        engineio_path: str = "engine.io",
    ) -> bool | None:
        """Connect to a server; returns when the connect handler has, and a possible upgrade.

        url: http, https, ws or wss; its query is kept, its path does not matter.
        headers: sent with all requests.
        transports: "polling", "websocket", or both in a list: the first one is tried, and polling
            upgraded to WebSocket if both may be used, which is the default.
        engineio_path: where the server has its endpoint.

        Returns True if the connection began with a WebSocket, else None. Raises
        `exceptions.ConnectionError`, with the JSON of the server's answer as second argument if
        there is one; `ValueError` if this client is not disconnected or no transport is valid.
        """
        if not self._connecting.acquire(blocking=False):
            raise ValueError("Client is not in a disconnected state")
        try:
            self.transports = self._start_connecting(transports)
            loop = self.loop = loops.acquire(self.driver)
            try:
                return self._connect(url, headers or {}, engineio_path)
            finally:
                loops.release(loop)
        finally:
            self._connecting.release()

    def wait(self) -> None:
        """Wait until the connection has ended and its disconnect handler has run."""
        connection = self._connection or self._last_connection
        if connection is not None and not connection.wait():
            return
        while base_client.interruption.is_pending:
            self.sleep(0)  # what the program does at an interruption comes before what follows this

    def send(self, data: Any) -> None:
        """Send a message, without waiting; nothing happens unless connected.

        data: str, bytes (sent as binary), dict or list (sent as JSON), or anything else (its
            `str`). Raises `TypeError` or `ValueError` for what cannot be encoded.
        """
        connection = self._connection
        if connection is not None:
            connection.push(Packet(wire.MESSAGE, data))

    def disconnect(self, abort: bool = False, reason: str | None = None) -> None:
        """Disconnect; returns when everything sent before has left and the connection is closed.

        Waits no longer than `request_timeout`, and not at all with `abort`. The disconnect handler
        runs first. reason: given to it, instead of "client disconnect".
        """
        connection = self._connection
        if connection is not None:
            connection.close(abort, reason or self.reason.CLIENT_DISCONNECT)

    def start_background_task(
        self, target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> threading.Thread:
        """Run a function in a thread of its own; returns the thread, which has been started."""
        thread: threading.Thread = self.driver.thread(target=target, args=args, kwargs=kwargs)
        thread.start()
        return thread

    def sleep(self, seconds: float = 0) -> None:
        """Wait for a number of seconds."""
        self.driver.sleep(seconds)

    def create_queue(self, *args: Any, **kwargs: Any) -> Any:
        """Return a queue that suits this client."""
        return self.driver.queue(*args, **kwargs)

    def get_queue_empty_exception(self) -> type[Exception]:
        """Return what a queue of `create_queue` raises when it has nothing to give."""
        empty: type[Exception] = self.driver.queue_empty
        return empty

    def create_event(self, *args: Any, **kwargs: Any) -> Any:
        """Return an event (set, clear, is_set, wait) that suits this client."""
        return self.driver.event(*args, **kwargs)

    # -- connecting ------------------------------------------------------------------------------

    def _connect(self, url: str, headers: dict[str, str], engineio_path: str) -> bool | None:
        is_websocket = self.transports is not None and self.transports[0] == WEBSOCKET
        connect = self._connect_websocket if is_websocket else self._connect_polling
        try:
            connection = connect(url, headers, engineio_path)
        except BaseException:
            self._forget_session()
            raise
        self._run_connect_handler(connection)
        if is_websocket:
            return True
        if connection.life is Life.OPEN and self._may_upgrade():
            try:
                self._upgrade(connection)
            except BaseException:  # most likely KeyboardInterrupt
                connection.close(False, self.reason.CLIENT_DISCONNECT)
                raise
        return None

    def _connect_polling(
        self, url: str, headers: dict[str, str], engineio_path: str
    ) -> "Connection":
        base_url = self._get_engineio_url(url, engineio_path, POLLING)
        self.logger.info("Attempting polling connection to %s", printable(base_url))
        http = self._open_http(headers)
        cancel = self._limit_time(http.abort)
        try:
            address = base_url + self._get_url_timestamp()
            response = http.request("GET", address, self.request_timeout)
            response.check()
            opening, packets = read_payload_with_opening(response.body)
        except BaseException:
            http.close()
            raise
        finally:
            cancel()
        if origin_of(response.url) != origin_of(address) or response.url != address:
            url, engineio_path = redirected_endpoint(response.url)
            base_url = self._get_engineio_url(url, engineio_path, POLLING)
        connection = Connection(self, opening, http, base_url)
        self._open(opening, POLLING, connection)
        connection.start(packets)
        return connection

    def _connect_websocket(
        self, url: str, headers: dict[str, str], engineio_path: str
    ) -> "Connection":
        base_url = self._get_engineio_url(url, engineio_path, WEBSOCKET)
        self.logger.info("Attempting WebSocket connection to %s", printable(base_url))
        http = self._open_http(headers)
        try:
            ws = self._dial(base_url, http)
        finally:
            http.close()
        cancel = self._limit_time(ws.stream.abort)
        try:
            frames = ws.read()
            if not frames:
                raise ConnectionError("Connection error: closed before the OPEN packet")
            opening = read_opening_frame(frames[0])
        except BaseException:
            drop(ws)
            raise
        finally:
            cancel()
        connection = Connection(self, opening, http, base_url)
        connection._attach(ws)
        self._open(opening, WEBSOCKET, connection)
        connection.start([], frames[1:])
        return connection

    def _open_http(self, headers: dict[str, str]) -> HTTP:
        if self.http is None:
            self.http = self.http_factory() if self.http_factory else new_session()
        return HTTP(self.http, self.ssl_verify, headers, self.max_http_buffer_size)

    def _forget_session(self) -> None:
        """Close the session if it is ours."""
        if not self.external_http and self.http is not None:
            session, self.http = self.http, None
            with suppress(Exception):  # of somebody else's class
                session.close()

    def _limit_time(self, function: Callable[[], Any]) -> Callable[[], None]:
        if self.request_timeout is None:
            return _nothing
        cancel: Callable[[], None] = self.loop.call_later(self.request_timeout, function)
        return cancel

    def _dial(self, url: str, http: HTTP) -> Any:
        """Return an open WebSocket. Raises `ConnectionError`."""
        dialer = WebSocketDialer()
        cancel = self._limit_time(dialer.abort)
        try:
            address = url + self._get_url_timestamp()
            sock = dialer.open(address, http, self.request_timeout, self.websocket_extra_options)
        finally:
            cancel()
        sock.settimeout(None)
        protocol = ClientProtocol(self.max_http_buffer_size)
        # The part of a driver that serves WebSockets opens one on any socket.
        ws = self.driver.websocket(_nothing, self).open(sock, protocol)
        ws.sock = sock
        return ws

    def _run_connect_handler(self, connection: "Connection") -> None:
        handler = self.handlers.get("connect")
        try:
            if handler is not None:
                handler()
        except Exception as error:
            self.logger.exception("connect handler error")
            connection.refuse()
            raise ConnectionError(f"Connect handler failed: {error}") from error
        except BaseException:
            connection.refuse()
            raise
        connection.let_read()

    def _upgrade(self, connection: "Connection") -> None:
        """Try to go on over a WebSocket; polling goes on meanwhile, and if that fails."""
        url = connection.websocket_url
        self.logger.info("Attempting WebSocket upgrade to %s", printable(url))
        try:
            ws = self._dial(url, connection.http)
        except ConnectionError as error:
            self.logger.warning("WebSocket upgrade failed: %s", printable(str(error.args[0])))
            return
        cancel = self._limit_time(ws.stream.abort)
        is_done = False
        try:
            is_done = connection.upgrade(ws, self.request_timeout)
        finally:
            cancel()
            if not is_done:
                drop(ws)
            connection.end_upgrade()
        if is_done:
            self.logger.info("WebSocket upgrade was successful")
        elif connection.life is Life.OPEN:
            self.logger.warning("WebSocket upgrade failed: the server did not go along")

    # -- events ----------------------------------------------------------------------------------

    def handle_message(self, sid: str, data: Any) -> None:
        """Run the handler of a message."""
        handler = self.handlers.get("message")
        if handler is not None:
            try:
                handler(data)
            except Exception:
                self.logger.exception("message handler error")

    def _trigger_event(self, event: str, *args: Any, run_async: bool = False) -> Any:
        """Run the handler of an event. Returns what it returns; None if it raises."""
        if run_async:
            return self.start_background_task(self._trigger_event, event, *args)
        handler = self.handlers.get(event)
        if handler is None:
            return None
        try:
            return handler(*args[: self._arguments_of(event, handler)])
        except Exception:
            self.logger.exception("%s handler error", event)
            return None

    # -- interruption ----------------------------------------------------------------------------

    def _may_wait(self) -> bool:
        may_wait: bool = self.loop.may_wait()
        return may_wait

    def _interrupt(self) -> None:
        """Disconnect because of SIGINT, in another thread.

        This one may hold, at the moment of the signal, any lock that disconnecting needs.
        """
        done = _thread.allocate_lock()
        done.acquire()

        def disconnect() -> None:
            try:
                self.disconnect()
            finally:
                done.release()

        _thread.start_new_thread(disconnect, ())
        done.acquire(timeout=self._flush_time() + 1)

    def _flush_time(self) -> float:
        return PATIENCE if self.request_timeout is None else self.request_timeout


class Connection(Reader, BaseConnection):
    """One connection of a `Client`, and the threads that wait for it."""

    client: Client

    def __init__(self, client: Client, opening: Opening, http: HTTP, base_url: str) -> None:
        super().__init__(client, opening, client.driver.lock())
        self.http = http
        self.polling_url = self.websocket_url = client._with_sid(base_url, opening.sid)
        if base_url.startswith("http"):
            self.websocket_url = websocket_url(self.polling_url)
        client.base_url = self.polling_url
        self._may_read = client.create_event()
        self._upgrade_over = client.create_event()
        self._paused = client.create_event()
        self._handled = client.create_event()
        self._network_over = client.create_event()
        self._probing: Any = None
        self._ends_in: Any = None
        self._thread: Any = None
        self._first: list[tuple[int, Any]] = []
        self._empty_polls = 0

    # -- life ------------------------------------------------------------------------------------

    def start(self, packets: list[tuple[int, Any]], frames: list[Any] | None = None) -> None:
        """Start the thread that reads; it does so once it may."""
        client = self.client
        client._last_connection = self
        loops.hold(self.loop)
        self.watch()
        self._thread = client.start_background_task(self._run, packets, frames or [])
        client.read_loop_task = self._thread

    def let_read(self) -> None:
        """Let reading begin: the connect handler has returned."""
        self._may_read.set()

    def _run(self, packets: list[tuple[int, Any]], frames: list[Any]) -> None:
        client = self.client
        loop = self.loop
        self._may_read.wait()
        try:
            self._first = packets
            self._own(self.ws, frames)
        finally:
            if self.ws is not None:
                self.ws.finish()
                close(self.ws.sock)
            self._network_over.set()
            self._handled.wait()
            self.stop_watching()
            self.http.abort()
            self.http.close()
            client._disconnected(self)
            loops.release(loop)

    def wait(self) -> bool:
        """Wait until all is over. Returns False to the disconnect handler, at once."""
        if self._ends_in == _thread.get_ident() and not self._handled.is_set():
            return False
        self._handled.wait()
        self._network_over.wait()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)
        return True

    def close(self, abort: bool, reason: str) -> None:
        """End the connection from the application's side."""
        client = self.client
        if not self._claim_close(reason):
            if not abort and self._ends_in != _thread.get_ident():
                self._handled.wait(client._flush_time())
            return
        self._end_by_client(abort, reason)

    def refuse(self) -> None:
        """End the connection without a disconnect event: it has never been one."""
        if self._claim_close(self.client.reason.CLIENT_DISCONNECT):
            self._end_by_client(False, None)
        self.let_read()

    def _end_by_client(self, abort: bool, reason: str | None) -> None:
        client = self.client
        client.state = "disconnecting"
        self._ends_in = _thread.get_ident()
        try:
            if reason is not None:
                client._trigger_event("disconnect", reason)
        finally:
            self.let_read()
            if abort:
                client._closed(self)
                self.loop.spawn(self._say_goodbye)
            else:
                self._say_goodbye()
                if threading.current_thread() is not self._thread:
                    self._thread.join(1.0)

    def _say_goodbye(self) -> None:
        """Wait until everything has left and the connection is closed, but not for ever."""
        deadline = time.monotonic() + self.client._flush_time()
        try:
            if self.ws is not None:
                while self.ws.stream.size and time.monotonic() < deadline:
                    self.client.sleep(0.005)
            else:
                self._wait_for_posts(deadline)
                # The server has it all. It need not answer the GET that waits (python-engineio's
                # does not), which then is cut off.
                deadline = min(deadline, time.monotonic() + LAST_POLL_TIME)
            self._close_websocket()
            if not self._network_over.wait(max(0, deadline - time.monotonic())):
                self._abort()
        finally:
            self._leave()

    def _wait_for_posts(self, deadline: float) -> None:
        sent = self.client.create_event()
        with self.lock:
            self._on_paused = sent.set
        self._tell_paused()
        sent.wait(max(0, deadline - time.monotonic()))

    def _finish(self, say_goodbye: bool) -> None:
        """Run the disconnect handler of a connection that has ended by itself."""
        client = self.client
        reason = self.reason or client.reason.TRANSPORT_ERROR
        self._ends_in = _thread.get_ident()
        if reason == client.reason.SERVER_DISCONNECT and client._connection is self:
            client.state = "disconnecting"
        try:
            client._trigger_event("disconnect", reason)
        finally:
            self._leave()

    def _leave(self) -> None:
        with self.lock:
            self.life = Life.CLOSED
        self.client._closed(self)
        self._handled.set()
        self.let_read()

    def _close_websocket(self, code: int = 1000) -> None:
        super()._close_websocket(code)
        self._paused.set()
        probing = self._probing
        if probing is not None:
            probing.stream.abort()

    def _start_closing(self, ws: Any, code: int) -> None:
        ws.close(code)

    def _push_slowly(self, pkt: Packet) -> bool:
        is_open = super()._push_slowly(pkt)
        if self.ws is None and self.reason == self.client.reason.SEND_BUFFER_FULL:
            self.http.abort()  # the GET that waits
        return is_open

    def _abort(self) -> None:
        if self.ws is not None:
            self.ws.stream.abort()
        self.http.abort()
        self._reading_ended()

    # -- reading ---------------------------------------------------------------------------------

    def _read(self, role: int) -> None:
        """Read and dispatch until the connection ends or somebody else has the role."""
        if self.ws is None:
            self._read_polling(role)
        ws = self.ws
        if ws is None:
            return
        limit = self.client.max_http_buffer_size
        while self._reader == role:
            if self._owner is not None and self._give_back(role):
                return
            if self._inbox_size > limit:
                self._wait_for_room()
            frames = ws.read()
            if frames is None:
                self._connection_ended(ws)
                return
            if dispatch := self._receive_frames(ws, frames, role):
                self._dispatch(dispatch)

    def _read_polling(self, role: int) -> None:
        """Poll until the connection ends, a WebSocket takes over, or somebody else has the role."""
        first, self._first = self._first, []
        if first and (dispatch := self._receive_first(first, role)):
            self._dispatch(dispatch)
        while self._reader == role and self.ws is None:
            if self._owner is not None and self._give_back(role):
                return
            if self._inbox_size > self.client.max_http_buffer_size:
                self._wait_for_room()
            if not self.start_poll():
                if self.life is not Life.OPEN:
                    self._connection_ended(None)
                    return
                if self.ws is None:
                    self._upgrade_over.wait()
                continue
            dispatch = self._poll(role)
            self.end_poll()
            if dispatch:
                self._dispatch(dispatch)

    def _receive_first(self, packets: list[tuple[int, Any]], role: int) -> int:
        """Process what came together with the OPEN packet. Returns a role to dispatch."""
        if self.life is not Life.OPEN:
            return 0
        try:
            return self._receive(packets, len(packets), role)
        except MalformedError as error:
            return error.role

    def _poll(self, role: int) -> int:
        """Send one GET and take in what it brings. Returns a role to dispatch."""
        client = self.client
        timeout = client.request_timeout
        # The deadline for the next PING ends the connection; this ends the request of a session
        # that cannot be told to.
        read_timeout = self.opening.patience + 1
        try:
            url = self.polling_url + client._get_url_timestamp()
            response = self.http.request("GET", url, timeout, read_timeout)
            response.check()
        except ConnectionError as error:
            return self._network_failed(error)
        self._empty_polls = self._empty_polls + 1 if response.body == b"6" else 0
        if self._empty_polls > MAX_EMPTY_POLLS:
            client.sleep(EMPTY_POLL_DELAY)
        if self.life is not Life.OPEN:
            return 0
        try:
            return self._receive(payload.split(response.body), len(response.body), role)
        except MalformedError as error:
            return error.role

    def _network_failed(self, error: Exception) -> int:
        """End the connection because a request failed. Returns a role to dispatch."""
        role = self._start_end(self.client.reason.TRANSPORT_ERROR)
        if role:
            self.client.logger.warning("%s, aborting", printable(str(error.args[0])))
        return role

    def _connection_ended(self, ws: Any, reason: str | None = None) -> None:
        """Clean up after the last byte; whoever reads it calls this."""
        dispatch = 0
        if self.life is Life.OPEN:
            self.client.logger.warning("WebSocket connection was closed, aborting")
            dispatch = self._start_end(reason or self.client.reason.TRANSPORT_ERROR)
        if ws is not None:
            ws.over()
        self._reading_ended()
        if dispatch:
            self._dispatch(dispatch)

    def _reading_ended(self) -> None:
        with self.lock:
            self._connection_over = True
            owner = self._owner
        if owner is not None:
            owner.set()
        self._network_over.set()

    # -- writing ---------------------------------------------------------------------------------

    def _post_soon(self) -> None:
        self.loop.spawn(self._post)

    def _post(self) -> None:
        """Send what is in the outbox, as long as there is any."""
        client = self.client
        client.write_loop_task = threading.current_thread()
        try:
            while packets := self.next_post():
                body = payload.join(packets)
                timeout = client.request_timeout
                self.http.request("POST", self.polling_url, timeout, body=body).check()
        except ConnectionError as error:
            self._posting_failed()
            if role := self._network_failed(error):
                self.http.abort()  # the GET that waits
                self._dispatch(role)
        finally:
            client.write_loop_task = None

    def _posting_failed(self) -> None:
        with self.lock:
            self._take()
            self._posts = False
        self._tell_paused()

    # -- upgrade ---------------------------------------------------------------------------------

    def upgrade(self, ws: Any, timeout: float | None) -> bool:
        """Take the steps of an upgrade. Returns whether the WebSocket has taken over."""
        self._probing = ws
        ws.send(PROBE.encode())
        ws.stream.flush()
        if ws.read() != ["3probe"]:
            return False
        if not self.start_pause(self._paused.set):
            return False
        self._paused.wait(timeout)
        return self.finish_upgrade(ws)

    def end_upgrade(self) -> None:
        """Let the reader go on, over whatever transport."""
        self._probing = None
        self.end_pause()
        self._upgrade_over.set()


class Loops:
    """The loop that the clients of this process share while any of them is connected."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._shared: Any = None
        self._users = 0

    def acquire(self, driver: Any) -> Any:
        """Return a loop; it must be released."""
        loop = driver.loop()
        if not hasattr(loop, "pool"):
            return loop  # of the hub of this thread
        with self._lock:
            if self._users == 0:
                self._shared = loop
            self._users += 1
            return self._shared

    def hold(self, loop: Any) -> None:
        """Use a loop that somebody else has acquired; it must be released once more."""
        with self._lock:
            if loop is self._shared:
                self._users += 1

    def release(self, loop: Any) -> None:
        """Let go of a loop; with the last one, its threads end."""
        with self._lock:
            if loop is not self._shared:
                return
            self._users -= 1
            if self._users:
                return
            self._shared = None
        loop.stop()


loops = Loops()


def _forget_all() -> None:
    """Have no connection in a process that was forked: its threads and sockets are the parent's."""
    global loops  # noqa: PLW0603 - whoever held its lock does not exist here
    loops = Loops()
    for client in base_client.connected_clients[:]:
        client._closed(client._connection)
        client._last_connection = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def drop(ws: Any) -> None:
    """End a WebSocket without waiting for anything."""
    ws.drop()
    close(ws.sock)


def close(sock: Any) -> None:
    """Close a socket, whatever has happened to it."""
    with suppress(OSError):
        sock.close()


def _nothing(*_: Any) -> None:
    """Stand in for what is not needed."""
