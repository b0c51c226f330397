"""Every way a session can end fires one disconnect event, with the right reason."""

import contextlib
from collections.abc import Callable

import pytest

import rigs
import wire

End = Callable[[rigs.Server], str]


def polling_close(server: rigs.Server) -> str:
    session = server.polling()
    session.send("1")
    return session.sid


def polling_close_twice(server: rigs.Server) -> str:
    session = server.polling()
    session.send("1", "1")
    session.post("1")
    return session.sid


def websocket_close_packet(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send_text("1")
    return websocket.sid


def websocket_close_packet_and_frame(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send(wire.text_frame("1") + wire.close_frame())
    return websocket.sid


def websocket_close_packet_and_reset(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send_text("1")
    server.wait(websocket.sid, "disconnect")
    websocket.reset()
    return websocket.sid


def server_polling(server: rigs.Server) -> str:
    session = server.polling()
    server.call("disconnect", sid=session.sid)
    session.poll()
    return session.sid


def server_twice(server: rigs.Server) -> str:
    websocket = server.websocket()
    server.call("disconnect", sid=websocket.sid)
    server.call("disconnect", sid=websocket.sid)
    return websocket.sid


def server_and_client(server: rigs.Server) -> str:
    websocket = server.websocket()
    server.call("disconnect", sid=websocket.sid)
    with contextlib.suppress(ConnectionError):
        websocket.send_text("1")
    return websocket.sid


def websocket_close_frame(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send(wire.close_frame(1001))
    return websocket.sid


def websocket_eof(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.shut_write()
    return websocket.sid


def websocket_closed(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.close()
    return websocket.sid


def websocket_reset(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.reset()
    return websocket.sid


def websocket_reset_while_receiving(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send_text("4burst:5000")
    websocket.receive()
    websocket.reset()
    return websocket.sid


def websocket_reset_in_a_frame(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send(wire.text_frame("4" + "x" * 1000)[:500])
    websocket.reset()
    return websocket.sid


def upgraded_reset(server: rigs.Server) -> str:
    session = server.polling()
    websocket, _ = wire.upgrade(session)
    websocket.reset()
    return session.sid


def websocket_unmasked(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send(wire.frame(wire.TEXT, b"4x", mask=None))
    return websocket.sid


def websocket_oversize(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send(wire.frame(wire.BINARY, bytes(1_000_001)))
    return websocket.sid


def websocket_bad_utf8(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send(wire.frame(wire.TEXT, b"4\xff"))
    return websocket.sid


def overlapping_poll(server: rigs.Server) -> str:
    session = server.polling()
    first, second = session.start_poll(), session.start_poll()
    assert {first.read_response().status, second.read_response().status} == {200, 400}
    return session.sid


def octet_stream(server: rigs.Server) -> str:
    session = server.polling()
    session.request("POST", {"Content-Type": "application/octet-stream"}, b"\x04x")
    return session.sid


def polling_garbage(server: rigs.Server) -> str:
    session = server.polling()
    session.post("garbage")
    return session.sid


def websocket_garbage(server: rigs.Server) -> str:
    websocket = server.websocket()
    websocket.send_text("garbage")
    return websocket.sid


def upgraded_garbage(server: rigs.Server) -> str:
    session = server.polling()
    websocket, _ = wire.upgrade(session)
    websocket.send_text("")
    return session.sid


ENDS: list[tuple[End, str]] = [
    (polling_close, "client disconnect"),
    (polling_close_twice, "client disconnect"),
    (websocket_close_packet, "client disconnect"),
    (websocket_close_packet_and_frame, "client disconnect"),
    (websocket_close_packet_and_reset, "client disconnect"),
    (server_polling, "server disconnect"),
    (server_twice, "server disconnect"),
    (server_and_client, "server disconnect"),
    (websocket_close_frame, "transport close"),
    (websocket_eof, "transport close"),
    (websocket_closed, "transport close"),
    (websocket_reset, "transport close"),
    (websocket_reset_while_receiving, "transport close"),
    (websocket_reset_in_a_frame, "transport close"),
    (upgraded_reset, "transport close"),
    (websocket_unmasked, "transport error"),
    (websocket_oversize, "transport error"),
    (websocket_bad_utf8, "transport error"),
    (overlapping_poll, "transport error"),
    (octet_stream, "transport error"),
    (polling_garbage, "parse error"),
    (websocket_garbage, "parse error"),
    (upgraded_garbage, "parse error"),
]


@pytest.mark.parametrize(("end", "reason"), ENDS, ids=[end.__name__ for end, _ in ENDS])
def test_end(server: rigs.Server, end: End, reason: str) -> None:
    sid = end(server)
    server.assert_ended(sid, reason)
    assert server.events(sid)[0] == ["connect"]


def test_disconnect_of_nobody(server: rigs.Server) -> None:
    server.call("disconnect", sid="unknown")
    server.call("disconnect")


def test_disconnect_of_everybody(rig: rigs.Rig) -> None:
    server = rig.server("cors_any")  # a server of its own: this ends every session it has
    websocket, session = server.websocket(), server.polling()
    server.call("disconnect")
    assert websocket.receive() == "1"
    assert session.poll() == ["1"]
    for sid in (websocket.sid, session.sid):
        server.assert_ended(sid, "server disconnect")


def test_disconnect_handler_that_raises(server: rigs.Server) -> None:
    session = server.polling(disconnect="raise")
    session.send("1")
    server.assert_ended(session.sid, "client disconnect")
    websocket = server.websocket(disconnect="raise")
    websocket.reset()
    server.assert_ended(websocket.sid, "transport close")


def test_send_to_nobody(server: rigs.Server) -> None:
    session = server.polling()
    session.send("1")
    server.assert_ended(session.sid, "client disconnect")
    server.send(session.sid, "into the void")
    assert server.transport(session.sid) is None


def test_a_client_that_takes_few_packets_gets_them_all(server: rigs.Server) -> None:
    session = server.polling({"User-Agent": "python-requests/2.34.2"})  # sixteen at a time
    server.call("burst", sid=session.sid, count=40)
    server.call("disconnect", sid=session.sid)
    assert session.receive(41) == [*(f"4burst-{number}" for number in range(40)), "1"]
    server.assert_ended(session.sid, "server disconnect")
