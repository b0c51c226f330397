"""WSGIApp: one WSGI application out of an Engine.IO server, static files and another application.

It finds out who answers a request, and sends files itself.  It never looks into a request for
Engine.IO, and knows nothing of the server but `handle_request`.
"""

import io
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from engineio.base_app import BaseApp
from engineio.static_files import (
    StaticFiles,
    file_response,
    get_static_file,
    open_file,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CHUNK_SIZE = 65536  # bytes

_CONDITIONS = {
    "HTTP_IF_NONE_MATCH": "if-none-match",
    "HTTP_IF_MODIFIED_SINCE": "if-modified-since",
    "HTTP_IF_RANGE": "if-range",
    "HTTP_RANGE": "range",
}


class EngineIOApp(Protocol):
    """What WSGIApp needs of an Engine.IO server; a Socket.IO server has it too."""

    def handle_request(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request, as a WSGI application does."""
        ...


class WSGIApp(BaseApp):
    """A WSGI application that hands each request to whom it belongs.

    In this order: the Engine.IO server, a static file if it exists, the other application, a 404.

    :param engineio_app: the `engineio.Server`, or another object with its `handle_request`.
    :param wsgi_app: a WSGI application for everything else. Default: None, which answers 404.
    :param static_files: a dict of URL paths and the files or folders they serve; the forms are in
        `engineio.static_files`. Default: None, no files.
    :param engineio_path: the URL path of the Engine.IO server and all below it; slashes at its ends
        do not matter, and `''` or `'/'` is every path. Default: `'engine.io'`.

    All four are attributes that can be set later; `engineio_path` reads as `'/engine.io/'`.

    Raises ValueError for static files with an invalid pattern or target.
    """

    def __init__(
        self,
        engineio_app: EngineIOApp,
        wsgi_app: "WSGIApplication | None" = None,
        static_files: StaticFiles | None = None,
        engineio_path: str = "engine.io",
    ) -> None:
        self.engineio_app = engineio_app
        self.wsgi_app = wsgi_app
        self.static_files = static_files
        self.engineio_path = engineio_path

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        path = _decode_path(environ.get("PATH_INFO") or "")
        if self._is_engineio_path(path):
            return self.engineio_app.handle_request(environ, start_response)
        if self._static_files:
            static_file = get_static_file(path, self._static_files)
            if static_file is not None:
                content = _send_file(static_file, environ, start_response)
                if content is not None:
                    return content
        if self.wsgi_app is not None:
            return self.wsgi_app(environ, start_response)
        body = self.not_found(start_response)
        # gevent.pywsgi sends the body of an answer to HEAD too: the start of the next response.
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else body

    def not_found(self, start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request that nobody else wants: 404."""
        body = b"Not Found"
        start_response(
            "404 Not Found",
            [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))],
        )
        return [body]


class Middleware(WSGIApp):
    """The old name of WSGIApp, without static files.  Deprecated."""

    def __init__(
        self,
        engineio_app: EngineIOApp,
        wsgi_app: "WSGIApplication | None" = None,
        engineio_path: str = "engine.io",
    ) -> None:
        warnings.warn(
            "engineio.Middleware is deprecated, use engineio.WSGIApp",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(engineio_app, wsgi_app, engineio_path=engineio_path)


class FileSpan:
    """A part of an open file, as the body of a response; owns the file.

    It is an iterable for the server to send, and file-like enough for a `wsgi.file_wrapper`, to
    which it never gives more than `length` bytes: a file that grows meanwhile would otherwise run
    over its Content-Length into the next response.
    """

    def __init__(self, file: io.FileIO, start: int, length: int) -> None:
        self._file = file
        self._stop = start + length
        # For file wrappers: gunicorn and uWSGI send the descriptor, waitress reads and seeks back.
        self.fileno = file.fileno
        self.seek = file.seek
        self.tell = file.tell
        if start:
            file.seek(start)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self.read(CHUNK_SIZE)
        if not chunk:
            raise StopIteration
        return chunk

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, all that are left if negative; b'' at the end.

        Raises OSError if the file has become shorter, so that the server ends the connection: the
        client would take the next response for the rest of this one.
        """
        left = max(self._stop - self._file.tell(), 0)
        wanted = left if size < 0 else min(size, left)
        chunk = self._file.read(wanted)
        if wanted and not chunk:
            raise OSError("the file became shorter while it was sent")
        return chunk

    def close(self) -> None:
        """Close the file; the server calls it, however the request ended."""
        self._file.close()


def _decode_path(path: str) -> str:
    """Return PATH_INFO as text: its characters stand for bytes (PEP 3333).

    What is not UTF-8 keeps surrogates, and so matches no static file.
    """
    try:
        return path.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return path  # decoded already, against the rule


def _send_file(
    static_file: dict[str, str], environ: "WSGIEnvironment", start_response: "StartResponse"
) -> Iterable[bytes] | None:
    """Start the response and return its body; None if the file cannot be opened."""
    opened = open_file(static_file["filename"])
    if opened is None:
        return None
    file, info = opened
    headers = {name: environ[key] for key, name in _CONDITIONS.items() if key in environ}
    try:
        response = file_response(
            environ["REQUEST_METHOD"], headers, info, static_file["content_type"]
        )
        start_response(response.status, list(response.headers))
        if not response.length:
            file.close()
            return []
        span = FileSpan(file, response.start, response.length)
        wrapper = environ.get("wsgi.file_wrapper")
        # Whole files only: servers that send a descriptor disagree on where to begin and end.
        if wrapper is not None and response.length == info.st_size:
            wrapped: Iterable[bytes] = wrapper(span, CHUNK_SIZE)
            return wrapped
        return span
    except BaseException:
        file.close()
        raise
