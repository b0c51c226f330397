"""One client of a server: handlers, bodies, limits, WebSockets; and the patches others make.

What needs no connection is asked of the server in memory, the rest runs under Werkzeug.
"""

import io
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partialmethod
from typing import Any

import pytest
import werkzeug.serving

import engineio
import wire
from engineio import packet as packets
from engineio.exceptions import UnknownPacketError
from engineio.packet import Packet
from engineio.socket import Socket

WAIT = 8.0  # seconds an event may take that a test waits for


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


class Handler(werkzeug.serving.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # as Flask's development server sets it

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class Site:
    """A server under Werkzeug, and what its handlers were called with."""

    def __init__(self) -> None:
        self.eio = engineio.Server(async_mode="threading")
        self.events: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.eio.on("message", lambda sid, data: self.events.put(("message", data)))
        self.eio.on("disconnect", lambda sid, why: self.events.put(("disconnect", why)))
        self._server = werkzeug.serving.make_server(
            "127.0.0.1", 0, self.eio.handle_request, threaded=True, request_handler=Handler
        )
        self.endpoint = wire.Endpoint(("127.0.0.1", self._server.server_port))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def event(self) -> tuple[Any, ...]:
        return self.events.get(timeout=WAIT)

    def socket(self, client: Any) -> Socket:
        found: Socket = self.eio.sockets[client.sid]
        return found

    def post(self, sid: str, body: bytes, **more: Any) -> tuple[str, bytes]:
        """A POST in memory: any `wsgi.input` will do."""
        environ = {
            "REQUEST_METHOD": "POST",
            "QUERY_STRING": f"EIO=4&transport=polling&sid={sid}",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            **more,
        }
        started: list[str] = []
        result = self.eio.handle_request(
            {key: value for key, value in environ.items() if value is not None},
            lambda status, headers: started.append(status),
        )
        return started[0], b"".join(result)

    def stop(self) -> None:
        self.eio.shutdown()
        wire.close_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    before = threading.active_count()
    site = Site()
    yield site
    site.stop()
    wait_until(lambda: threading.active_count() <= before)


@pytest.fixture
def client(site: Site) -> wire.Polling:
    return wire.Polling(site.endpoint)


# -- patches


def replacement(seen: list[Any], original: Callable[..., Any]) -> Any:
    """A method in the place of another, the way python-socketio's admin instrumentation does it."""

    def method(socket: Socket, *args: Any) -> Any:
        seen.append((socket.sid, *args))
        return original(socket, *args)

    return partialmethod(method)


def test_a_patched_handle_post_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    original = Socket.handle_post_request
    monkeypatch.setattr(Socket, "handle_post_request", replacement(seen, original))
    client = wire.Polling(site.endpoint)
    client.send("4hello")
    assert site.event() == ("message", "hello")
    ((sid, environ),) = seen
    assert sid == client.sid
    assert environ["CONTENT_LENGTH"] == "6"


def test_a_patched_send_ping(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Socket, "_send_ping", replacement(seen, Socket._send_ping))
    site.eio.ping_interval = 0.02
    polling = wire.Polling(site.endpoint)
    websocket = wire.EngineWebSocket(site.endpoint)
    assert polling.poll() == ["2"]
    assert websocket.receive() == "2"
    assert sorted(seen) == sorted([(polling.sid,), (websocket.sid,)])


def test_a_patched_schedule_ping(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(Socket, "schedule_ping", replacement(seen, Socket.schedule_ping))
    client = wire.Polling(site.endpoint)
    assert seen == [(client.sid,)]


@pytest.mark.parametrize("upgrades", [False, True])
def test_a_patched_websocket(site: Site, monkeypatch: pytest.MonkeyPatch, upgrades: bool) -> None:
    sent: list[Any] = []
    received: list[Any] = []
    original = Socket._websocket_handler

    def handler(socket: Socket, ws: Any) -> Any:
        send, wait = ws.send, ws.wait

        def patched_send(data: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(data)
            return send(data, *args, **kwargs)

        def patched_wait() -> Any:
            data = wait()
            received.append(data)
            return data

        ws.send, ws.wait = patched_send, patched_wait
        return original(socket, ws)

    monkeypatch.setattr(Socket, "_websocket_handler", partialmethod(handler))
    if upgrades:
        session = wire.Polling(site.endpoint)
        sid = session.sid
        websocket, _ = wire.upgrade(session)
        assert (sent, received[0]) == (["3probe"], "2probe")
    else:
        opened = wire.EngineWebSocket(site.endpoint)
        websocket, sid = opened, opened.sid
        assert sent[0][:1] == "0"
    # All in one segment: each goes through `wait` alone.
    websocket.send(
        wire.text_frame("4hello") + wire.frame(wire.BINARY, b"\x01") + wire.text_frame("4last")
    )
    assert [site.event()[1] for _ in range(3)] == ["hello", b"\x01", "last"]
    site.eio.send(sid, "answer")
    site.eio.send(sid, b"\x02")
    assert websocket.receive() == "4answer"
    assert websocket.receive() == b"\x02"
    assert sent[1:] == ["4answer", b"\x02"]
    site.eio.disconnect(sid)
    assert websocket.receive() == "1"
    assert sent[-1] == "1"
    websocket.answer_close()
    wait_until(lambda: received[-1] is None)
    expected = ["2probe", "5"] if upgrades else []
    assert received == [*expected, "4hello", b"\x01", "4last", None]


def test_socket_objects_take_attributes(site: Site, client: wire.Polling) -> None:
    socket = site.socket(client)
    socket.anything = 1  # type: ignore[attr-defined]
    assert site.eio._get_socket(client.sid) is socket


# -- the socket itself


def test_attributes(site: Site, client: wire.Polling) -> None:
    socket = site.socket(client)
    assert socket.server is site.eio
    assert socket.sid == client.sid
    assert (socket.connected, socket.closing, socket.closed) == (True, False, False)
    assert (socket.upgrading, socket.upgraded) == (False, False)
    assert socket.last_ping is None
    assert socket.session == {}
    assert Socket.upgrade_protocols == ["websocket"]
    assert client.opening["upgrades"] == ["websocket"]


def test_send_and_poll(site: Site, client: wire.Polling) -> None:
    socket = site.socket(client)
    assert socket.send(Packet(packets.MESSAGE, "one"))
    queued = socket.queue
    assert queued.get_nowait().data == "one"
    assert socket.send(Packet(packets.MESSAGE, "two"))
    assert [packet.data for packet in socket.poll()] == ["one", "two"]
    assert socket.queue.empty()


def test_receive(site: Site, client: wire.Polling) -> None:
    socket = site.socket(client)
    socket.receive(Packet(packets.MESSAGE, "hello"))
    assert site.event() == ("message", "hello")
    socket.receive(Packet(packets.PONG))
    socket.receive(Packet(packets.UPGRADE))
    with pytest.raises(UnknownPacketError):
        socket.receive(Packet(packets.OPEN))
    assert site.event() == ("disconnect", "parse error")


def test_close(site: Site, client: wire.Polling) -> None:
    socket = site.socket(client)
    socket.close(wait=False)
    assert site.event() == ("disconnect", "server disconnect")
    assert (socket.connected, socket.closing, socket.closed) == (False, True, True)
    assert not socket.send(Packet(packets.MESSAGE, "too late"))
    assert client.poll() == ["1"]


def test_close_with_abort_and_reason(site: Site, client: wire.Polling) -> None:
    socket = site.socket(client)
    socket.close(abort=True, reason="ping timeout")
    assert site.event() == ("disconnect", "ping timeout")
    assert client.request("GET").json()["code"] == 1


def test_check_ping_timeout(site: Site, client: wire.Polling) -> None:
    socket = site.socket(client)
    assert socket.check_ping_timeout()
    site.eio.ping_timeout = 1e-9
    site.eio.start_service_task = False  # it must not be the server that notices
    socket._send_ping()
    wait_until(lambda: not socket.check_ping_timeout())
    assert site.event() == ("disconnect", "ping timeout")


# -- handlers


def test_messages_of_one_client_start_in_order(site: Site, client: wire.Polling) -> None:
    order: list[int] = []
    release = threading.Event()
    done = threading.Event()

    @site.eio.on("message")
    def message(sid: str, number: str) -> None:
        order.append(int(number[1:]))
        if len(order) == 20:
            done.set()
        release.wait(WAIT)

    # Each of them waits, and none holds back the next one.
    client.send(*(f"4m{number}" for number in range(20)))
    assert done.wait(WAIT)
    release.set()
    assert order == list(range(20))


def test_a_handler_that_starts_as_the_one_before_it_returns(
    site: Site, client: wire.Polling
) -> None:
    """The first handler returns while the second has just begun, which then waits."""
    started: queue.Queue[str] = queue.Queue()
    returned = threading.Event()
    first, second = threading.Event(), threading.Event()

    @site.eio.on("message")
    def message(sid: str, data: str) -> None:
        started.put(data)
        if data == "first":
            first.wait(WAIT)
            returned.set()
        elif data == "second":
            first.set()
            returned.wait(WAIT)
            second.wait(WAIT)

    client.send("4first")
    assert started.get(timeout=WAIT) == "first"
    client.send("4second")
    assert started.get(timeout=WAIT) == "second"
    assert returned.wait(WAIT)
    client.send("4third")
    try:
        # Long before the second one gives up.
        assert started.get(timeout=WAIT / 4) == "third"
    finally:
        second.set()


def test_the_same_over_a_websocket(site: Site) -> None:
    client = wire.EngineWebSocket(site.endpoint)
    started: queue.Queue[str] = queue.Queue()
    returned = threading.Event()
    first, second = threading.Event(), threading.Event()

    @site.eio.on("message")
    def message(sid: str, data: str) -> None:
        started.put(data)
        if data == "first":
            first.wait(WAIT)
            returned.set()
        elif data == "second":
            first.set()
            returned.wait(WAIT)
            second.wait(WAIT)

    client.send_text("4first", "4second", "4third")
    try:
        assert [started.get(timeout=WAIT / 4) for _ in range(3)] == ["first", "second", "third"]
    finally:
        second.set()


def test_one_handler_at_a_time(site: Site, client: wire.Polling) -> None:
    site.eio.async_handlers = False
    running = threading.Lock()
    order: list[int] = []
    overlaps: list[int] = []
    done = threading.Event()

    @site.eio.on("message")
    def message(sid: str, number: str) -> None:
        if not running.acquire(blocking=False):
            overlaps.append(int(number[1:]))
            return
        order.append(int(number[1:]))
        time.sleep(0.03)  # longer than the loop takes to find that it waits
        running.release()
        if len(order) == 6:
            done.set()

    for number in range(6):
        client.send(f"4m{number}")
    assert done.wait(WAIT)
    assert (order, overlaps) == (list(range(6)), [])


def test_disconnect_comes_after_the_messages(site: Site) -> None:
    client = wire.EngineWebSocket(site.endpoint)
    site.eio.async_handlers = False
    client.send_text(*(f"4m{number}" for number in range(50)), "1")
    assert [site.event() for _ in range(50)] == [("message", f"m{number}") for number in range(50)]
    assert site.event() == ("disconnect", "client disconnect")
    assert site.events.empty()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_handler_that_exits(site: Site, client: wire.Polling) -> None:
    @site.eio.on("message")
    def message(sid: str, data: Any) -> None:
        site.events.put(("message", data))
        if data == "exit":
            raise SystemExit

    client.send("4exit")
    assert site.event() == ("message", "exit")
    client.send("4next")
    assert site.event() == ("message", "next")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_messages_behind_a_handler_that_exits(site: Site, client: wire.Polling) -> None:
    got: list[Any] = []

    def message(sid: str, data: Any) -> None:
        got.append(data)
        if data == "exit":
            raise SystemExit

    site.eio.on("message", message)
    client.send("4exit", "4one", "4two")
    wait_until(lambda: got == ["exit", "one", "two"])
    client.send("4exit", "4three", "1")
    wait_until(lambda: not site.eio.sockets)
    assert got == ["exit", "one", "two", "exit", "three"]


def test_a_client_that_sends_faster_than_its_handlers_work(site: Site) -> None:
    site.eio.async_handlers = False
    site.eio.max_http_buffer_size = 1000
    client = wire.EngineWebSocket(site.endpoint)
    release = threading.Event()
    count = 0
    done = threading.Event()

    @site.eio.on("message")
    def message(sid: str, data: Any) -> None:
        nonlocal count
        release.wait(WAIT)
        count += 1
        if count == 500:
            done.set()

    socket = site.socket(client)
    for _ in range(500):
        client.send_text("4" + "x" * 900)
    # It is no longer read once its messages fill one POST; one read may bring more than that.
    wait_until(lambda: socket._inbox_size > 1000)
    release.set()
    assert done.wait(WAIT)


# -- bodies


class Aborted:
    """A body whose sender goes away."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self._data = [b"4he", b""]

    def read(self, size: int) -> bytes:
        if len(self._data) == 1 and self._error is not None:
            raise self._error
        return self._data.pop(0)


@pytest.mark.parametrize("error", [None, OSError("reset"), ValueError("timed out")])
def test_a_body_that_ends_early(site: Site, client: wire.Polling, error: Exception | None) -> None:
    answer = site.post(client.sid, b"", CONTENT_LENGTH="6", **{"wsgi.input": Aborted(error)})
    assert answer == ("400 BAD REQUEST", b'{"code":3,"message":"Bad request"}')
    assert site.event() == ("disconnect", "transport error")
    assert site.events.empty()  # nothing of it was delivered


class Slow:
    """A body that comes in small pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        piece, self._data = self._data[: min(size, 3)], self._data[min(size, 3) :]
        return piece


@pytest.mark.parametrize("length", ["11", None])
def test_a_body_in_pieces(site: Site, client: wire.Polling, length: str | None) -> None:
    body: dict[str, Any] = {"wsgi.input": Slow(b"4hello\x1e4you")}
    if length is None:
        body |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert site.post(client.sid, b"", CONTENT_LENGTH=length, **body) == ("200 OK", b"ok")
    assert [site.event()[1], site.event()[1]] == ["hello", "you"]


def test_not_more_than_the_body_is_read(site: Site, client: wire.Polling) -> None:
    # The next request of the connection stands behind it.
    body = io.BytesIO(b"4helloGET / HTTP/1.1")
    answer = site.post(client.sid, b"", CONTENT_LENGTH="6", **{"wsgi.input": body})
    assert answer == ("200 OK", b"ok")
    assert body.read() == b"GET / HTTP/1.1"


def test_nothing_is_read_of_a_body_that_is_too_long(site: Site, client: wire.Polling) -> None:
    site.eio.max_http_buffer_size = 10
    body = io.BytesIO(b"x" * 11)
    answer = site.post(client.sid, b"", CONTENT_LENGTH="11", **{"wsgi.input": body})
    assert answer == ("413 Content Too Large", b"")
    assert body.tell() == 0


def test_a_chunked_body_that_is_too_long(site: Site, client: wire.Polling) -> None:
    site.eio.max_http_buffer_size = 10
    chunked = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}
    decoded = {**chunked, "wsgi.input_terminated": True}
    answer = site.post(client.sid, b"4" + b"x" * 10, **decoded)
    assert answer == ("413 Content Too Large", b"")
    assert site.post(client.sid, b"4" + b"x" * 9, **decoded) == ("200 OK", b"ok")


def test_a_post_without_a_body_and_without_a_length(site: Site, client: wire.Polling) -> None:
    # RFC 9112, 6.3: no Content-Length and no Transfer-Encoding in a request is a body of 0 bytes.
    connection = wire.HTTPConnection(site.endpoint.address)
    connection.send_request("POST", site.endpoint.target(wire.polling_query(client.sid)))
    assert connection.has_input(WAIT / 4), "the server waits for a body that will not come"
    assert connection.read_response().status == 400  # an empty payload


def test_a_second_post_while_one_is_read(site: Site, client: wire.Polling) -> None:
    first = client.start_post(6)
    socket = site.socket(client)
    wait_until(lambda: socket._posting)
    assert client.post("4hello").status == 400
    assert site.event() == ("disconnect", "transport error")
    first.send(b"4hello")
    first.read_response()
    assert site.events.empty()


def test_a_body_that_is_complete_after_the_end(site: Site, client: wire.Polling) -> None:
    post = client.start_post(6)
    socket = site.socket(client)
    wait_until(lambda: socket._posting)
    site.eio.shutdown()
    post.send(b"4hello")
    assert post.read_response().status == 400
    assert site.eio._loop is None  # no thread was started that nobody would end
    assert site.event() == ("disconnect", "server shutdown")
    assert site.events.empty()


# -- limits


def test_the_send_buffer_of_a_polling_client(site: Site, client: wire.Polling) -> None:
    site.eio.max_send_buffer = 100
    site.eio.send(client.sid, "x" * 50)
    site.eio.send(client.sid, "x" * 50)
    assert site.event() == ("disconnect", "send buffer full")
    wait_until(lambda: not site.eio.sockets)
    site.eio.send(client.sid, "too late")


def test_the_send_buffer_of_a_websocket(site: Site) -> None:
    client = wire.EngineWebSocket(site.endpoint, receive_buffer=4096)
    site.eio.max_send_buffer = 100_000
    for _ in range(200):  # 20 MB, far more than the buffers of the connection
        site.eio.send(client.sid, "x" * 100_000)
    assert site.event() == ("disconnect", "send buffer full")
    assert site.events.empty()


def test_one_slow_client_does_not_hold_back_another(site: Site) -> None:
    slow = wire.EngineWebSocket(site.endpoint, receive_buffer=4096)
    quick = wire.EngineWebSocket(site.endpoint)
    for _ in range(50):
        site.eio.send(slow.sid, "x" * 100_000)
    site.eio.send(quick.sid, "hello")
    assert quick.receive() == "4hello"
    for _ in range(50):
        assert slow.receive() == "4" + "x" * 100_000


def test_text_that_polling_cannot_carry(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.eio.logger = logging.getLogger("test_socket")
    polling, websocket = wire.Polling(site.endpoint), wire.EngineWebSocket(site.endpoint)
    for sid in (polling.sid, websocket.sid):
        site.eio.send(sid, "a\x1e1")
        site.eio.send(sid, {"a": "\x1e"})
    assert polling.poll() == ['4{"a":"\\u001e"}']
    assert websocket.receive_text(2) == ["4a\x1e1", '4{"a":"\\u001e"}']
    assert "U+001E" in caplog.text


# -- upgrade


def test_an_upgrade_keeps_the_order(site: Site, client: wire.Polling) -> None:
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.is_set() and sent < 5000:
            site.eio.send(client.sid, f"m{sent}")
            sent += 1
            time.sleep(0)

    sender = threading.Thread(target=send)
    sender.start()
    websocket, received = wire.upgrade(client)
    wait_until(lambda: site.socket(client).upgraded)
    stop.set()
    sender.join()
    site.eio.send(client.sid, "end")
    while not received or received[-1] != "4end":
        received += websocket.receive_text(1)
    assert received == [*(f"4m{number}" for number in range(sent)), "4end"]
    assert site.eio.transport(client.sid) == "websocket"


def test_a_second_upgrade(site: Site, client: wire.Polling) -> None:
    first = wire.probe(client)
    with pytest.raises(wire.Refused) as refused:
        wire.WebSocket(site.endpoint, wire.websocket_query(client.sid))
    assert refused.value.response.json() == {"code": 3, "message": "Bad request"}
    first.send_text("5")
    wait_until(lambda: site.socket(client).upgraded)


def test_an_upgrade_that_takes_too_long(site: Site, client: wire.Polling) -> None:
    site.eio.upgrade_timeout = 0.05
    silent = wire.WebSocket(site.endpoint, wire.websocket_query(client.sid))
    assert silent.answer_close() == 1000
    socket = site.socket(client)
    wait_until(lambda: not socket.upgrading)
    client.send("4hello")
    assert site.event() == ("message", "hello")
    site.eio.upgrade_timeout = 10
    websocket, _ = wire.upgrade(client)
    websocket.send_text("4upgraded")
    assert site.event() == ("message", "upgraded")


def test_the_session_ends_during_the_probe(site: Site, client: wire.Polling) -> None:
    websocket = wire.probe(client)
    site.eio.disconnect(client.sid)
    assert site.event() == ("disconnect", "server disconnect")
    assert websocket.answer_close() == 1000


# -- WebSocket


def test_a_rejected_websocket(site: Site) -> None:
    site.eio.on("connect", lambda sid, environ: {"why": "closed today"})
    with pytest.raises(wire.Refused) as refused:
        wire.EngineWebSocket(site.endpoint)
    assert refused.value.response.status == 401
    assert refused.value.response.json() == {"why": "closed today"}
    assert site.eio.sockets == {}


def test_disconnect_in_the_connect_handler_of_a_websocket(site: Site) -> None:
    @site.eio.on("connect")
    def connect(sid: str, environ: Any) -> None:
        site.eio.send(sid, "go away")
        site.eio.disconnect(sid)

    websocket = wire.EngineWebSocket(site.endpoint)
    assert websocket.receive_text(2) == ["4go away", "1"]
    websocket.answer_close()
    assert site.event() == ("disconnect", "server disconnect")
    assert site.events.empty()


def test_base64_over_a_websocket(site: Site) -> None:
    plain = wire.EngineWebSocket(site.endpoint)
    base64 = wire.EngineWebSocket(site.endpoint, {"b64": "1"})
    packet = Packet(packets.MESSAGE, b"\x01\x02\x03")
    for client in (base64, plain, base64):
        site.eio.send_packet(client.sid, packet)
    assert plain.receive() == b"\x01\x02\x03"
    assert base64.receive_text(2) == ["bAQID", "bAQID"]
    base64.send_text("bAQID")
    assert site.event() == ("message", b"\x01\x02\x03")


def test_shutdown_with_websockets(site: Site) -> None:
    clients = [wire.EngineWebSocket(site.endpoint) for _ in range(3)]
    site.eio.shutdown()
    assert [site.event() for _ in clients] == [("disconnect", "server shutdown")] * 3
    for client in clients:
        assert client.receive() == "1"
        assert client.answer_close() == 1000


def test_a_connection_that_breaks(site: Site) -> None:
    clean, broken, wrong = (wire.EngineWebSocket(site.endpoint) for _ in range(3))
    clean.send(wire.close_frame())
    assert site.event() == ("disconnect", "transport close")
    broken.reset()
    assert site.event() == ("disconnect", "transport close")
    wrong.send(wire.frame(3))
    assert site.event() == ("disconnect", "transport error")
    assert wrong.read_close() == 1002


@pytest.mark.parametrize("packet", ["x", "7", "2", "0", "6", "b!"])
def test_a_malformed_packet(site: Site, packet: str) -> None:
    client = wire.EngineWebSocket(site.endpoint)
    client.send_text("4before", packet, "4behind")
    assert site.event() == ("message", "before")
    assert site.event() == ("disconnect", "parse error")
    assert site.events.empty()
