"""How each WSGI server gives its socket to the application, and wants it back.

PEP 3333 knows no such thing, so every server has its own way; what is written here was measured
with each of them (docs/deployment has the table). Two rules hold everywhere:

- The socket is the server's: it may be shut down here, never closed.
- After the hand-over no second response may reach the peer. So the connection is shut down first
  and `start_response` is called afterwards, only to satisfy the server and its access log.
"""

import _socket
import errno
import signal
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from socket import IPPROTO_TCP, MSG_PEEK, SHUT_RD, SHUT_RDWR, TCP_NODELAY
from types import FrameType
from typing import Any
from weakref import WeakSet

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

# Linux tells the state of a connection without touching what waits to be read, so a client that
# has gone is seen behind a pipelined request or a TLS alert too (tcp_states.h, tcp(7)).
TCP_INFO = getattr(socket, "TCP_INFO", None)
TCP_ESTABLISHED = 1

POLICY_VIOLATION = 1008  # RFC 6455, 7.4.1

# Connections without Nagle's algorithm: looking here costs a tenth of the system call.
_undelayed: WeakSet[Any] = WeakSet()

SWITCHING = "101 Switching Protocols"


@dataclass(slots=True)
class Handover:
    """A request's connection: its socket, what the server has read ahead, how to end it."""

    server: str
    environ: Environ
    sock: Any
    reader: Any = None

    @property
    def is_open_websocket(self) -> bool:
        """Whether the 101 has been sent already, before this package was asked."""
        return self.server == "gevent-websocket"

    @property
    def closes_silently(self) -> bool:
        """Whether the server ends the connection after each response without saying so.

        uWSGI does, unless told otherwise, and clients that trust HTTP/1.1 lose their next request.
        """
        if self.server != "uWSGI":
            return False
        options = sys.modules["uwsgi"].opt
        return "http-keepalive" not in options and b"http-keepalive" not in options

    def refuse(self, reason: bytes) -> None:
        """Close a WebSocket that should not have been opened: no HTTP answer is possible."""
        payload = struct.pack("!H", POLICY_VIOLATION) + reason[:120]
        with suppress(OSError):
            self.sock.sendall(bytes([0x88, len(payload)]) + payload)
        shut_down(self.sock)

    def set_nodelay(self, is_last: bool = False) -> None:
        """Send small writes at once.

        Some servers write the head and the body of a response separately, and Nagle's algorithm
        would hold the second back until the peer's delayed acknowledgement (40 ms) of the first.
        `is_last`: no other request is expected on this connection.
        """
        if self.closes_silently:
            return  # the end of the connection takes what waits along
        if self.sock in _undelayed:
            return  # an earlier request of this connection
        with suppress(OSError):  # AF_UNIX has no such option
            self.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        if not is_last:
            _undelayed.add(self.sock)

    def stop_reading(self) -> None:
        """Have whoever reads from the peer find the end; an answer can still be written."""
        shut_down(self.sock, SHUT_RD)

    def has_hung_up(self) -> bool:
        """Tell whether the peer has gone, without waiting."""
        return has_hung_up(self.sock)

    def begin(
        self, start_response: StartResponse, headers: list[tuple[str, str]]
    ) -> tuple[bytes, bytes]:
        """Answer 101, or return what does; and bytes of the peer that were already read."""
        head = b""
        pending = self._buffered()
        # cheroot leaves a timeout of 10 s on it, and read-ahead was asked for without waiting.
        self.sock.settimeout(None)
        if self._writes_switching and not _leave_to_us(start_response):
            # These know what a 101 is: no length, no chunks, no second response.
            start_response(SWITCHING, headers)(b"")
        elif not self.is_open_websocket:
            lines = [f"HTTP/1.1 {SWITCHING}", *(f"{name}: {value}" for name, value in headers)]
            head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        if "eventlet.set_idle" in self.environ and eventlet_protocol(self.environ) is None:
            # Lets eventlet.wsgi cut this connection when it is stopped, which we cannot see.
            self.environ["eventlet.set_idle"]()
        return head, pending

    @property
    def _writes_switching(self) -> bool:
        return self.server in ("gevent.pywsgi", "uWSGI")

    def _buffered(self) -> bytes:
        if self.server == "gunicorn":
            unreader = getattr(getattr(self.reader, "reader", None), "unreader", None)
            buffer = getattr(unreader, "buf", None)
            if buffer is None:
                return b""
            data: bytes = buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
            return data
        if self.reader is None:
            return b""
        if self.server in ("gevent.pywsgi", "eventlet.wsgi"):
            # Neither reads any more. Its buffer is a third of what an idle client takes, and
            # pywsgi would take what the peer sent last for its next request.
            self.reader.raw.readinto = _read_nothing  # what is buffered, without a system call
            buffered: bytes = self.reader.read1(65536)
            self.reader.close()
            return buffered
        self.sock.settimeout(0)
        try:
            return self.reader.read1(65536) or b""
        except OSError:  # nothing buffered, and nothing to read without waiting
            return b""

    def end(self, start_response: StartResponse) -> list[bytes]:
        """Tell the server that the connection is over. Returns what the application returns."""
        if self.server == "eventlet.wsgi":
            start_response(SWITCHING, [])
            sys.modules["eventlet.wsgi"].WSGI_LOCAL.already_handled = True
        elif self.is_open_websocket:
            self.environ["wsgi.websocket"].closed = True  # or it sends a close frame of its own
            self.reader.close()
        elif self.server == "uWSGI":
            self.sock.close()  # ours: a duplicate of uWSGI's file descriptor
        elif self.server != "gevent.pywsgi":
            start_response(SWITCHING, [])
            if self.server == "wsgiref" and isinstance(self.sock, ssl.SSLSocket):
                # What these servers write next fails. Without TLS that is this error, which they
                # pass over; with it they would print a traceback.
                raise BrokenPipeError(errno.EPIPE, "the WebSocket has ended")
        return []


