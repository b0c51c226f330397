"""Message handlers that block, raise, or take their time."""

import time

import pytest

import rigs
import wire


def send(session: wire.Polling | wire.EngineWebSocket, *packets: str) -> None:
    if isinstance(session, wire.Polling):
        session.send(*packets)
    else:
        session.send_text(*packets)


def receive(session: wire.Polling | wire.EngineWebSocket, count: int) -> list[str]:
    if isinstance(session, wire.Polling):
        return session.receive(count)
    return session.receive_text(count)


def echo(session: wire.Polling | wire.EngineWebSocket, *packets: str) -> list[str]:
    """Send packets and receive as many."""
    send(session, *packets)
    return receive(session, len(packets))


def connect(server: rigs.Server, transport: str) -> wire.Polling | wire.EngineWebSocket:
    return server.polling() if transport == "polling" else server.websocket()


BOTH = pytest.mark.parametrize("transport", ["polling", "websocket"])


@BOTH
def test_a_blocked_handler_holds_nobody_back(server: rigs.Server, transport: str) -> None:
    session = connect(server, transport)
    send(session, "4hold:up", "4fast", "4faster")
    assert receive(session, 2) == ["4fast", "4faster"]
    server.release(session.sid, "up")
    assert receive(session, 1) == ["4held:up"]
    assert server.messages(session.sid) == ["hold:up", "fast", "faster"]


@BOTH
def test_many_blocked_handlers(server: rigs.Server, transport: str) -> None:
    session = connect(server, transport)
    got = echo(session, *(f"4sleep:0.3:{number}" for number in range(30)))
    assert sorted(got) == sorted(f"4slept:0.3:{number}" for number in range(30))


@BOTH
def test_handlers_start_in_order(server: rigs.Server, transport: str) -> None:
    session = connect(server, transport)
    packets = [f"4sleep:{0.05 if number % 7 == 0 else 0}:{number}" for number in range(50)]
    assert len(echo(session, *packets)) == 50
    assert server.messages(session.sid) == [packet[1:] for packet in packets]


@BOTH
def test_serial_handlers(rig: rigs.Rig, transport: str) -> None:
    session = connect(rig.server("serial"), transport)
    packets = ["4sleep:0.3:a", "4second", "4sleep:0.1:b", "4fourth"]
    expected = ["4slept:0.3:a", "4second", "4slept:0.1:b", "4fourth"]
    assert echo(session, *packets) == expected


def test_serial_handlers_over_two_posts(rig: rigs.Rig) -> None:
    server = rig.server("serial")
    session = server.polling()
    first = session.start_post(8)
    first.send(b"4hold:up")
    server.wait(session.sid, "message", "hold:up")
    # The handler still runs: nothing of the next message may start before it returns.
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    websocket.send_text("2probe", "5", "4after")
    assert websocket.receive() == "3probe"
    server.release(session.sid, "up")
    assert websocket.receive_text(2) == ["4held:up", "4after"]


def test_serial_handlers_of_others_run(rig: rigs.Rig) -> None:
    server = rig.server("serial")
    slow, fast = server.websocket(), server.websocket()
    slow.send_text("4hold:up", "4next")
    server.wait(slow.sid, "message")
    fast.send_text("4hello")
    assert fast.receive() == "4hello"
    assert not slow.has_input()
    server.release(slow.sid, "up")
    assert slow.receive_text(2) == ["4held:up", "4next"]


@pytest.mark.parametrize("name", ["engine.io", "serial"])
@BOTH
def test_handler_that_raises(rig: rigs.Rig, transport: str, name: str) -> None:
    server = rig.server(name)
    session = connect(server, transport)
    if isinstance(session, wire.Polling):
        session.send("4before", "4raise", "4after")
        assert session.receive(2) == ["4before", "4after"]
    else:
        session.send_text("4before", "4raise", "4after")
        assert session.receive_text(2) == ["4before", "4after"]
    assert server.is_alive(session.sid)


@BOTH
def test_waiting_handlers_hold_so_many_bytes(rig: rigs.Rig, transport: str) -> None:
    """Sixteen messages of the largest size are passed, then a client is not read for a while."""
    server = rig.server("medium")
    session = connect(server, transport)
    padding = "x" * 19_000
    names = [f"{number}-{padding}" for number in range(18)]
    for name in names:
        send(session, f"4hold:{name}")
    server.wait(session.sid, "message", count=17)
    time.sleep(0.3)
    assert len(server.messages(session.sid)) == 17
    # One that is not the last returns, and the next one has its turn.
    server.call("release", sid=session.sid, hold=names[5])
    server.wait(session.sid, "message", count=18)
    for name in names[:5] + names[6:]:
        server.call("release", sid=session.sid, hold=name)
    answers = receive(session, 18)
    assert sorted(answers) == sorted(f"4held:{name}" for name in names)


def test_session_that_ends_while_its_handler_blocks(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text("4hold:up")
    server.wait(websocket.sid, "message")
    websocket.reset()
    server.assert_ended(websocket.sid, "transport close")
    before = server.rig.control("cpu_time")
    time.sleep(0.5)
    assert server.rig.control("cpu_time") - before < 0.25  # it does not spin meanwhile
    server.release(websocket.sid, "up")


def test_pings_are_answered_while_a_handler_blocks(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text("4hold:up")
    server.wait(websocket.sid, "message")
    websocket.send(wire.frame(wire.PING, b"there?"))
    assert websocket.read_frame() == wire.Frame(wire.PONG, b"there?")
    server.release(websocket.sid, "up")
    assert websocket.receive() == "4held:up"
