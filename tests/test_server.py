"""The public API of Server, with WSGI environs in memory and threads."""

import io
import json
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import pytest

import engineio
from engineio import packet as wire
from engineio.driver import load
from engineio.packet import Packet

WAIT = 8.0  # seconds an event may take that a test waits for


@dataclass
class Answer:
    """What a WSGI application answered."""

    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def packets(self) -> list[str]:
        assert self.status == "200 OK", self
        return self.body.decode().split("\x1e")


class Application:
    """A server, what its handlers were called with, and a client that speaks WSGI to it."""

    def __init__(self, **options: Any) -> None:
        self.eio = engineio.Server(async_mode="threading", **options)
        self.events: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.eio.on("connect", lambda sid, environ: self.events.put(("connect", sid)))
        self.eio.on("message", lambda sid, data: self.events.put(("message", sid, data)))
        self.eio.on("disconnect", lambda sid, why: self.events.put(("disconnect", sid, why)))

    def event(self) -> tuple[Any, ...]:
        return self.events.get(timeout=WAIT)

    def request(self, method: str, query: str, body: bytes | None = None, **more: Any) -> Answer:
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": "/engine.io/",
            "QUERY_STRING": query,
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body or b""),
            **({} if body is None else {"CONTENT_LENGTH": str(len(body))}),
            **more,
        }
        started: list[tuple[str, list[tuple[str, str]]]] = []
        result = self.eio.handle_request(environ, lambda *args: started.append(args))
        ((status, headers),) = started
        assert len(dict(headers)) == len(headers)
        return Answer(status, dict(headers), b"".join(result))

    def open(self, **more: Any) -> str:
        """Connect a client; returns its sid, with the connect event taken."""
        answer = self.request("GET", "EIO=4&transport=polling", **more)
        sid: str = json.loads(answer.packets[0][1:])["sid"]
        assert self.event() == ("connect", sid)
        return sid

    def poll(self, sid: str) -> list[str]:
        return self.request("GET", f"EIO=4&transport=polling&sid={sid}").packets

    def start_poll(self, sid: str) -> Callable[[], Answer]:
        """A GET that waits; returns what waits for its answer."""
        answers: list[Answer] = []
        query = f"EIO=4&transport=polling&sid={sid}"
        thread = threading.Thread(target=lambda: answers.append(self.request("GET", query)))
        thread.start()
        socket = self.eio.sockets[sid]
        wait_until(lambda: socket.waiter is not None)

        def answer() -> Answer:
            thread.join(WAIT)
            return answers[0]

        return answer

    def post(self, sid: str, *packets: str) -> Answer:
        body = "\x1e".join(packets).encode()
        return self.request("POST", f"EIO=4&transport=polling&sid={sid}", body)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


