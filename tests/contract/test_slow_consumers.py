"""Clients that do not read: the sender never waits, the buffer is bounded, memory comes back."""

import pytest

import rigs
import wire

MEGABYTE = 1_000_000


def slow_websocket(server: rigs.Server) -> wire.EngineWebSocket:
    """A client whose kernel takes in little."""
    return wire.EngineWebSocket(server.endpoint, receive_buffer=4096)


def test_buffer_full_over_a_websocket(rig: rigs.Rig) -> None:
    server = rig.server("send_buffer")
    websocket = slow_websocket(server)
    # More than the kernel's buffers on both sides hold, far more than max_send_buffer.
    server.call("burst", sid=websocket.sid, count=200, size=100_000)
    server.assert_ended(websocket.sid, "send buffer full")


def test_buffer_full_over_polling(rig: rigs.Rig) -> None:
    server = rig.server("send_buffer")
    session = server.polling()
    server.call("burst", sid=session.sid, count=20, size=10_000)
    server.assert_ended(session.sid, "send buffer full")


def test_below_the_limit(rig: rigs.Rig) -> None:
    server = rig.server("send_buffer")
    session = server.polling()
    for _ in range(5):
        server.call("burst", sid=session.sid, count=9, size=10_000)
        assert len(session.receive(9)) == 9
    websocket = server.websocket()
    for _ in range(30):
        server.call("burst", sid=websocket.sid, count=9, size=10_000)
        assert len(websocket.receive_text(9)) == 9


def test_a_slow_client_holds_neither_sender_nor_others_back(server: rigs.Server) -> None:
    slow, fast = slow_websocket(server), server.websocket()
    server.call("burst", sid=slow.sid, count=100, size=100_000)
    fast.send_text("4hello")
    assert fast.receive() == "4hello"
    got = slow.receive_text(100)
    assert [message.rstrip("x") for message in got] == [f"4burst-{n}" for n in range(100)]


def test_a_slow_client_that_leaves(server: rigs.Server) -> None:
    slow = slow_websocket(server)
    server.call("burst", sid=slow.sid, count=100, size=100_000)
    slow.reset()
    server.assert_ended(slow.sid, "transport close")


def test_a_slow_client_can_be_disconnected(server: rigs.Server) -> None:
    slow = slow_websocket(server)
    server.call("burst", sid=slow.sid, count=100, size=100_000)
    assert server.call("disconnect", sid=slow.sid) < 2
    server.assert_ended(slow.sid, "server disconnect")


def fill_and_end(server: rigs.Server, end: str) -> None:
    """Buffer 40 MB for clients that do not read, then let them read it all or leave."""
    before = server.rig.control("memory")
    slow = [slow_websocket(server) for _ in range(4)]
    for websocket in slow:
        server.call("burst", sid=websocket.sid, count=20, size=MEGABYTE // 2)
    assert server.rig.control("memory") > before + 10 * MEGABYTE
    for websocket in slow:
        if end == "read":
            websocket.receive_text(20)
        else:
            websocket.reset()
            server.wait(websocket.sid, "disconnect")


@pytest.mark.parametrize("end", ["read", "leave"])
def test_memory_comes_back(server: rigs.Server, end: str) -> None:
    # What the allocator keeps of the first round serves the second.
    fill_and_end(server, end)
    before = server.rig.control("memory")
    fill_and_end(server, end)
    rigs.until(lambda: server.rig.control("memory") < before + 10 * MEGABYTE)
