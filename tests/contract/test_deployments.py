"""The same short tour on every server, and how the end of a WebSocket looks on the wire."""

import contextlib
import os
import time

import pytest

import rigs
import wire


@pytest.fixture
def server(any_rig: rigs.Rig) -> rigs.Server:
    return any_rig.server()


@pytest.fixture
def upgradable(server: rigs.Server) -> rigs.Server:
    """A server on which WebSocket must work; conftest.py leaves the others out."""
    assert server.spec.websocket
    return server


def test_polling(server: rigs.Server) -> None:
    session = server.polling()
    assert session.opening["upgrades"] == (["websocket"] if server.spec.websocket else [])
    session.send("4hello", "bAP8=", "4€")
    server.wait(session.sid, "message", count=3)
    assert session.poll() == ["4hello", "bAP8=", "4€"]
    poll = session.start_poll()
    assert not poll.has_input(0.1)
    server.send(session.sid, "later")
    assert poll.read_response().body == b"4later"
    session.send("1")
    server.assert_ended(session.sid, "client disconnect")


@pytest.mark.rig("streams_bodies")
def test_body_that_takes_too_long(any_rig: rigs.Rig) -> None:
    """A byte now and then keeps nobody busy for longer than `body_timeout`."""
    server = any_rig.server("slow_bodies")
    session = server.polling()
    post = session.start_post(1000)
    end = time.monotonic() + rigs.WAIT
    with contextlib.suppress(OSError):  # the answer has been sent
        while not post.has_input(0.05):
            assert time.monotonic() < end, "no answer"
            post.send(b"4")
    assert post.read_response().status == 408
    post.close()
    server.assert_ended(session.sid, "transport error")


def test_polling_100_kb(server: rigs.Server) -> None:
    session = server.polling()
    session.send("4" + "x" * 100_000)
    assert session.poll() == ["4" + "x" * 100_000]


@pytest.mark.rig("chunked")
def test_chunked_body(server: rigs.Server) -> None:
    session = server.polling()
    body = wire.chunked(b"4hel", b"lo")
    assert session.request("POST", {"Transfer-Encoding": "chunked"}, body).body == b"ok"
    assert session.poll() == ["4hello"]


@pytest.mark.rig("chunks_undecoded")
def test_chunked_body_refused(server: rigs.Server) -> None:
    session = server.polling()
    headers = {"Transfer-Encoding": "chunked", "Connection": "close"}
    response = session.request("POST", headers, wire.chunked(b"4hel", b"lo"))
    assert response.status == 400
    server.assert_alive(session)


@pytest.mark.rig("polling_only")
def test_polling_only(any_rig: rigs.Rig) -> None:
    server = any_rig.server()
    headers = {"Connection": "Upgrade", **wire.websocket_headers()}
    session = server.polling()
    for sid in (None, session.sid):
        response = server.request("GET", wire.websocket_query(sid), headers)
        assert (response.status, response.json()["code"]) == (400, 3)
    server.assert_alive(session)


def test_websocket(upgradable: rigs.Server) -> None:
    websocket = upgradable.websocket()
    websocket.send_text("4hello", "4€")
    websocket.send_binary(b"\x00\xff")
    assert [websocket.receive() for _ in range(3)] == ["4hello", "4€", b"\x00\xff"]


@pytest.mark.parametrize("size", [126, 65536, 100_000, 900_000])
def test_websocket_sizes(upgradable: rigs.Server, size: int) -> None:
    websocket = upgradable.websocket()
    data = os.urandom(size)
    websocket.send_binary(data)
    assert websocket.receive() == data
    websocket.send_text("4" + "x" * size)
    assert websocket.receive() == "4" + "x" * size


def test_upgrade(upgradable: rigs.Server) -> None:
    session = upgradable.polling()
    upgradable.send(session.sid, "before")
    websocket, carried = wire.upgrade(session)
    websocket.send_text("4after")
    websocket.send_binary(b"\x00\xff")
    messages = [*carried, *(websocket.receive() for _ in range(3 - len(carried)))]
    assert messages == ["4before", "4after", b"\x00\xff"]
    assert upgradable.transport(session.sid) == "websocket"


