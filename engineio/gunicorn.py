"""A gunicorn worker on eventlet, for gunicorn 25.3 and later; gunicorn 26 dropped its own.

    gunicorn -k engineio.gunicorn.EventletWorker -w 1 app:app
    gunicorn -k egg:python-engineio#eventlet -w 1 app:app
    gunicorn -c python:engineio.gunicorn -k eventlet -w 1 app:app

The arbiter imports this module, and must go on as if it had not: nothing is patched on import and
no hub is made.  Both happen in each worker, after the fork and before the application is loaded.
With --preload the arbiter loads the application and is patched for it; it works as before, but
gunicorn's control socket needs a real thread and does not answer then.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import IO, Any

from engineio.exceptions import DriverError

try:
    with warnings.catch_warnings():
        # eventlet warns on import that it is in maintenance mode.  Who deploys with it has decided.
        warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
        import eventlet
        from eventlet import hubs, wsgi
        from eventlet.green.ssl import GreenSSLContext
        from eventlet.greenio import GreenSocket
        from eventlet.semaphore import Semaphore
        from greenlet import GreenletExit
    # Modules, not names: with -c python:engineio.gunicorn every name here that is also a gunicorn
    # setting would be taken for one, and `ssl_context` is both.
    from gunicorn import sock as gunicorn_sock
    from gunicorn import workers as gunicorn_workers
    from gunicorn.workers.base_async import AsyncWorker
except ImportError as error:
    raise DriverError(
        f"gunicorn's eventlet worker needs gunicorn and eventlet ({error}): "
        "pip install 'python-engineio[gunicorn,eventlet]'"
    ) from error

# eventlet warns at every fork; the arbiter forks before it has a hub, and workers make their own.
warnings.filterwarnings(
    "ignore", message=r"Using fork\(\) is a bad idea", category=DeprecationWarning
)

# So that `-c python:engineio.gunicorn` is all that `-k eventlet` needs.
gunicorn_workers.SUPPORTED_WORKERS["eventlet"] = "engineio.gunicorn.EventletWorker"

HEARTBEAT = 1.0  # seconds between signs of life to the arbiter, as gunicorn's own workers
ACCEPT_PAUSE = 1.0  # seconds without accepting when the process is out of descriptors or memory
HANDSHAKE_TIMEOUT = 10.0  # seconds for a TLS handshake; a silent peer must not hold a slot
FIRST_REQUEST_TIMEOUT = 2.0  # seconds for it once the worker stops; gunicorn's default keepalive
QUIT_TIMEOUT = 2.0  # seconds after SIGINT for applications to notice, and to end requests
CLEANUP_TIMEOUT = 1.0  # seconds that killed requests have for their `finally` clauses
SENDFILE_BLOCK = 65536  # bytes read from a file at a time


class Socket(GreenSocket):  # type: ignore[misc]
    """A GreenSocket whose `sendfile` waits in its green thread.

    GreenSocket has none and hands out the real socket's, which refuses non-blocking sockets.
    """

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send `count` bytes of `file`, all by default.  Returns how many were sent."""
        file.seek(offset)
        sent = 0
        size = SENDFILE_BLOCK
        while True:
            if count is not None:
                size = min(size, count - sent)
            block = file.read(size)
            if not block:
                return sent
            self.sendall(block)
            sent += len(block)


class Listener:
    """A listening socket, non-blocking; its address is still known after it is closed.

    gunicorn asks for the address when a connection's green thread starts, maybe after the close.
    """

    def __init__(self, sock: Any) -> None:
        # By descriptor: under a patched arbiter (--preload) gunicorn's own is green already.
        self.sock = Socket(sock.family, socket.SOCK_STREAM, fileno=sock.detach())
        self.sock.setblocking(False)
        self._address = self.sock.getsockname()

    def getsockname(self) -> Any:
        """Return the address it was bound to."""
        return self._address


@dataclass
class Connection:
    """What a graceful stop must know of an open connection."""

    sock: Any
    requests: int = 0  # that have ended
    is_waiting: bool = True  # for a request, or for TLS

    def stop(self) -> None:
        """End it if it waits for a request, after what the peer has already sent.

        The reader gets the end of the stream; a request that has arrived is still answered.
        """
        if self.is_waiting:
            with suppress(OSError):  # the peer was faster
                # Not SSLSocket.shutdown, which would drop the TLS state and what it holds.
                socket.SocketType.shutdown(getattr(self.sock, "fd", self.sock), socket.SHUT_RD)


