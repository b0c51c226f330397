"""protocol.md, Upgrade."""

import time

import pytest

import rigs
import wire
from wire import BINARY, frame


def assert_can_upgrade(server: rigs.Server, session: wire.Polling) -> None:
    """The polling session is untouched, and another try succeeds."""
    assert server.transport(session.sid) == "polling"
    server.assert_alive(session)
    # The end of the first WebSocket reaches us a moment before the server is done with it.
    deadline = time.monotonic() + rigs.WAIT
    while True:
        try:
            websocket, carried = wire.upgrade(session)
            break
        except wire.Refused:
            assert time.monotonic() < deadline
    assert carried == []
    websocket.send_text("4upgraded")
    assert websocket.receive() == "4upgraded"
    assert server.transport(session.sid) == "websocket"


def test_upgrade(server: rigs.Server) -> None:
    session = server.polling()
    assert server.transport(session.sid) == "polling"
    poll = session.start_poll()
    assert not poll.has_input(0.1)
    websocket = wire.probe(session)
    assert poll.read_response().body == b"6"
    assert server.transport(session.sid) == "polling"
    websocket.send_text("5", "4hello")
    websocket.send_binary(b"\x00\xff")
    assert [websocket.receive(), websocket.receive()] == ["4hello", b"\x00\xff"]
    assert server.transport(session.sid) == "websocket"
    assert [event[0] for event in server.events(session.sid)] == ["connect", "message", "message"]


def test_every_poll_during_the_probe_ends_with_noop(server: rigs.Server) -> None:
    session = server.polling()
    wire.probe(session)
    for _ in range(3):
        assert session.request("GET").body == b"6"


def test_no_noop_without_a_probe(server: rigs.Server) -> None:
    session = server.polling()
    wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    poll = session.start_poll()
    assert not poll.has_input(0.5)


def test_probe_and_upgrade_in_one_segment(server: rigs.Server) -> None:
    session = server.polling()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    websocket.send_text("2probe", "5", "4hello")
    assert websocket.receive_text(2) == ["3probe", "4hello"]
    assert server.transport(session.sid) == "websocket"


def test_frames_go_before_a_poll_that_arrives_with_them(server: rigs.Server) -> None:
    session = server.polling()
    server.send(session.sid, "buffered")
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    websocket.send_text("2probe", "5")
    assert websocket.receive_text(2) == ["3probe", "4buffered"]
    assert session.request("GET").status == 400


def test_polls_and_posts_during_the_probe(server: rigs.Server) -> None:
    session = server.polling()
    websocket = wire.probe(session)
    session.send("4first", "bAP8=")
    server.wait(session.sid, "message", count=2)
    packets = [packet for packet in session.poll() if packet != "6"]
    assert packets == ["4first", "bAP8="]
    session.send("4second")
    websocket.send_text("5")
    assert websocket.receive() == "4second"


def test_nothing_goes_over_the_websocket_during_the_probe(server: rigs.Server) -> None:
    session = server.polling()
    websocket = wire.probe(session)
    for number in range(3):
        server.send(session.sid, f"m{number}")
    assert not websocket.has_input(0.4)
    websocket.send_text("5")
    assert websocket.receive_text(3) == ["4m0", "4m1", "4m2"]
    server.send(session.sid, "after")
    assert websocket.receive() == "4after"


def test_order_across_the_upgrade(server: rigs.Server) -> None:
    session = server.polling()
    for number in range(5):
        server.send(session.sid, f"m{number}")
    poll = session.start_poll()
    websocket = wire.probe(session)
    for number in range(5, 10):
        server.send(session.sid, f"m{number}")
    received = poll.read_response().packets()
    websocket.send_text("5")
    for number in range(10, 15):
        server.send(session.sid, f"m{number}")
    received = [packet for packet in received if packet != "6"]
    received += websocket.receive_text(15 - len(received))
    assert received == [f"4m{number}" for number in range(15)]


def test_a_poll_that_waits_when_the_upgrade_comes_is_answered(server: rigs.Server) -> None:
    session = server.polling()
    websocket = wire.probe(session)
    poll = session.start_poll()
    websocket.send_text("5", "4hello")
    assert poll.read_response().status in (200, 400)
    assert websocket.receive() == "4hello"
    assert server.transport(session.sid) == "websocket"


def test_base64_of_the_upgraded_websocket(server: rigs.Server) -> None:
    session = server.polling()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid, b64="1"))
    websocket.send_text("2probe", "5")
    assert websocket.receive() == "3probe"
    server.send(session.sid, b"\x00\xff")
    assert websocket.receive() == "bAP8="