def _leave_to_us(start_response: StartResponse) -> bool:
    """Have pywsgi believe that its response has begun. Returns False if that is not possible.

    The 101 is written with the OPEN packet then, which saves a tenth of a connection's time.
    """
    handler: Any = getattr(start_response, "__self__", None)  # no middleware in between
    pywsgi = sys.modules.get("gevent.pywsgi")
    if pywsgi is None or not isinstance(handler, pywsgi.WSGIHandler):
        return False
    start_response(SWITCHING, [])  # for its log
    handler.headers_sent = True
    return True


def _read_nothing(buffer: Any) -> None:
    """Stand in for `RawIOBase.readinto`: there is nothing to read without waiting."""


def find(environ: Environ, wrap_uwsgi: Callable[[int], Any] | None = None) -> Handover | None:
    """Return the connection of a request, or None where the server keeps it to itself.

    `wrap_uwsgi` makes a socket of uWSGI's file descriptor.
    """
    body = environ.get("wsgi.input")
    websocket = environ.get("wsgi.websocket")
    if websocket is not None and hasattr(websocket, "stream"):
        handler = websocket.stream.handler
        return Handover("gevent-websocket", environ, handler.socket, handler.rfile)
    eventlet_input = environ.get("eventlet.input")
    if eventlet_input is not None and hasattr(eventlet_input, "rfile"):
        sock = eventlet_input.get_socket()
        return Handover("eventlet.wsgi", environ, sock, eventlet_input.rfile)
    if "werkzeug.socket" in environ:
        return Handover("werkzeug", environ, environ["werkzeug.socket"], body)
    if "gunicorn.socket" in environ:
        return Handover("gunicorn", environ, environ["gunicorn.socket"], body)
    if environ.get("SERVER_SOFTWARE", "").startswith("gevent/"):
        return _find_pywsgi(environ, body)
    if "uwsgi.version" in environ:
        if wrap_uwsgi is None:
            return None
        return Handover("uWSGI", environ, wrap_uwsgi(sys.modules["uwsgi"].connection_fd()))
    return _find_buffered_reader(environ, body)


def _find_pywsgi(environ: Environ, body: Any) -> Handover | None:
    # The raw reader stands in wsgi.input when an upgrade is asked for, else behind an Input.
    reader = body if hasattr(body, "raw") else getattr(body, "rfile", None)
    sock = environ.get("gunicorn.sock") or getattr(getattr(reader, "raw", None), "_sock", None)
    return None if sock is None else Handover("gevent.pywsgi", environ, sock, reader)


