"""ASGI: `AsyncServer(async_mode="asgi")`, under uvicorn, hypercorn, daphne, granian and others."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

from engineio.asgi import ASGIApp as ASGIApp  # python-engineio has it here too
from engineio.driver import AsyncDriver
from engineio.exceptions import ProtocolError

from ._asyncio import (
    NORMAL,
    VIOLATIONS,
    AsyncWebSocket,
    Message,
    PollWaiter,
    Race,
    asyncio_parts,
    base_environ,
    header_key,
)

Scope = dict[str, Any]
Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Environ = dict[str, Any]

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
# The scheme of an HTTP request, also for the one that a WebSocket begins with.
HTTP_SCHEMES = {"ws": "http", "wss": "https"}


class Connection:
    """What is still to come of a request: its body, then the news that the client has gone.

    It is the request's `wsgi.input`.
    """

    __slots__ = ("_chunk", "_has_gone", "_has_more", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._chunk = b""
        self._has_more = True
        self._has_gone = False

    async def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that are left if negative; b'' at the end.

        Raises `ConnectionResetError` if the client goes away before the end.
        """
        if size < 0:
            chunks = []
            while chunk := await self.read(1 << 16):
                chunks.append(chunk)
            return b"".join(chunks)
        while not self._chunk and self._has_more:
            await self._next()
        chunk, self._chunk = self._chunk[:size], self._chunk[size:]
        return chunk

    async def _next(self) -> None:
        event = await self._receive()
        if event["type"] == "http.disconnect":
            self._has_gone = True
            raise ConnectionResetError("the client has gone")
        self._chunk = event.get("body", b"")
        self._has_more = event.get("more_body", False)

    async def wait(self, waiter: PollWaiter) -> bool:
        """Wait for a waiter or the end of the connection; returns whether it was the end.

        The server is only asked for the end once a wait gets long.
        """
        if await waiter.wait_briefly():
            # The objects of uvicorn and hypercorn show the end. Elsewhere, a client that has gone
            # a moment ago may be answered.
            stream = getattr(self._send, "__self__", None)
            flags = (getattr(stream, "disconnected", None), getattr(stream, "closed", None))
            return True in flags
        future = waiter.future
        while not self._has_gone and not future.done():
            event = await Race(self._receive(), future)
            if event is None:
                return False
            if event["type"] == "http.disconnect":
                self._has_gone = True
            elif not self._has_more:
                # It tells the end of the body again and again, so it may not tell of the end
                # of the connection.
                await future
            else:
                self._has_more = event.get("more_body", False)
        return self._has_gone


def translate_request(scope: Scope, receive: Receive, send: Send) -> Environ:
    """Return the WSGI environ of a request."""
    path = scope["path"]
    query = scope.get("query_string", b"").decode("latin-1")
    scheme = scope.get("scheme", "http")
    server = scope.get("server")
    if server is None or server[1] is None:  # a Unix socket
        server = ("asgi", DEFAULT_PORTS.get(scheme, 80))
    environ: Environ = base_environ("asgi", scope.get("client"), server)
    environ["wsgi.input"] = Connection(receive, send)
    environ["wsgi.url_scheme"] = HTTP_SCHEMES.get(scheme, scheme)
    environ["REQUEST_METHOD"] = scope.get("method", "GET")
    environ["PATH_INFO"] = path
    environ["QUERY_STRING"] = query
    environ["RAW_URI"] = f"{path}?{query}" if query else path
    environ["SERVER_PROTOCOL"] = f"HTTP/{scope.get('http_version', '1.1')}"
    environ["asgi"] = {"scope": scope}
    environ["asgi.scope"] = scope
    environ["asgi.receive"] = receive
    environ["asgi.send"] = send
    for name, value in scope["headers"]:
        key = _KEYS.get(name) or _key(name)
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]},{text}"
        environ[key] = text
    if scope["type"] == "websocket":
        # HTTP/2 has no such header, and not every server passes HTTP/1.1's on.
        environ["HTTP_UPGRADE"] = "websocket"
        if "scheme" not in scope and environ.get("HTTP_ORIGIN", "").startswith("https:"):
            # daphne does not say; without this, browsers could not connect to it over TLS.
            environ["wsgi.url_scheme"] = "https"
    return environ


# The environ's keys of the headers that nearly every request has.
_KEYS: dict[bytes, str] = {}


def _key(name: bytes) -> str:
    key = header_key(name.decode("latin-1"))
    if len(_KEYS) < 200:  # names come from outside
        _KEYS[name] = key
    return key


async def make_response(
    status: str, headers: list[tuple[str, str]], payload: bytes, environ: Environ
) -> None:
    """Send a response; for a WebSocket, its refusal."""
    scope = environ["asgi.scope"]
    send = environ["asgi.send"]
    encoded = [_ENCODED.get(header) or _encode(header) for header in headers]
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": int(status[:3]), "headers": encoded})
        await send({"type": "http.response.body", "body": payload})
        return
    await environ["asgi.receive"]()  # websocket.connect
    kind = "websocket.http.response"
    if kind not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})
        return
    await send({"type": f"{kind}.start", "status": int(status[:3]), "headers": encoded})
    await send({"type": f"{kind}.body", "body": payload})
    # uvicorn 0.54 logs an error unless the connection, which it closes now, is gone when the
    # application returns (uvicorn pull request 3138).
    await asyncio.sleep(0)


