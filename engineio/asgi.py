"""ASGIApp: one ASGI application out of an Engine.IO server, static files and another application.

It finds out who answers a request, sends files itself, and tells everybody when the server process
starts and stops.  It never looks into a request for Engine.IO, and knows nothing of the server but
`handle_request` and, if it has one, `shutdown`.
"""

import asyncio
import inspect
import io
import logging
import os
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

from engineio.base_app import BaseApp
from engineio.middleware import CHUNK_SIZE, FileSpan
from engineio.static_files import (
    FileResponse,
    StaticFiles,
    file_response,
    get_static_file,
    open_file,
)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Hook: TypeAlias = Callable[[], object]

logger = logging.getLogger("engineio.server")

_CONDITIONS = ("if-none-match", "if-modified-since", "if-range", "range")


class EngineIOApp(Protocol):
    """What ASGIApp needs of an Engine.IO server; a Socket.IO server has it too.

    If there is a `shutdown`, a function or coroutine function, the end of the process calls it.
    """

    def handle_request(self, scope: Any, receive: Any, send: Any, /) -> Awaitable[object]:
        """Answer an `http` or `websocket` scope, as an ASGI application does."""
        ...


class ASGIApp(BaseApp):
    """An ASGI application that hands each request to whom it belongs.

    In this order: the Engine.IO server, a static file if it exists, the other application, a 404.

    :param engineio_server: the `engineio.AsyncServer`, or another object with its `handle_request`.
    :param other_asgi_app: an ASGI application for everything else. Default: None, which answers
        404, and refuses a WebSocket.
    :param static_files: a dict of URL paths and the files or folders they serve; the forms are in
        `engineio.static_files`. Default: None, no files.
    :param engineio_path: the URL path of the Engine.IO server and all below it; slashes at its ends
        do not matter. None, `''` or `'/'` is every path. Default: `'engine.io'`.
    :param on_startup: a function or coroutine function without arguments, called when the server
        process starts, after the other application's own startup. Default: None.
    :param on_shutdown: the same for its end, called after the clients are disconnected and before
        the other application's shutdown. Default: None.

    All six are attributes that can be set later; `engineio_path` reads as `'/engine.io/'` or None.

    Paths are those below the ASGI `root_path`, so that the application can be mounted.  A path that
    begins with the `engineio_path` as it stands is taken too: `mount('/sub', ASGIApp(eio,
    engineio_path='/sub/engine.io'))` was how to write it for python-engineio 4.

    Startup and shutdown need a server that sends ASGI lifespan events; a framework does not pass
    them on to what is mounted in it.

    Raises ValueError for static files with an invalid pattern or target.
    """

    def __init__(
        self,
        engineio_server: EngineIOApp,
        other_asgi_app: ASGIApplication | None = None,
        static_files: StaticFiles | None = None,
        engineio_path: str | None = "engine.io",
        on_startup: Hook | None = None,
        on_shutdown: Hook | None = None,
    ) -> None:
        self.engineio_server = engineio_server
        self.other_asgi_app = other_asgi_app
        self.static_files = static_files
        self.engineio_path = engineio_path
        self.on_startup = on_startup
        self.on_shutdown = on_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or follow the lifespan of the server process (ASGI 3)."""
        kind = scope["type"]
        if kind == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        if kind in ("http", "websocket"):
            paths = _paths(scope)
            for path in paths:
                if self._is_engineio_path(path):
                    await self.engineio_server.handle_request(scope, receive, send)
                    return
            if kind == "http" and self._static_files:
                static_file = await asyncio.to_thread(self._find_static_file, paths)
                if static_file is not None:
                    request = {"method": scope["method"], "headers": _conditions(scope)}
                    await self.serve_static_file({**static_file, **request}, receive, send)
                    return
        elif self.other_asgi_app is None:
            raise ValueError(f"unknown ASGI scope {kind!r}")
        if self.other_asgi_app is not None:
            await self.other_asgi_app(scope, receive, send)
        else:
            await self.not_found(receive, send if kind == "http" else _refuser(scope, send))

    async def serve_static_file(
        self, static_file: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        """Send a file; 404 if it cannot be opened.

        :param static_file: a dict with `filename` and `content_type`, as `get_static_file` returns
            it, and what the request says of it: its `method`, default `'GET'`, and `headers`, a
            dict with lower-case names, default none.

        Raises OSError if the file becomes shorter meanwhile, so that the server ends the
        connection.
        """
        file = _File()
        try:
            started = await asyncio.to_thread(file.start, static_file)
            if started is None:
                await self.not_found(receive, send)
                return
            response, chunk = started
            headers = [
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in response.headers
            ]
            status = int(response.status[:3])
            await send({"type": "http.response.start", "status": status, "headers": headers})
            left = response.length - len(chunk)
            await _send_body(send, chunk, more=left > 0)
            if left > 0:
                await _send_rest(file, left, receive, send)
        finally:
            file.close()

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and stop with the server process, and so does the other application.

        What fails in a startup or shutdown is logged with its traceback, and sent to the server as
        the reason, which then ends.
        """
        await _Lifespan(self, receive, send).run(scope)

    async def not_found(self, receive: Receive, send: Send) -> None:
        """Answer a request that nobody else wants: 404."""
        body = b"Not Found"
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await _send_body(send, body)

    def _find_static_file(self, paths: list[str]) -> dict[str, str] | None:
        for path in paths:
            static_file = get_static_file(path, self._static_files)
            if static_file is not None and os.access(static_file["filename"], os.R_OK):
                return static_file
        return None


