"""The client for asyncio.

A connection has one task, `read_loop_task`, which reads and runs the handlers (see
`async_reader.py`). Over polling another one sends what waits, and ends when nothing does.
"""

import asyncio
import contextvars
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from engineio import base_client, payload
from engineio import packet as wire
from engineio.async_dial import AsyncHTTP, check_installed, new_session
from engineio.async_reader import AsyncReader
from engineio.base_client import (
    EMPTY_POLL_DELAY,
    LAST_POLL_TIME,
    MAX_EMPTY_POLLS,
    MAX_MESSAGE,
    MAX_SEND_BUFFER,
    PATIENCE,
    PROBE,
    BaseClient,
    BaseConnection,
    Opening,
    read_opening_frame,
    read_payload_with_opening,
    redirected_endpoint,
    websocket_url,
)
from engineio.base_server import printable
from engineio.driver import load
from engineio.exceptions import ConnectionError
from engineio.inbox import MalformedError
from engineio.packet import Packet
from engineio.session import Life
from engineio.settings import POLLING, WEBSOCKET

default_logger = base_client.default_logger


class AsyncClient(BaseClient):
    """An Engine.IO client for asyncio, with an API of coroutines and callbacks.

    Handlers are functions or coroutine functions. Needs the package of the extra
    `asyncio_client`.

    logger: True logs at level INFO, False errors only, or a logger of your own.
    json: a module with `dumps` and `loads`, for all packets of the process.
    request_timeout: seconds that a request may take; also how long `disconnect` waits for what
        was sent before. None sets no limit to requests.
    http_session: an `aiohttp.ClientSession`, or a function that returns one for each connection.
        It is used for the WebSocket too, and not closed if it is a session.
    ssl_verify: False not to check the server's certificate.
    handle_sigint: disconnect when the process is interrupted (Ctrl-C), and then do what would
        have been done. Works in the main thread.
    websocket_extra_options: arguments for aiohttp's `ws_connect`. Those about pings, timeouts and
        the closing of a WebSocket are ignored: Engine.IO has them of its own.
    timestamp_requests: add the time to the query of requests, against caches.
    max_http_buffer_size: bytes that a message from the server may have, or the body of an answer.
    max_send_buffer: bytes that may wait to be sent; beyond, the connection ends.

    Raises `DriverError` if a package is missing.
    """

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
        check_installed()
        self.driver = load("aiohttp")
        super().__init__(
            logger,
            json,
            request_timeout,
            http_session,
            ssl_verify,
            handle_sigint,
            websocket_extra_options,
            timestamp_requests,
            max_http_buffer_size=max_http_buffer_size,
            max_send_buffer=max_send_buffer,
        )
        self._is_connecting = False

    def is_asyncio_based(self) -> bool:
        """Return whether the handlers may be coroutines."""
        return True

    @property
    def queue(self) -> Any:
        """What waits to be sent over polling, as a queue of packets (a copy)."""
        queue = self.create_queue()
        connection = self._connection
        if connection is not None:
            for packet in connection.outbox:
                queue.put_nowait(packet)
        return queue

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    # -- what applications call ------------------------------------------------------------------

    async def connect(
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
        if self._is_connecting:
            raise ValueError("Client is not in a disconnected state")
        self.transports = self._start_connecting(transports)
        self._is_connecting = True
        try:
            self.loop = self.driver.loop(self._stalled)
            connect = self._connect_polling
            if self.transports[0] == WEBSOCKET:
                connect = self._connect_websocket
            try:
                connection = await connect(url, headers or {}, engineio_path)
            except BaseException:
                await self.loop.finish(self._close_session, self._take_session())
                raise
            await self._run_connect_handler(connection)
            if self.transports[0] == WEBSOCKET:
                return True
            if connection.life is Life.OPEN and self._may_upgrade():
                await self._upgrade(connection)
            return None
        finally:
            self._is_connecting = False

    async def wait(self) -> None:
        """Wait until the connection has ended and its disconnect handler has run."""
        connection = self._connection or self._last_connection
        if connection is not None:
            await connection.wait()

    async def send(self, data: Any) -> None:
        """Send a message, without waiting; nothing happens unless connected.

        data: str, bytes (sent as binary), dict or list (sent as JSON), or anything else (its
            `str`). Raises `TypeError` or `ValueError` for what cannot be encoded.
        """
        connection = self._connection
        if connection is not None:
            connection.push(Packet(wire.MESSAGE, data))

    async def disconnect(self, abort: bool = False, reason: str | None = None) -> None:
        """Disconnect; returns when everything sent before has left and the connection is closed.

        Waits no longer than `request_timeout`, and not at all with `abort`. The disconnect handler
        runs first. reason: given to it, instead of "client disconnect".
        """
        connection = self._connection
        if connection is not None:
            await connection.close(abort, reason or self.reason.CLIENT_DISCONNECT)

    def start_background_task(
        self, target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> "asyncio.Task[Any]":
        """Run a coroutine function in a task. Returns the `asyncio.Task`."""
        return asyncio.ensure_future(target(*args, **kwargs))

    async def sleep(self, seconds: float = 0) -> None:
        """Wait for a number of seconds."""
        await self.driver.sleep(seconds)

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

    async def _connect_polling(
        self, url: str, headers: dict[str, str], engineio_path: str
    ) -> "AsyncConnection":
        base_url = self._get_engineio_url(url, engineio_path, POLLING)
        self.logger.info("Attempting polling connection to %s", printable(base_url))
        http = self._open_http(headers)
        try:
            address = base_url + self._get_url_timestamp()
            response = await http.request("GET", address, self.request_timeout)
            response.check()
            opening, packets = read_payload_with_opening(response.body)
        except BaseException:
            await http.close()
            raise
        if response.url != address:
            url, engineio_path = redirected_endpoint(response.url)
            base_url = self._get_engineio_url(url, engineio_path, POLLING)
        connection = AsyncConnection(self, opening, http, base_url)
        self._open(opening, POLLING, connection)
        connection.start(packets)
        return connection

    async def _connect_websocket(
        self, url: str, headers: dict[str, str], engineio_path: str
    ) -> "AsyncConnection":
        base_url = self._get_engineio_url(url, engineio_path, WEBSOCKET)
        self.logger.info("Attempting WebSocket connection to %s", printable(base_url))
        http = self._open_http(headers)
        try:
            ws = await self._dial(base_url, http)
            cancel = self._limit_time(ws.abort)
            try:
                frames = await ws.read()
                if not frames:
                    raise ConnectionError("Connection error: closed before the OPEN packet")
                opening = read_opening_frame(frames[0])
            except BaseException:
                drop(ws)
                raise
            finally:
                cancel()
        except BaseException:
            await http.close()
            raise
        connection = AsyncConnection(self, opening, http, base_url)
        connection._attach(ws)
        self._open(opening, WEBSOCKET, connection)
        connection.start([], frames[1:])
        return connection

    def _open_http(self, headers: dict[str, str]) -> AsyncHTTP:
        if self.http is None:
            self.http = self.http_factory() if self.http_factory else new_session()
        return AsyncHTTP(self.http, self.ssl_verify, headers, self.max_http_buffer_size)

    def _take_session(self) -> Any:
        """Return the session if it is ours and to be closed."""
        if self.external_http:
            return None
        session, self.http = self.http, None
        return session

    async def _close_session(self, session: Any) -> None:
        if session is not None:
            with suppress(Exception):  # of somebody else's class
                await session.close()

    def _limit_time(self, function: Callable[[], Any]) -> Callable[[], None]:
        if self.request_timeout is None:
            return _nothing
        cancel: Callable[[], None] = self.loop.call_later(self.request_timeout, function)
        return cancel

    async def _dial(self, url: str, http: AsyncHTTP) -> Any:
        """Return an open WebSocket. Raises `ConnectionError`."""
        return await http.open_websocket(
            url + self._get_url_timestamp(),
            self.request_timeout,
            self.websocket_extra_options,
            self._make_websocket,
        )

    def _make_websocket(self, transport: Any, protocol: Any) -> Any:
        # The part of a driver that serves WebSockets talks on any connection.
        ws = self.driver.websocket(_nothing, self).open(transport, protocol)
        ws.close_timeout = self._flush_time()
        return ws

    async def _run_connect_handler(self, connection: "AsyncConnection") -> None:
        handler = self.handlers.get("connect")
        try:
            if handler is not None:
                result = handler()
                if hasattr(result, "__await__"):
                    await result
        except Exception as error:
            self.logger.exception("connect handler error")
            await connection.refuse()
            raise ConnectionError(f"Connect handler failed: {error}") from error
        except BaseException:
            await connection.refuse()
            raise
        connection.let_read()

    async def _upgrade(self, connection: "AsyncConnection") -> None:
        """Try to go on over a WebSocket; polling goes on meanwhile, and if that fails."""
        url = connection.websocket_url
        self.logger.info("Attempting WebSocket upgrade to %s", printable(url))
        try:
            ws = await self._dial(url, connection.http)
        except ConnectionError as error:
            self.logger.warning("WebSocket upgrade failed: %s", printable(str(error.args[0])))
            return
        except BaseException:
            await connection.refuse()
            raise
        cancel = self._limit_time(ws.abort)
        is_done = False
        try:
            is_done = await connection.upgrade(ws, self.request_timeout)
        except BaseException:
            await connection.refuse()
            raise
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

    def handle_message(self, sid: str, data: Any) -> Any:
        """Call the handler of a message. Returns what to await, or None."""
        handler = self.handlers.get("message")
        if handler is not None:
            try:
                handled = handler(data)
            except Exception:
                self.logger.exception("message handler error")
                return None
            if handled is not None and hasattr(handled, "__await__"):
                return handled
        return None

    async def _trigger_event(self, event: str, *args: Any, run_async: bool = False) -> Any:
        """Run the handler of an event. Returns what it returns; None if it raises."""
        if run_async:
            return self.start_background_task(self._trigger_event, event, *args)
        handler = self.handlers.get(event)
        if handler is None:
            return None
        try:
            result = handler(*args[: self._arguments_of(event, handler)])
            if result is not None and hasattr(result, "__await__"):
                result = await result
            return result
        except Exception:
            self.logger.exception("%s handler error", event)
        except asyncio.CancelledError:
            if self.loop.is_cancelled():
                raise
            # What the handler awaited was cancelled, not the handler.
            self.logger.exception("%s handler error", event)
        return None

    def _stalled(self, seconds: float) -> None:
        self.logger.debug("the event loop was held up for %.1f s", seconds)

    # -- interruption ----------------------------------------------------------------------------

    def _open(self, opening: Opening, transport: str, connection: BaseConnection) -> None:
        super()._open(opening, transport, connection)
        if self.handle_sigint:
            interruptions.add(self)

    def _closed(self, connection: BaseConnection) -> None:
        super()._closed(connection)
        if self._connection is None:
            interruptions.discard(self)

    def _flush_time(self) -> float:
        return PATIENCE if self.request_timeout is None else self.request_timeout


class AsyncConnection(AsyncReader, BaseConnection):
    """One connection of an `AsyncClient`, and the tasks that wait for it."""

    client: AsyncClient

    def __init__(
        self, client: AsyncClient, opening: Opening, http: AsyncHTTP, base_url: str
    ) -> None:
        super().__init__(client, opening, client.driver.lock())
        self.context = contextvars.copy_context()
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
        self._task: Any = None
        self._polling_task: Any = None
        self._is_aborted = False
        self._empty_polls = 0

    # -- life ------------------------------------------------------------------------------------

    def start(self, packets: list[tuple[int, Any]], frames: list[Any] | None = None) -> None:
        """Start the task that reads; it does so once it may."""
        client = self.client
        client._last_connection = self
        self.watch()
        self._task = self.loop.spawn(self._run, packets, frames or [])
        client.read_loop_task = self._task

    def let_read(self) -> None:
        """Let reading begin: the connect handler has returned."""
        self._may_read.set()

    async def _run(self, packets: list[tuple[int, Any]], frames: list[Any]) -> None:
        client = self.client
        try:
            await self._may_read.wait()
            if packets and self.life is Life.OPEN:
                with suppress(MalformedError):
                    if role := self._receive(packets, len(packets)):
                        await self._dispatch(role)
            await self._own(self.ws, frames)
            if self.ws is not None:
                await self.ws.linger()
        except (Exception, asyncio.CancelledError):  # whoever cancels this wants the end
            await self._connection_ended(self.ws)
            raise
        finally:
            await self.loop.finish(self._clean_up, client)

    async def _clean_up(self, client: AsyncClient) -> None:
        if self.ws is not None:
            drop(self.ws)
        self._network_over.set()
        await self._handled.wait()
        self.stop_watching()
        self._abort_poll()
        await self.http.close()
        if client._connection is None and client._last_connection is self:
            await client._close_session(client._take_session())

    async def wait(self) -> None:
        """Wait until all is over."""
        await self._handled.wait()
        await self._network_over.wait()
        await self._join()

    async def _join(self) -> None:
        if self._task is not self.loop.current_task():
            await asyncio.wait([self._task], timeout=1.0)

    async def close(self, abort: bool, reason: str) -> None:
        """End the connection from the application's side."""
        if self._claim_close(reason):
            await self._end_by_client(abort, reason)
        elif not abort and self._ends_in is not self.loop.current_task():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._handled.wait(), self.client._flush_time())

    async def refuse(self) -> None:
        """End the connection without a disconnect event: it has never been one."""
        if self._claim_close(self.client.reason.CLIENT_DISCONNECT):
            await self._end_by_client(False, None)
        self.let_read()

    async def _end_by_client(self, abort: bool, reason: str | None) -> None:
        self.client.state = "disconnecting"
        # Whoever waits for this may be cancelled; the end goes on.
        await self.loop.finish(self._end_in_task, abort, reason)
        if not abort:
            await self._join()

    async def _end_in_task(self, abort: bool, reason: str | None) -> None:
        client = self.client
        self._ends_in = self.loop.current_task()
        try:
            if reason is not None:
                await client._trigger_event("disconnect", reason)
        finally:
            self.let_read()
            if abort:
                client._closed(self)
                self.loop.spawn(self._say_goodbye)
            else:
                await self._say_goodbye()

    async def _say_goodbye(self) -> None:
        """Wait until everything has left and the connection is closed, but not for ever."""
        deadline = time.monotonic() + self.client._flush_time()
        try:
            if self.ws is None:
                sent = self.client.create_event()
                self._on_paused = sent.set
                self._tell_paused()
                await _wait_until(sent, deadline)
                # The server has it all. It need not answer the GET that waits (python-engineio's
                # does not), which then is cut off.
                deadline = min(deadline, time.monotonic() + LAST_POLL_TIME)
            self._close_websocket()
            if not await _wait_until(self._network_over, deadline):
                self._abort()
        finally:
            self._leave()

    async def _finish(self, say_goodbye: bool) -> None:
        """Run the disconnect handler of a connection that has ended by itself."""
        client = self.client
        reason = self.reason or client.reason.TRANSPORT_ERROR
        self._ends_in = self.loop.current_task()
        if reason == client.reason.SERVER_DISCONNECT and client._connection is self:
            client.state = "disconnecting"
        try:
            await client._trigger_event("disconnect", reason)
        finally:
            self._leave()

    def _leave(self) -> None:
        self.life = Life.CLOSED
        self.client._closed(self)
        self._handled.set()
        self.let_read()

    def _close_websocket(self, code: int = 1000) -> None:
        super()._close_websocket(code)
        self._paused.set()
        if self._probing is not None:
            self._probing.abort()

    def _start_closing(self, ws: Any, code: int) -> None:
        ws.end(code)

    def _put(self, ws: Any, data: Any) -> None:
        ws.put(data)

    def _abort(self) -> None:
        if self.ws is not None:
            self.ws.abort()
        self._abort_poll()
        self._reading_ended()

    def _abort_poll(self) -> None:
        task, self._polling_task = self._polling_task, None
        if task is not None:
            self._is_aborted = True
            task.cancel()

    # -- reading ---------------------------------------------------------------------------------

    async def _own(self, ws: Any, frames: list[Any] | None = None) -> None:
        if frames and (dispatch := self._receive_frames(ws, frames, 0)):
            await self._dispatch(dispatch)
        await super()._own(ws)

    async def _read(self, role: int) -> None:
        """Read and dispatch until the connection ends or somebody else has the role."""
        if self.ws is None:
            await self._read_polling(role)
        ws = self.ws
        if ws is None:
            return
        limit = self.client.max_http_buffer_size
        while self._reader == role:
            if self._owner is not None and self._give_back(role):
                return
            if self._inbox_size > limit:
                await self._wait_for_room()
            frames = await ws.read()
            if frames is None:
                await self._connection_ended(ws)
                return
            if dispatch := self._receive_frames(ws, frames, role):
                await self._dispatch(dispatch)

    async def _read_polling(self, role: int) -> None:
        """Poll until the connection ends, a WebSocket takes over, or somebody else has the role."""
        while self._reader == role and self.ws is None:
            if self._owner is not None and self._give_back(role):
                return
            if self._inbox_size > self.client.max_http_buffer_size:
                await self._wait_for_room()
            if not self.start_poll():
                if self.life is not Life.OPEN:
                    await self._connection_ended(None)
                    return
                if self.ws is None:
                    await self._upgrade_over.wait()
                continue
            try:
                dispatch = await self._poll(role)
            finally:
                self.end_poll()
            if dispatch:
                await self._dispatch(dispatch)

    async def _poll(self, role: int) -> int:
        """Send one GET and take in what it brings. Returns a role to dispatch."""
        client = self.client
        # The deadline for the next PING ends the connection before this ends the request.
        timeout = self.opening.patience + 1
        self._polling_task = self.loop.current_task()
        try:
            url = self.polling_url + client._get_url_timestamp()
            response = await self.http.request("GET", url, timeout)
            response.check()
        except ConnectionError as error:
            return self._network_failed(error)
        except asyncio.CancelledError:
            if not self._is_aborted:
                raise
            if hasattr(self._task, "uncancel"):  # Python 3.11
                self.loop.current_task().uncancel()
            return self._network_failed(ConnectionError("Aborted"))
        finally:
            self._polling_task = None
        self._empty_polls = self._empty_polls + 1 if response.body == b"6" else 0
        if self._empty_polls > MAX_EMPTY_POLLS:
            await client.sleep(EMPTY_POLL_DELAY)
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

    async def _connection_ended(self, ws: Any, reason: str | None = None) -> None:
        """Clean up after the last byte; whoever reads it calls this."""
        dispatch = 0
        if self.life is Life.OPEN:
            self.client.logger.warning("WebSocket connection was closed, aborting")
            dispatch = self._start_end(reason or self.client.reason.TRANSPORT_ERROR)
        if ws is not None:
            ws.over()
        self._reading_ended()
        if dispatch:
            await self.loop.finish(self._dispatch, dispatch)

    def _reading_ended(self) -> None:
        self._connection_over = True
        if self._owner is not None:
            self._owner.set()
        self._network_over.set()

    # -- writing ---------------------------------------------------------------------------------

    def _post_soon(self) -> None:
        self.client.write_loop_task = self.loop.spawn(self._post)

    async def _post(self) -> None:
        """Send what is in the outbox, as long as there is any."""
        client = self.client
        try:
            while packets := self.next_post():
                body = payload.join(packets)
                timeout = client.request_timeout
                response = await self.http.request("POST", self.polling_url, timeout, body)
                response.check()
        except ConnectionError as error:
            self._posting_failed()
            if role := self._network_failed(error):
                self._abort_poll()  # the GET that waits
                await self._dispatch(role)
        except BaseException:
            self._posting_failed()
            raise
        finally:
            client.write_loop_task = None

    def _posting_failed(self) -> None:
        self._take()
        self._posts = False
        self._tell_paused()

    # -- upgrade ---------------------------------------------------------------------------------

    async def upgrade(self, ws: Any, timeout: float | None) -> bool:
        """Take the steps of an upgrade. Returns whether the WebSocket has taken over."""
        self._probing = ws
        ws.put(PROBE.encode())
        ws.stream.flush()
        if await ws.read() != ["3probe"]:
            return False
        if not self.start_pause(self._paused.set):
            return False
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._paused.wait(), timeout)
        return self.finish_upgrade(ws)

    def end_upgrade(self) -> None:
        """Let the reader go on, over whatever transport."""
        self._probing = None
        self.end_pause()
        self._upgrade_over.set()


