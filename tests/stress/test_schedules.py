"""Schedules of threads that once broke something, each played step by step.

What stress mode finds by chance (see tests/apps/stress.py) comes here, where it happens every time.
"""

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from socket import socketpair
from typing import Any

import pytest
import werkzeug.serving
from engineio.async_drivers._websocket import WebSocket
from engineio.async_drivers.threading import ThreadLoop, ThreadStream
from engineio.async_drivers.threading import driver as threads

import engineio
import wire
from engineio.driver import load
from engineio.exceptions import ProtocolError
from engineio.packet import MESSAGE, Packet
from engineio.websocket import WebSocketProtocol, encode_frame

WAIT = 8.0  # seconds an event may take that a test waits for


class Event(threading.Event):
    """An event of a server, in front of whose calls something else may happen."""

    def __init__(self, eio: engineio.Server) -> None:
        super().__init__()
        self.eio = eio
        self.before_clear: list[Callable[[], Any]] = []
        self.before_set: list[Callable[[], Any]] = []

    def clear(self) -> None:
        while self.before_clear:
            self.before_clear.pop()()
        super().clear()

    def set(self) -> None:
        while self.before_set and self.eio.service_task_handle is None:  # in a shutdown
            self.before_set.pop()()
        super().set()


class Handler(werkzeug.serving.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class Site:
    """A server under Werkzeug, what its handlers were called with, and threads of the test."""

    def __init__(self) -> None:
        self.eio = engineio.Server(async_mode="threading")
        self.eio.driver = threads._replace(event=functools.partial(Event, self.eio))
        self.events: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.held: dict[str, threading.Event] = {"up": threading.Event(), "end": threading.Event()}
        self.eio.on("message", self.message)
        self.eio.on("disconnect", self.disconnect)
        self.holds_end = False
        self._server = werkzeug.serving.make_server(
            "127.0.0.1", 0, self.eio.handle_request, threaded=True, request_handler=Handler
        )
        self.endpoint = wire.Endpoint(("127.0.0.1", self._server.server_port))
        self._threads: list[threading.Thread] = []
        self.start(self._server.serve_forever, 0.01)

    def message(self, sid: str, data: Any) -> None:
        self.events.put(("message", data))
        if data in self.held:
            self.held[data].wait(60)
        elif data == "exit":
            raise SystemExit
        self.eio.send(sid, data)

    def disconnect(self, sid: str, reason: str) -> None:
        self.events.put(("disconnect", reason))
        if self.holds_end:
            self.held["end"].wait(60)

    def event(self) -> tuple[Any, ...]:
        return self.events.get(timeout=WAIT)

    def start(self, target: Callable[..., Any], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def stop(self) -> None:
        for event in self.held.values():
            event.set()
        thread = self.start(self.eio.shutdown)
        thread.join(WAIT)
        assert not thread.is_alive(), "shutdown() hangs"
        wire.close_all()
        self._server.shutdown()
        self._server.server_close()
        for each in self._threads:
            each.join(WAIT)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


@pytest.fixture
def site() -> Iterator[Site]:
    before = threading.active_count()
    site = Site()
    yield site
    site.stop()
    until(lambda: threading.active_count() <= before)


# -- shutdown


def test_shutdown_as_the_heartbeat_begins_to_wait(site: Site) -> None:
    client = wire.EngineWebSocket(site.endpoint)
    event = site.eio.service_task_event
    until(lambda: not event.is_set())
    stopping: list[threading.Thread] = []

    def stop_now() -> None:
        has_set = threading.Event()
        event.before_set.append(has_set.set)
        stopping.append(site.start(site.eio.shutdown))
        assert has_set.wait(WAIT)
        until(event.is_set)

    event.before_clear.append(stop_now)
    event.set()  # its next round
    assert site.event() == ("disconnect", "server shutdown")
    until(lambda: stopping)
    stopping[0].join(WAIT)
    assert not stopping[0].is_alive()
    assert client.sid not in site.eio.sockets


def test_a_client_that_comes_as_the_heartbeat_ends(site: Site) -> None:
    wire.EngineWebSocket(site.endpoint)
    late: list[wire.Polling] = []
    site.eio.service_task_event.before_set.append(lambda: late.append(wire.Polling(site.endpoint)))
    thread = site.start(site.eio.shutdown)
    thread.join(WAIT)
    assert not thread.is_alive()
    # It came late enough for a heartbeat of its own.
    assert late[0].sid in site.eio.sockets
    assert site.eio.service_task_handle is not None
    assert site.event() == ("disconnect", "server shutdown")
    site.eio.shutdown()
    assert site.event() == ("disconnect", "server shutdown")


def test_a_client_that_comes_while_the_others_are_disconnected(site: Site) -> None:
    wire.Polling(site.endpoint)
    site.holds_end = True
    thread = site.start(site.eio.shutdown)
    assert site.event() == ("disconnect", "server shutdown")
    late = wire.Polling(site.endpoint)  # its heartbeat is the one that is about to end
    site.held["end"].set()
    thread.join(WAIT)
    assert not thread.is_alive()
    assert site.event() == ("disconnect", "server shutdown")
    assert late.sid not in site.eio.sockets


def test_two_shutdowns_at_a_time(site: Site) -> None:
    wire.EngineWebSocket(site.endpoint)
    barrier = threading.Barrier(2)
    site.eio.service_task_event.before_set.append(lambda: barrier.wait(WAIT))
    first = site.start(site.eio.shutdown)
    until(lambda: barrier.n_waiting)
    second = site.start(site.eio.shutdown)
    second.join(WAIT)
    barrier.wait(WAIT)
    first.join(WAIT)
    assert not first.is_alive()
    assert not second.is_alive()


# -- the end of a session


def test_a_message_read_as_another_thread_ends_the_session(site: Site) -> None:
    client = wire.Polling(site.endpoint)
    socket = site.eio.sockets[client.sid]
    site.holds_end = True
    thread = site.start(site.eio.disconnect, client.sid)
    assert site.event() == ("disconnect", "server disconnect")
    socket.receive(Packet(MESSAGE, "late"))
    site.held["end"].set()
    thread.join(WAIT)
    assert site.events.empty()


def test_a_ping_planned_as_the_session_ends(site: Site) -> None:
    client = wire.EngineWebSocket(site.endpoint)
    socket = site.eio.sockets[client.sid]
    site.eio.disconnect(client.sid)
    socket.schedule_ping()
    assert len(site.eio.heartbeat) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_second_thread_whose_handler_exits(site: Site) -> None:
    client = wire.EngineWebSocket(site.endpoint)
    client.send_text("4up")
    assert site.event() == ("message", "up")
    client.send_text("4exit")  # the first thread is in a handler, so another one reads this
    assert site.event() == ("message", "exit")
    assert site.event() == ("disconnect", "server shutdown")
    site.held["up"].set()
    assert client.answer_close() == 1000


# -- what is written


def test_answers_of_a_batch_whose_last_handler_waits(site: Site) -> None:
    site.eio.async_handlers = False
    client = wire.EngineWebSocket(site.endpoint)
    client.send_text("4up")
    assert site.event() == ("message", "up")
    socket = site.eio.sockets[client.sid]
    client.send_text("4first", "4end")  # the second thread reads them for the first one
    until(lambda: len(socket._inbox) == 2)
    site.held["up"].set()
    assert client.receive() == "4up"
    assert client.receive() == "4first"  # while the handler of the last one waits


def test_a_message_that_another_thread_sends_behind_the_close_frame() -> None:
    ours, theirs = socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        loop = ThreadLoop()
        stream = ThreadStream(loop, ours)
        websocket = WebSocket(stream, WebSocketProtocol(1000), loop, threading.Lock())
        websocket.close()
        stream.push(encode_frame("late"))  # it had the stream before
        websocket.send("late")
        websocket.drop()
        loop.stop()
        assert theirs.recv(100) == b"\x88\x02\x03\xe8"
        assert theirs.recv(100) == b""


@pytest.mark.parametrize("mode", ["gevent", "eventlet"])
def test_the_same_in_a_hub(mode: str) -> None:
    pytest.importorskip(mode)
    frames: list[bytes] = []

    def body() -> None:
        ours, theirs = socketpair()
        with contextlib.closing(ours), contextlib.closing(theirs):
            driver = load(mode)
            loop: Any = driver.loop()
            stream = driver.websocket(None, None)
            stream.server = type("Server", (), {"loop": loop})
            websocket = WebSocket(stream.stream(ours), WebSocketProtocol(1000), loop, driver.lock())
            websocket.close()
            websocket.stream.push(encode_frame("late"))
            websocket.stream.flush()
            websocket.drop()
            frames.append(theirs.recv(100))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(WAIT)
    assert frames == [b"\x88\x02\x03\xe8"]


# -- the loop's thread


def test_what_comes_after_the_end_of_a_loop() -> None:
    before = threading.active_count()
    loop = ThreadLoop()
    loop.call_later(0, int)
    loop.stop()
    done = threading.Event()
    loop.call_later(3600, done.set)  # nobody would stop it a second time
    assert done.wait(WAIT)
    until(lambda: threading.active_count() <= before)


def test_a_session_that_ends_as_its_upgrade_is_answered(site: Site) -> None:
    """Once the second WebSocket of the session was taken for its first: two disconnect events."""
    client = wire.Polling(site.endpoint)
    socket = site.eio.sockets[client.sid]
    handler = socket._websocket_handler

    def disconnect_first(ws: Any) -> None:
        site.eio.disconnect(client.sid)
        handler(ws)

    socket._websocket_handler = disconnect_first
    websocket = wire.WebSocket(site.endpoint, wire.websocket_query(client.sid))
    assert websocket.answer_close() == 1000
    assert site.event() == ("disconnect", "server disconnect")
    assert site.events.empty()
    assert client.poll() == ["1"]


def test_a_handshake_that_fails_as_the_session_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise ProtocolError("something is wrong with this connection")

    monkeypatch.setattr(WebSocket, "__init__", fail)
    site.eio.on("connect", lambda sid, environ: site.eio.disconnect(sid))
    with pytest.raises((wire.Refused, EOFError)):
        wire.EngineWebSocket(site.endpoint)
    assert site.event() == ("disconnect", "server disconnect")
    until(lambda: not site.eio.sockets)
    assert site.events.empty()
