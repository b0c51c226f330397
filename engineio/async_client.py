"""The client for asyncio.

A connection has one task, `read_loop_task`, which reads and runs the handlers (see
`async_reader.py`). Over polling another one sends what waits, and ends when nothing does.
"""

import asyncio
import contextvars
import functools
import math
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import suppress
from typing import Any

from engineio import base_client, payload
from engineio import packet as wire
from engineio.async_dial import AsyncHTTP, check_installed, check_options, new_session
from engineio.async_reader import AsyncReader
from engineio.base_client import (
    EMPTY_POLL_DELAY,
    LAST_POLL_TIME,
    MAX_EMPTY_POLLS,
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
from engineio.inbox import END, MalformedError
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

    def _load_driver(self) -> Any:
        check_installed()
        return load("aiohttp")

    def _set_up(self) -> None:
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
        if self._is_connecting and not self.loop.loop.is_closed():
            raise ValueError("Client is not in a disconnected state")
        connection = self._connection
        if connection is not None and connection.loop.loop.is_closed():
            self._closed(connection)  # nobody could, when its event loop was closed
        self.transports = self._start_connecting(transports)
        check_options(self.websocket_extra_options)
        self.loop = _loop_of(self.driver.loop)(self._stalled)
        self._is_connecting = True
        try:
            connect = self._connect_polling
            if self.transports[0] == WEBSOCKET:
                connect = self._connect_websocket
            connection = await connect(url, headers or {}, engineio_path)
            await self._run_connect_handler(connection)
            if self.transports[0] == WEBSOCKET:
                return True
            if connection.life is Life.OPEN and self._may_upgrade():
                try:
                    await self._upgrade(connection)
                except BaseException:  # most likely this task is cancelled
                    await connection.close(False, self.reason.CLIENT_DISCONNECT)
                    raise
            return None
        finally:
            self._is_connecting = False

    async def wait(self) -> None:
        """Wait until the connection has ended and its disconnect handler has run."""
        connection = self._connection or self._last_connection
        if connection is not None and not await connection.wait():
            return
        # What the program does at an interruption comes before what follows this.
        await interruptions.wait()

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
        http = await self._open_http(headers)
        try:
            address = base_url + self._get_url_timestamp()
            response = await http.request("GET", address, self.request_timeout)
            response.check()
            opening, packets = read_payload_with_opening(response.body)
            if response.url != address:
                url, engineio_path = redirected_endpoint(response.url)
                base_url = self._get_engineio_url(url, engineio_path, POLLING)
        except BaseException:
            await self.loop.finish(self._close_http, http)
            raise
        connection = AsyncConnection(self, opening, http, base_url)
        self._open(opening, POLLING, connection)
        connection.start(packets)
        return connection

    async def _connect_websocket(
        self, url: str, headers: dict[str, str], engineio_path: str
    ) -> "AsyncConnection":
        base_url = self._get_engineio_url(url, engineio_path, WEBSOCKET)
        self.logger.info("Attempting WebSocket connection to %s", printable(base_url))
        http = await self._open_http(headers)
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
            await self.loop.finish(self._close_http, http)
            raise
        connection = AsyncConnection(self, opening, http, base_url)
        connection._attach(ws)
        self._open(opening, WEBSOCKET, connection)
        connection.start([], frames[1:])
        return connection

    async def _open_http(self, headers: dict[str, str]) -> AsyncHTTP:
        if not self.external_http:
            if self.http_factory is None:
                self.http = new_session()
            else:
                session = self.http_factory()
                self.http = await session if hasattr(session, "__await__") else session
        return AsyncHTTP(
            self.http,
            self.ssl_verify,
            headers,
            self.max_http_buffer_size,
            is_own=not self.external_http,
            looks_up_proxy=not self.external_http and self.http_factory is None,
        )

    async def _close_http(self, http: AsyncHTTP) -> None:
        if http.is_own and self.http is http.session:
            self.http = None
        await http.close()

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
        cancel = self._limit_time(ws.abort)
        is_done = False
        try:
            is_done = await connection.upgrade(ws, self.request_timeout)
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
        self._over = client.create_event()
        self._probing: Any = None
        self._ends_in: Any = None
        self._task: Any = None
        self._reads_in: Any = None
        self._dispatches_in: Any = None
        self._cleans_in: Any = None
        self._polling_task: Any = None
        self._is_leaving = False
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
        try:
            await self._may_read.wait()
            role = self._start_reading()
            if dispatch := self._receive_first(packets, frames, role):
                await self._dispatch(dispatch)
            await self._keep_reading(role)
        except asyncio.CancelledError:
            await self._cut_off()
            raise
        except Exception:
            await self._connection_ended(self.ws)
            await self._over.wait()
            raise
        await self._over.wait()

    async def _cut_off(self) -> None:
        """End because the task that reads was cancelled, as `asyncio.run` does with all of them.

        The event loop ends when they have. What is started from now on nobody cancels.
        """
        # The connect handler is cancelled too, and then there was no connection to speak of.
        await _wait_until(self._may_read, time.monotonic() + self.client._flush_time())
        with self.lock:
            for messages in (self._batch, self._inbox):
                messages[:] = [message for message in messages if message is END]
        await self._connection_ended(self.ws)
        reader = self._other_reader()
        if reader is not None and not _is_cancelled(reader):
            self._abort()
        elif self.ws is not None:
            self.loop.call_later(LAST_POLL_TIME, self.ws.abort)
        if not await _wait_until(self._handled, time.monotonic() + self.client._flush_time()):
            if self._ends_in is not None:
                self._ends_in.cancel()
            await _wait_until(self._handled, time.monotonic() + LAST_POLL_TIME)
        await self._over.wait()

    async def _clean_up(self) -> None:
        """Wait until the connection is closed, and close what it used."""
        with suppress(asyncio.CancelledError):  # the event loop ends
            if self.ws is not None:
                await self.ws.linger()
            if self._is_leaving:  # the answer to the goodbye may be on its way
                await self._handled.wait()
        self.stop_watching()
        self._abort_poll()
        if self.ws is not None:
            drop(self.ws)
        with suppress(asyncio.CancelledError):
            await self.client._close_http(self.http)
        self._over.set()

    async def wait(self) -> bool:
        """Wait until all is over. Returns False to the disconnect handler, at once."""
        if self._ends_in is self.loop.current_task():
            return False
        await self._handled.wait()
        await self._network_over.wait()
        await self._join()
        return True

    async def _join(self) -> None:
        """Wait until all is closed and no task is left but for handlers that still wait."""
        await _wait_until(self._over, time.monotonic() + 1)
        if not self._running and not self._task.done():
            await asyncio.wait([self._task], timeout=1)

    async def close(self, abort: bool, reason: str) -> None:
        """End the connection from the application's side."""
        if self._claim_close(reason):
            await self._end_by_client(abort, reason)
        elif not abort and self._ends_in is not self.loop.current_task():
            await _wait_until(self._handled, time.monotonic() + self.client._flush_time())

    async def refuse(self) -> None:
        """End the connection without a disconnect event: it has never been one."""
        if self._claim_close(self.client.reason.CLIENT_DISCONNECT):
            await self._end_by_client(False, None)
        self.let_read()

    async def _end_by_client(self, abort: bool, reason: str | None) -> None:
        self._is_leaving = True
        self.client.state = "disconnecting"
        # Whoever waits for this may be cancelled; the end goes on.
        await self.loop.finish(self._end_in_task, abort, reason)
        if not abort:
            await self._join()

    async def _end_in_task(self, abort: bool, reason: str | None) -> None:
        client = self.client
        self._ends_in = self.loop.current_task()
        if reason is not None:
            with suppress(asyncio.CancelledError):  # the event loop ends
                await client._trigger_event("disconnect", reason)
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
            await _wait_until(self._network_over, deadline)
        finally:
            if not self._network_over.is_set():
                self._abort()
            self._leave()

    def end(self, reason: str) -> None:
        """End the connection for something that happened to it; the handler runs elsewhere."""
        if role := self._start_end(reason):
            self._dispatch_soon(role)

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

    def _attach(self, ws: Any) -> None:
        super()._attach(ws)
        if ws.is_compressed:
            self._stream = None  # it takes whole messages

    def _push_slowly(self, pkt: Packet) -> bool:
        is_open = super()._push_slowly(pkt)
        ws = self.ws
        if ws is None:
            if self.reason == self.client.reason.SEND_BUFFER_FULL:
                self._abort_poll()
        elif ws.stream.size > self.client.max_send_buffer:
            self._check_buffer(ws.stream)
        return is_open

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

    async def _dispatch(self, role: int) -> None:
        task = self._dispatches_in = self.loop.current_task()
        try:
            await super()._dispatch(role)
        except asyncio.CancelledError:
            reader = self._other_reader()
            if reader is None or _is_cancelled(reader) or not hasattr(task, "uncancel"):
                raise  # or Python 3.10, where nobody can tell
            task.uncancel()  # the handler was meant, not the connection

    def _dispatch_soon(self, role: int) -> None:
        # In whatever context this is found out: the handler runs in that of the connection.
        self.context.copy().run(self.loop.spawn, self._dispatch, role)

    def overtake(self, entry: int) -> None:
        """Go on without the handler that the dispatcher `entry` is stuck in."""
        # Not for one that is cancelled, with all others perhaps: nobody would cancel who goes on.
        if not _is_cancelled(self._dispatches_in):
            super().overtake(entry)

    async def _follow(self, role: int, dispatches: bool) -> None:
        if self._reader == role:
            self._reads_in = self.loop.current_task()
        await super()._follow(role, dispatches)

    def _other_reader(self) -> Any:
        """Return the task that reads, if it is another one than the one that runs."""
        task = self._reads_in
        if task is None or task.done() or task is self.loop.current_task():
            return None
        return task

    async def _read(self, role: int) -> None:
        """Read and dispatch until the connection ends or somebody else has the role."""
        self._reads_in = self.loop.current_task()
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

    def _receive_first(self, packets: list[tuple[int, Any]], frames: list[Any], role: int) -> int:
        """Process what came together with the OPEN packet. Returns a role to dispatch."""
        if self.life is not Life.OPEN:
            return 0
        if frames:
            return self._receive_frames(self.ws, frames, role)
        try:
            return self._receive(packets, len(packets), role)
        except MalformedError as error:
            return error.role

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
            task = self.loop.current_task()
            if hasattr(task, "uncancel"):  # Python 3.11
                task.uncancel()
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
        if self.life is not Life.OPEN:
            return 0
        self.client.logger.warning("%s, aborting", printable(str(error.args[0])))
        return self._start_end(self.client.reason.TRANSPORT_ERROR)

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
            self._dispatch_soon(dispatch)

    def _reading_ended(self) -> None:
        self._connection_over = True
        if self._owner is not None:
            self._owner.set()
        self._network_over.set()
        if self._cleans_in is None:
            self._cleans_in = self.loop.spawn(self._clean_up)

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
            self._posting_failed(error)
        except asyncio.CancelledError:
            self._posting_failed(ConnectionError("The task that sends was cancelled"))
            raise
        except Exception as error:  # of a session of somebody else's class
            self._posting_failed(ConnectionError(str(error)))
            raise
        finally:
            client.write_loop_task = None

    def _posting_failed(self, error: Exception) -> None:
        self._take()
        self._posts = False
        self._tell_paused()
        if role := self._network_failed(error):
            self._abort_poll()  # the GET that waits
            self._dispatch_soon(role)

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
        await _wait_until(self._paused, math.inf if timeout is None else time.monotonic() + timeout)
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
        self._loops_own: Any = None
        self._task: Any = None
        self._is_asked = False

    def add(self, client: AsyncClient) -> None:
        """Disconnect a client at SIGINT."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop.is_closed():
            self._restore()
        if self._loop is None and threading.current_thread() is threading.main_thread():
            self._install(loop)
        if self._loop is loop:
            self._clients.add(client)

    def _install(self, loop: Any) -> None:
        previous = signal.getsignal(signal.SIGINT)
        if previous in (signal.SIG_IGN, None):  # as nohup leaves it, or not of Python
            return
        if getattr(previous, "__self__", None) is loop:  # uvloop's, with a handler of the program
            return
        # The program's handler, if it has given one to the loop. asyncio has no public name for it.
        self._loops_own = getattr(loop, "_signal_handlers", {}).get(signal.SIGINT)
        if self._loops_own is not None:
            loop.add_signal_handler(signal.SIGINT, self.interrupt)
        else:
            # Not for the event loop: Ctrl-C shall end a program whose loop is blocked.
            with suppress(ValueError):  # not in the main interpreter
                signal.signal(signal.SIGINT, self._handle)
        self._loop, self._previous = loop, previous

    def discard(self, client: AsyncClient) -> None:
        """Forget a client; with the last one, what was there before is there again."""
        if client in self._clients:
            self._clients.discard(client)
            if not self._clients and self._task is None:
                self._restore()

    def _restore(self) -> None:
        loop, self._loop = self._loop, None
        previous, self._previous = self._previous, None
        loops_own, self._loops_own = self._loops_own, None
        self._task = None
        self._is_asked = False
        self._clients.clear()
        if loops_own is not None and not loop.is_closed():
            loop._signal_handlers[signal.SIGINT] = loops_own
        elif signal.getsignal(signal.SIGINT) == self._handle:
            # That of asyncio.run (Python 3.11) goes with it.
            main = getattr(previous, "keywords", {}).get("main_task")
            is_over = main is not None and main.done()
            signal.signal(signal.SIGINT, signal.default_int_handler if is_over else previous)

    def _handle(self, number: int, frame: Any) -> None:
        is_first, self._is_asked = not self._is_asked, True
        if is_first and self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self.interrupt)
        else:  # the user does not want to wait, or it would be in vain
            self._pass_on()

    def interrupt(self) -> None:
        """Disconnect the clients, then do what SIGINT did before there were any."""
        if self._loop is None:
            return
        if self._task is None:
            self._task = self._loop.create_task(self._disconnect(self._loop))
        else:
            self._pass_on()

    async def _disconnect(self, loop: Any) -> None:
        tasks = [loop.create_task(client.disconnect()) for client in self._clients]
        is_over = False
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            is_over = True
            await asyncio.gather(*tasks, return_exceptions=True)
        # From a callback: what it raises is for whoever runs the event loop.
        loop.call_soon(self._pass_on, is_over)

    def _pass_on(self, is_over: bool = False) -> None:
        """Do what was done at SIGINT before there were clients.

        is_over: the program has ended by itself when its clients did; then KeyboardInterrupt would
        only disturb asyncio.run in what it does at the end.
        """
        if self._loop is None:
            return
        self._restore()
        if not is_over or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)

    async def wait(self) -> None:
        """Wait until an interruption that is under way has been passed on."""
        task = self._task
        if task is not None and self._loop is asyncio.get_running_loop():
            await asyncio.wait([task])


interruptions = Interruptions()
async_signal_handler = interruptions.interrupt  # python-engineio's public name


class _Begun(Coroutine[Any, Any, Any]):
    """A coroutine that is cancelled where it waits first, at the earliest.

    Of a task that is cancelled before its first step asyncio runs nothing at all. That happens to
    what has just been started when the event loop ends, and nobody would clean up after it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        # From now on the task calls the coroutine's own methods.
        self.__dict__.update(send=self._coroutine.send, throw=self._coroutine.throw)
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        waits_for = self.send(None)
        if waits_for is not None:
            waits_for._asyncio_future_blocking = False
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


@functools.cache
def _loop_of(kind: Any) -> Any:
    """Return the class of a driver's loops with tasks that always begin."""

    class ClientLoop(kind):  # type: ignore[misc]
        def spawn(self, function: Callable[..., Any], *args: Any) -> Any:
            return super().spawn(lambda: _Begun(function(*args)))

    return ClientLoop


def _is_cancelled(task: Any) -> bool:
    """Tell whether somebody has asked a task to end; before Python 3.11 nobody knows."""
    return hasattr(task, "cancelling") and task.cancelling() > 0


async def _wait_until(event: Any, deadline: float) -> bool:
    """Wait for an event. Returns False if it was not set in time."""
    # Not asyncio.wait_for: before Python 3.12 it may lose a cancellation.
    waiting = asyncio.ensure_future(event.wait())
    try:
        left = None if deadline == math.inf else max(0, deadline - time.monotonic())
        await asyncio.wait([waiting], timeout=left)
    finally:
        waiting.cancel()
    return bool(event.is_set())


def drop(ws: Any) -> None:
    """End a WebSocket without waiting for anything."""
    ws.abort()
    ws.finished()
    ws.answer.close()


def _nothing(*_: Any) -> None:
    """Stand in for what is not needed."""
