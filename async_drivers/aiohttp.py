"""aiohttp: `AsyncServer(async_mode="aiohttp")` and `eio.attach(app)`."""

from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from engineio.driver import AsyncDriver
from engineio.exceptions import ProtocolError

from ._asyncio import (
    Hangups,
    Waiter,
    add_header,
    asyncio_parts,
    base_environ,
    read_in_small_parts,
)
from ._frames import FrameWebSocket

Environ = dict[str, Any]

hangups = Hangups()


class Connection:
    """The connection of a request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    async def wait(self, waiter: Waiter) -> bool:
        """Wait for a waiter or the end of the connection; returns whether it was the end."""
        return await hangups.wait(waiter, self._has_gone)

    def _has_gone(self) -> bool:
        transport = self._request.transport
        return transport is None or transport.is_closing()


def create_route(app: web.Application, engineio_server: Any, engineio_endpoint: str) -> None:
    """Add a server's route to an application, and have its clients disconnected at the end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse | None = await engineio_server.handle_request(request)
        # aiohttp logs a traceback for nothing. Where there is no answer, the client has gone.
        return web.Response() if answer is None else answer

    # Every method, since those that are not allowed have an answer of their own.
    for path in dict.fromkeys((engineio_endpoint, engineio_endpoint.rstrip("/") or "/")):
        app.router.add_route("*", path, handle)

    async def shutdown(_: web.Application) -> None:
        await engineio_server.shutdown()

    app.on_shutdown.append(shutdown)


def translate_request(request: web.BaseRequest) -> Environ:
    """Return the WSGI environ of a request."""
    raw_path = request.raw_path
    transport = request.transport
    peer = here = None
    if transport is not None:
        peer = transport.get_extra_info("peername")
        here = transport.get_extra_info("sockname")
        read_in_small_parts(transport)
    environ: Environ = base_environ("aiohttp", peer, here)
    environ["wsgi.input"] = request.content
    environ["wsgi.url_scheme"] = request.scheme
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = request.path
    environ["QUERY_STRING"] = raw_path.partition("?")[2]
    environ["RAW_URI"] = raw_path
    environ["SERVER_PROTOCOL"] = f"HTTP/{request.version[0]}.{request.version[1]}"
    environ["aiohttp.request"] = request
    for name, value in request.headers.items():
        add_header(environ, name, value)
    return environ


def make_response(
    status: str, headers: list[tuple[str, str]], payload: bytes, environ: Environ
) -> web.Response:
    """Return a response."""
    return web.Response(body=payload, status=int(status[:3]), headers=headers)


class _Upgraded(web.StreamResponse):
    """The 101, after which the connection is not aiohttp's any more."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing: what came after the head was not HTTP."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, at once."""
        writer = await super().prepare(request)
        if writer is not None:
            await writer.drain()
        return writer


class _Parser:
    """What aiohttp gives the bytes of an upgraded connection to."""

    def __init__(self, websocket: FrameWebSocket) -> None:
        self.feed_eof = websocket.feed_eof
        self._feed = websocket.feed

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes of the peer."""
        self._feed(data)
        return False, b""


class WebSocket(FrameWebSocket):
    """A WebSocket on aiohttp's connection."""

    async def __call__(self, environ: Environ) -> web.StreamResponse:
        """Accept the handshake and run the handler."""
        await super().__call__(environ)
        return self._response

    async def accept(self, environ: Environ, headers: list[tuple[str, str]]) -> Any:
        """Answer the handshake. Returns the transport."""
        request = environ["aiohttp.request"]
        protocol = request.protocol
        transport = protocol.transport
        if transport is None:
            raise ProtocolError("the peer has gone")
        self._response = _Upgraded(status=101, headers=headers)
        self._response.force_close()
        await self._response.prepare(request)
        protocol.keep_alive(False)
        return transport

    def start(self, environ: Environ) -> None:
        """Begin to take bytes."""
        protocol = environ["aiohttp.request"].protocol
        protocol.set_parser(_Parser(self))
        if protocol.transport is None:
            self.feed_eof()  # it was lost while the 101 was sent


driver = AsyncDriver(
    translate_request=translate_request,
    make_response=make_response,
    websocket=WebSocket,
    create_route=create_route,
    connection=lambda environ: Connection(environ["aiohttp.request"]),
    **asyncio_parts,
)
_async = driver.primitives()
