"""Messages of 8 MB, both ways, on both transports and every server."""

import base64
import os
import time

import pytest

import rigs
import wire

SIZE = 8_000_000


@pytest.fixture(scope="module")
def text() -> str:
    return "4" + "€uro" * (SIZE // 6)


@pytest.fixture(scope="module")
def data() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture
def server(any_rig: rigs.Rig) -> rigs.Server:
    return any_rig.server("big")


@pytest.fixture
def upgradable(server: rigs.Server) -> rigs.Server:
    """A server on which WebSocket must work; conftest.py leaves the others out."""
    assert server.spec.websocket
    return server


def test_websocket(upgradable: rigs.Server, text: str, data: bytes) -> None:
    websocket = upgradable.websocket()
    websocket.send_text(text)
    assert websocket.receive() == text
    websocket.send_binary(data)
    assert websocket.receive() == data


def test_slow_reader(upgradable: rigs.Server, data: bytes) -> None:
    websocket = upgradable.websocket()
    websocket.send_binary(data)
    upgradable.wait(websocket.sid, "message")
    other = upgradable.websocket()
    for _ in range(3):
        time.sleep(0.05)  # the answer is stuck in the server meanwhile
        other.send_text("4hello")
        assert other.receive() == "4hello"
    assert websocket.receive() == data


def test_websocket_fragments(upgradable: rigs.Server, data: bytes) -> None:
    websocket = upgradable.websocket()
    step = 100_000
    for at in range(0, SIZE, step):
        opcode = 0 if at else wire.BINARY
        websocket.send(wire.frame(opcode, data[at : at + step], fin=at + step >= SIZE))
    assert websocket.receive() == data


def test_polling(server: rigs.Server, text: str, data: bytes) -> None:
    session = server.polling()
    session.send(text)
    assert session.poll() == [text]
    packet = "b" + base64.b64encode(data).decode()
    session.send(packet)
    assert session.poll() == [packet]


def test_several_clients_at_once(upgradable: rigs.Server, data: bytes) -> None:
    part = data[: SIZE // 4]
    websockets = [upgradable.websocket() for _ in range(4)]
    for websocket in websockets:
        websocket.send_binary(part)
    for websocket in websockets:
        assert websocket.receive() == part
