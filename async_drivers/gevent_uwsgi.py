"""gevent inside uWSGI (``uwsgi --gevent N``): `Server(async_mode="gevent_uwsgi")`.

uWSGI's own WebSocket functions are not used: they need a build with TLS, poll every few seconds
and limit the size of messages. The connection's file descriptor works with any build.
"""

import os
import sys
from typing import Any

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


def _wrap(fd: int) -> Any:
    return gevent.socket.socket(fileno=os.dup(fd))


class WebSocket(GreenWebSocket):
    """WebSockets on the file descriptors of uWSGI's connections."""

    def find(self, environ: Environ) -> Handover | None:
        """Return the connection of the request."""
        return find(environ, _wrap)


def connection(environ: Environ) -> Handover | None:
    """Return the connection of a request."""
    return find(environ, BorrowedSocket)


def fits(sock: Any) -> bool:
    """Tell whether a request came through uWSGI's gevent loop."""
    return isinstance(sock, BorrowedSocket) and plain.fits(None)


driver = plain.driver._replace(websocket=WebSocket, connection=connection, fits=fits)
_async = driver.primitives()
