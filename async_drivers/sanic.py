"""Sanic: `AsyncServer(async_mode="sanic")` and `eio.attach(app)`.

On Sanic's own server a WebSocket has the connection to itself, and our frames. Where an ASGI server
runs the Sanic application, what the asgi driver does goes past Sanic to that server.
"""

import asyncio
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from websockets.protocol import State

from engineio.driver import AsyncDriver
from engineio.exceptions import ProtocolError

from . import asgi
from ._asyncio import NORMAL, add_header, asyncio_parts, base_environ
from ._frames import FrameWebSocket

Environ = dict[str, Any]

# Every method, since those that are not allowed have an answer of their own.
METHODS = ("GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH")
GOING_AWAY = 1001


class Body:
    """The body of a request, as it arrives; the request's `wsgi.input`."""

    def __init__(self, request: Any) -> None:
        self._stream = request.stream
        self._chunk = b""

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that are left if negative; b'' at the end."""
        if size < 0:
            chunks = []
            while chunk := await self.read(1 << 16):
                chunks.append(chunk)
            return b"".join(chunks)
        while not self._chunk:
            data = await self._stream.read() if self._stream.request_body else None
            if data is None:
                return b""
            self._chunk = data
            if self._stream.request_body is True and not self._stream.request_bytes_left:
                await self._stream.read()  # lets Sanic know that the body was read to its end
        chunk, self._chunk = self._chunk[:size], self._chunk[size:]
        return chunk


def create_route(app: Any, engineio_server: Any, engineio_endpoint: str) -> None:
    """Add a server's route to an application, and have its clients disconnected at the end."""

    async def handle_request(request: Request) -> HTTPResponse | None:
        response: HTTPResponse | None = await engineio_server.handle_request(request)
        return response

    # Then Sanic does not miss the response of a WebSocket.
    handle_request.is_websocket = True  # type: ignore[attr-defined]

    async def shutdown(_: Sanic[Any, Any]) -> None:
        await engineio_server.shutdown()

    name = "engineio_" + "".join(c if c.isalnum() else "_" for c in engineio_endpoint)
    app.add_route(handle_request, engineio_endpoint, methods=METHODS, name=name, stream=True)
    app.register_listener(shutdown, "before_server_stop")
    app.enable_websocket()


def translate_request(request: Any) -> Environ:
    """Return the WSGI environ of a request."""
    transport = request.transport
    if hasattr(transport, "scope"):
        environ = asgi.translate_request(transport.scope, transport.receive, transport.send)
        environ["SERVER_SOFTWARE"] = "sanic"
        environ["sanic.request"] = request
        return environ
    raw_path = request.raw_url.decode("latin-1")
    peer = transport.get_extra_info("peername")
    environ = base_environ("sanic", peer, transport.get_extra_info("sockname"))
    environ["wsgi.input"] = Body(request)
    environ["wsgi.url_scheme"] = asgi.HTTP_SCHEMES.get(request.scheme, request.scheme)
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = request.path
    environ["QUERY_STRING"] = raw_path.partition("?")[2]
    environ["RAW_URI"] = raw_path
    environ["SERVER_PROTOCOL"] = f"HTTP/{request.version}"
    environ["sanic.request"] = request
    for name, value in request.headers.items():
        add_header(environ, name, value)
    return environ


def make_response(
    status: str, headers: list[tuple[str, str]], payload: bytes, environ: Environ
) -> Any:
    """Return a response; under ASGI, what sends the refusal of a WebSocket."""
    scope = environ.get("asgi.scope")
    if scope is not None and scope["type"] == "websocket":
        return asgi.make_response(status, headers, payload, environ)
    fields = dict(headers)
    content_type = fields.pop("Content-Type", None)
    return HTTPResponse(payload, int(status[:3]), fields, content_type)


class _Seat:
    """What sits in Sanic's protocol where it keeps its own WebSocket, and is told what happens."""

    def __init__(self, websocket: "WebSocket", protocol: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.ws_proto = self
        self._websocket = websocket
        self._protocol = protocol
        self.data_received = websocket.feed

    @property
    def state(self) -> State:
        """Whether the WebSocket is open."""
        return State.OPEN if self._websocket.protocol.is_open else State.CLOSED

    def eof_received(self) -> None:
        """Do as asyncio does by default: the connection ends."""

    def connection_lost(self, _: Exception | None) -> None:
        """Note that the connection has ended."""
        # Sanic would cancel the task, and a handler with it, before it has seen every message.
        self._protocol._task = None
        # Its timer would keep the connection's objects (11 kB) for up to a minute.
        timer = getattr(self._protocol, "_callback_check_timeouts", None)
        if timer is not None:
            timer.cancel()
        self._websocket.feed_eof()

    def end_connection(self, code: int = NORMAL, reason: str = "") -> None:
        """End the connection, now that the request has been answered."""
        self._protocol.transport.close()

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close the WebSocket, as the server stops."""
        self._websocket.end(code)


class WebSocket(FrameWebSocket):
    """A WebSocket on Sanic's connection."""

    def check(self, environ: Environ) -> None:
        """Raise `ProtocolError` if the handshake can't succeed."""
        if "asgi.scope" in environ:
            asgi.WebSocket(self.handler, self.server).check(environ)
            return
        super().check(environ)
        if not hasattr(_protocol(environ), "websocket"):
            raise ProtocolError("this server gives no access to its connection")

    async def __call__(self, environ: Environ) -> Any:
        """Accept the handshake and run the handler."""
        if "asgi.scope" in environ:
            return await asgi.WebSocket(self.handler, self.server)(environ)
        return await super().__call__(environ)

    async def accept(self, environ: Environ, headers: list[tuple[str, str]]) -> Any:
        """Answer the handshake. Returns the transport."""
        self.check(environ)
        protocol = _protocol(environ)
        transport = protocol.transport
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{key}: {value}" for key, value in headers)]
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return transport

    def start(self, environ: Environ) -> None:
        """Begin to take bytes."""
        protocol = _protocol(environ)
        protocol.websocket = _Seat(self, protocol)
        early = bytes(protocol.recv_buffer)
        protocol.recv_buffer.clear()
        if early:
            self.feed(early)
        if protocol.transport is None or protocol.conn_info.lost:
            self.feed_eof()


def _protocol(environ: Environ) -> Any:
    transport = environ["sanic.request"].transport
    return transport.get_protocol() if hasattr(transport, "get_protocol") else None


driver = AsyncDriver(
    translate_request=translate_request,
    make_response=make_response,
    websocket=WebSocket,
    create_route=create_route,
    # Sanic's own server cancels the task when the connection ends.
    connection=lambda environ: environ["wsgi.input"] if "asgi.scope" in environ else None,
    server_stops=asgi.server_stops,
    **asyncio_parts,
)
_async = driver.primitives()
