"""The table of sessions."""

from engineio import packet as wire
from engineio.manager import Manager
from engineio.packet import Packet


class Member:
    """A client that remembers what it was sent."""

    def __init__(self, sid: str) -> None:
        self.sid = sid
        self.packets: list[Packet] = []
        self.is_gone = False

    def push(self, pkt: Packet) -> bool:
        if self.is_gone:
            return False
        self.packets.append(pkt)
        return True


def test_add_and_remove() -> None:
    manager: Manager[Member] = Manager()
    one = Member("one")
    manager.add(one)
    assert manager.get("one") is one
    assert manager.sockets == {"one": one}
    manager.remove("one")
    manager.remove("one")
    assert manager.get("one") is None
    assert manager.sockets == {}


def test_send() -> None:
    manager: Manager[Member] = Manager()
    one, two = Member("one"), Member("two")
    manager.add(one)
    manager.add(two)
    packet = Packet(wire.MESSAGE, "hello")
    assert manager.send("one", packet)
    assert one.packets == [packet]
    assert two.packets == []
    assert not manager.send("unknown", packet)
    two.is_gone = True
    assert not manager.send("two", packet)


def test_all_is_a_snapshot() -> None:
    manager: Manager[Member] = Manager()
    for sid in "abc":
        manager.add(Member(sid))
    for member in manager.all():
        manager.remove(member.sid)
    assert manager.sockets == {}
    assert list(manager.all()) == []


def test_leaving() -> None:
    manager: Manager[Member] = Manager()
    one = Member("one")
    manager.add(one)
    manager.leave(one)
    manager.remove("one")
    assert manager.get("one") is None
    assert manager.leaving("one") is one
    assert not manager.send("one", Packet(wire.PING))
    assert list(manager.all()) == []
    manager.left("one")
    manager.left("one")
    assert manager.leaving("one") is None
