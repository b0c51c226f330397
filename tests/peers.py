"""Servers that a client meets besides Engine.IO servers: a TLS front, an HTTP proxy, redirects.

Each is a `Listener` in a thread of the test's own process, with a thread for each connection.
"""

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

TLS = Path(__file__).parent / "data" / "tls"
CA = str(TLS / "ca.pem")
CLIENT_CERTIFICATE = str(TLS / "client.pem")
CHUNK = 65536

Me = TypeVar("Me", bound="Listener")


def server_context(ask_certificate: bool = False) -> ssl.SSLContext:
    """TLS with a certificate for 127.0.0.1, ::1 and localhost, of a CA that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(TLS / "server.pem"))
    if ask_certificate:
        context.load_verify_locations(CA)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Listener:
    """A listening socket, and what answers there: a function of the connection."""

    def __init__(
        self,
        answer: Callable[[socket.socket], None],
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._answer = answer
        self._context = context
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._errors: list[Exception] = []
        self._threads[0].start()

    def __enter__(self: Me) -> Me:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if error is None and self._errors:
            raise self._errors[0]

    def url(self, path: str = "/engine.io/", scheme: str = "", host: str = "127.0.0.1") -> str:
        return f"{scheme or ('https' if self._context else 'http')}://{host}:{self.port}{path}"

    def stop(self) -> None:
        """Close everything; the threads end with their sockets."""
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            # Else every TLS handshake takes 40 ms, and many a small answer.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            with self._lock:
                self._open.add(sock)
            if not self.stopped.is_set():
                self._answer(sock)
        except OSError:
            pass  # the client has gone, or does not like the certificate
        except Exception as error:
            self._errors.append(error)
        finally:
            with self._lock:
                self._open.discard(sock)
            sock.close()


class Head:
    """The head of a request, and the rest of what came with it."""

    def __init__(self, sock: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(CHUNK)
            if not more:
                raise ConnectionResetError("the client has gone")
            data += more
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        query = parse_qs(urlsplit(self.target).query)
        self.query: dict[str, str] = {name: values[0] for name, values in query.items()}

    @property
    def is_websocket(self) -> bool:
        return "upgrade" in self.headers

    def read_body(self, sock: socket.socket) -> bytes:
        size = int(self.headers.get("content-length", 0))
        while len(self.rest) < size:
            more = sock.recv(CHUNK)
            if not more:
                raise ConnectionResetError("the client has gone")
            self.rest += more
        return self.rest


def response(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP response after which the connection ends; `_` in a name stands for `-`."""
    fields = {"Content_Length": str(len(body)), "Connection": "close", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def pipe(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends.  One thread: TLS sockets are not for two."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                data = source.recv(CHUNK)
                while isinstance(source, ssl.SSLSocket) and source.pending():
                    data += source.recv(CHUNK)  # no selector tells of these
                if not data:
                    return
                key.data.sendall(data)


def forward(port: int) -> Callable[[socket.socket], None]:
    """What answers for a server on 127.0.0.1."""

    def answer(sock: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as other:
            pipe(sock, other)

    return answer


class Watcher(Listener):
    """Hands each request on, on a connection of its own, and remembers the heads."""

    def __init__(self, port: int) -> None:
        self.heads: list[Head] = []
        self._target = port
        super().__init__(self._watch)

    def _watch(self, sock: socket.socket) -> None:
        head = Head(sock)
        self.heads.append(head)
        _hand_on(sock, head, self._target, head.target)


def _hand_on(sock: socket.socket, head: Head, port: int, target: str) -> None:
    fields = head.headers if head.is_websocket else {**head.headers, "connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with socket.create_connection(("127.0.0.1", port)) as other:
        other.sendall(f"{head.method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + head.rest)
        pipe(sock, other)


class Proxy(Listener):
    """An HTTP proxy that also tunnels (CONNECT), and remembers what it was asked for.

    With `credentials`, "user:password" in base64, it answers 407 to everybody else.
    """

    def __init__(self, credentials: str | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        self._credentials = credentials
        super().__init__(self._proxy)

    def _proxy(self, sock: socket.socket) -> None:
        head = Head(sock)
        self.seen.append((head.method, head.target))
        given = head.headers.get("proxy-authorization")
        if self._credentials and given != f"Basic {self._credentials}":
            sock.sendall(response("407 Proxy Authentication Required"))
            return
        if head.method == "CONNECT":
            port = int(head.target.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as other:
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                pipe(sock, other)
            return
        url = urlsplit(head.target)
        _hand_on(sock, head, url.port or 80, f"{url.path}?{url.query}")


class Redirector(Listener):
    """Sends everybody to another origin, with the same path and query; remembers the headers."""

    def __init__(self, target: str, status: str = "307 Temporary Redirect") -> None:
        self.target = target  # http://host:port
        self.seen: list[dict[str, str]] = []
        self._status = status
        super().__init__(self._redirect)

    def _redirect(self, sock: socket.socket) -> None:
        head = Head(sock)
        head.read_body(sock)
        self.seen.append(head.headers)
        sock.sendall(response(self._status, Location=self.target + head.target))