@pytest.mark.rig("early_frame")
def test_early_frame(upgradable: rigs.Server) -> None:
    websocket = wire.EngineWebSocket(upgradable.endpoint, extra=wire.text_frame("4early"))
    assert websocket.receive() == "4early"


def test_refused_websocket(upgradable: rigs.Server) -> None:
    for query in ({"answer": "text"}, {"sid": "unknown"}):
        whole = wire.websocket_query(**query)
        if upgradable.spec.refuses:
            with pytest.raises(wire.Refused) as refused:
                wire.WebSocket(upgradable.endpoint, whole)
            answers = (400, 401) if upgradable.spec.refusal else (403,)
            assert refused.value.response.status in answers
        else:
            # The server says 101 before it calls the application: all that is left is to close.
            wire.WebSocket(upgradable.endpoint, whole).answer_close()


def test_end_by_the_client(upgradable: rigs.Server) -> None:
    websocket = upgradable.websocket()
    websocket.send(wire.close_frame(1000))
    assert websocket.read_close() == 1000
    websocket.finish()
    upgradable.assert_ended(websocket.sid, "transport close")


def test_end_by_the_close_packet(upgradable: rigs.Server) -> None:
    websocket = upgradable.websocket()
    websocket.send_text("1")
    websocket.answer_close()
    upgradable.assert_ended(websocket.sid, "client disconnect")


def test_end_by_the_server(upgradable: rigs.Server) -> None:
    session = upgradable.polling()
    upgraded, _ = wire.upgrade(session)
    rigs.until(lambda: upgradable.transport(session.sid) == "websocket")
    direct = upgradable.websocket()
    for websocket, sid in ((upgraded, session.sid), (direct, direct.sid)):
        upgradable.call("disconnect", sid=sid)
        assert websocket.receive() == "1"
        assert websocket.answer_close() == 1000
        upgradable.assert_ended(sid, "server disconnect")


VIOLATIONS = {
    "unmasked": wire.frame(wire.TEXT, b"4x", mask=None),
    "opcode 3": wire.frame(3, b"4x"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_end_by_a_violation(upgradable: rigs.Server, name: str) -> None:
    websocket = upgradable.websocket()
    websocket.send(VIOLATIONS[name])
    upgradable.assert_failed(websocket, 1002)


@pytest.mark.parametrize("packet", ["9", "4" + "x" * 1_000_000], ids=["malformed", "too long"])
def test_end_by_the_server_with_a_code(upgradable: rigs.Server, packet: str) -> None:
    """daphne has no other code than 1000 for us, and no end at all if we ask for one."""
    websocket = upgradable.websocket()
    websocket.send_text(packet)
    code = websocket.answer_close()
    if upgradable.spec.close_codes:
        assert code in (1002, 1009)
    upgradable.wait(websocket.sid, "disconnect")


def test_end_by_reset(upgradable: rigs.Server) -> None:
    websocket = upgradable.websocket()
    websocket.reset()
    upgradable.assert_ended(websocket.sid, "transport close")


def test_requests_behind_the_close_are_not_answered(upgradable: rigs.Server) -> None:
    request = wire.request_bytes("GET", upgradable.endpoint.target(wire.polling_query()))
    websocket = upgradable.websocket()
    websocket.send(wire.close_frame(1000) + request + request)
    assert websocket.read_close() == 1000
    with contextlib.suppress(ConnectionResetError):
        websocket.finish()
    upgradable.assert_ended(websocket.sid, "transport close")


def test_many_websockets_one_after_the_other(upgradable: rigs.Server) -> None:
    for number in range(20):
        websocket = upgradable.websocket()
        websocket.send_text(f"4m{number}")
        assert websocket.receive() == f"4m{number}"
        websocket.send(wire.close_frame(1000))
        assert websocket.read_close() == 1000
        websocket.finish()
        websocket.close()


def test_blocking_handler(upgradable: rigs.Server) -> None:
    websocket = upgradable.websocket()
    websocket.send_text("4hold:up", "4fast")
    assert websocket.receive() == "4fast"
    upgradable.release(websocket.sid, "up")
    assert websocket.receive() == "4held:up"
