"""On an event loop: no task per client beyond what the server itself spends on a connection."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

import rigs
import wire

pytestmark = pytest.mark.rig("asyncio")
CLIENTS = 5


def tasks(server: rigs.Server) -> int:
    counts: dict[str, int] = server.rig.control("counts")
    return counts["tasks"]


@pytest.fixture
def server(any_rig: rigs.Rig) -> rigs.Server:
    return any_rig.server()


@pytest.fixture
def plain_polls(server: rigs.Server) -> Iterator[Callable[[], wire.HTTPConnection]]:
    """Starts a GET that waits, without Engine.IO."""

    def start() -> wire.HTTPConnection:
        connection = wire.HTTPConnection(server.endpoint.address)
        connection.send_request("GET", "/plain/")
        return connection

    yield start
    server.rig.control("release_plain")


def test_websockets(server: rigs.Server) -> None:
    before = tasks(server)
    path = "/plain-websocket/"
    plain = [wire.WebSocket(wire.Endpoint(server.endpoint.address, path)) for _ in range(CLIENTS)]
    rigs.until(lambda: tasks(server) >= before + CLIENTS)
    allowed = tasks(server) - before
    for websocket in plain:
        websocket.close()
    rigs.until(lambda: tasks(server) <= before)
    websockets = [server.websocket() for _ in range(CLIENTS)]
    for websocket in websockets:
        websocket.send_text("4hello")
        assert websocket.receive() == "4hello"
    rigs.until(lambda: tasks(server) <= before + allowed)


def test_polls(server: rigs.Server, plain_polls: Callable[[], wire.HTTPConnection]) -> None:
    before = tasks(server)
    sessions = [server.polling() for _ in range(CLIENTS)]
    rigs.until(lambda: tasks(server) <= before)  # a client without a request costs nothing
    connections = [plain_polls() for _ in range(CLIENTS)]
    rigs.until(lambda: server.rig.control("plain") == CLIENTS)
    allowed = tasks(server) - before
    server.rig.control("release_plain")
    for connection in connections:
        assert connection.read_response().body == b"done"
        connection.close()
    rigs.until(lambda: tasks(server) <= before)
    polls = [session.start_poll() for session in sessions]
    assert not any(poll.has_input(0.1) for poll in polls)
    rigs.until(lambda: tasks(server) <= before + allowed)
    for session, poll in zip(sessions, polls, strict=True):
        session.send("4hello")
        assert poll.read_response().body == b"4hello"


def test_no_task_is_left_of_waiting_handlers(server: rigs.Server) -> None:
    before = tasks(server)
    websocket, session = server.websocket(), server.polling()
    for client in (websocket, session):
        sid = client.sid
        packets = ("4hold:a", "4hold:b")
        if isinstance(client, wire.Polling):
            client.send(*packets)
        else:
            client.send_text(*packets)
        server.wait(sid, "message", "hold:b")
    websocket.reset()
    session.send("1")
    for sid in (websocket.sid, session.sid):
        server.wait(sid, "disconnect")
        server.release(sid, "b")
        server.release(sid, "a")
    rigs.until(lambda: tasks(server) <= before)


def test_no_task_is_left_after_shutdown(any_rig: rigs.Rig) -> None:
    server = any_rig.server("cors_off")  # one of its own: this ends every session it has
    before = tasks(server)
    websocket, session = server.websocket(), server.polling()
    poll = session.start_poll()
    assert not poll.has_input(0.1)
    server.call("shutdown")
    assert websocket.receive() == "1"
    websocket.answer_close()
    assert poll.read_response().body == b"1"
    for sid in (websocket.sid, session.sid):
        server.assert_ended(sid, "server shutdown")
    rigs.until(lambda: tasks(server) < before)  # the heartbeat's has gone too
    server.assert_alive(server.polling())  # and everything starts again


def test_server_that_is_stopped(any_rig: rigs.Rig) -> None:
    rig = rigs.Rig(any_rig.spec)
    rig.start()
    try:
        server = rig.server()
        websocket, session = server.websocket(), server.polling()
        session.send("4hello")
        rig.terminate()
        with contextlib.suppress(ConnectionError, EOFError):
            while websocket.read_frame().opcode != wire.CLOSE:
                pass
            websocket.send(wire.close_frame(1001))
            websocket.read_to_eof()
        rigs.until(lambda: not rig.is_running)
        log = rig.log()
        assert "Task was destroyed" not in log
        assert "never retrieved" not in log
        assert "engineio/" not in log  # of a traceback
    finally:
        rig.stop()


@pytest.mark.rig("tells_clients")
def test_clients_of_a_server_that_is_stopped(any_rig: rigs.Rig) -> None:
    rig = rigs.Rig(any_rig.spec)
    rig.start()
    try:
        server = rig.server()
        websocket, session = server.websocket(), server.polling()
        poll = session.start_poll()
        assert not poll.has_input(0.1)
        rig.terminate()
        assert poll.read_response().body == b"1"
        with contextlib.suppress(ConnectionError, EOFError):
            while websocket.read_frame().opcode != wire.CLOSE:
                pass  # uvicorn may come before us, who send a CLOSE packet first
            websocket.send(wire.close_frame(1000))
        rigs.until(lambda: not rig.is_running)
    finally:
        rig.stop()