class EventletWorker(AsyncWorker):  # type: ignore[misc]
    """gunicorn's worker class: one green thread per connection, at most `worker_connections`.

    An application that takes the socket over (`environ["gunicorn.socket"]`) writes its own bytes,
    and ends with `shutdown(SHUT_RDWR)` on the socket, `start_response("101 ...", [])` and an empty
    body: nothing more is written or read, and the worker closes the socket.  It must not close it.

    SIGTERM and `max_requests`: nothing is accepted, idle keep-alive connections are closed, and
    requests may go on for `graceful_timeout`; then they are killed (GreenletExit).  SIGINT and
    SIGQUIT leave them two seconds.
    """

    alive: bool  # gunicorn's: False once this worker is to stop

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, Connection] = {}  # by green thread
        self._deferred: deque[Callable[[], object]] = deque()
        self._quit_at = math.inf  # when requests are killed, on the monotonic clock

    @classmethod
    def setup(cls) -> None:
        """Patch the standard library in the arbiter if the application will be loaded there.

        gunicorn calls this when it has found the class, just before --preload loads the
        application, and passes nothing: the configuration is the caller's `self`.
        """
        config = sys._getframe(1).f_locals.get("self")
        if getattr(config, "preload_app", False):
            eventlet.monkey_patch()

    def init_process(self) -> None:
        """Become a worker: called after the fork, returns when the worker is done."""
        hubs.use_hub()  # a hub's epoll descriptor must not be shared with the arbiter
        eventlet.monkey_patch()
        # Here, not in run(): gunicorn gives up when a worker fails to boot, but would go on
        # starting workers that fail later.
        self._ssl_context = gunicorn_sock.ssl_context(self.cfg) if self.cfg.is_ssl else None
        if isinstance(self._ssl_context, GreenSSLContext):
            # Connection.stop() ends the stream without a close_notify: OpenSSL 3 would answer that
            # with an alert, and clients would report a TLS error instead of a closed connection.
            self._ssl_context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        super().init_process()

    def run(self) -> None:
        """Accept and serve until told to stop."""
        self._slots = Semaphore(self.worker_connections)
        self._bell = Semaphore(0)  # rung when run() has something to look at
        eventlet.spawn(self._hear_signals)
        listeners = [Listener(each.sock) for each in self.sockets]
        acceptors = [eventlet.spawn(self._accept, each) for each in listeners]
        # self.timeout is half the time after which the arbiter kills a silent worker; 0 is never.
        heartbeat = min(HEARTBEAT, self.timeout or HEARTBEAT)
        while self.alive:
            self.notify()
            self._wait(heartbeat)
        for acceptor in acceptors:
            acceptor.kill()
        for listener in listeners:
            listener.sock.close()
        self._finish(heartbeat)

    def notify(self) -> None:
        """Tell the arbiter that this worker is alive, and stop if the arbiter is not."""
        super().notify()
        if self.alive and self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False

    def _wait(self, seconds: float) -> None:
        """Wait for the bell, at most so long, and do what signals have asked for."""
        self._bell.acquire(timeout=seconds)
        while self._deferred:
            self._deferred.popleft()()

    def _hear_signals(self) -> None:
        while True:
            os.read(self.PIPE[0], 4096)  # gunicorn made it the signals' wake-up pipe
            self._bell.release()

    def _accept(self, listener: Listener) -> None:
        while True:
            hubs.trampoline(listener.sock, read=True)
            # Before accept(): what cannot be served yet is left to other workers, and to the
            # next one when this one stops.
            self._slots.acquire()
            try:
                raw, address = listener.sock.accept()
            except OSError as error:
                self._slots.release()
                if not isinstance(error, (BlockingIOError, ConnectionAbortedError)):
                    # Out of descriptors, mostly.  The listener stays readable: do not spin.
                    self.log.error("Cannot accept a connection: %s", error)
                    eventlet.sleep(ACCEPT_PAUSE)
                continue
            sock = Socket(raw)
            sock.setblocking(True)  # whatever socket.setdefaulttimeout() says
            # Registered now: a stop before the green thread has started must wait for it.
            thread = eventlet.spawn(self._serve, listener, address)
            self._connections[thread] = Connection(sock)
            eventlet.sleep(0)  # a burst of connections must not hold up the others

    def _serve(self, listener: Listener, address: Any) -> None:
        thread = eventlet.getcurrent()
        connection = self._connections[thread]
        try:
            if self._ssl_context is None or self._start_tls(connection):
                self.handle(listener, connection.sock, address)
        finally:
            connection.sock.close()
            del self._connections[thread]
            self._slots.release()
            if not self.alive:
                self._bell.release()

    def _start_tls(self, connection: Connection) -> bool:
        """Put TLS on a connection.  Returns False if the peer is gone, silent or speaks none."""
        try:
            # Called by class: a context from the ssl_context hook need not be a green one.
            connection.sock = GreenSSLContext.wrap_socket(
                self._ssl_context,
                connection.sock,
                server_side=True,
                suppress_ragged_eofs=self.cfg.suppress_ragged_eofs,
                do_handshake_on_connect=False,
            )
            with eventlet.Timeout(HANDSHAKE_TIMEOUT):
                connection.sock.do_handshake()
        except (OSError, eventlet.Timeout) as error:
            self.log.debug("TLS handshake failed: %s", error)
            return False
        return True

    def timeout_ctx(self) -> Any:
        """Bound the wait for a request; gunicorn enters this for each, the first included."""
        return eventlet.Timeout(self.cfg.keepalive, False)

    @contextmanager
    def _request(self) -> Iterator[None]:
        connection = self._connections[eventlet.getcurrent()]
        connection.is_waiting = False
        try:
            yield
        finally:
            connection.is_waiting = True
            connection.requests += 1
            if not self.alive:
                connection.stop()
                self._bell.release()  # it may have been the last of max_requests

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Answer one request; raises StopIteration to have the connection closed."""
        with self._request():
            result = super().handle_request(listener_name, req, sock, addr)
        if isinstance(sock, ssl.SSLSocket) and sock.version() is None:
            # Taken over and shut down.  A plain socket has raised EPIPE by now; without its TLS
            # state this one would go on, and read ciphertext as the next request.
            raise StopIteration
        return result

    def handle_http2_request(self, *args: Any) -> None:
        """Answer one request of an HTTP/2 connection, which serves one at a time."""
        with self._request():
            super().handle_http2_request(*args)

    def is_already_handled(self, respiter: Any) -> Any:
        """Whether the application has answered by itself: eventlet.websocket's way to say so."""
        if getattr(wsgi.WSGI_LOCAL, "already_handled", False):
            raise StopIteration
        return super().is_already_handled(respiter)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Log and answer what a connection ended with, unless this worker killed it."""
        if not isinstance(exc, GreenletExit):
            super().handle_error(req, client, addr, exc)

    def _finish(self, heartbeat: float) -> None:
        """Wait for open requests as long as they may take, then kill what is left."""
        # The arbiter kills this process graceful_timeout after it sent SIGTERM: be gone by then.
        grace = self.cfg.graceful_timeout
        grace -= min(CLEANUP_TIMEOUT, grace / 4)
        # Clients repeat a request that was lost on a kept connection, but not one that was lost
        # on a new one.  So new ones have a moment longer for their first.
        first = min(grace, FIRST_REQUEST_TIMEOUT)
        for connection in list(self._connections.values()):
            if connection.requests:
                connection.stop()
        self._wait_connections(first, heartbeat, until_quit=True)
        for connection in list(self._connections.values()):
            connection.stop()
        self._wait_connections(grace - first, heartbeat, until_quit=True)
        if not self._connections:
            return
        if not self._is_quitting:
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
        for thread in list(self._connections):
            thread.kill()
        self._wait_connections(CLEANUP_TIMEOUT, heartbeat, until_quit=False)

    @property
    def _is_quitting(self) -> bool:
        return self._quit_at != math.inf

    def _wait_connections(self, seconds: float, heartbeat: float, until_quit: bool) -> None:
        deadline = time.monotonic() + seconds
        self._wait(0)
        while self._connections:
            if until_quit and self._is_quitting:
                for connection in list(self._connections.values()):
                    connection.stop()
                deadline = min(deadline, self._quit_at)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            self.notify()
            self._wait(min(remaining, heartbeat))

    # Signal handlers run between any two instructions, of the hub too, where nothing may wait and
    # no lock may be taken.  So they only leave word; the wake-up pipe rings the bell.

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT and SIGQUIT: stop, and hardly wait for requests."""
        self.alive = False
        if not self._is_quitting:  # Ctrl-C comes from the terminal and from the arbiter
            self._quit_at = time.monotonic() + QUIT_TIMEOUT
            self._deferred.append(partial(self.cfg.worker_int, self))

    def handle_usr1(self, sig: int, frame: FrameType | None) -> None:
        """SIGUSR1: open the log files again."""
        self._deferred.append(self.log.reopen_files)