BAD_STARTS = {
    "message": wire.text_frame("4hello"),
    "ping": wire.text_frame("2"),
    "other ping": wire.text_frame("2probes"),
    "upgrade": wire.text_frame("5"),
    "pong": wire.text_frame("3probe"),
    "close": wire.text_frame("1"),
    "empty": wire.text_frame(""),
    "garbage": wire.text_frame("garbage"),
    "binary": frame(BINARY, b"2probe"),
    "unmasked": frame(wire.TEXT, b"2probe", mask=None),
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "close frame": wire.close_frame(1000),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_anything_else_than_a_probe(server: rigs.Server, name: str) -> None:
    session = server.polling()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    websocket.send(BAD_STARTS[name])
    websocket.answer_close()
    assert_can_upgrade(server, session)
    assert server.messages(session.sid) == ["still here", "upgraded"]


@pytest.mark.parametrize("name", ["message", "garbage", "binary", "unmasked", "close frame"])
def test_anything_else_than_an_upgrade(server: rigs.Server, name: str) -> None:
    session = server.polling()
    websocket = wire.probe(session)
    websocket.send(BAD_STARTS[name])
    websocket.answer_close()
    assert_can_upgrade(server, session)
    assert server.messages(session.sid) == ["still here", "upgraded"]


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_peer_gone(server: rigs.Server, end: str, probed: bool) -> None:
    session = server.polling()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    if probed:
        websocket.send_text("2probe")
        assert websocket.receive() == "3probe"
    (websocket.close if end == "close" else websocket.reset)()
    # A second upgrade is refused until the server has seen the end of the first.
    server.assert_alive(session)
    rigs.until(lambda: can_open(session))
    server.assert_alive(session)


def can_open(session: wire.Polling) -> bool:
    try:
        wire.WebSocket(session.endpoint, wire.websocket_query(session.sid)).close()
    except wire.Refused:
        return False
    return True


@pytest.mark.parametrize("probed", [False, True])
def test_silence_for_upgrade_timeout(rig: rigs.Rig, probed: bool) -> None:
    server = rig.server("upgrade_timeout")
    session = server.polling()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    if probed:
        websocket.send_text("2probe")
        assert websocket.receive() == "3probe"
    websocket.answer_close()
    server.assert_alive(session)
    assert server.transport(session.sid) == "polling"


def test_upgrade_timeout_does_not_end_an_upgraded_session(rig: rigs.Rig) -> None:
    server = rig.server("upgrade_timeout")
    websocket, _ = wire.upgrade(server.polling())
    assert not websocket.has_input(0.8)
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"


def test_second_upgrade_is_refused(server: rigs.Server) -> None:
    session = server.polling()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    for packets, answer in (("2probe", "3probe"), ("5", None)):
        with pytest.raises(wire.Refused) as refused:
            wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
        assert refused.value.response.status == 400
        assert refused.value.response.json()["code"] == 3
        websocket.send_text(packets)
        if answer:
            assert websocket.receive() == answer
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"


def test_upgrades_switched_off(rig: rigs.Rig) -> None:
    server = rig.server("no_upgrades")
    session = server.polling()
    with pytest.raises(wire.Refused) as refused:
        wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    assert refused.value.response.status == 400
    assert refused.value.response.json()["code"] == 3
    server.assert_alive(session)
    websocket = server.websocket()
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("who", ["client", "server"])
def test_session_ends_during_the_probe(server: rigs.Server, who: str, probed: bool) -> None:
    session = server.polling()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    if probed:
        websocket.send_text("2probe")
        assert websocket.receive() == "3probe"
    poll = session.start_poll()
    if who == "client":
        session.send("1")
    else:
        server.call("disconnect", sid=session.sid)
    body = poll.read_response().body
    # The poll may have been answered with a noop by the probe before the session ended.
    if body == b"6" and who == "server":
        body = session.request("GET").body
    assert body == (b"6" if who == "client" else b"1")
    websocket.answer_close()
    server.assert_ended(session.sid, f"{who} disconnect")


def test_ends_of_an_upgraded_session(server: rigs.Server) -> None:
    websocket, _ = wire.upgrade(first := server.polling())
    websocket.send_text("1")
    websocket.answer_close()
    server.assert_ended(first.sid, "client disconnect")
    websocket, _ = wire.upgrade(second := server.polling())
    rigs.until(lambda: server.transport(second.sid) == "websocket")
    server.call("disconnect", sid=second.sid)
    assert websocket.receive() == "1"
    assert websocket.answer_close() == 1000
    server.assert_ended(second.sid, "server disconnect")
    websocket, _ = wire.upgrade(third := server.polling())
    websocket.reset()
    server.assert_ended(third.sid, "transport close")