class Interruptions:
    """What SIGINT does while clients are connected in an event loop of the main thread."""

    def __init__(self) -> None:
        self._clients: set[AsyncClient] = set()
        self._loop: Any = None
        self._previous: Any = None
        self._task: Any = None

    def add(self, client: AsyncClient) -> None:
        """Disconnect a client at SIGINT."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            if threading.current_thread() is not threading.main_thread():
                return
            previous = signal.getsignal(signal.SIGINT)
            if previous is signal.SIG_IGN:  # as nohup leaves it
                return
            try:
                loop.add_signal_handler(signal.SIGINT, self.interrupt)
            except (NotImplementedError, RuntimeError, ValueError):  # Windows; a loop of its own
                return
            self._loop, self._previous = loop, previous
        if self._loop is loop:
            self._clients.add(client)

    def discard(self, client: AsyncClient) -> None:
        """Forget a client; with the last one, what was there before is there again."""
        self._clients.discard(client)
        if self._loop is not None and not self._clients and self._task is None:
            self._restore()

    def _restore(self) -> Any:
        loop, self._loop = self._loop, None
        previous, self._previous = self._previous, None
        with suppress(RuntimeError):  # the event loop is closed
            loop.remove_signal_handler(signal.SIGINT)
        if previous is not None:
            signal.signal(signal.SIGINT, previous)
        return previous

    def interrupt(self) -> None:
        """Disconnect the clients, then do what SIGINT did before there were any."""
        if self._loop is None:
            return
        if self._task is None:
            self._task = self._loop.create_task(self._disconnect())
        else:  # the user does not want to wait
            self._pass_on()

    async def _disconnect(self) -> None:
        for client in list(self._clients):
            with suppress(Exception):
                await client.disconnect()
        # From a callback: what it raises is for whoever runs the event loop.
        self._loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        """Do what was done at SIGINT before there were clients."""
        if self._loop is None:
            return
        self._task = None
        self._clients.clear()
        previous = self._restore()
        if callable(previous):
            previous(signal.SIGINT, None)
        else:
            signal.raise_signal(signal.SIGINT)


interruptions = Interruptions()
async_signal_handler = interruptions.interrupt  # python-engineio's public name


async def _wait_until(event: Any, deadline: float) -> bool:
    """Wait for an event. Returns False if it was not set in time."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), max(0, deadline - time.monotonic()))
    return bool(event.is_set())


def drop(ws: Any) -> None:
    """End a WebSocket without waiting for anything."""
    ws.abort()
    ws.finished()
    ws.answer.close()


def _nothing(*_: Any) -> None:
    """Stand in for what is not needed."""
