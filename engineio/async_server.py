"""The asyncio server."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from engineio import packet as wire
from engineio import response
from engineio.async_socket import AsyncSocket
from engineio.base_server import BaseServer
from engineio.base_socket import BadLengthError
from engineio.driver import ASYNC_MODES, AsyncDriver, AsyncLoop, load
from engineio.exceptions import ContentTooLongError, ProtocolError
from engineio.packet import Packet
from engineio.request import (
    BAD_REQUEST,
    REQUEST_KEY,
    Connect,
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

SLACK = 0.005  # seconds a ping may be late


class _WebSocketOver(NamedTuple):
    """What a WebSocket that has ended leaves to the web server."""

    left: Any


class AsyncServer(BaseServer):
    """An Engine.IO server for asyncio: ASGI, aiohttp, sanic and tornado.

    It takes the options of `Server`; what is different:

    - `async_mode` is "aiohttp", "sanic", "tornado" or "asgi", by default the first of them that
      is installed.
    - Handlers are functions or coroutine functions. A function that blocks holds up every client,
      which is warned about once.
    """

    driver: AsyncDriver
    # Of the event loop that runs; made when the first request comes.
    loop: Any = None

    def _set_up(self) -> None:
        self._stopping = False
        self._has_stalled = False

    def async_modes(self) -> list[str]:
        """Return the modes of this kind of server, in the order they are tried."""
        return ASYNC_MODES

    def is_asyncio_based(self) -> bool:
        """Return whether the handlers may be coroutines."""
        return True

    def _enter_loop(self) -> AsyncLoop:
        """Have `loop` be the event loop that runs."""
        loop: AsyncLoop | None = self.loop
        if loop is not None and loop.is_running:
            return loop
        # The loop before this one has ended, and its tasks with it.
        for socket in self.manager.all():
            socket.life = Life.CLOSED
            self.forget(socket)
            self.heartbeat.discard(socket.sid)
        self.service_task_handle = None
        loop = self.loop = self.driver.loop(self._warn_of_stall)
        return loop

    def _warn_of_stall(self, seconds: float) -> None:
        if not self._has_stalled:
            self._has_stalled = True
            self.logger.error(
                "event loop stalled for %.1f s: a handler that blocks should await instead, "
                "or use asyncio.to_thread",
                seconds,
            )

    # -- what applications call ------------------------------------------------------------------

    def attach(self, app: Any, engineio_path: str = "engine.io") -> None:
        """Add the server's route to an application of aiohttp or sanic.

        `engineio_path` is the URL path. Raises `ValueError` in the other async modes, which have
        `engineio.ASGIApp` and `engineio.get_tornado_handler` for this.
        """
        if self.driver.create_route is None:
            raise ValueError(f"async_mode {self.async_mode!r} has no attach()")
        path = engineio_path.strip("/")
        self.driver.create_route(app, self, f"/{path}/")

    async def send(self, sid: str, data: Any) -> None:
        """Send a message to a client, without waiting.

        `data`: str, bytes (binary), a dict or list (JSON), or anything else as its `str`. An
        unknown sid is a warning in the log. Raises what encoding the data raises.
        """
        if not self.manager.send(sid, Packet(wire.MESSAGE, data)):
            self._warn_unknown(sid)

    async def send_packet(self, sid: str, pkt: Packet) -> None:
        """Send a packet to a client, without waiting. One packet may go to many clients."""
        if not self.manager.send(sid, pkt):
            self._warn_unknown(sid)

    async def broadcast(self, data: Any, skip: str | Iterable[str] | None = None) -> None:
        """Send a message to every client, encoded once, without waiting.

        `data` as for `send`; `skip`: a sid, or several, that do not get it.
        """
        self._broadcast(data, skip)

    async def get_session(self, sid: str) -> dict[Any, Any]:
        """Return the dictionary kept for a client; changes to it stay.

        Raises `KeyError` for an unknown sid.
        """
        session: dict[Any, Any] = self._get_socket(sid).session
        return session

    async def save_session(self, sid: str, session: dict[Any, Any]) -> None:
        """Replace the dictionary kept for a client. Raises `KeyError` for an unknown sid."""
        self._get_socket(sid).session = session

    @asynccontextmanager
    async def session(self, sid: str) -> AsyncIterator[dict[Any, Any]]:
        """Return the dictionary kept for a client, saved when the `with` block ends.

        Raises `KeyError` for an unknown sid.
        """
        session = await self.get_session(sid)
        yield session
        await self.save_session(sid, session)

    async def disconnect(self, sid: str | None = None) -> None:
        """Disconnect a client, or all of them: first its disconnect handler runs, then it is told.

        Does not wait for the client. An unknown sid is no error.
        """
        if sid is None:
            await self._close_all(self.reason.SERVER_DISCONNECT)
        elif (socket := self.manager.get(sid)) is not None:
            await socket.close()

    async def _close_all(self, reason: str) -> None:
        closing = [
            self.loop.spawn(socket.close, True, False, reason) for socket in self.manager.all()
        ]
        for task in closing:
            await task

    async def handle_request(self, *args: Any, **kwargs: Any) -> Any:
        """Answer a request, given and answered as the async mode has it."""
        environ = self.driver.translate_request(*args, **kwargs)
        if hasattr(environ, "__await__"):
            environ = await environ
        self._enter_loop()
        log_info = self.logger.isEnabledFor(logging.INFO)
        if log_info is not self.log_info:  # to set an option costs more
            self.log_info = log_info
        request = Request.parse(environ)
        request.connection = self.driver.connection(environ)
        environ[REQUEST_KEY] = request
        socket: AsyncSocket | None = None
        try:
            answer, socket = await self._answer(request)
            if isinstance(answer, _WebSocketOver):
                return answer.left
            answer = response.finish(answer, environ, self)
            made = self.driver.make_response(
                answer["status"], answer["headers"], answer["response"], environ
            )
            if hasattr(made, "__await__"):
                made = await made
            return made
        except (Exception, asyncio.CancelledError) as error:
            # The client did not get what it was to get, packets perhaps.
            if socket is not None:
                await socket.end_now(self.reason.TRANSPORT_ERROR)
            if isinstance(error, OSError):  # it has gone, as servers tell it while they send
                return None
            raise
        finally:
            environ.pop(REQUEST_KEY, None)

    async def shutdown(self) -> None:
        """Disconnect all clients (server shutdown) and end the tasks of this server."""
        loop = self.loop
        if loop is None or not loop.is_running:
            return
        self._stopping = True
        while not all(socket.closing for socket in self.manager.all()):  # who comes meanwhile too
            await self._close_all(self.reason.SERVER_SHUTDOWN)
        self.service_task_handle = None
        await loop.stop()
        self.loop = None

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a coroutine function in a task. Returns the `asyncio.Task`."""
        return asyncio.ensure_future(target(*args, **kwargs))

    async def sleep(self, seconds: float = 0) -> None:
        """Wait for a number of seconds, as the async mode has it."""
        await self.driver.sleep(seconds)

    # -- requests --------------------------------------------------------------------------------

    async def _answer(
        self, request: Request
    ) -> tuple[Response | _WebSocketOver, AsyncSocket | None]:
        """Return the answer, and whose session ends if it can't be delivered."""
        decision = route(request, self, self.manager)
        if isinstance(decision, Poll):
            return await self._answer_poll(decision.session, request), decision.session
        if isinstance(decision, Post):
            return await self._answer_post(decision.session, request), None
        if isinstance(decision, Reject):
            return self._refuse(decision, request), None
        if isinstance(decision, Preflight):
            return response.text(""), None
        try:
            if isinstance(decision, Upgrade):
                left = await decision.session.handle_get_request(request.environ)
                return _WebSocketOver(left), None
            return await self._connect(decision, request)
        except ProtocolError as error:
            reject = Reject(error.status, BAD_REQUEST, "bad-upgrade")
            self.logger.debug("WebSocket refused: %s", error)
            return self._refuse(reject, request), None

    def _stop_reading(self, reader: Any) -> None:
        reader.cancel()

    async def _answer_poll(self, socket: AsyncSocket, request: Request) -> Response:
        try:
            packets = await socket.handle_get_request(request.environ)
        except ProtocolError as error:
            return self._end_badly(socket, error)
        except (Exception, asyncio.CancelledError):
            await socket.end_now(self.reason.TRANSPORT_ERROR)
            raise
        if socket.closed and not socket.outbox:
            self.manager.left(socket.sid)
            self.heartbeat.discard(socket.sid)
        return self._ok(packets, jsonp_index=request.jsonp_index)

    async def _answer_post(self, socket: AsyncSocket, request: Request) -> Response:
        try:
            await socket.handle_post_request(request.environ)
        except ContentTooLongError:
            self.admission.count("refused", "max_http_buffer_size")
            return response.empty(413)
        except BadLengthError as error:
            self.log_fault(socket.sid, error)
            return self._bad_request()
        except ProtocolError as error:
            return self._end_badly(socket, error)
        except (Exception, asyncio.CancelledError):
            await socket.end_now(self.reason.TRANSPORT_ERROR)
            raise
        return self._ok(headers=[])

    async def _connect(
        self, decision: Connect, request: Request
    ) -> tuple[Response | _WebSocketOver, AsyncSocket | None]:
        environ = request.environ
        is_websocket = decision.transport == WEBSOCKET
        if is_websocket:
            self._async["websocket"](None, self).check(environ)
        self._start_service()
        socket = AsyncSocket(self, self.generate_id())
        upgrades = self._upgrades(socket.sid, decision.transport)
        socket.push(self._open_packet(socket.sid, upgrades))
        if refusal := self._admit(socket, environ):
            return self._refuse(refusal, request), None
        accepted = False
        try:
            verdict = await self._trigger_event("connect", socket.sid, environ)
            accepted = verdict is None or verdict is True
        finally:
            if not accepted:
                socket.life = Life.CLOSED
                self.forget(socket)
        if not accepted:
            self.logger.warning("Application rejected connection")
            self.admission.count("refused", "connect handler")
            return self._unauthorized(verdict), None
        self.admission.count("connects", decision.transport)
        if is_websocket:
            try:
                return _WebSocketOver(await socket.handle_get_request(environ)), None
            finally:
                if not socket.closing:  # the handshake failed halfway
                    socket.open()
                    await socket.end_now(self.reason.TRANSPORT_CLOSE)
                elif socket.closed_early and not socket.closed:
                    await socket.accept()  # for its disconnect event
        try:
            await socket.accept()
            packets = socket.take(request.packet_limit)
        except (Exception, asyncio.CancelledError):
            await socket.end_now(self.reason.TRANSPORT_ERROR)
            raise
        headers = []
        if self.cookie is not None:
            headers.append(("Set-Cookie", response.cookie_header(socket.sid, self.cookie)))
        return self._ok(packets, headers=headers, jsonp_index=request.jsonp_index), socket

    def handle_message(self, sid: str, data: Any) -> Any:
        """Call the handler of a message. Returns what to await, or None."""
        handler = self.handlers.get("message")
        if handler is not None:
            try:
                handled = handler(sid, data)
            except Exception:
                self.logger.exception("message handler error")
                return None
            if handled is not None and hasattr(handled, "__await__"):
                return handled
        return None

    async def _trigger_event(self, event: str, *args: Any, run_async: bool = False) -> Any:
        """Run the handler of an event. Returns what it returns; False if it raises."""
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
        return False

    # -- heartbeat -------------------------------------------------------------------------------

    def _start_service(self) -> None:
        if self.service_task_handle is not None:
            return
        self._stopping = False
        self.service_task_event = self.driver.alarm(self.loop)
        self.service_task_handle = self.loop.spawn_apart(self._service_task)

    async def _service_task(self) -> None:
        """Send pings and drop clients that do not answer: one task for all clients."""
        event = self.service_task_event
        server_stops = self.driver.server_stops()
        while not self._stopping:
            event.clear()
            due = self.heartbeat.next_due()
            wait = self._service_wait(due, server_stops is not None)
            if wait is None:
                await event.wait()
            elif wait > 0:
                # uvloop counts in milliseconds, and a timer that is early would be set again and
                # again. A little later several clients are due at once.
                await event.wait(wait + min(SLACK, self.ping_timeout / 20))
            if server_stops is not None and server_stops():
                self._disconnect_for_stop()
            self._limit_send_buffers()
            now = time.monotonic()
            stalled = self._was_stalled(due, now)
            self.log_info = self.logger.isEnabledFor(logging.INFO)
            for sid in self.heartbeat.pop_due(now):
                try:
                    await self._beat(sid, now, stalled)
                except Exception:
                    self.logger.exception("heartbeat error")

    async def _beat(self, sid: str, now: float, stalled: bool) -> None:
        self.manager.left(sid)
        socket = self.manager.get(sid)
        if socket is None:
            return
        beat = socket.beat(now, stalled)
        if beat is Beat.PING:
            await socket._send_ping()
        elif beat is Beat.TIMEOUT:
            if self.start_service_task:
                socket.end(self.reason.PING_TIMEOUT)
        elif beat is not None:
            socket.wake_at(beat)


def get_tornado_handler(engineio_server: AsyncServer) -> Any:
    """Return the Tornado request handler class of a server, for a route of `tornado.web`.

    Raises `DriverError` if tornado is not installed.
    """
    return load("tornado").create_handler(engineio_server)
