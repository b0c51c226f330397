"""protocol.md, Handshake."""

import re
import threading
import uuid

import pytest

import rigs
import wire


def test_open_packet(server: rigs.Server) -> None:
    session = server.polling()
    assert session.opening == {
        "sid": session.sid,
        "upgrades": ["websocket"],
        "pingInterval": 25000,
        "pingTimeout": 20000,
        "maxPayload": 1000000,
    }
    assert session.early == []


def test_response_headers(server: rigs.Server) -> None:
    response = server.polling().handshake
    assert response.header("Content-Type") == "text/plain; charset=UTF-8"
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Content-Length") == str(len(response.body))
    assert response.header("Set-Cookie") is None


def test_open_frame(server: rigs.Server) -> None:
    session = server.websocket()
    assert session.opening == {
        "sid": session.sid,
        "upgrades": [],
        "pingInterval": 25000,
        "pingTimeout": 20000,
        "maxPayload": 1000000,
    }


def test_milliseconds_are_rounded_integers(rig: rigs.Rig) -> None:
    text = rig.server("rounded").polling().handshake.body.decode()
    assert re.search(r'"pingInterval": ?1235[,}]', text)
    assert re.search(r'"pingTimeout": ?300[,}]', text)


def test_max_payload_is_the_option(rig: rigs.Rig) -> None:
    assert rig.server("small").polling().opening["maxPayload"] == 1000


def test_sid_form(server: rigs.Server) -> None:
    sids = {server.polling().sid for _ in range(10)} | {server.websocket().sid for _ in range(5)}
    assert len(sids) == 15
    for sid in sids:
        assert re.fullmatch(r"[A-Za-z0-9_-]{20}", sid)


@pytest.mark.parametrize("name", ["polling_only", "no_upgrades"])
def test_no_upgrades_to_offer(rig: rigs.Rig, name: str) -> None:
    assert rig.server(name).polling().opening["upgrades"] == []


def test_websocket_only(rig: rigs.Rig) -> None:
    session = rig.server("websocket_only").websocket()
    session.send_text("4hello")
    assert session.receive() == "4hello"


def test_messages_sent_by_the_connect_handler_follow_open(server: rigs.Server) -> None:
    assert server.polling(welcome="3").early == ["4welcome-0", "4welcome-1", "4welcome-2"]
    session = server.websocket(welcome="3")
    assert session.receive_text(3) == ["4welcome-0", "4welcome-1", "4welcome-2"]


REJECTIONS = {"false": "Unauthorized", "json": {"because": "of this"}, "text": "keep out"}


@pytest.mark.parametrize("answer", [*REJECTIONS, "raise"])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_rejected(server: rigs.Server, transport: str, answer: str) -> None:
    token = uuid.uuid4().hex
    query = {"EIO": "4", "transport": transport, "token": token, "answer": answer, "welcome": "2"}
    if transport == "polling":
        response = server.request("GET", query)
    else:
        with pytest.raises(wire.Refused) as refused:
            wire.WebSocket(server.endpoint, query)
        response = refused.value.response
    assert response.status == 401
    assert response.header("Content-Type") == "application/json"
    if answer != "raise":
        assert response.json() == REJECTIONS[answer]
    sid = server.call("token", token=token, timeout=rigs.WAIT)
    assert server.events(sid) == [["connect"]]
    assert not server.is_alive(sid)
    assert server.request("GET", wire.polling_query(sid)).json()["code"] == 1


def test_true_accepts(server: rigs.Server) -> None:
    server.assert_alive(server.polling(answer="true"))


def test_sid_is_unknown_until_the_connect_handler_returns(server: rigs.Server) -> None:
    token = uuid.uuid4().hex
    sessions: list[wire.Polling] = []
    thread = threading.Thread(
        target=lambda: sessions.append(server.polling(token=token, slow="0.8"))
    )
    thread.start()
    sid = server.call("token", token=token, timeout=rigs.WAIT)
    for method, body in (("GET", None), ("POST", b"4early")):
        response = server.request(method, wire.polling_query(sid), None, body)
        assert (response.status, response.json()["code"]) == (400, 1)
    with pytest.raises(wire.Refused) as refused:
        wire.WebSocket(server.endpoint, wire.websocket_query(sid))
    assert refused.value.response.json()["code"] == 1
    assert thread.is_alive(), "too slow a machine for this test"
    thread.join()
    assert sessions[0].sid == sid
    server.assert_alive(sessions[0])
    assert server.messages(sid) == ["still here"]


def test_a_slow_connect_handler_holds_nobody_else_back(server: rigs.Server) -> None:
    token = uuid.uuid4().hex
    thread = threading.Thread(target=lambda: server.polling(token=token, slow="0.8"))
    thread.start()
    server.call("token", token=token, timeout=rigs.WAIT)
    server.assert_alive(server.polling())
    assert thread.is_alive(), "too slow a machine for this test"
    thread.join()
