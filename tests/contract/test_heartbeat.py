"""protocol.md, Heartbeat.

"beat" pings soon and waits long: for clients that answer.  "drop" waits briefly: for the others.
"""

import contextlib

import rigs
import wire


def test_pings_over_a_websocket(rig: rigs.Rig) -> None:
    server = rig.server("beat")
    websocket = server.websocket()
    for _ in range(3):
        assert websocket.receive() == "2"
        websocket.send_text("3")
    websocket.send_text("4alive")
    assert websocket.receive() == "4alive"


def test_pings_over_polling(rig: rigs.Rig) -> None:
    session = rig.server("beat").polling()
    for _ in range(3):
        assert session.poll() == ["2"]
        session.send("3")
    rig.server("beat").assert_alive(session)


def test_no_ping_before_the_pong(rig: rigs.Rig) -> None:
    websocket = rig.server("beat").websocket()
    assert websocket.receive() == "2"
    websocket.send_text("4not a pong")
    assert websocket.receive() == "4not a pong"
    assert not websocket.has_input(0.8)
    websocket.send_text("3")
    assert websocket.receive() == "2"


def test_pings_go_on_over_the_upgraded_transport(rig: rigs.Rig) -> None:
    server = rig.server("beat")
    session = server.polling()
    assert session.poll() == ["2"]
    session.send("3")
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    websocket.send_text("2probe", "5")
    assert websocket.receive() == "3probe"
    for _ in range(2):
        assert websocket.receive() == "2"
        websocket.send_text("3")


def test_ping_timeout_over_a_websocket(rig: rigs.Rig) -> None:
    server = rig.server("drop")
    websocket = server.websocket()
    assert websocket.receive() == "2"
    with contextlib.suppress(ConnectionResetError):
        websocket.read_to_eof()  # whatever it says, the connection ends
    server.assert_ended(websocket.sid, "ping timeout")


def test_nothing_but_a_pong_counts(rig: rigs.Rig) -> None:
    server = rig.server("drop")
    websocket = server.websocket()
    assert websocket.receive() == "2"
    with contextlib.suppress(ConnectionError):
        while not websocket.has_input(0.05):
            websocket.send(wire.text_frame("4quiet") + wire.frame(wire.PONG))
    server.assert_ended(websocket.sid, "ping timeout")
    assert "quiet" in server.messages(websocket.sid)


def test_messages_over_polling_do_not_count(rig: rigs.Rig) -> None:
    server = rig.server("drop")
    session = server.polling()
    assert session.poll() == ["2"]
    while session.post("4quiet").status == 200:
        pass
    server.assert_ended(session.sid, "ping timeout")
    assert "quiet" in server.messages(session.sid)


def test_polling_client_that_does_not_fetch_its_ping(rig: rigs.Rig) -> None:
    server = rig.server("drop")
    session = server.polling()
    server.assert_ended(session.sid, "ping timeout")


def test_waiting_poll_ends_with_the_session(rig: rigs.Rig) -> None:
    server = rig.server("drop")
    session = server.polling()
    assert session.poll() == ["2"]
    poll = session.start_poll()
    assert poll.read_response().status in (200, 400)
    server.assert_ended(session.sid, "ping timeout")


def test_deadline_survives_an_upgrade(rig: rigs.Rig) -> None:
    server = rig.server("drop_late")
    session = server.polling()
    assert session.poll() == ["2"]
    websocket, _ = wire.upgrade(session)
    rigs.until(lambda: server.transport(session.sid) == "websocket")
    with contextlib.suppress(ConnectionResetError):
        websocket.read_to_eof()
    server.assert_ended(session.sid, "ping timeout")


def test_pong_over_polling_during_the_probe(rig: rigs.Rig) -> None:
    server = rig.server("drop_late")
    session = server.polling()
    assert session.poll() == ["2"]
    websocket = wire.probe(session)
    session.send("3")
    websocket.send_text("5")
    for _ in range(2):
        assert websocket.receive() == "2"
        websocket.send_text("3")
    assert server.transport(session.sid) == "websocket"
