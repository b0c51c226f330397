"""Tornado: `AsyncServer(async_mode="tornado")` and `engineio.get_tornado_handler(eio)`."""

import asyncio
import socket
from typing import Any

import tornado.web
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from engineio.driver import AsyncDriver
from engineio.exceptions import ProtocolError

from ._asyncio import Waiter, add_header, asyncio_parts, base_environ
from ._frames import FrameWebSocket

READ_SIZE = 65536

Environ = dict[str, Any]


class Connection:
    """What is still to come of a request: its body, then the news that the client has gone.

    It is the request's `wsgi.input`.
    """

    length = -1
    """Bytes of the body, if they are known."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._fed = 0
        self._has_ended = False
        self._has_gone = False
        self._waiter: Waiter | None = None

    def feed(self, chunk: bytes) -> None:
        """Take a part of the body."""
        self._chunks.append(chunk)
        self._fed += len(chunk)
        self._wake()

    def feed_eof(self) -> None:
        """Note that the body is complete."""
        self._has_ended = True
        self._wake()

    def lose(self) -> None:
        """Note that the client has gone."""
        self._has_gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that are left if negative; b'' at the end.

        Raises `ConnectionResetError` if the client goes away before the end.
        """
        if size < 0:
            chunks = []
            while chunk := await self.read(1 << 16):
                chunks.append(chunk)
            return b"".join(chunks)
        # When its last bytes are here, the body has not ended yet for Tornado. It would close the
        # connection after an answer that came before, without saying so in a header.
        while not self._has_ended and (not self._chunks or self._fed == self.length):
            if self._has_gone:
                if self._chunks:
                    break
                raise ConnectionResetError("the client has gone")
            await self._wait(Waiter(asyncio.get_running_loop()))
        if not self._chunks:
            return b""
        chunk = self._chunks.pop(0)
        if len(chunk) > size:
            self._chunks.insert(0, chunk[size:])
        return chunk[:size]

    async def wait(self, waiter: Waiter) -> bool:
        """Wait for a waiter or the end of the connection; returns whether it was the end."""
        if not self._has_gone:
            await self._wait(waiter)
        return self._has_gone

    async def _wait(self, waiter: Waiter) -> None:
        self._waiter = waiter
        try:
            await waiter.wait()
        finally:
            self._waiter = None


def create_handler(engineio_server: Any) -> type[tornado.web.RequestHandler]:
    """Return the request handler class of a server."""

    @tornado.web.stream_request_body
    class Handler(tornado.web.RequestHandler):
        """What Tornado makes for each request."""

        def initialize(self) -> None:
            """Begin with nothing received."""
            self.engineio = Connection()
            self.answered: asyncio.Task[Any] | None = None

        def check_xsrf_cookie(self) -> None:
            """Leave it to the server, which looks at the origin of every request."""

        def compute_etag(self) -> None:
            """Return None: nothing here is ever the same twice."""

        def prepare(self) -> None:
            """Answer a POST that is too long at once, without its body."""
            length = self.request.headers.get("Content-Length", "")
            if (
                not (length.isascii() and length.isdigit())
                or int(length) > engineio_server.max_http_buffer_size
            ):
                self._answer_post()
            else:
                self.engineio.length = int(length)

        def data_received(self, chunk: bytes) -> None:
            """Take a part of the body, which is read while it arrives."""
            if not self._finished:
                self.engineio.feed(chunk)
                self._answer_post()

        def _answer_post(self) -> None:
            # Not as soon as there is a head: a GET that came before is not answered earlier.
            if self.answered is None and self.request.method == "POST":
                self.answered = asyncio.ensure_future(engineio_server.handle_request(self))

        async def _answer(self) -> None:
            self.engineio.feed_eof()
            await (self.answered or engineio_server.handle_request(self))

        get = post = options = head = put = delete = patch = _answer

        def on_connection_close(self) -> None:
            """Note that the client has gone."""
            super().on_connection_close()
            self.engineio.lose()
            if not self._finished:
                self._answer_post()  # so that its session ends

    return Handler


def translate_request(handler: Any) -> Environ:
    """Return the WSGI environ of a request."""
    request = handler.request
    stream = request.connection.stream
    sock = getattr(stream, "socket", None)
    here = peer = None
    if sock is not None:
        here = sock.getsockname()
        peer = (request.remote_ip, *request.connection.context.address[1:2])
    environ: Environ = {
        **base_environ("tornado", peer if peer and len(peer) == 2 else None, here),
        "wsgi.input": handler.engineio,
        "wsgi.url_scheme": request.protocol,
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query or "",
        "RAW_URI": request.uri,
        "SERVER_PROTOCOL": request.version,
        "tornado.handler": handler,
    }
    for name, value in request.headers.get_all():
        add_header(environ, name, value)
    return environ


async def make_response(
    status: str, headers: list[tuple[str, str]], payload: bytes, environ: Environ
) -> None:
    """Send a response."""
    handler = environ["tornado.handler"]
    handler.clear_header("Content-Type")
    handler.set_status(int(status[:3]))
    for name, value in headers:
        handler.add_header(name, value)
    handler.finish(payload)


class _Transport:
    """A stream of Tornado as a transport."""

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Write soon, without waiting."""
        if not self._stream.closed():
            self._stream.write(data)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be written."""
        return len(self._stream._write_buffer) if self._stream.writing() else 0

    def can_write_eof(self) -> bool:
        """Return whether `write_eof` works."""
        return not isinstance(self._stream, SSLIOStream) and not self._stream.writing()

    def write_eof(self) -> None:
        """Tell the peer that nothing more will be written."""
        if self._stream.closed():  # it has no socket then
            return
        try:
            self._stream.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._stream.close()

    def pause_reading(self) -> None:
        """Do nothing: `read` reads."""

    def resume_reading(self) -> None:
        """Do nothing: `read` reads."""

    def close(self) -> None:
        """End the connection when everything is written."""
        if self._stream.closed() or not self._stream.writing():
            self._stream.close()
        else:
            self._stream.write(b"").add_done_callback(lambda _: self._stream.close())

    def abort(self) -> None:
        """End the connection at once."""
        self._stream.close()


class WebSocket(FrameWebSocket):
    """A WebSocket on Tornado's connection."""

    _stream: IOStream

    async def accept(self, environ: Environ, headers: list[tuple[str, str]]) -> Any:
        """Answer the handshake. Returns the transport."""
        handler = environ["tornado.handler"]
        if handler.request.connection.stream.closed():
            raise ProtocolError("the peer has gone")
        self._stream = handler.detach()
        self._stream.set_nodelay(True)
        lines = ["HTTP/1.1 101 Switching Protocols", *(f"{key}: {value}" for key, value in headers)]
        transport = _Transport(self._stream)
        transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return transport

    async def _wait(self) -> None:
        if self._not_fed:
            self.feed(b"")
            await asyncio.sleep(0)
            return
        try:
            reading: Any = self._stream.read_bytes(READ_SIZE, partial=True)
            came_at_once = reading.done()
            data = await reading
        except StreamClosedError:
            self.feed_eof()
            return
        self.feed(data)
        if came_at_once:
            # Nothing else would run as long as a peer sends faster than this reads.
            await asyncio.sleep(0)


driver = AsyncDriver(
    translate_request=translate_request,
    make_response=make_response,
    websocket=WebSocket,
    create_route=None,
    connection=lambda environ: environ["wsgi.input"],
    create_handler=create_handler,
    **asyncio_parts,
)
_async = driver.primitives()
get_tornado_handler = create_handler
