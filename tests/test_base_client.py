"""What both clients share, by values: OPEN packets, URLs, redirects, POSTs, deadlines."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from engineio import base_client, json
from engineio import packet as wire
from engineio.base_client import (
    MAX_INTERVAL,
    BaseClient,
    BaseConnection,
    Opening,
    read_opening,
    read_payload_with_opening,
    redirect_of,
    redirected_endpoint,
)
from engineio.exceptions import ConnectionError
from engineio.inbox import END, NOTHING
from engineio.packet import Packet
from engineio.session import Carrier, Life
from engineio.websocket import WebSocketProtocol

OPEN = {
    "sid": "abc",
    "upgrades": ["websocket"],
    "pingInterval": 25000,
    "pingTimeout": 20000,
    "maxPayload": 100,
}


BAD_SIDS: list[Any] = [(), None, "", 5, ["a"], "x" * 1001, "\ud800"]

BAD_TIMES: list[Any] = [(), None, "25000", 0, -1, True, [], 1e18, MAX_INTERVAL + 1]
BAD_SIZES: list[Any] = ["100", 0, -5, True, float("inf"), {}, 10**400]


def opening(**changes: Any) -> Opening:
    data = {**OPEN, **changes}
    return read_opening(wire.OPEN, {name: value for name, value in data.items() if value != ()})


# The OPEN packet


def test_opening() -> None:
    assert opening() == Opening("abc", ["websocket"], 25.0, 20.0, 100, None)
    assert opening().patience == 45.0
    assert opening(upgrades=(), maxPayload=()) == Opening("abc", [], 25.0, 20.0, None, None)
    assert opening(upgrades=["a", 1, None]).upgrades == ["a"]
    assert opening(pingInterval=300.5).ping_interval == 0.3005
    assert opening(maxPayload=1e6).max_payload == 1_000_000


def test_servers_with_a_limit_are_known_by_their_order() -> None:
    body = b'0{"sid":"a","upgrades":[],"pingTimeout":1,"pingInterval":1,"maxPayload":9}'
    found, packets = read_payload_with_opening(body)
    assert (found.max_packets, packets) == (16, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("sid", value) for value in BAD_SIDS),
        *(("upgrades", value) for value in ["websocket", {"a": 1}, 3]),
        *((name, value) for name in ("pingInterval", "pingTimeout") for value in BAD_TIMES),
        *(("pingInterval", value) for value in [float("nan"), float("inf"), 10**400]),
        *(("maxPayload", value) for value in BAD_SIZES),
    ],
)
def test_an_opening_nobody_can_work_with(name: str, value: Any) -> None:
    with pytest.raises(ConnectionError, match="Unexpected response") as caught:
        opening(**{name: value})
    assert name in caught.value.args[1]
    assert len(caught.value.args[1]) < 300


@pytest.mark.parametrize("data", [None, "", "text", [], ["sid"], b"x", 5])
def test_an_opening_without_data(data: Any) -> None:
    with pytest.raises(ConnectionError, match="Unexpected response"):
        read_opening(wire.OPEN, data)


def test_a_payload_with_more_than_the_opening() -> None:
    body = b"0" + json.dumps(OPEN).encode() + b"\x1e4hello\x1e2\x1ebAQI="
    found, packets = read_payload_with_opening(body)
    assert found.sid == "abc"
    assert packets == [(wire.MESSAGE, "hello"), (wire.PING, ""), (wire.MESSAGE, b"\1\2")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Unexpected response from server"),
        (b"<html>", "Unexpected response from server"),
        (b"\xff", "Unexpected response from server"),
        (b'0{"sid"', "Unexpected response from server"),
        (b"0" + b"[" * 100_000, "Unexpected response from server"),
        (b"0{}\x1e9", "Unexpected response from server"),
        (b"4hello", "OPEN packet not returned by server"),
        (b"6", "OPEN packet not returned by server"),
    ],
)
def test_a_payload_that_opens_nothing(body: bytes, message: str) -> None:
    with pytest.raises(ConnectionError, match=message):
        read_payload_with_opening(body)


# Options and URLs


class Owner(BaseClient):
    """A client without a network."""

    class Loop:
        """Keeps what is to be run."""

        def __init__(self) -> None:
            self.later: list[tuple[float, Callable[[], Any]]] = []
            self.spawned: list[tuple[Any, ...]] = []

        def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
            entry = (delay, function)
            self.later.append(entry)
            return lambda: self.later.remove(entry)

        def spawn(self, *task: Any) -> None:
            self.spawned.append(task)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.loop = self.Loop()

    def _load_driver(self) -> None:
        """It needs none."""

    def get_queue_empty_exception(self) -> type[Exception]:
        return Exception


def test_options() -> None:
    session = object()
    extra = {"header": {"a": "b"}}
    client = Owner(http_session=session, websocket_extra_options=extra)
    assert (client.state, client.sid, client.transport()) == ("disconnected", None, None)
    assert (client.http, client.http_factory, client.external_http) == (session, None, True)
    assert client.websocket_extra_options == extra
    client = Owner(http_session=lambda: session)
    assert (client.http, client.external_http) == (None, False)
    assert client.http_factory is not None
    assert client.http_factory() is session
    with pytest.raises(TypeError, match="async_mode"):
        Owner(async_mode="threading")


def test_handlers() -> None:
    client = Owner()

    @client.on("message")
    def handler(data: Any) -> None: ...

    assert client.handlers == {"message": handler}
    other: list[Any] = []
    client.on("message", other.append)
    assert client.handlers["message"] == other.append
    with pytest.raises(ValueError, match="Invalid event"):
        client.on("ping")


@pytest.mark.parametrize(
    ("url", "path", "transport", "expected"),
    [
        ("http://a", "engine.io", "polling", "http://a/engine.io/?transport=polling&EIO=4"),
        ("http://a:5/x/y", "/z/", "polling", "http://a:5/z/?transport=polling&EIO=4"),
        ("https://a/?b=c&d", "e/f", "polling", "https://a/e/f/?b=c&d&transport=polling&EIO=4"),
        ("ws://a", "e", "polling", "http://a/e/?transport=polling&EIO=4"),
        ("wss://a", "e", "polling", "https://a/e/?transport=polling&EIO=4"),
        ("http://a", "e", "websocket", "ws://a/e/?transport=websocket&EIO=4"),
        ("https://u:p@a", "e", "websocket", "wss://u:p@a/e/?transport=websocket&EIO=4"),
        ("HTTP://[::1]:80#f", "", "websocket", "ws://[::1]:80/?transport=websocket&EIO=4"),
    ],
)
def test_urls(url: str, path: str, transport: str, expected: str) -> None:
    assert Owner()._get_engineio_url(url, path, transport) == expected


@pytest.mark.parametrize(
    "url", ["", "a", "localhost:5000", "ftp://a", "http://", "http://a:x", "http://a:70000", "//a"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConnectionError, match="Not an HTTP or WebSocket URL"):
        Owner()._get_engineio_url(url, "e", "polling")


def test_timestamps_and_sids() -> None:
    assert Owner(timestamp_requests=False)._get_url_timestamp() == ""
    assert float(Owner()._get_url_timestamp().removeprefix("&t=")) > 1e9
    assert Owner._with_sid("http://a/?b", "c&d e/") == "http://a/?b&sid=c%26d%20e%2F"


@pytest.mark.parametrize(
    ("transports", "expected"),
    [
        (None, ["polling", "websocket"]),
        ("websocket", ["websocket"]),
        (["websocket", "polling"], ["websocket", "polling"]),
        (("carrier pigeon", "polling"), ["polling"]),
    ],
)
def test_transports(transports: Any, expected: list[str]) -> None:
    assert Owner()._start_connecting(transports) == expected


def test_arguments_that_do_not_let_it_connect() -> None:
    client = Owner()
    with pytest.raises(ValueError, match="No valid transports provided"):
        client._start_connecting(["pigeon"])
    client.state = "connected"
    with pytest.raises(ValueError, match="not in a disconnected state"):
        client._start_connecting(None)


@pytest.mark.parametrize(
    ("url", "location", "expected"),
    [
        ("http://a/b?c", "/d", ("http://a/d", True)),
        ("http://a/b", "http://a:80/d?e", ("http://a:80/d?e", True)),
        ("http://a/b", "https://a/b", ("https://a/b", False)),
        ("http://a/b", "http://a:81/b", ("http://a:81/b", False)),
        ("http://a/b", "http://b.a/b", ("http://b.a/b", False)),
        ("http://a/b", "//c/d", ("http://c/d", False)),
        ("ws://a/b?c", "d", ("ws://a/d", True)),
        ("ws://a/b", "http://a/d", ("http://a/d", True)),
        ("wss://a/b", "/d?e", ("wss://a/d?e", True)),
    ],
)
def test_redirects(url: str, location: str, expected: tuple[str, bool]) -> None:
    assert redirect_of(url, location) == expected


@pytest.mark.parametrize("location", [None, "", "ftp://a", "file:///etc", "http://[a"])
def test_redirects_nobody_can_follow(location: str | None) -> None:
    with pytest.raises(ConnectionError, match="Redirect"):
        redirect_of("http://a/b", location)


def test_where_the_endpoint_has_moved() -> None:
    url, path = redirected_endpoint("https://b:1/c/d/?x=y&transport=polling&EIO=4&t=5")
    assert Owner()._get_engineio_url(url, path, "websocket") == (
        "wss://b:1/c/d/?x=y&transport=websocket&EIO=4"
    )


# One connection


class Bytes:
    """A WebSocket whose bytes can be looked at."""

    def __init__(self) -> None:
        self.stream = self
        self.size = 0
        self.sent: list[Any] = []
        self.code: int | None = None

    def send(self, data: Any) -> None:
        self.sent.append(data)

    def push(self, frame: bytes) -> None:
        self.sent += WebSocketProtocol(1000).receive(frame)
        self.size += len(frame)

    def flush(self) -> None: ...

    def abort(self) -> None:
        self.sent.append("abort")


class Wire(BaseConnection):
    """A connection without a network."""

    client: Owner

    def __init__(self, client: Owner | None = None, **changes: Any) -> None:
        super().__init__(client or Owner(), opening(**changes), threading.Lock())
        self.posts = 0
        self.aborted = False

    def _post_soon(self) -> None:
        self.posts += 1

    def _abort(self) -> None:
        self.aborted = True

    def _start_closing(self, ws: Any, code: int) -> None:
        ws.code = code

    def sends(self, *data: Any) -> None:
        for each in data:
            assert self.push(Packet(wire.MESSAGE, each))

    def received(self) -> list[Any]:
        messages = []
        while (message := self._next_message(self.dispatcher)) is not NOTHING:
            messages.append("END" if message is END else message)
        return messages


def texts(packets: list[Packet]) -> list[Any]:
    return [packet.encode(b64=True) for packet in packets]


def test_posts_stay_within_what_the_server_takes() -> None:
    connection = Wire(maxPayload=20)
    connection.sends("12345678", "123456", "1", "x" * 50, "y", b"abc")
    assert connection.posts == 1  # one that posts is enough
    assert texts(connection.next_post()) == ["412345678", "4123456", "41"]  # 20 with separators
    assert texts(connection.next_post()) == ["4" + "x" * 50]  # alone
    assert texts(connection.next_post()) == ["4y", "bYWJj"]
    assert connection.buffered == 0
    assert connection.next_post() == []
    connection.sends("more")
    assert connection.posts == 2


def test_posts_without_a_limit() -> None:
    connection = Wire(maxPayload=())
    connection.sends(*["x" * 1000] * 3000)
    assert len(connection.next_post()) == 3000


def test_text_that_polling_cannot_carry_is_dropped() -> None:
    connection = Wire()
    connection.sends("a\x1e4b", "c")
    assert texts(connection.next_post()) == ["4c"]


def test_a_send_buffer_that_is_full() -> None:
    connection = Wire(Owner(max_send_buffer=100))
    connection.sends("x" * 98)
    assert connection.life is Life.OPEN
    connection.push(Packet(wire.MESSAGE, "y"))
    assert connection.reason == "send buffer full"
    assert connection.outbox == []
    assert not connection.push(Packet(wire.MESSAGE, "z"))
    other = Wire(Owner(max_send_buffer=100))
    ws = Bytes()
    other._attach(ws)
    other.sends("x" * 60, "y" * 60)
    assert other.reason == "send buffer full"
    assert ws.sent == ["4" + "x" * 60, "4" + "y" * 60, "abort"]


def test_what_a_server_sends() -> None:
    connection = Wire()
    role = connection._receive([(wire.MESSAGE, "a"), (wire.NOOP, ""), (wire.PING, "x")], 10)
    assert role
    assert texts(connection.next_post()) == ["3x"]
    # What has no meaning here is no reason to leave.
    assert connection._receive([(wire.PONG, ""), (wire.OPEN, {}), (wire.UPGRADE, "")], 10) == 0
    assert connection._receive([(wire.MESSAGE, b"b"), (wire.CLOSE, ""), (wire.PING, "")], 10) == 0
    assert connection.reason == "server disconnect"
    assert connection.received() == ["a", b"b", "END"]
    assert connection.outbox == []


def test_small_messages_are_counted_with_what_they_take() -> None:
    connection = Wire()
    connection._receive([(wire.MESSAGE, "")] * 1000, 2000)
    assert connection._inbox_size == 102_000


def test_the_upgrade_waits_for_requests_and_keeps_the_order() -> None:
    client = Owner()
    connection = Wire(client)
    client._open(connection.opening, "polling", connection)
    try:
        paused: list[int] = []
        assert connection.start_poll()
        connection.sends("a")
        assert texts(connection.next_post()) == ["4a"]
        connection.sends("b")
        assert connection.start_pause(lambda: paused.append(1))
        connection.sends("c")
        assert connection.next_post() == []  # the POST has ended, and no other begins
        assert not paused
        ws = Bytes()
        assert not connection.finish_upgrade(ws)
        connection.end_poll()
        assert paused == [1]
        assert not connection.start_poll()
        assert connection.finish_upgrade(ws)
        connection.sends("d")
        assert ws.sent == ["5", "4b", "4c", "4d"]
        assert connection.carrier is Carrier.WEBSOCKET
        assert (client.transport(), client.ws) == ("websocket", ws)
    finally:
        client._closed(connection)
    assert (client.state, client.sid, client.ws) == ("disconnected", None, None)
    assert client not in base_client.connected_clients


def test_an_upgrade_that_fails() -> None:
    connection = Wire()
    assert connection.start_pause(lambda: None)
    connection.sends("a")
    assert connection.posts == 0
    connection.end_pause()
    assert connection.posts == 1
    assert connection.start_poll()
    assert texts(connection.next_post()) == ["4a"]
    connection.end("transport error")
    assert not connection.start_pause(lambda: None)


def test_the_end_comes_once_and_after_the_messages() -> None:
    connection = Wire()
    connection._receive([(wire.MESSAGE, "a")], 1)
    connection.end("transport error")
    connection.end("ping timeout")
    assert not connection._claim_close("client disconnect")
    assert connection.reason == "transport error"
    assert connection.received() == ["a", "END"]


def test_the_application_ends_it() -> None:
    connection = Wire()
    connection.sends("a")
    connection._receive([(wire.MESSAGE, "not handled any more")], 1)
    assert connection._claim_close("client disconnect")
    assert texts(connection.next_post()) == ["4a", "1"]
    assert connection.received() == []
    assert not connection.push(Packet(wire.MESSAGE, "b"))


def test_the_deadline() -> None:
    connection = Wire(pingInterval=10_000, pingTimeout=5_000)
    connection._alive_until = 100.0
    assert connection.time_left(90.0) == 10.0
    assert connection.time_left(100.0) == 0.0
    assert connection.time_left(100.9) < 0
    # This process was held up: what the server sent may wait to be read.
    assert connection.time_left(200.0) == 5.0
    assert connection.time_left(205.5) < 0


def test_the_watch() -> None:
    client = Owner()
    connection = Wire(client, pingInterval=10_000, pingTimeout=5_000)
    connection.watch()
    [(delay, look)] = client.loop.later
    assert delay == 15.0
    look()
    (_, (again, look)) = client.loop.later
    assert 14.0 < again < 15.0
    connection._alive_until -= 15.0
    look()
    assert connection.reason == "ping timeout"
    assert connection.aborted
    assert client.loop.spawned == [(connection._dispatch, connection.dispatcher)]


def test_no_watch_after_the_end() -> None:
    client = Owner()
    connection = Wire(client)
    connection.watch()
    connection.stop_watching()
    connection.stop_watching()
    assert client.loop.later == []
