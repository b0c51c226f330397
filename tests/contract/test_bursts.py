"""Many messages at once, both ways: all arrive, once and in order."""

import rigs
import wire

COUNT = 1000
PACKETS = [f"4burst-{number}" for number in range(COUNT)]
QUIET = [f"4quiet-{number}" for number in range(COUNT)]


def quiet_messages() -> list[str]:
    return [packet[1:] for packet in QUIET]


def test_from_one_handler_to_a_poll(server: rigs.Server) -> None:
    session = server.polling()
    session.send(f"4burst:{COUNT}")
    assert session.receive(COUNT) == PACKETS


def test_from_outside_to_a_waiting_poll(server: rigs.Server) -> None:
    session = server.polling()
    poll = session.start_poll()
    assert not poll.has_input(0.1)
    server.call("burst", sid=session.sid, count=COUNT)
    packets = poll.read_response().packets()
    assert packets + session.receive(COUNT - len(packets)) == PACKETS


def test_from_one_handler_to_a_websocket(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text(f"4burst:{COUNT}")
    assert websocket.receive_text(COUNT) == PACKETS


def test_in_one_post(server: rigs.Server) -> None:
    session = server.polling()
    session.send(*QUIET)
    server.wait(session.sid, "message", count=COUNT)
    assert server.messages(session.sid) == quiet_messages()


def test_in_one_segment_of_frames(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text(*QUIET)
    server.wait(websocket.sid, "message", count=COUNT)
    assert server.messages(websocket.sid) == quiet_messages()


def test_echoes_of_one_post(server: rigs.Server) -> None:
    session = server.polling()
    session.send(*PACKETS)
    assert session.receive(COUNT) == PACKETS


def test_to_the_client_across_an_upgrade(server: rigs.Server) -> None:
    session = server.polling()
    received: list[str] = []
    poll = session.start_poll()
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(session.sid))
    server.call("burst", sid=session.sid, count=300)
    websocket.send_text("2probe")
    received += poll.read_response().packets()
    server.call("burst", sid=session.sid, count=300)
    assert websocket.receive() == "3probe"
    received += session.poll()
    server.call("burst", sid=session.sid, count=300)
    websocket.send_text("5")
    server.call("burst", sid=session.sid, count=300)
    received = [packet for packet in received if packet != "6"]
    received += websocket.receive_text(1200 - len(received))
    assert received == PACKETS[:300] * 4


def test_to_the_server_across_an_upgrade(server: rigs.Server) -> None:
    session = server.polling()
    session.send(*QUIET[:300])
    websocket = wire.probe(session)
    session.send(*QUIET[300:600])
    websocket.send_text("5", *QUIET[600:])
    server.wait(session.sid, "message", count=COUNT)
    assert server.messages(session.sid) == quiet_messages()


def test_burst_that_ends_with_a_disconnect(server: rigs.Server) -> None:
    websocket, session = server.websocket(), server.polling()
    for sid in (websocket.sid, session.sid):
        server.call("burst", sid=sid, count=COUNT)
        server.call("disconnect", sid=sid)
    assert websocket.receive_text(COUNT + 1) == [*PACKETS, "1"]
    assert websocket.answer_close() == 1000
    assert session.receive(COUNT + 1) == [*PACKETS, "1"]
    for sid in (websocket.sid, session.sid):
        server.assert_ended(sid, "server disconnect")