def _find_buffered_reader(environ: Environ, body: Any) -> Handover | None:
    """Find the socket under wsgi.input: wsgiref, Django's runserver, cheroot."""
    reader = body
    for _ in range(4):
        sock = getattr(getattr(reader, "raw", None), "_sock", None)
        if sock is not None and hasattr(reader, "read1"):
            return Handover("wsgiref", environ, sock, reader)
        inner = getattr(reader, "rfile", None)
        if inner is None:
            # Django's LimitedStream keeps the bound method `read` of what it limits.
            inner = getattr(getattr(reader, "_read", None), "__self__", None)
        if inner is None:
            return None
        reader = inner
    return None


def server_stops() -> Callable[[], bool] | None:
    """Return what tells whether the WSGI server has begun to stop, or None if nothing can.

    gunicorn waits for open connections when it is told to stop, and kills what is left. Its worker
    handles SIGTERM with a method of its own, and that leads to the flag it sets.
    """
    worker: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if not any(cls.__module__.startswith("gunicorn.workers") for cls in type(worker).__mro__):
        return None
    with suppress(ValueError):  # not the main thread: gthread, which has no need of it
        _quit_once(worker)
    return lambda: not worker.alive


def _quit_once(worker: Any) -> None:
    """Have a gunicorn worker obey SIGINT or SIGQUIT once.

    Ctrl-C comes from the terminal and from the arbiter. gunicorn's green workers leave a greenlet
    for each that raises SystemExit, the second one while the first ends the process: clients are
    not told any more then, and a traceback is printed.
    """
    quitting = False

    def quit_once(number: int, frame: FrameType | None) -> None:
        nonlocal quitting
        if not quitting:
            quitting = True
            worker.handle_quit(number, frame)

    for number in (signal.SIGINT, signal.SIGQUIT):
        if getattr(signal.getsignal(number), "__self__", None) is worker:
            signal.signal(number, quit_once)


def eventlet_protocol(environ: Environ) -> Any:
    """Return what handles a connection for eventlet.wsgi, or None where it can't be reached.

    Its `conn_state` is a list: the peer's address, the socket, and a word, which becomes "close"
    when the server has been interrupted and waits for its connections to end.
    """
    for cell in getattr(environ.get("eventlet.set_idle"), "__closure__", None) or ():
        if len(getattr(cell.cell_contents, "conn_state", ())) == 3:
            return cell.cell_contents
    return None


class BorrowedSocket:
    """A look at a file descriptor that somebody else owns and closes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._fd

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Return a socket option as bytes."""
        sock = self._borrow()
        try:
            return sock.getsockopt(level, option, size)
        finally:
            sock.detach()

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Set a socket option."""
        sock = self._borrow()
        try:
            sock.setsockopt(level, option, value)
        finally:
            sock.detach()

    def shutdown(self, how: int) -> None:
        """Shut the connection down."""
        sock = self._borrow()
        try:
            sock.shutdown(how)
        finally:
            sock.detach()

    def _borrow(self) -> _socket.socket:
        # Anything is right for the options; not to say costs three system calls.
        return _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fileno=self._fd)


def server_name(environ: Environ) -> str:
    """Name the WSGI server of a request, for messages to people."""
    found = find(environ)
    if found is not None and found.server != "wsgiref":
        return found.server
    return str(environ.get("SERVER_SOFTWARE") or "this WSGI server")


def native_socket(sock: Any) -> Any:
    """Return the socket under a green one: same file descriptor, never waits by itself."""
    for attribute in ("_sock", "fd"):
        inner = getattr(sock, attribute, None)
        if isinstance(inner, _socket.socket):
            return inner
    return sock


def shut_down(sock: Any, how: int = SHUT_RDWR) -> None:
    """Shut a connection down, by default in both directions, which wakes whoever reads from it.

    The method of the C base class is used because `SSLSocket.shutdown` also forgets its TLS
    object, under the hands of a thread that may be reading.
    """
    with suppress(OSError):
        if isinstance(sock, BorrowedSocket):
            sock.shutdown(how)
        else:
            _socket.socket.shutdown(native_socket(sock), how)


def has_hung_up(sock: Any) -> bool:
    """Tell whether the peer has closed or lost its connection, without waiting."""
    native = native_socket(sock)
    if TCP_INFO is not None:
        try:
            return bool(native.getsockopt(IPPROTO_TCP, TCP_INFO, 1)[0] != TCP_ESTABLISHED)
        except OSError:
            pass  # AF_UNIX has no such option
    if isinstance(sock, BorrowedSocket):
        return False
    try:
        return not _socket.socket.recv(native, 1, MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0))
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True
