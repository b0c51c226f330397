"""The WSGI application that test_gunicorn_worker.py serves."""

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

StartResponse = Any
RELEASE = threading.Event()  # made on import: a green one only if eventlet has patched before


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


def hello(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def info(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps(
        {
            "pid": os.getpid(),
            "multithread": environ["wsgi.multithread"],
            "scheme": environ["wsgi.url_scheme"],
            "sleep": time.sleep.__module__,
            "socket": [each.__qualname__ for each in type(environ["gunicorn.socket"]).__mro__],
            "early": type(RELEASE._cond._lock).__module__,  # type: ignore[attr-defined]
        }
    ).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def echo(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def slow(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Says that it has begun, then waits for /release."""
    start_response("200 OK", [])
    yield b"begun "
    RELEASE.wait()
    yield b"done"


def release(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    RELEASE.set()
    return hello(environ, start_response)


def stuck(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """Says that it has begun, then never ends by itself."""
    start_response("200 OK", [])
    try:
        yield b"begun "
        time.sleep(3600)
    finally:
        print("cleaned up", flush=True)


def stream(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [])
    for _ in range(320):
        yield b"x" * 65536


def file(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    source = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
    source.write(b"skipped" + b"y" * 12_000_000)
    source.seek(len(b"skipped"))
    start_response("200 OK", [("Content-Length", "12000000")])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](source)
    return wrapped


def takeover(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Echoes raw bytes until the peer says `bye`, as a WebSocket would."""
    sock = environ["gunicorn.socket"]
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n")
    while (data := sock.recv(4096)) and data != b"bye":
        sock.sendall(data)
    sock.shutdown(socket.SHUT_RDWR)
    start_response("101 Switching Protocols", [])
    return []


def fail(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    raise ValueError("the application's own mistake")


ROUTES = {
    "/": hello,
    "/info": info,
    "/echo": echo,
    "/slow": slow,
    "/release": release,
    "/stuck": stuck,
    "/stream": stream,
    "/file": file,
    "/takeover": takeover,
    "/fail": fail,
}
