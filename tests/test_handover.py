"""How each WSGI server gives its socket to the application: their environs, with real sockets."""

import io
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from engineio.async_drivers._handover import (
    BorrowedSocket,
    find,
    has_hung_up,
    native_socket,
    server_name,
    shut_down,
)

SWITCHING = "101 Switching Protocols"
HEADERS = [("Upgrade", "websocket"), ("X-Test", "é")]
HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nX-Test: \xe9\r\n\r\n"

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A TCP connection: the server's socket and the peer's."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        peer = socket.create_connection(listener.getsockname(), timeout=8)
        ours, _ = listener.accept()
    with ours, peer:
        yield ours, peer


class Started:
    """A `start_response` that remembers, and a `write` that does too."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[tuple[str, str]]]] = []
        self.written: list[bytes] = []

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        self.calls.append((status, headers))
        return self.written.append


class Unreader:
    """What gunicorn's parser reads from, and what it has read too much."""

    def __init__(self, data: bytes) -> None:
        self.buf = io.BytesIO()
        self.buf.write(data)


def werkzeug(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    return {"werkzeug.socket": sock, "wsgi.input": sock.makefile("rb", -1)}


def gunicorn(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    reader = SimpleNamespace(reader=SimpleNamespace(unreader=Unreader(ahead)))
    return {
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
        "gunicorn.socket": sock,
        "wsgi.input": reader,
    }


def pywsgi_upgrade(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    return {"SERVER_SOFTWARE": "gevent/26.9 Python/3.11", "wsgi.input": sock.makefile("rb", -1)}


def pywsgi(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    body = SimpleNamespace(rfile=sock.makefile("rb", -1))
    return {"SERVER_SOFTWARE": "gevent/26.9 Python/3.11", "wsgi.input": body}


def eventlet(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    body = SimpleNamespace(rfile=sock.makefile("rb", -1), get_socket=lambda: sock)
    return {"eventlet.input": body, "wsgi.input": body}


def wsgiref(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    return {"SERVER_SOFTWARE": "WSGIServer/0.2", "wsgi.input": sock.makefile("rb", -1)}


class LimitedStream:
    """Django's: it keeps the bound method `read` of what it limits."""

    def __init__(self, stream: Any) -> None:
        self._read = stream.read


def django(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    body = LimitedStream(sock.makefile("rb", -1))
    return {"SERVER_SOFTWARE": "WSGIServer/0.2", "wsgi.input": body}


def cheroot(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    sock.settimeout(10)
    body = SimpleNamespace(rfile=sock.makefile("rb", -1))
    return {"SERVER_SOFTWARE": "Cheroot/11.1", "wsgi.input": body}


def gevent_websocket(sock: socket.socket, ahead: bytes = b"") -> dict[str, Any]:
    handler = SimpleNamespace(socket=sock, rfile=sock.makefile("rb", -1))
    opened = SimpleNamespace(stream=SimpleNamespace(handler=handler), closed=False)
    return {"SERVER_SOFTWARE": "gevent/26.9 Python/3.11", "wsgi.websocket": opened}


SERVERS: dict[str, Callable[..., dict[str, Any]]] = {
    "werkzeug": werkzeug,
    "gunicorn": gunicorn,
    "gevent.pywsgi": pywsgi,
    "gevent.pywsgi-upgrade": pywsgi_upgrade,
    "eventlet.wsgi": eventlet,
    "wsgiref": wsgiref,
    "wsgiref-django": django,
    "wsgiref-cheroot": cheroot,
    "gevent-websocket": gevent_websocket,
}


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_find(server: str, pair: Pair) -> None:
    found = find(SERVERS[server](pair[0]))
    assert found is not None
    assert (
        found.server == server.partition("-upgrade")[0].replace("wsgiref-", "wsgiref ").split()[0]
    )
    assert found.sock is pair[0]
    assert found.is_open_websocket == (server == "gevent-websocket")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"wsgi.input": io.BytesIO(b"whole")},
        {"wsgi.input": None},
        {"SERVER_SOFTWARE": "gevent/26.9", "wsgi.input": io.BytesIO()},
        {"SERVER_SOFTWARE": "waitress", "wsgi.input": io.BufferedReader(io.BytesIO())},
        {"uwsgi.version": b"2.0"},
    ],
)
def test_servers_that_keep_their_socket(environ: dict[str, Any]) -> None:
    assert find(environ) is None


def test_begin_and_end(server: str, pair: Pair) -> None:
    ours, peer = pair
    started = Started()
    environ = SERVERS[server](ours)
    found = find(environ)
    assert found is not None
    head, received = found.begin(started, HEADERS)
    assert received == b""
    assert ours.gettimeout() is None
    if server.startswith("gevent.pywsgi"):
        # It knows what a 101 is, and writes it when it is told to.
        assert started.calls == [(SWITCHING, HEADERS)]
        assert started.written == [b""]
    else:
        assert started.calls == []
    assert head == (b"" if server.startswith("gevent") else HEAD)
    before = len(started.calls)
    shut_down(ours)
    if server == "eventlet.wsgi":
        pytest.importorskip("eventlet.wsgi")
    assert found.end(started) == []
    assert peer.recv(1000) == b""
    assert ours.fileno() != -1  # it is the server's to close
    if server == "gevent-websocket":
        assert environ["wsgi.websocket"].closed
    if server.startswith("gevent"):
        assert len(started.calls) == before
    else:
        assert started.calls == [(SWITCHING, [])]
    if server == "eventlet.wsgi":
        local = sys.modules["eventlet.wsgi"].WSGI_LOCAL
        assert local.already_handled
        local.already_handled = False


def test_what_the_server_has_read_ahead(server: str, pair: Pair) -> None:
    ours, peer = pair
    if server == "gunicorn":
        environ = gunicorn(ours, b"early frame")
    else:
        environ = SERVERS[server](ours)
        peer.sendall(b"GET / HTTP/1.1\r\nearly frame")
        found = find(environ)
        assert found is not None
        assert found.reader.readline() == b"GET / HTTP/1.1\r\n"
    found = find(environ)
    assert found is not None
    assert found.begin(Started(), HEADERS)[1] == b"early frame"
    assert ours.gettimeout() is None
    if server == "gunicorn":
        # What was taken must not be parsed as the next request.
        assert environ["wsgi.input"].reader.unreader.buf.getvalue() == b""


def test_eventlet_is_told_that_the_connection_is_idle(pair: Pair) -> None:
    environ = eventlet(pair[0])
    called: list[bool] = []
    environ["eventlet.set_idle"] = lambda: called.append(True)
    found = find(environ)
    assert found is not None
    found.begin(Started(), HEADERS)
    assert called == [True]


def test_gunicorn_gevent_pywsgi(pair: Pair) -> None:
    # `gunicorn -k gevent_pywsgi`: gevent's handler, with the socket under another name.
    environ = {**pywsgi(pair[0]), "gunicorn.sock": pair[0]}
    found = find(environ)
    assert found is not None
    assert (found.server, found.sock) == ("gevent.pywsgi", pair[0])


def test_pywsgi_leaves_the_101_to_us(pair: Pair) -> None:
    # Without middleware in between, its handler is told that the response has begun.
    handlers = pytest.importorskip("gevent.pywsgi")
    handler = handlers.WSGIHandler(pair[0], ("127.0.0.1", 1), None, pair[0].makefile("rb", -1))
    handler.headers_sent = False
    found = find(pywsgi(pair[0]))
    assert found is not None
    assert found.begin(handler.start_response, HEADERS) == (HEAD, b"")
    handler.result = found.end(handler.start_response)
    handler.process_result()
    shut_down(pair[0])
    assert pair[1].recv(100) == b""  # nothing came from it
    assert '" 101 ' in handler.format_request()


def test_begin_with_a_peer_that_has_gone(pair: Pair) -> None:
    ours, peer = pair
    environ = werkzeug(ours)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    found = find(environ)
    assert found is not None
    # Whoever writes the answer finds out.
    assert found.begin(Started(), HEADERS) == (HEAD, b"")


def test_refuse(pair: Pair) -> None:
    ours, peer = pair
    found = find(gevent_websocket(ours))
    assert found is not None
    found.refuse(b"x" * 500)
    frame = peer.recv(1000)
    assert frame == b"\x88\x7a" + struct.pack("!H", 1008) + b"x" * 120
    assert peer.recv(1000) == b""


def test_set_nodelay(pair: Pair) -> None:
    found = find(werkzeug(pair[0]))
    assert found is not None
    found.set_nodelay()
    assert pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    ours, peer = socket.socketpair()
    with ours, peer:
        unix = find(werkzeug(ours))
        assert unix is not None
        unix.set_nodelay()  # there is no such thing there


# -- names


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("werkzeug", "werkzeug"),
        ("gunicorn", "gunicorn"),
        ("gevent.pywsgi", "gevent.pywsgi"),
        ("eventlet.wsgi", "eventlet.wsgi"),
        ("wsgiref", "WSGIServer/0.2"),
        ("wsgiref-cheroot", "Cheroot/11.1"),
    ],
)
def test_server_name(server: str, name: str, pair: Pair) -> None:
    assert server_name(SERVERS[server](pair[0])) == name


def test_name_of_a_server_that_has_none() -> None:
    assert server_name({}) == "this WSGI server"
    assert server_name({"SERVER_SOFTWARE": "waitress"}) == "waitress"


# -- sockets


def test_hangup_of_a_peer_that_closes(pair: Pair) -> None:
    ours, peer = pair
    assert not has_hung_up(ours)
    peer.close()
    assert has_hung_up(ours)


def test_hangup_behind_bytes(pair: Pair) -> None:
    ours, peer = pair
    peer.sendall(b"GET /pipelined")
    assert not has_hung_up(ours)
    peer.close()
    if sys.platform == "linux":
        assert has_hung_up(ours)
    assert ours.recv(100) == b"GET /pipelined"
    assert has_hung_up(ours)


def test_hangup_of_a_unix_socket() -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        assert not has_hung_up(ours)
        assert ours.gettimeout() is None
        peer.sendall(b"x")
        assert not has_hung_up(ours)
        assert ours.recv(1) == b"x"  # it was only looked at
        peer.close()
        assert has_hung_up(ours)


def test_a_closed_socket_has_hung_up(pair: Pair) -> None:
    pair[0].close()
    assert has_hung_up(pair[0])


def test_borrowed_socket(pair: Pair) -> None:
    ours, peer = pair
    borrowed = BorrowedSocket(ours.fileno())
    assert borrowed.fileno() == ours.fileno()
    borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 4) != bytes(4)
    assert not has_hung_up(borrowed)
    del borrowed
    ours.sendall(b"still open")
    assert peer.recv(100) == b"still open"
    another = BorrowedSocket(ours.fileno())
    peer.close()
    assert has_hung_up(another) == (sys.platform == "linux")


def test_native_socket(pair: Pair) -> None:
    ours, _ = pair
    assert native_socket(ours) is ours
    gevent_socket = pytest.importorskip("gevent.socket")
    with gevent_socket.socket() as green:
        native = native_socket(green)
        assert native is not green
        assert native.fileno() == green.fileno()
    greenio = pytest.importorskip("eventlet.greenio")
    with socket.socket() as plain:
        assert native_socket(greenio.GreenSocket(plain)) is plain


def test_shut_down_twice(pair: Pair) -> None:
    ours, peer = pair
    shut_down(ours)
    shut_down(ours)
    assert peer.recv(1) == b""
    ours.close()
    shut_down(ours)