Make = Callable[..., Application]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make applications; afterwards none of their threads is left."""
    before = threading.active_count()
    made: list[Application] = []

    def make(**options: Any) -> Application:
        made.append(Application(**options))
        return made[-1]

    yield make
    for application in made:
        application.eio.shutdown()
        assert application.eio.sockets == {}
    wait_until(lambda: threading.active_count() <= before)


@pytest.fixture
def app(make: Make) -> Application:
    return make()


@pytest.fixture
def logger(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    own = logging.getLogger("test_server")
    with caplog.at_level(logging.INFO, own.name):
        yield own


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages of warnings and errors."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


# -- handshake


def test_handshake(make: Make) -> None:
    app = make(ping_interval=0.3, ping_timeout=1.2346, max_http_buffer_size=500)
    answer = app.request("GET", "EIO=4&transport=polling")
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    (packet,) = answer.packets
    _, sid = app.event()
    assert packet == (
        f'0{{"sid":"{sid}","upgrades":[],"pingInterval":300,"pingTimeout":1235,"maxPayload":500}}'
    )
    assert app.eio.transport(sid) == "polling"
    assert list(app.eio.sockets) == [sid]


def test_grace_period_is_told_to_clients(make: Make) -> None:
    app = make(ping_interval=(10, 2))
    answer = app.request("GET", "EIO=4&transport=polling")
    assert json.loads(answer.packets[0][1:])["pingInterval"] == 12000


def test_cookie(make: Make) -> None:
    app = make(cookie={"name": "io", "path": "/", "HttpOnly": True})
    answer = app.request("GET", "EIO=4&transport=polling")
    sid = json.loads(answer.packets[0][1:])["sid"]
    cookie = SimpleCookie(answer.headers["Set-Cookie"])["io"]
    assert (cookie.value, cookie["path"], cookie["httponly"]) == (sid, "/", True)
    app.eio.send(sid, "hello")
    second = app.request("GET", f"EIO=4&transport=polling&sid={sid}")
    assert "Set-Cookie" not in second.headers


def test_what_the_connect_handler_sends_comes_behind_open(app: Application) -> None:
    @app.eio.on("connect")
    def connect(sid: str, environ: Any) -> None:
        app.eio.send(sid, "welcome")
        app.eio.send(sid, b"\x00")

    answer = app.request("GET", "EIO=4&transport=polling")
    assert answer.packets[0][0] == "0"
    assert answer.packets[1:] == ["4welcome", "bAA=="]


def test_the_environ_stays_the_applications(app: Application) -> None:
    kept: list[dict[str, Any]] = []
    app.eio.on("connect", lambda sid, environ: kept.append(environ))
    own: dict[str, Any] = {"wsgi.errors": object()}
    app.request("GET", "EIO=4&transport=polling", **own)
    (environ,) = kept
    assert environ["wsgi.errors"] is own["wsgi.errors"]
    assert not [key for key in environ if key.startswith("engineio")]


def test_the_sid_is_unknown_until_the_handler_returns(app: Application) -> None:
    answers: list[Answer] = []

    @app.eio.on("connect")
    def connect(sid: str, environ: Any) -> None:
        answers.append(app.request("GET", f"EIO=4&transport=polling&sid={sid}"))
        answers.append(app.post(sid, "4hello"))

    app.request("GET", "EIO=4&transport=polling")
    for answer in answers:
        assert answer.body == b'{"code":1,"message":"Session ID unknown"}'


@pytest.mark.parametrize(
    ("verdict", "body"),
    [(False, b'"Unauthorized"'), ("no", b'"no"'), ({"a": 1}, b'{"a": 1}'), (0, b'"Unauthorized"')],
)
def test_rejection(app: Application, verdict: Any, body: bytes) -> None:
    app.eio.on("connect", lambda sid, environ: verdict)
    answer = app.request("GET", "EIO=4&transport=polling")
    assert (answer.status, answer.body) == ("401 UNAUTHORIZED", body)
    assert answer.headers["Content-Type"] == "application/json"
    assert app.eio.sockets == {}
    app.eio.disconnect()
    assert app.events.empty()  # no disconnect event


@pytest.mark.parametrize("verdict", [None, True])
def test_acceptance(app: Application, verdict: Any) -> None:
    app.eio.on("connect", lambda sid, environ: verdict)
    assert app.request("GET", "EIO=4&transport=polling").status == "200 OK"


def test_a_connect_handler_that_raises(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(logger=logger)

    @app.eio.on("connect")
    def connect(sid: str, environ: Any) -> None:
        raise RuntimeError("a bug")

    assert app.request("GET", "EIO=4&transport=polling").status == "401 UNAUTHORIZED"
    assert app.eio.sockets == {}
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.getMessage() == "connect handler error"


def test_a_connect_handler_that_exits(app: Application) -> None:
    @app.eio.on("connect")
    def connect(sid: str, environ: Any) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        app.request("GET", "EIO=4&transport=polling")
    assert app.eio.sockets == {}


def test_handlers_may_leave_arguments_out(app: Application) -> None:
    seen: list[Any] = []
    app.eio.on("connect", lambda sid: seen.append(("connect", sid)))
    app.eio.on("disconnect", lambda sid: seen.append(("disconnect", sid)))
    answer = app.request("GET", "EIO=4&transport=polling")
    sid = json.loads(answer.packets[0][1:])["sid"]
    app.eio.disconnect(sid)
    assert seen == [("connect", sid), ("disconnect", sid)]
    app.eio.on("connect", lambda sid, *more: seen.append((sid, len(more))))
    app.request("GET", "EIO=4&transport=polling")
    assert seen[-1][1] == 1


def test_a_type_error_in_a_handler_does_not_run_it_twice(app: Application) -> None:
    calls: list[str] = []

    def disconnect(sid: str, reason: str) -> None:
        calls.append(reason)
        raise TypeError("a bug")

    sid = app.open()
    app.eio.on("disconnect", disconnect)
    app.eio.disconnect(sid)
    assert calls == ["server disconnect"]


def test_no_handlers_at_all() -> None:
    eio = engineio.Server(async_mode="threading")
    app = Application()
    app.eio = eio
    answer = app.request("GET", "EIO=4&transport=polling")
    sid = json.loads(answer.packets[0][1:])["sid"]
    assert app.post(sid, "4hello").body == b"ok"
    eio.disconnect()
    eio.shutdown()


# -- on


def test_on(app: Application) -> None:
    def first(sid: str, data: Any) -> None: ...
    def second(sid: str, data: Any) -> None: ...

    assert app.eio.on("message", first) is None
    assert app.eio.handlers["message"] is first
    assert app.eio.on("message")(second) is second
    assert app.eio.handlers["message"] is second
    with pytest.raises(ValueError, match="Invalid event"):
        app.eio.on("open")
    with pytest.raises(ValueError, match="Invalid event"):
        app.eio.on("close", first)


# -- messages


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        ("hello", "4hello"),
        ("", "4"),
        ("é", "4é"),
        (b"\x01\x02\x03", "bAQID"),
        (bytearray(b"\x01\x02\x03"), "bAQID"),
        ({"a": "é"}, '4{"a":"\\u00e9"}'),
        ([1, None, True], "4[1,null,true]"),
        (5, "45"),
        (1.5, "41.5"),
    ],
)
def test_send(app: Application, data: Any, packet: str) -> None:
    sid = app.open()
    app.eio.send(sid, data)
    assert app.poll(sid) == [packet]


def test_send_packet_to_many(app: Application) -> None:
    sids = [app.open() for _ in range(3)]
    packet = Packet(wire.MESSAGE, b"hello")
    for sid in sids:
        app.eio.send_packet(sid, packet)
    for sid in sids:
        assert app.poll(sid) == ["baGVsbG8="]


def test_sids_and_broadcast(app: Application) -> None:
    first, second, third = (app.open() for _ in range(3))
    assert set(app.eio.sids) == {first, second, third}
    app.eio.broadcast(b"hello", skip=first)
    app.eio.broadcast("most", skip=[third, "nobody"])
    app.eio.broadcast({"a": 1})
    assert app.poll(first) == ["4most", '4{"a":1}']
    assert app.poll(second) == ["baGVsbG8=", "4most", '4{"a":1}']
    assert app.poll(third) == ["baGVsbG8=", '4{"a":1}']
    app.eio.disconnect(third)
    assert set(app.eio.sids) == {first, second}
    app.eio.broadcast("the rest")


def test_send_raises_what_encoding_raises(app: Application) -> None:
    sid = app.open()
    with pytest.raises(TypeError):
        app.eio.send(sid, {"a": object()})
    app.eio.send(sid, "hello")
    assert app.poll(sid) == ["4hello"]


def test_send_to_an_unknown_sid(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(logger=logger)
    app.eio.send("no\nbody", "hello")
    (message,) = loud(caplog)
    assert message == "Cannot send to sid no\\nbody"


@pytest.mark.parametrize(
    ("packet", "data"),
    [
        ("4hello", "hello"),
        ("4", ""),
        ('4{"a":[1]}', {"a": [1]}),
        ("42[1]", "2[1]"),
        ("4true", True),
        ("4NaN", "NaN"),
        ("bAQID", b"\x01\x02\x03"),
    ],
)
def test_receive(app: Application, packet: str, data: Any) -> None:
    sid = app.open()
    answer = app.post(sid, packet)
    assert (answer.status, answer.body) == ("200 OK", b"ok")
    assert app.event() == ("message", sid, data)


def test_a_burst_arrives_in_order(app: Application) -> None:
    sid = app.open()
    app.post(sid, *(f"4m{number}" for number in range(1000)))
    assert [app.event()[2] for _ in range(1000)] == [f"m{number}" for number in range(1000)]


def test_a_message_handler_that_raises(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(logger=logger)
    sid = app.open()

    @app.eio.on("message")
    def message(sid: str, data: Any) -> None:
        app.events.put(("message", data))
        raise RuntimeError("a bug")

    app.post(sid, "4one", "4two")
    assert [app.event()[1], app.event()[1]] == ["one", "two"]
    wait_until(lambda: len([each for each in caplog.records if each.exc_info]) == 2)
    assert {each.getMessage() for each in caplog.records if each.exc_info} == {
        "message handler error"
    }
    app.eio.send(sid, "still there")
    assert app.poll(sid) == ["4still there"]


def test_a_poll_that_waits_gets_what_is_sent(app: Application) -> None:
    sid = app.open()
    answer = app.start_poll(sid)
    app.eio.send(sid, "hello")
    assert answer().packets == ["4hello"]


def test_a_poll_takes_everything(app: Application) -> None:
    sid = app.open()
    for number in range(100):
        app.eio.send(sid, f"m{number}")
    assert app.poll(sid) == [f"4m{number}" for number in range(100)]


def test_a_client_of_python_engineio_gets_16_packets_at_a_time(app: Application) -> None:
    sid = app.open()
    for number in range(40):
        app.eio.send(sid, f"m{number}")
    query = f"EIO=4&transport=polling&sid={sid}"
    agent: dict[str, Any] = {"HTTP_USER_AGENT": "python-requests/2.31.0"}
    polls = [app.request("GET", query, **agent).packets for _ in range(3)]
    assert [len(packets) for packets in polls] == [16, 16, 8]
    received = [packet for packets in polls for packet in packets]
    assert received == [f"4m{number}" for number in range(40)]


def test_jsonp(app: Application) -> None:
    answer = app.request("GET", "EIO=4&transport=polling&j=7")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert re.fullmatch(rb'___eio\[7\]\("0\{.*\}"\);', answer.body)
    _, sid = app.event()
    answer = app.request("POST", f"EIO=4&transport=polling&j=7&sid={sid}", b"d=4hello%21")
    assert answer.body == b"ok"
    assert app.event() == ("message", sid, "hello!")


def test_overlapping_polls(app: Application) -> None:
    sid = app.open()
    first = app.start_poll(sid)
    second = app.request("GET", f"EIO=4&transport=polling&sid={sid}")
    assert (second.status, second.body) == (
        "400 BAD REQUEST",
        b'{"code":3,"message":"Bad request"}',
    )
    assert first().packets == ["1"]
    assert app.event() == ("disconnect", sid, "transport error")


def test_close_of_the_client(app: Application) -> None:
    sid = app.open()
    waiting = app.start_poll(sid)
    assert app.post(sid, "4last", "1", "4too late").body == b"ok"
    assert waiting().packets == ["6"]
    assert app.event() == ("message", sid, "last")
    assert app.event() == ("disconnect", sid, "client disconnect")
    wait_until(lambda: not app.eio.sockets)
    assert app.post(sid, "4x").body == b'{"code":1,"message":"Session ID unknown"}'


@pytest.mark.parametrize("packet", ["", "x", "7", "b!", "2", "0", "6", "4ok\x1e"])
def test_a_malformed_post(app: Application, packet: str) -> None:
    sid = app.open()
    assert app.post(sid, "4first", packet).status == "400 BAD REQUEST"
    assert app.event() == ("message", sid, "first")
    if packet[0:1] == "4":
        assert app.event() == ("message", sid, "ok")
    assert app.event() == ("disconnect", sid, "parse error")


def test_one_line_in_the_log_for_one_fault(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(logger=logger)
    sid = app.open()
    app.post(sid, "x")
    assert app.event()[0] == "disconnect"
    lines = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in lines if "unknown packet type" in line]
    assert line.startswith(sid)


def test_a_post_that_is_too_long(make: Make) -> None:
    app = make(max_http_buffer_size=10)
    sid = app.open()
    answer = app.post(sid, "4" + "x" * 10)
    assert (answer.status, answer.body) == ("413 Content Too Large", b"")
    assert app.post(sid, "4" + "x" * 9).body == b"ok"
    assert app.event() == ("message", sid, "x" * 9)


def test_a_binary_post(app: Application) -> None:
    sid = app.open()
    query = f"EIO=4&transport=polling&sid={sid}"
    answer = app.request("POST", query, b"4x", CONTENT_TYPE="application/octet-stream")
    assert answer.status == "400 BAD REQUEST"
    assert app.event() == ("disconnect", sid, "transport error")


@pytest.mark.parametrize("length", ["", "-1", "x", "٣"])
def test_a_content_length_that_is_none(app: Application, length: str) -> None:
    sid = app.open()
    query = f"EIO=4&transport=polling&sid={sid}"
    answer = app.request("POST", query, b"4x", CONTENT_LENGTH=length)
    assert (answer.status, answer.body) == (
        "400 BAD REQUEST",
        b'{"code":3,"message":"Bad request"}',
    )
    assert app.post(sid, "4still there").body == b"ok"


def test_another_method(app: Application) -> None:
    sid = app.open()
    answer = app.request("PUT", f"EIO=4&transport=polling&sid={sid}")
    assert answer.status == "405 METHOD NOT FOUND"
    assert app.post(sid, "4still there").body == b"ok"


def test_preflight(app: Application) -> None:
    app.eio.cors_allowed_origins = "https://a.example"
    answer = app.request("OPTIONS", "", HTTP_ORIGIN="https://a.example")
    assert answer.status == "200 OK"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert answer.headers["Access-Control-Allow-Methods"] == "OPTIONS, GET, POST"


def test_a_websocket_where_no_socket_can_be_reached(app: Application) -> None:
    query = "EIO=4&transport=websocket"
    answer = app.request("GET", query, HTTP_UPGRADE="websocket", HTTP_CONNECTION="Upgrade")
    assert (answer.status, answer.body) == (
        "400 BAD REQUEST",
        b'{"code":3,"message":"Bad request"}',
    )
    assert app.events.empty()  # the connect handler did not run
    assert app.eio.sockets == {}


# -- sessions


def test_session_is_live(app: Application) -> None:
    sid = app.open()
    app.eio.get_session(sid).setdefault("/", {})["name"] = "a"
    assert app.eio.get_session(sid) == {"/": {"name": "a"}}


def test_save_session(app: Application) -> None:
    sid, other = app.open(), app.open()
    app.eio.save_session(sid, {"name": "a"})
    assert app.eio.get_session(sid) == {"name": "a"}
    assert app.eio.get_session(other) == {}


def test_session_context(app: Application) -> None:
    sid = app.open()
    with app.eio.session(sid) as session:
        session["name"] = "a"
    with app.eio.session(sid) as session:
        assert session == {"name": "a"}


def test_session_of_nobody(app: Application) -> None:
    for call in (
        lambda: app.eio.get_session("x"),
        lambda: app.eio.save_session("x", {}),
        lambda: app.eio.transport("x"),
        lambda: app.eio._get_socket("x"),
        lambda: app.eio.session("x").__enter__(),
    ):
        with pytest.raises(KeyError, match="Session not found"):
            call()


def test_session_in_the_disconnect_handler(app: Application) -> None:
    sid = app.open()
    app.eio.get_session(sid)["name"] = "a"
    seen: list[Any] = []
    app.eio.on("disconnect", lambda sid, reason: seen.append(app.eio.get_session(sid)))
    app.eio.disconnect(sid)
    assert seen == [{"name": "a"}]


# -- disconnect


def test_disconnect(app: Application) -> None:
    sid = app.open()
    app.eio.send(sid, "last words")
    app.eio.disconnect(sid)
    assert app.event() == ("disconnect", sid, "server disconnect")
    assert app.eio.sockets == {}
    # Its client may come for the rest, and then once more.
    assert app.poll(sid) == ["4last words", "1"]
    answer = app.request("GET", f"EIO=4&transport=polling&sid={sid}")
    assert answer.body == b'{"code":1,"message":"Session ID unknown"}'


def test_disconnect_while_a_poll_waits(app: Application) -> None:
    sid = app.open()
    answer = app.start_poll(sid)
    app.eio.disconnect(sid)
    assert answer().packets == ["1"]
    answer_ = app.request("GET", f"EIO=4&transport=polling&sid={sid}")
    assert answer_.body == b'{"code":1,"message":"Session ID unknown"}'


def test_disconnect_twice(app: Application) -> None:
    sid = app.open()
    app.eio.disconnect(sid)
    app.eio.disconnect(sid)
    app.eio.disconnect("unknown")
    app.eio.disconnect()
    assert app.event() == ("disconnect", sid, "server disconnect")
    assert app.events.empty()


def test_disconnect_from_many_threads(app: Application) -> None:
    sid = app.open()
    barrier = threading.Barrier(8)

    def disconnect() -> None:
        barrier.wait(WAIT)
        app.eio.disconnect(sid)

    threads = [threading.Thread(target=disconnect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert app.event() == ("disconnect", sid, "server disconnect")
    assert app.events.empty()


def test_disconnect_all(app: Application) -> None:
    app.eio.disconnect()
    sids = [app.open() for _ in range(3)]
    app.eio.disconnect()
    assert sorted(app.event()[1] for _ in sids) == sorted(sids)
    assert app.eio.sockets == {}


def test_disconnect_in_the_connect_handler(app: Application) -> None:
    @app.eio.on("connect")
    def connect(sid: str, environ: Any) -> None:
        app.eio.send(sid, "go away")
        app.eio.disconnect(sid)
        assert app.events.empty()  # not before this handler has returned

    answer = app.request("GET", "EIO=4&transport=polling")
    assert [packet[0] for packet in answer.packets] == ["0", "4", "1"]
    name, sid, reason = app.event()
    assert (name, reason) == ("disconnect", "server disconnect")
    assert app.events.empty()
    assert sid not in app.eio.sockets


def test_disconnect_and_rejection_in_the_connect_handler(app: Application) -> None:
    @app.eio.on("connect")
    def connect(sid: str, environ: Any) -> bool:
        app.eio.disconnect(sid)
        return False

    assert app.request("GET", "EIO=4&transport=polling").status == "401 UNAUTHORIZED"
    assert app.events.empty()
    assert app.eio.sockets == {}


def test_disconnect_in_the_message_handler(app: Application) -> None:
    sid = app.open()
    app.eio.on("message", lambda sid, data: app.eio.disconnect(sid))
    app.post(sid, "4one", "4two")
    assert app.event() == ("disconnect", sid, "server disconnect")
    wait_until(lambda: not app.eio.sockets)
    assert app.events.empty()


def test_disconnect_in_the_disconnect_handler(app: Application) -> None:
    sid = app.open()
    calls: list[str] = []

    @app.eio.on("disconnect")
    def disconnect(sid: str, reason: str) -> None:
        calls.append(reason)
        app.eio.disconnect(sid)
        app.eio.send(sid, "bye")

    app.eio.disconnect(sid)
    assert calls == ["server disconnect"]
    assert app.poll(sid) == ["4bye", "1"]


def test_a_disconnect_handler_that_raises(app: Application) -> None:
    sid = app.open()

    @app.eio.on("disconnect")
    def disconnect(sid: str, reason: str) -> None:
        raise RuntimeError("a bug")

    app.eio.disconnect(sid)
    assert app.eio.sockets == {}
    assert app.poll(sid) == ["1"]


# -- heartbeat


def test_ping_and_pong(make: Make) -> None:
    app = make(ping_interval=0.03, ping_timeout=WAIT)
    sid = app.open()
    for _ in range(3):
        assert app.poll(sid) == ["2"]
        assert app.post(sid, "3").body == b"ok"


def test_a_client_that_does_not_answer(make: Make) -> None:
    app = make(ping_interval=0.03, ping_timeout=0.05)
    sid = app.open()
    waiting = app.start_poll(sid)
    assert waiting().packets[0] == "2"
    assert app.event() == ("disconnect", sid, "ping timeout")
    wait_until(lambda: not app.eio.sockets)
    assert len(app.eio.heartbeat) <= 1  # that of its last packets


def test_messages_are_no_pong(make: Make) -> None:
    app = make(ping_interval=0.02, ping_timeout=0.2)
    sid = app.open()
    while app.post(sid, "4x").body == b"ok":
        time.sleep(0.01)
    while (event := app.event())[0] == "message":
        pass
    assert event == ("disconnect", sid, "ping timeout")


def test_monitor_clients(make: Make) -> None:
    app = make(ping_interval=0.02, ping_timeout=0.02, monitor_clients=False)
    assert not app.eio.start_service_task
    sid = app.open()
    watched = make(ping_interval=0.02, ping_timeout=0.1)
    watched.open()
    assert watched.event()[2] == "ping timeout"  # by then the other one was due as well
    assert sid in app.eio.sockets


# -- the end


def test_shutdown(make: Make) -> None:
    before = threading.active_count()
    app = make()
    sids = [app.open() for _ in range(3)]
    app.post(sids[0], "4x")
    assert app.event()[0] == "message"
    waiting = app.start_poll(sids[1])
    app.eio.shutdown()
    assert waiting().packets == ["1"]
    events = [app.event() for _ in sids]
    assert sorted(events) == sorted(("disconnect", sid, "server shutdown") for sid in sids)
    assert app.eio.sockets == {}
    assert app.eio.service_task_handle is None
    app.eio.shutdown()
    wait_until(lambda: threading.active_count() == before)


def test_a_server_that_was_never_used() -> None:
    before = threading.active_count()
    engineio.Server(async_mode="threading").shutdown()
    assert threading.active_count() == before


def test_work_after_shutdown(make: Make) -> None:
    app = make(ping_interval=0.02)
    app.open()
    app.eio.shutdown()
    app.event()
    sid = app.open()
    assert app.poll(sid) == ["2"]


def test_shutdown_in_a_handler(app: Application) -> None:
    sid = app.open()
    done = threading.Event()

    @app.eio.on("message")
    def message(sid: str, data: Any) -> None:
        app.eio.shutdown()
        done.set()

    app.post(sid, "4x")
    assert done.wait(WAIT)
    assert app.event() == ("disconnect", sid, "server shutdown")


def meeting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hold callers up until two are there, or for long enough that a second would have come."""
    barrier = threading.Barrier(2)

    def call(*args: Any, **kwargs: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.2)
        return function(*args, **kwargs)

    return call