# Headers as ASGI has them; most of them are those of every response.
_ENCODED: dict[tuple[str, str], tuple[bytes, bytes]] = {}


def _encode(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    encoded = (name.lower().encode("latin-1"), value.encode("latin-1"))
    if len(_ENCODED) > 200:
        _ENCODED.clear()  # some have values that never come again
    _ENCODED[header] = encoded
    return encoded


class WebSocket(AsyncWebSocket):
    """A WebSocket of an ASGI server."""

    _asgi_receive: Receive
    _asgi_send: Send

    def check(self, environ: Environ) -> None:
        """Raise `ProtocolError` if the server has not taken the request for a WebSocket."""
        if environ["asgi.scope"]["type"] != "websocket":
            raise ProtocolError("the server does not speak WebSocket")

    async def __call__(self, environ: Environ) -> None:
        """Accept the handshake and run the handler."""
        self.check(environ)
        self._asgi_receive = environ["asgi.receive"]
        self._asgi_send = environ["asgi.send"]
        await self._asgi_receive()  # websocket.connect
        await self._asgi_send({"type": "websocket.accept"})
        await self.run()

    def send(self, message: Message) -> Awaitable[None]:
        """Send one message: str as text, bytes as binary."""
        if isinstance(message, str):
            return self._asgi_send({"type": "websocket.send", "text": message})
        return self._asgi_send({"type": "websocket.send", "bytes": message})

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close frame."""
        # granian would not send it as long as somebody reads.
        self.stop_reading()
        try:
            await self._asgi_send({"type": "websocket.close", "code": code, "reason": reason})
        except Exception:
            if code == NORMAL:
                raise
            # daphne refuses all codes below 3000 but this one, and leaves the connection open.
            await self._asgi_send({"type": "websocket.close", "code": NORMAL})

    async def wait(self) -> Message | None:
        """Wait for one message and return it, or None when there will be no more."""
        if self._is_stopped:
            return None
        self._is_reading = True
        try:
            event = await self._asgi_receive()
        except asyncio.CancelledError:
            if not self._is_stopped:
                raise
            if hasattr(self.reader, "uncancel"):  # Python 3.11
                self.reader.uncancel()
            return None
        finally:
            self._is_reading = False
        if event["type"] == "websocket.receive":
            text: str | None = event.get("text")
            return event["bytes"] if text is None else text
        if event.get("code") in VIOLATIONS:
            self.was_violated = True
        self.is_over = True
        return None

    def abort(self) -> None:
        """End the connection at once, also for the one that reads."""
        super().abort()
        if (transport := self._transport()) is not None:
            transport.abort()

    def finished(self) -> None:
        """Leave the rest to the server."""
        # uvicorn would wait 10 s for the peer's close frame.
        if self._transport() is None:
            super().finished()

    def _transport(self) -> Any:
        """Return the connection itself, which no ASGI message ends; uvicorn's objects show it."""
        protocol = getattr(self._asgi_send, "__self__", None)
        transport = getattr(protocol, "transport", None)
        return transport if hasattr(transport, "abort") else None


class StopSignals:
    """Notes the signals that end a process, before those hear of them who handle them.

    hypercorn (with `--workers 0`), granian and gunicorn's asgi worker wait for open requests when
    they are told to stop, polls and WebSockets too, and say so to nobody. They have the event loop
    call them; the signal itself reaches a function of the loop, which we stand before.
    """

    # A process that is still there so long afterwards was not told to stop.
    MEMORY = 60.0  # seconds

    def __init__(self) -> None:
        self._noted_at: float | None = None
        self._handlers: dict[int, Any] = {}

    def note(self, signal_number: int, frame: Any) -> None:
        """Note one, and pass it on."""
        self._noted_at = time.monotonic()
        self._handlers[signal_number](signal_number, frame)

    def watch(self) -> bool:
        """Begin to note those that an event loop handles. Returns whether there are any."""
        watched = False
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            if _is_event_loops(handler):
                self._handlers[number] = handler
                try:
                    signal.signal(number, self.note)
                except ValueError:  # not the main thread
                    return False
                if hasattr(signal, "siginterrupt"):
                    signal.siginterrupt(number, False)  # as the loops have it
            watched = watched or signal.getsignal(number) == self.note
        return watched

    def has_come(self) -> bool:
        """Tell whether one has come lately."""
        return self._noted_at is not None and time.monotonic() - self._noted_at < self.MEMORY


def _is_event_loops(handler: Any) -> bool:
    # An empty function of asyncio's, a method of uvloop's loop.
    module = getattr(handler, "__module__", None) or type(handler).__module__
    return callable(handler) and module.partition(".")[0] in ("asyncio", "uvloop")


_stop_signals = StopSignals()


def server_stops() -> Callable[[], bool] | None:
    """Return what tells whether the ASGI server has begun to stop, or None if nothing can.

    uvicorn waits for open requests, polls too, before it sends lifespan.shutdown. It handles
    signals with a method of its server, which sets a flag.
    """
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if any(cls.__module__.startswith("uvicorn.") for cls in type(server).__mro__):
        return lambda: bool(server.should_exit)
    if _stop_signals.watch():
        return _stop_signals.has_come
    return None


driver = AsyncDriver(
    translate_request=translate_request,
    make_response=make_response,
    websocket=WebSocket,
    create_route=None,
    connection=lambda environ: environ["wsgi.input"],
    server_stops=server_stops,
    **asyncio_parts,
)
_async = driver.primitives()