def _paths(scope: Scope) -> list[str]:
    """Return the path below root_path, and the whole path if that is another.

    By the specification `path` contains `root_path`; where a server or a proxy has removed it
    already, there is nothing to remove.
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path") or ""
    if not root_path:
        return [path]
    # uvicorn joins "/sub/" and "/engine.io/" with two slashes, others with one.
    for root in (root_path, root_path.rstrip("/")):
        if root and (path == root or path.startswith(root + "/")):
            return [path[len(root) :], path]
    return [path]


def _conditions(scope: Scope) -> dict[str, str]:
    return {
        name: value.decode("latin-1")
        for raw_name, value in scope["headers"]
        if (name := raw_name.decode("latin-1").lower()) in _CONDITIONS
    }


def _refuser(scope: Scope, send: Send) -> Send:
    """Return a `send` that refuses a WebSocket with the response it is given.

    Servers without the extension for it refuse with a 403 of their own.
    """
    has_response = "websocket.http.response" in (scope.get("extensions") or {})

    async def refuse(message: Message) -> None:
        if has_response:
            await send({**message, "type": "websocket." + message["type"]})
            # uvicorn 0.54 logs an error unless the connection, which it closes now, is gone when
            # the application returns (uvicorn pull request 3138).
            await asyncio.sleep(0)
        elif message["type"] == "http.response.start":
            await send({"type": "websocket.close"})

    return refuse


async def _send_body(send: Send, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


class _File:
    """A file that worker threads open and read, for a request that may end at any moment.

    A cancelled request does not stop the thread that works for it.  The file is closed by whoever
    comes last, the request or that thread: a descriptor closed while it is read may be somebody
    else's connection before the read has happened.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held by the thread that opens or reads
        self._is_closed = False
        self._file: io.FileIO | None = None
        self._span: FileSpan  # once `start` has found the file

    def start(self, static_file: dict[str, Any]) -> tuple[FileResponse, bytes] | None:
        """Return the response and the first chunk of its body; None if there is no such file.

        It waits for the disk, as `read` does.
        """
        try:
            with self._lock:
                opened = open_file(static_file["filename"])
                if opened is None:
                    return None
                self._file, info = opened
                response = file_response(
                    static_file.get("method", "GET"),
                    static_file.get("headers", {}),
                    info,
                    static_file["content_type"],
                )
                self._span = FileSpan(self._file, response.start, response.length)
                return response, self._span.read(CHUNK_SIZE)
        finally:
            self._close_if_last()

    def read(self) -> bytes:
        """Return the next chunk.  Raises OSError if the file has become shorter."""
        try:
            with self._lock:
                return self._span.read(CHUNK_SIZE)
        finally:
            self._close_if_last()

    def close(self) -> None:
        """Close the file, now or when the thread that reads it is done.  Does not wait."""
        self._is_closed = True
        self._close_if_last()

    def _close_if_last(self) -> None:
        # The flag is set before the lock is tried, and looked at after it is released: of request
        # and thread at least one gets here with both.
        if self._is_closed and self._lock.acquire(blocking=False):
            file, self._file = self._file, None
            self._lock.release()
            if file is not None:
                file.close()


