"""WSGIApp: in memory under wsgiref's validator, and over real servers.

Run as a script, this file is one of those servers: `test_middleware.py KIND FD FOLDER`.
"""

import hashlib
import http.client
import importlib.util
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

import static_site
from engineio.middleware import Middleware, WSGIApp

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

BIG = 8_000_000  # bytes; more than the buffers of a loopback connection hold


class EngineIO:
    """Stands for an Engine.IO server: one method, and no attribute more."""

    def handle_request(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = b"engine.io"
        start_response("200 OK", text_headers(body))
        return [body]


class OpenFiles:
    """Answers with how many of its files the server process has open."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def handle_request(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = str(static_site.count_open_files(self.folder)).encode()
        start_response("200 OK", text_headers(body))
        return [body]


def other_app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    body = b"other"
    start_response("200 OK", text_headers(body))
    return [body]


def text_headers(body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]


class Answer:
    """What a WSGI application answered, its body read and closed."""

    def __init__(self, app: Callable[..., Iterable[bytes]], path: str, **environ: Any) -> None:
        full = {
            "PATH_INFO": path,
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            **environ,
        }
        setup_testing_defaults(full)
        full = {key: value for key, value in full.items() if value is not None}
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return lambda data: None

        result = validator(app)(full, start_response)
        with closing(result):  # type: ignore[type-var]  # the validator's has a close
            self.chunks = [chunk for chunk in result if chunk]
        [(self.status, headers)] = started
        self.headers = dict(headers)
        self.body = b"".join(self.chunks)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    static_site.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert static_site.count_open_files(tmp_path) == 0


# Routing


@pytest.mark.parametrize(
    ("engineio_path", "attribute", "hits", "misses"),
    [
        *static_site.ENGINEIO_PATHS,
        ("größe", "/größe/", ["/grÃ¶Ã\x9fe/"], ["/größe/"]),
    ],
)
def test_routing(engineio_path: str, attribute: str, hits: list[str], misses: list[str]) -> None:
    app = WSGIApp(EngineIO(), other_app, engineio_path=engineio_path)
    assert app.engineio_path == attribute
    for expected, paths in ((b"engine.io", hits), (b"other", misses)):
        for path in paths:
            # Not Answer: the validator refuses some of the paths.
            environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
            assert app(environ, lambda *args: print) == [expected], path


def test_the_order_is_engineio_files_application(site: Path) -> None:
    files = {"/engine.io/x": "index.html", "/index": "index.html", "/gone": "gone.html"}
    app = WSGIApp(EngineIO(), other_app, static_files=files)
    assert Answer(app, "/engine.io/x").body == b"engine.io"
    assert Answer(app, "/index").body == b"<p>index"
    assert Answer(app, "/gone").body == b"other"
    assert Answer(app, "/elsewhere").body == b"other"


def test_not_found() -> None:
    app = WSGIApp(EngineIO())
    for path in ("/", "/nope", "/engine.iox", None):
        answer = Answer(app, "", SCRIPT_NAME="/mount") if path is None else Answer(app, path)
        assert (answer.status, answer.body) == ("404 Not Found", b"Not Found")
        assert answer.headers == {"Content-Type": "text/plain", "Content-Length": "9"}
    head = Answer(app, "/nope", REQUEST_METHOD="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == ("404 Not Found", "9", b"")


def test_not_found_can_be_overridden() -> None:
    class Teapot(WSGIApp):
        def not_found(self, start_response: "StartResponse") -> Iterable[bytes]:
            start_response("418 I'm a Teapot", text_headers(b"short"))
            return [b"short"]

    assert Answer(Teapot(EngineIO()), "/").status == "418 I'm a Teapot"


def test_the_environ_is_handed_on_untouched() -> None:
    seen: list[WSGIEnvironment] = []

    class Keeps:
        def handle_request(
            self, environ: "WSGIEnvironment", start_response: "StartResponse"
        ) -> Iterable[bytes]:
            seen.append(environ)
            return []

    environ: dict[str, Any] = {"PATH_INFO": "/engine.io/", "gunicorn.socket": object()}
    before = dict(environ)
    WSGIApp(Keeps())(environ, lambda *args: print)
    assert seen[0] is environ
    assert environ == before


def test_attributes_stay_settable(site: Path) -> None:
    engine = EngineIO()
    app = WSGIApp(engine)
    assert (app.engineio_app, app.wsgi_app, app.static_files) == (engine, None, {})
    app.wsgi_app = other_app
    assert Answer(app, "/").body == b"other"
    app.static_files = {"/": "index.html"}
    assert Answer(app, "/").body == b"<p>index"
    app.static_files = None
    assert app.static_files == {}
    assert Answer(app, "/").body == b"other"
    app.engineio_path = "chat"
    assert app.engineio_path == "/chat/"
    assert Answer(app, "/chat/").body == b"engine.io"
    assert Answer(app, "/engine.io/").body == b"other"


def test_the_given_dict_is_used_and_can_grow(site: Path) -> None:
    files: dict[str, str] = {}
    app = WSGIApp(EngineIO(), static_files=files)
    files["/"] = "index.html"
    assert Answer(app, "/").body == b"<p>index"


def test_bad_static_files_are_refused() -> None:
    app = WSGIApp(EngineIO())
    for files in ({"/(": "x"}, {"/(.*)": r"x/\2"}):
        with pytest.raises(ValueError, match="static file"):
            WSGIApp(EngineIO(), static_files=files)
        with pytest.raises(ValueError, match="static file"):
            app.static_files = files


def test_the_old_name_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match=r"engineio\.WSGIApp") as caught:
        app = Middleware(EngineIO(), other_app, "chat")
    assert caught[0].filename == __file__
    assert (app.wsgi_app, app.engineio_path, app.static_files) == (other_app, "/chat/", {})
    assert Answer(app, "/chat").body == b"engine.io"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WSGIApp(EngineIO())


# Files, in memory


@pytest.fixture
def app(site: Path) -> WSGIApp:
    return WSGIApp(EngineIO(), static_files={"/": str(site)})


def test_a_file_is_sent_in_chunks(app: WSGIApp) -> None:
    answer = Answer(app, "/200k.bin")
    assert answer.status == "200 OK"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Length"] == "200000"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert [len(chunk) for chunk in answer.chunks] == [65536, 65536, 65536, 3392]


def test_an_empty_file(app: WSGIApp) -> None:
    answer = Answer(app, "/empty.bin")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == ("200 OK", "0", b"")


def test_head_and_other_methods(app: WSGIApp) -> None:
    head = Answer(app, "/200k.bin", REQUEST_METHOD="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == ("200 OK", "200000", b"")
    for method in ("POST", "OPTIONS", "DELETE"):
        answer = Answer(app, "/200k.bin", REQUEST_METHOD=method)
        assert (answer.status, answer.body) == ("405 Method Not Allowed", b"")
        assert answer.headers["Allow"] == "GET, HEAD"


def test_conditions_reach_the_file(app: WSGIApp) -> None:
    first = Answer(app, "/")
    etag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for condition in ({"HTTP_IF_NONE_MATCH": etag}, {"HTTP_IF_MODIFIED_SINCE": modified}):
        answer = Answer(app, "/", **condition)
        assert (answer.status, answer.body) == ("304 Not Modified", b"")
    part = Answer(app, "/", HTTP_RANGE="bytes=3-5", HTTP_IF_RANGE=etag)
    assert (part.status, part.body) == ("206 Partial Content", b"ind")
    assert part.headers["Content-Range"] == "bytes 3-5/8"
    assert Answer(app, "/", HTTP_RANGE="bytes=3-5", HTTP_IF_RANGE='"x"').body == b"<p>index"
    beyond = Answer(app, "/", HTTP_RANGE="bytes=8-")
    assert (beyond.status, beyond.body) == ("416 Range Not Satisfiable", b"")


def test_paths_are_utf8(app: WSGIApp) -> None:
    path = "/größe.txt"
    assert Answer(app, path.encode().decode("latin-1")).body == b"umlaut"
    for wrong in ("/\xff.txt", "/gr\xf6\xdfe.txt", "/index.html\x00"):
        assert Answer(app, wrong).status == "404 Not Found"


def test_the_servers_file_wrapper_is_used_for_whole_files(app: WSGIApp) -> None:
    wrapped: list[Any] = []

    def wrapper(file: Any, size: int) -> FileWrapper:
        wrapped.append(file)
        return FileWrapper(file, size)

    answer = Answer(app, "/200k.bin", **{"wsgi.file_wrapper": wrapper})
    assert len(answer.body) == 200_000
    assert len(wrapped) == 1
    part = Answer(app, "/200k.bin", HTTP_RANGE="bytes=1-", **{"wsgi.file_wrapper": wrapper})
    assert len(part.body) == 199_999
    assert len(wrapped) == 1


def test_a_file_wrapper_may_read_ahead_and_seek_back(app: WSGIApp) -> None:
    def wrapper(file: Any, size: int) -> FileWrapper:
        assert os.fstat(file.fileno()).st_size == 8
        file.seek(0, os.SEEK_END)
        assert file.tell() == 8
        file.seek(0)
        assert file.read(3) == b"<p>"
        assert file.read() == b"index"
        file.seek(0)
        return FileWrapper(file, size)

    assert Answer(app, "/", **{"wsgi.file_wrapper": wrapper}).body == b"<p>index"


@pytest.mark.parametrize("wrapper", [None, FileWrapper])
def test_a_file_that_changes_while_it_is_sent(app: WSGIApp, site: Path, wrapper: Any) -> None:
    environ = {"PATH_INFO": "/200k.bin", "REQUEST_METHOD": "GET", "wsgi.file_wrapper": wrapper}
    body = app(environ, lambda *args: print)
    with closing(body) as chunks:  # type: ignore[type-var]
        with (site / "200k.bin").open("ab") as file:
            file.write(b"more")
        assert sum(map(len, chunks)) == 200_000

    body = app(environ, lambda *args: print)
    with closing(body) as chunks:  # type: ignore[type-var]
        assert len(next(iter(chunks))) == 65536
        os.truncate(site / "200k.bin", 65536)
        with pytest.raises(OSError, match="shorter"):
            list(chunks)


def test_the_file_is_closed_when_the_server_breaks_down(app: WSGIApp, site: Path) -> None:
    def start_response(*args: object) -> Callable[[bytes], object]:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        app({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, start_response)
    assert static_site.count_open_files(str(site)) == 0

    def wrapper(file: Any, size: int) -> Iterable[bytes]:
        raise MemoryError

    environ = {"PATH_INFO": "/", "REQUEST_METHOD": "GET", "wsgi.file_wrapper": wrapper}
    with pytest.raises(MemoryError):
        app(environ, lambda *args: print)
    assert static_site.count_open_files(str(site)) == 0


def test_an_aborted_response_closes_the_file(app: WSGIApp, site: Path) -> None:
    body: Any = app({"PATH_INFO": "/200k.bin", "REQUEST_METHOD": "GET"}, lambda *args: print)
    next(iter(body))
    assert static_site.count_open_files(str(site)) == 1
    body.close()
    assert static_site.count_open_files(str(site)) == 0


# Files, over real servers

KINDS = ["wsgiref", "werkzeug", "gevent", "eventlet", "waitress", "gunicorn"]


class Server:
    """A server process and a client's view of it."""

    def __init__(self, kind: str, port: int, digest: str) -> None:
        self.kind = kind
        self.port = port
        self.digest = digest
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def request(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, headers=named)
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def count_open_files(self) -> int:
        return int(self.request("/engine.io/")[2])

    def closes_its_files(self) -> bool:
        """Whether it has closed them; it may do so a moment after the client has it all."""
        deadline = time.monotonic() + 30
        while self.count_open_files():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@pytest.fixture(scope="module", params=KINDS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    kind: str = request.param
    if importlib.util.find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    if os.name == "nt":
        pytest.skip("hands a listening socket to a subprocess")
    folder = tmp_path_factory.mktemp(kind)
    content = b"".join(b"%07d\n" % number for number in range(BIG // 8))
    (folder / "big.bin").write_bytes(content)
    (folder / "index.html").write_bytes(b"<p>index")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        command = [sys.executable, __file__, kind, str(fd), str(folder)]
        process = subprocess.Popen(command, pass_fds=[fd], start_new_session=True)
    served = Server(kind, port, hashlib.sha256(content).hexdigest())
    try:
        yield served
    finally:
        served.connection.close()
        os.killpg(process.pid, signal.SIGKILL)  # its own group: gunicorn has a worker
        process.wait(30)


def test_server_sends_a_large_file(served: Server) -> None:
    status, headers, body = served.request("/big.bin")
    assert (status, headers["Content-Length"], len(body)) == (200, str(BIG), BIG)
    assert "Transfer-Encoding" not in headers
    assert hashlib.sha256(body).hexdigest() == served.digest


def test_server_keeps_responses_apart(served: Server) -> None:
    """On one connection, where the server keeps it: a body too much would start the next one."""
    status, headers, body = served.request("/big.bin", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(BIG), b"")
    etag = headers["ETag"]
    assert served.request("/nope", "HEAD")[0] == 404
    assert served.request("/", Range="bytes=3-5")[::2] == (206, b"ind")
    assert served.request("/big.bin", If_None_Match=etag)[::2] == (304, b"")
    assert served.request("/big.bin", Range="bytes=-8")[::2] == (206, b"%07d\n" % (BIG // 8 - 1))
    assert served.request("/", Range="bytes=8-")[::2] == (416, b"")
    assert served.request("/", "POST")[::2] == (405, b"")
    assert served.request("/..%2findex.html")[0] == 404
    assert served.request("/%ff")[0] == 404
    assert served.request("/nope")[::2] == (404, b"Not Found")
    assert served.request("/")[::2] == (200, b"<p>index")
    assert served.closes_its_files()


@pytest.mark.parametrize("header", ["", f"Range: bytes=0-{BIG - 2}\r\n"])
def test_server_closes_the_file_of_an_aborted_request(served: Server, header: str) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", served.port))
        client.sendall(f"GET /big.bin HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.")
        # waitress reads ahead, and may have read it all already.
        assert served.count_open_files() == 1 or served.kind == "waitress"
        # With no linger time, close() resets the connection.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert served.closes_its_files()


def serve(kind: str, fd: int, folder: str) -> None:
    app = WSGIApp(OpenFiles(folder), static_files={"/": folder})
    listener = socket.socket(fileno=fd)
    host, port = listener.getsockname()
    if kind == "wsgiref":

        class ThreadingServer(ThreadingMixIn, WSGIServer):
            daemon_threads = True

        with ThreadingServer((host, port), WSGIRequestHandler, bind_and_activate=False) as server:
            server.socket.close()
            server.socket = listener
            server.server_name, server.server_port = host, port
            server.setup_environ()
            server.set_app(app)
            server.serve_forever()
    elif kind == "werkzeug":
        import werkzeug.serving

        handler = werkzeug.serving.WSGIRequestHandler
        handler.protocol_version = "HTTP/1.1"
        run = werkzeug.serving.make_server(host, port, app, threaded=True, fd=fd)
        run.serve_forever()
    elif kind == "gevent":
        import gevent.pywsgi
        import gevent.socket

        sock = gevent.socket.socket(fileno=listener.detach())
        gevent.pywsgi.WSGIServer(sock, app, log=None).serve_forever()
    elif kind == "eventlet":
        import eventlet.greenio
        import eventlet.wsgi

        eventlet.wsgi.server(eventlet.greenio.GreenSocket(listener), app, log_output=False)
    elif kind == "waitress":
        import waitress

        waitress.serve(app, sockets=[listener])
    elif kind == "gunicorn":
        from gunicorn.app.base import BaseApplication

        class Application(BaseApplication):  # type: ignore[misc]
            def load_config(self) -> None:
                for name, value in {
                    "bind": f"fd://{fd}",
                    "worker_class": "gthread",
                    "threads": 4,
                    "loglevel": "error",
                    "control_socket_disable": True,
                }.items():
                    if name in self.cfg.settings:
                        self.cfg.set(name, value)

            def load(self) -> WSGIApp:
                return app

        Application().run()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3])
