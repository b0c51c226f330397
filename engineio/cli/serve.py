"""`engineio serve`: a server that sends back what it gets, and a page to try it with.

It runs on the standard library's WSGI server with a thread for each connection, so it needs
nothing else.  It is for trying things out: see docs/deployment.md for servers to deploy.
"""

import contextlib
import signal
import socket
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import engineio
from engineio.cli import verbatim
from engineio.cli.output import Output, make_logger
from engineio.cli.session import Failure, Status, forget_stdout

PAGE = Path(__file__).with_name("page.html")
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - only compared with


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """The standard library's WSGI server, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 1024  # or a client that comes with many others waits for a second

    def server_bind(self) -> None:
        """Listen, without the question to DNS that WSGIServer asks about its own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()


class IPv6Server(ThreadingServer):
    """The same on an IPv6 address."""

    address_family = socket.AF_INET6


class QuietHandler(WSGIRequestHandler):
    """Does not log every request, which with polling is every message."""

    def log_message(self, format: str, *args: Any) -> None:
        """Leave the log to Engine.IO."""


class Echo:
    """The server of the command."""

    def __init__(self, origins: tuple[str, ...], verbose: bool, output: Output) -> None:
        self.output = output
        self.is_read = True
        self.http: WSGIServer | None = None
        self.eio = engineio.Server(
            async_mode="threading",
            logger=make_logger(verbose),
            json=verbatim,
            cors_allowed_origins=list(origins) or None,
        )
        for handler in (self.connect, self.message, self.disconnect):
            self.eio.on(handler.__name__, handler)
        self.app = engineio.WSGIApp(
            self.eio, static_files={"/": {"filename": str(PAGE), "content_type": "text/html"}}
        )

    def connect(self, sid: str, environ: dict[str, Any]) -> None:
        """Tell who comes."""
        self._tell("connect", f"{sid} connected from {environ['REMOTE_ADDR']}", sid=sid)

    def message(self, sid: str, data: Any) -> None:
        """Send it back as it came."""
        self.eio.send(sid, verbatim.as_received(data))

    def disconnect(self, sid: str, reason: str) -> None:
        """Tell who goes."""
        self._tell("disconnect", f"{sid} disconnected: {reason}", sid=sid, reason=reason)

    def _tell(self, kind: str, note: str, **fields: str) -> None:
        self.output.note(note)
        try:
            self.output.event(kind, **fields)
        except BrokenPipeError:
            self.is_read = False
            if self.http is not None:
                self.http.shutdown()  # this is no thread of its own

    def run(self, host: str, port: int) -> Status:
        """Listen until Ctrl-C or SIGTERM.  Raises `Failure` if it can't listen."""
        kind = IPv6Server if ":" in host else ThreadingServer
        try:
            http = make_server(host, port, self.app, kind, QuietHandler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Failure(Status.FAILED, f"cannot listen on {host}:{port}: {reason}") from error
        self.http = http
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with http, contextlib.suppress(KeyboardInterrupt):
            try:
                self._announce(host, http.server_port)
            except BrokenPipeError:
                return forget_stdout()
            http.serve_forever(poll_interval=0.1)
        self.eio.shutdown()
        return Status.OK if self.is_read else forget_stdout()

    def _announce(self, host: str, port: int) -> None:
        shown = "127.0.0.1" if host in EVERYWHERE else host
        url = f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"
        if self.output.as_json:
            self.output.event("listening", url=url)
        else:
            self.output.line(url)
        self.output.note("Open it in a browser, or: engineio connect " + url)
        self.output.note("What clients send comes back.  Ctrl-C stops the server.")