async def _send_rest(file: _File, left: int, receive: Receive, send: Send) -> None:
    """Send the remaining `left` bytes, or as many as the client stays for."""
    # Most servers take what is sent to nobody, and a big file would be read for nothing.
    gone = asyncio.ensure_future(_wait_disconnect(receive))
    try:
        while left > 0 and not gone.done():
            chunk = await asyncio.to_thread(file.read)
            left -= len(chunk)
            await _send_body(send, chunk, more=left > 0)
    finally:
        gone.cancel()  # which also says that its exception, if it has one, is of no interest
        await asyncio.wait([gone])


async def _wait_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # a part of a request body, which nobody wants


class _Lifespan:
    """The lifespan of an ASGIApp, around that of the application it wraps.

    The wrapped application is given `receive` and `send` of this object, which run our part at the
    right moment of its own:

        startup     its startup, on_startup, then the answer
        shutdown    the clients are told, on_shutdown, its shutdown, then the answer

    Without such an application, or when it does not know lifespans, `run` speaks in its place.
    """

    def __init__(self, app: ASGIApp, receive: Receive, send: Send) -> None:
        self._app = app
        self._receive = receive
        self._send = send
        self._asked = ""  # the event that waits for an answer
        self._is_started = False
        self._is_over = False  # the last answer is sent
        self._is_taken_back = False  # the wrapped application has started in vain
        self._error: BaseException | None = None  # of the shutdown

    async def run(self, scope: Scope) -> None:
        """Answer the server's events, to the end."""
        if self._app.other_asgi_app is not None:
            try:
                await self._app.other_asgi_app(scope, self.receive, self.send)
            except Exception as error:
                # Some servers have their `send` raise when a startup failed, and want it back.
                if self._is_over:
                    raise
                self._log_wrapped(error)
        while not self._is_over:
            if not self._asked:
                await self.receive()
            await self.send({"type": f"{self._asked}.complete"})

    async def receive(self) -> Message:
        """Return the server's next event, after our part of a shutdown."""
        if self._is_taken_back:
            self._is_taken_back = False
            return {"type": "lifespan.shutdown"}
        event = await self._receive()
        self._asked = event["type"]
        if self._asked == "lifespan.shutdown":
            try:
                await self._stop()
            except Exception as error:
                logger.exception("the application's shutdown failed")
                self._error = error
        return event

    async def send(self, message: Message) -> None:
        """Send an answer to the server, after our part of a startup."""
        answer = message["type"]
        if not answer.startswith("lifespan."):
            raise ValueError(f"{answer} in answer to a lifespan event")
        if self._is_over:
            return  # it ends what the server takes for never begun
        if answer == "lifespan.startup.complete":
            try:
                await _call(self._app.on_startup)
                self._is_started = True
            except Exception as error:
                logger.exception("the application's startup failed")
                self._is_taken_back = True
                message = _failed("lifespan.startup.failed", error)
        elif answer == "lifespan.shutdown.complete" and self._error is not None:
            message = _failed("lifespan.shutdown.failed", self._error)
        self._asked = ""
        self._is_over = message["type"] != "lifespan.startup.complete"
        await self._send(message)

    async def _stop(self) -> None:
        try:
            await _call(getattr(self._app.engineio_server, "shutdown", None))
        finally:
            await _call(self._app.on_shutdown)

    def _log_wrapped(self, error: Exception) -> None:
        """Log why the wrapped application no longer takes part; it need not know lifespans."""
        if not self._asked and not self._is_started:
            logger.debug("the wrapped application has no lifespan: %r", error)
            return
        logger.error("the wrapped application failed in its lifespan", exc_info=error)
        if self._asked == "lifespan.shutdown" and self._error is None:
            self._error = error


def _failed(answer: str, error: BaseException) -> Message:
    return {"type": answer, "message": f"{type(error).__name__}: {error}"}


async def _call(function: Hook | None) -> None:
    if function is not None:
        result = function()
        if inspect.isawaitable(result):
            await result
