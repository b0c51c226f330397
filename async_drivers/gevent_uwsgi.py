"""gevent inside uWSGI (``uwsgi --gevent N``): `Server(async_mode="gevent_uwsgi")`.

uWSGI's own WebSocket functions are not used: they need a build with TLS, poll every few seconds
and limit the size of messages. The connection's file descriptor works with any build.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import gevent
import gevent.socket

from engineio.exceptions import DriverError

from . import gevent as plain
from ._green import GreenWebSocket
from ._handover import BorrowedSocket, Environ, Handover, find

if "uwsgi" not in sys.modules:
    try:
        import uwsgi  # noqa: F401 - exists only inside a running uWSGI
    except ImportError as error:
        raise DriverError(
            "async_mode 'gevent_uwsgi' works only inside uWSGI: run `uwsgi --gevent 1000 ...`, "
            "or choose async_mode='gevent'"
        ) from error


LAST_WORDS = 1.0  # seconds for open requests to end when the worker does

_connections: WeakSet[BorrowedSocket] = WeakSet()  # of requests that are being answered


def _wrap(fd: int) -> Any:
    return gevent.socket.socket(fileno=os.dup(fd))


class WebSocket(GreenWebSocket):
    """WebSockets on the file descriptors of uWSGI's connections."""

    def find(self, environ: Environ) -> Handover | None:
        """Return the connection of the request."""
        return find(environ, _wrap)


def connection(environ: Environ) -> Handover | None:
    """Return the connection of a request."""
    found = find(environ, BorrowedSocket)
    if found is not None:
        _connections.add(found.sock)
    return found


def fits(sock: Any) -> bool:
    """Tell whether a request came through uWSGI's gevent loop."""
    return isinstance(sock, BorrowedSocket) and plain.fits(None)


def server_stops() -> Callable[[], bool]:
    """Return what tells whether this worker is to be replaced, which waits for open requests."""
    reloads = False

    def note() -> None:
        nonlocal reloads
        reloads = True

    gevent.signal_handler(signal.SIGHUP, note)  # beside uWSGI's own
    return lambda: reloads


def at_exit(function: Callable[[], Any]) -> None:
    """Have a function called when the worker ends.

    With gevent, uWSGI leaves the functions of `atexit` out, but calls `uwsgi.atexit`, from the main
    greenlet. The process ends when that returns, so what has been said must leave before.
    """
    uwsgi = sys.modules["uwsgi"]
    previous = getattr(uwsgi, "atexit", None)

    def run() -> None:
        function()
        deadline = time.monotonic() + LAST_WORDS
        while _connections and time.monotonic() < deadline:
            gevent.sleep(0.01)
        if previous is not None:
            previous()

    uwsgi.atexit = run  # type: ignore[attr-defined]


driver = plain.driver._replace(
    websocket=WebSocket,
    connection=connection,
    fits=fits,
    server_stops=server_stops,
    at_exit=at_exit,
)
_async = driver.primitives()