def test_two_first_clients_at_a_time_start_one_service(make: Make) -> None:
    app = make()
    driver = load("threading")
    started: list[Any] = []

    def thread(*args: Any, **kwargs: Any) -> Any:
        started.append(kwargs["target"])
        return driver.thread(*args, **kwargs)

    app.eio.driver = driver._replace(thread=thread, event=meeting(driver.event))
    threads = [threading.Thread(target=app.open) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(started) == 1


def test_two_threads_at_a_time_make_one_loop(make: Make) -> None:
    app = make()
    driver = load("threading")
    app.eio.driver = driver._replace(loop=meeting(driver.loop))
    loops: list[Any] = []
    threads = [threading.Thread(target=lambda: loops.append(app.eio.loop)) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert loops[0] is loops[1]


# -- helpers that other packages call


def test_generate_id(app: Application) -> None:
    sids = {app.eio.generate_id() for _ in range(1000)}
    assert len(sids) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", sid) for sid in sids)
    # All but the last four characters are random, and differ in every place.
    assert all(len({sid[place] for sid in sids}) > 30 for place in range(16))


def test_attributes(app: Application) -> None:
    eio = app.eio
    assert eio.async_mode == "threading"
    assert eio.async_modes() == ["eventlet", "gevent_uwsgi", "gevent", "threading"]
    assert not eio.is_asyncio_based()
    assert eio.event_names == ["connect", "disconnect", "message"]
    assert eio.valid_transports == ["polling", "websocket"]
    assert eio.compression_methods == ["gzip", "deflate"]
    assert engineio.Server.reason.PING_TIMEOUT == "ping timeout"
    assert engineio.Server.reason.TRANSPORT_CLOSE == "transport close"


def test_ok(app: Application) -> None:
    assert app.eio._ok() == {
        "status": "200 OK",
        "headers": [("Content-Type", "text/plain; charset=UTF-8")],
        "response": b"ok",
    }
    packets = [Packet(wire.MESSAGE, "a"), Packet(wire.MESSAGE, b"b")]
    answer = app.eio._ok(packets, headers=[("X-A", "b")])
    assert answer["response"] == b"4a\x1ebYg=="
    assert ("X-A", "b") in answer["headers"]
    script = app.eio._ok(packets, jsonp_index=3)
    assert script["response"] == b'___eio[3]("4a\\u001ebYg==");'
    assert script["headers"] == [("Content-Type", "text/javascript; charset=UTF-8")]


def test_refusals(app: Application) -> None:
    assert app.eio._bad_request() == {
        "status": "400 BAD REQUEST",
        "headers": [("Content-Type", "application/json")],
        "response": b'{"code":3,"message":"Bad request"}',
    }
    assert app.eio._bad_request("why")["response"] == b'{"code":3,"message":"why"}'
    assert app.eio._method_not_found()["status"] == "405 METHOD NOT FOUND"
    unauthorized = app.eio._unauthorized()
    assert (unauthorized["status"], unauthorized["response"]) == (
        "401 UNAUTHORIZED",
        b'"Unauthorized"',
    )
    assert app.eio._unauthorized("why")["response"] == b'"why"'


def test_ok_can_be_wrapped(app: Application) -> None:
    """As python-socketio's admin instrumentation does."""
    sizes: list[tuple[int, int]] = []
    original = app.eio._ok

    def wrapper(packets: Any = None, headers: Any = None, jsonp_index: Any = None) -> Any:
        answer = original(packets, headers=headers, jsonp_index=jsonp_index)
        if packets is not None:
            sizes.append((len(packets), len(answer["response"])))
        return answer

    app.eio._ok = wrapper  # type: ignore[method-assign]
    sid = app.open()
    app.eio.send(sid, "hello")
    app.eio.send(sid, "world")
    app.poll(sid)
    app.post(sid, "4x")
    assert sizes[1:] == [(2, 13)]
    assert sizes[0][0] == 1


# -- logging


def test_the_first_of_a_kind_is_an_error(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(logger=logger)
    for sid in ("one", "t\x1b[31mwo", "three"):
        app.request("GET", f"EIO=4&transport=polling&sid={sid}")
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.ERROR, logging.INFO, logging.INFO]
    first = caplog.records[0].getMessage()
    assert first.startswith("Session ID unknown: GET /engine.io/ EIO=4")
    assert first.endswith("(further occurrences of this error will be logged with level INFO)")
    assert "\x1b" not in caplog.text
    assert app.eio.log_message_keys == {"bad-sid"}


def test_what_is_escaped_is_cut_too(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    make(logger=logger).request("GET", "EIO=4&transport=polling&sid=" + "\x1b" * 1000)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "\\x1b" in message
    assert len(message) <= 300


def test_packets_are_logged(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(logger=logger)
    sid = app.open()
    app.post(sid, "4a\nb", "bAQID")
    app.event()
    app.event()
    app.eio.send(sid, "x" * 5000)
    text = [record.getMessage() for record in caplog.records]
    assert f"{sid}: Received packet MESSAGE data a\\nb" in text
    assert f"{sid}: Received packet MESSAGE data <binary>" in text
    (sent,) = [line for line in text if line.startswith(f"{sid}: Sending packet MESSAGE")]
    assert len(sent) < 300


def test_the_level_may_change(
    make: Make, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(logger=logger)
    with caplog.at_level(logging.ERROR, logger.name):
        sid = app.open()
        app.eio.send(sid, "quiet")
    assert "quiet" not in caplog.text
    app.poll(sid)
    app.eio.send(sid, "loud")
    assert "Sending packet MESSAGE data loud" in caplog.text


# -- limits


def test_max_clients(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    app = make(max_clients=1)
    sid = app.open()
    for _ in range(2):
        answer = app.request("GET", "EIO=4&transport=polling")
        assert answer.status == "503 Service Unavailable"
        assert json.loads(answer.body) == {"code": 3, "message": "Too many clients"}
    assert len(loud(caplog)) == 1
    app.eio.disconnect(sid)
    assert app.event()[0] == "disconnect"
    app.open()
    assert app.eio.stats() == {
        "clients": {"polling": 1, "websocket": 0},
        "send_buffer": 0,
        "connects": {"polling": 2},
        "disconnects": {"server disconnect": 1},
        "refused": {"max_clients": 2},
    }


def test_limits_per_address(make: Make) -> None:
    app = make(max_clients_per_address=1, trusted_proxies="10.0.0.1")
    behind = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.1"}
    app.open(**behind)
    answer = app.request("GET", "EIO=4&transport=polling", REMOTE_ADDR="192.0.2.1")
    assert answer.status == "429 Too Many Requests"
    app.open(REMOTE_ADDR="192.0.2.2")
    app.eio.max_clients_per_address = None
    app.eio.max_handshakes_per_address = 1e-9
    app.open(REMOTE_ADDR="192.0.2.3")
    answer = app.request("GET", "EIO=4&transport=polling", REMOTE_ADDR="192.0.2.3")
    assert answer.status == "429 Too Many Requests"
    refused = {"max_clients_per_address": 1, "max_handshakes_per_address": 1}
    assert app.eio.stats()["refused"] == refused


def test_a_client_that_the_handler_rejects_takes_no_place(make: Make) -> None:
    app = make(max_clients=1)
    app.eio.on("connect", lambda sid, environ: False)
    for _ in range(3):
        assert app.request("GET", "EIO=4&transport=polling").status == "401 UNAUTHORIZED"
    assert app.eio.stats()["refused"] == {"connect handler": 3}
    assert app.eio.stats()["connects"] == {}


def test_max_total_send_buffer(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    app = make(max_total_send_buffer=1000)
    small, large = app.open(), app.open()
    app.eio.send(small, "x" * 500)
    app.eio.send(large, "x" * 800)
    assert app.event() == ("disconnect", large, "send buffer full")
    assert [each for each in loud(caplog) if large in each]
    assert app.poll(small) == ["4" + "x" * 500]
    assert app.eio.stats()["disconnects"] == {"send buffer full": 1}
