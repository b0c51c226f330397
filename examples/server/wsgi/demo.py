"""One page on which a person sees that the server works: transports, upgrade, latency, clients.

gunicorn -k eventlet -w 1 --chdir examples/server/wsgi demo:app     (or: python demo.py)

What client and server say to each other, besides bytes, which are sent back as they are:

    client: {"type": "echo", "id": 1, "text": "..."}    server: the same
    client: {"type": "ping", "id": 2}                   server: the same
    server: {"type": "welcome", "server": "python-engineio 5.0.0", "async_mode": "eventlet"}
    server: {"type": "clients", "count": 3, "change": 17}

The last goes to everyone when a client comes or goes. Two such broadcasts may overtake
each other; `change` counts up, so that a page keeps the newest.
"""

import logging
import os
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

from serve import serve

import engineio

STATIC = Path(__file__).resolve().parent / "static"
ANSWERED = ("echo", "ping")

logger = logging.getLogger("demo")

# None takes the first async mode that is installed: eventlet, gevent or threading.
# A ping every 5 seconds, so that one can watch the heartbeat; the default is 25.
eio = engineio.Server(async_mode=os.environ.get("ASYNC_MODE"), ping_interval=5)
app = engineio.WSGIApp(
    eio,
    static_files={
        "/": {"filename": str(STATIC / "index.html"), "content_type": "text/html"},
        "/static": str(STATIC),
    },
)


class Clients:
    """The connected clients.  Handlers of different clients run in different threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sids: set[str] = set()
        self.changes = 0

    def add(self, sid: str) -> None:
        with self.lock:
            self.sids.add(sid)
        self.announce()

    def remove(self, sid: str) -> None:
        with self.lock:
            self.sids.discard(sid)
        self.announce()

    def announce(self) -> None:
        """Tell everyone how many there are."""
        with self.lock:
            self.changes += 1
            sids = list(self.sids)
            news = {"type": "clients", "count": len(sids), "change": self.changes}
        # Not under the lock: sending may let another greenlet run, and that one may want it.
        for sid in sids:
            eio.send(sid, news)


clients = Clients()


@eio.on("connect")
def connect(sid: str, environ: dict[str, Any]) -> None:
    server = f"python-engineio {version('python-engineio')}"
    eio.send(sid, {"type": "welcome", "server": server, "async_mode": eio.async_mode})
    clients.add(sid)


@eio.on("message")
def message(sid: str, data: Any) -> None:
    if isinstance(data, bytes) or (isinstance(data, dict) and data.get("type") in ANSWERED):
        eio.send(sid, data)
    else:
        # Only its Python type: what a stranger sends does not belong in a log.
        logger.info("%s: ignored a message (%s)", sid, type(data).__name__)


@eio.on("disconnect")
def disconnect(sid: str, reason: str) -> None:
    clients.remove(sid)


if __name__ == "__main__":
    serve(app, eio.async_mode)
