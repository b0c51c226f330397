"""One client's session, by values: a lock that is none, and time as a number."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from engineio import packet as wire
from engineio.exceptions import OverlapError, PacketError
from engineio.packet import Packet
from engineio.session import PACKET_COST, Beat, Carrier, Life, Session
from engineio.settings import Settings

INTERVAL, TIMEOUT = 25.0, 20.0


def nothing() -> None:
    """A waiter that nobody waits with."""


@pytest.fixture
def session() -> Session:
    return Session("sid", Settings(), nullcontext())


@pytest.fixture
def client(session: Session) -> Session:
    """A session that is open."""
    assert session.open()
    return session


def encoded(packets: list[Packet]) -> list[str | bytes]:
    return [packet.encode() for packet in packets]


def poll(session: Session, limit: int | None = None) -> list[str | bytes]:
    """One GET that does not wait."""
    session.start_poll()
    packets = session.answer_poll(limit, nothing)
    session.end_poll()
    return encoded(packets)


# -- life


def test_a_life(session: Session) -> None:
    assert (session.connected, session.closing, session.closed) == (False, False, False)
    assert session.open()
    assert (session.connected, session.closing, session.closed) == (True, False, False)
    assert session.start_close("ping timeout")
    assert (session.connected, session.closing, session.closed) == (False, True, False)
    session.life = Life.CLOSED
    assert (session.connected, session.closing, session.closed) == (False, True, True)
    assert session.reason == "ping timeout"
    assert not session.closed_early


def test_the_first_close_wins(client: Session) -> None:
    assert client.start_close("ping timeout")
    assert not client.start_close("client disconnect")
    assert client.reason == "ping timeout"


def test_closed_before_it_was_open(session: Session) -> None:
    assert session.start_close("server disconnect")
    assert session.closed_early
    assert not session.open()


def test_open_twice(client: Session) -> None:
    assert not client.open()
    assert client.connected


def test_nothing_starts_after_the_end(client: Session) -> None:
    client.start_close("client disconnect")
    assert not client.open()
    assert not client.start_upgrade()
    assert client.beat(1e9) is None


# -- polling


def test_a_poll_takes_everything(client: Session) -> None:
    client.enqueue(Packet(wire.MESSAGE, "one"))
    client.enqueue(Packet(wire.MESSAGE, b"two"))
    assert client.buffered == len("4one") + len("bdHdv") + 2 * PACKET_COST
    assert poll(client) == ["4one", b"two"]
    assert client.buffered == 0
    assert poll(client) == []


def test_a_poll_with_a_limit(client: Session) -> None:
    for text in "abcde":
        client.enqueue(Packet(wire.MESSAGE, text))
    assert poll(client, 2) == ["4a", "4b"]
    assert client.buffered == 3 * (2 + PACKET_COST)
    assert poll(client, 3) == ["4c", "4d", "4e"]
    assert client.buffered == 0


def test_a_poll_that_waits_is_told(client: Session) -> None:
    client.start_poll()
    woken: list[bool] = []
    assert client.answer_poll(None, lambda: woken.append(True)) == []
    assert client.waiter is not None
    client.waiter()
    assert woken == [True]
    client.enqueue(Packet(wire.MESSAGE, "one"))
    assert encoded(client.answer_poll(None, nothing)) == ["4one"]
    assert client.waiter is None


def test_the_end_of_a_poll_forgets_its_waiter(client: Session) -> None:
    client.start_poll()
    client.answer_poll(None, nothing)
    client.end_poll()
    assert client.waiter is None
    assert not client.is_polling


def test_a_second_poll(client: Session) -> None:
    client.start_poll()
    assert client.is_polling
    with pytest.raises(OverlapError):
        client.start_poll()
    client.end_poll()
    client.start_poll()


def test_a_second_post(client: Session) -> None:
    client.start_post()
    with pytest.raises(OverlapError):
        client.start_post()
    client.end_post()
    client.start_post()


def test_a_poll_and_a_post_at_a_time(client: Session) -> None:
    client.start_poll()
    client.start_post()


def test_a_poll_after_the_end(client: Session) -> None:
    client.enqueue(Packet(wire.MESSAGE, "one"))
    client.start_close("server disconnect")
    client.life = Life.CLOSED
    assert poll(client) == ["4one"]
    assert poll(client) == ["1"]


# -- upgrade


def test_an_upgrade(client: Session) -> None:
    client.enqueue(Packet(wire.MESSAGE, "one"))
    assert client.start_upgrade()
    assert (client.carrier, client.upgrading, client.upgraded) == (Carrier.UPGRADING, True, False)
    answer = client.probe(wire.PING, "probe")
    assert answer is not None
    assert answer.encode() == "3probe"
    assert (client.carrier, client.upgrading, client.upgraded) == (Carrier.PROBING, True, False)
    assert client.probe(wire.UPGRADE, "") is None
    assert encoded(client.finish_upgrade()) == ["4one"]
    assert (client.carrier, client.upgrading, client.upgraded) == (Carrier.WEBSOCKET, False, True)
    assert client.buffered == 0


def test_a_poll_after_the_upgrade(client: Session) -> None:
    client.start_poll()
    client.start_upgrade()
    client.finish_upgrade()
    assert encoded(client.answer_poll(None, nothing)) == ["6"]


@pytest.mark.parametrize(
    ("packet_type", "data"),
    [
        (wire.UPGRADE, ""),
        (wire.PING, ""),
        (wire.PING, "Probe"),
        (wire.PONG, "probe"),
        (wire.MESSAGE, "probe"),
        (wire.MESSAGE, b"2probe"),
        (wire.CLOSE, ""),
        (wire.NOOP, ""),
    ],
)
def test_what_is_no_probe(client: Session, packet_type: int, data: Any) -> None:
    client.start_upgrade()
    with pytest.raises(PacketError):
        client.probe(packet_type, data)
    client.end_upgrade()
    assert client.carrier is Carrier.POLLING
    assert client.start_upgrade()


@pytest.mark.parametrize(
    ("packet_type", "data"), [(wire.MESSAGE, "too early"), (wire.PING, "probe"), (wire.PONG, "")]
)
def test_what_is_no_upgrade_packet(client: Session, packet_type: int, data: Any) -> None:
    client.start_upgrade()
    client.probe(wire.PING, "probe")
    with pytest.raises(PacketError):
        client.probe(packet_type, data)


def test_a_second_upgrade(client: Session) -> None:
    assert client.start_upgrade()
    assert not client.start_upgrade()
    client.finish_upgrade()
    assert not client.start_upgrade()


def test_an_upgrade_cannot_be_taken_back(client: Session) -> None:
    client.start_upgrade()
    client.finish_upgrade()
    client.end_upgrade()
    assert client.upgraded


def test_no_upgrade_before_the_client_is_in(session: Session) -> None:
    assert not session.start_upgrade()


# -- heartbeat


def test_a_heartbeat(client: Session) -> None:
    assert client.plan_ping(100.0) == 100.0 + INTERVAL
    assert client.beat(124.9) == 125.0
    assert client.beat(125.0) is Beat.PING
    assert client.pinged(125.0) == 145.0
    assert client.beat(130.0) == 145.0
    assert client.ponged()
    assert client.beat(130.0) is None
    assert client.plan_ping(130.0) == 155.0
    assert client.beat(145.0) == 155.0


def test_silence(client: Session) -> None:
    client.plan_ping(0.0)
    client.pinged(25.0)
    assert client.beat(44.999) == 45.0
    assert client.beat(45.0) is Beat.TIMEOUT


def test_a_pong_that_nobody_asked_for(client: Session) -> None:
    assert not client.ponged()
    client.plan_ping(0.0)
    assert not client.ponged()
    assert client.beat(10.0) == 25.0
    client.pinged(25.0)
    assert client.ponged()
    assert not client.ponged()


def test_a_process_that_was_stalled_gives_time(client: Session) -> None:
    client.plan_ping(0.0)
    client.pinged(25.0)
    assert client.beat(1000.0, stalled=True) == 1020.0
    assert client.beat(1019.0) == 1020.0
    assert client.beat(1020.0) is Beat.TIMEOUT


def test_options_are_read_when_used(client: Session) -> None:
    client.settings.ping_interval = 5
    client.settings.ping_timeout = 2
    assert client.plan_ping(0.0) == 5.0
    assert client.pinged(5.0) == 7.0


def test_no_heartbeat_unless_open(session: Session) -> None:
    session.plan_ping(0.0)
    assert session.beat(1000.0) is None
    session.open()
    assert session.beat(1000.0) is Beat.PING


# -- a client, at random


class Model:
    """What a session should do, in as few words as possible: a list and some flags."""

    def __init__(self) -> None:
        self.sent = 0
        self.received: list[int] = []
        self.ended = False
        self.upgraded = False
        self.probing = False
        self.trying = False
        self.polling = False
        self.waiting = False
        self.ping_due: float | None = INTERVAL
        self.pong_due: float | None = None

    @property
    def due(self) -> float | None:
        return self.pong_due if self.pong_due is not None else self.ping_due

    def fetch(self, packets: list[Packet]) -> None:
        for packet in packets:
            if packet.packet_type == wire.MESSAGE:
                self.received.append(int(packet.data))


class SessionMachine(RuleBasedStateMachine):
    """A client and a server play with a Session; the model knows what must come of it."""

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.model = Model()
        self.session = Session("sid", Settings(), nullcontext())
        assert self.session.open()
        assert self.session.plan_ping(0.0) == self.model.due

    @rule()
    def send(self) -> None:
        """The server sends a message, as Socket.send does."""
        if self.session.closed:
            return
        packet = Packet(wire.MESSAGE, str(self.model.sent))
        self.model.sent += 1
        if self.session.upgraded:
            self.model.fetch([packet])
            return
        self.session.enqueue(packet)
        waiter, self.session.waiter = self.session.waiter, None
        assert (waiter is not None) == self.model.waiting
        if waiter is not None:
            waiter()

    def woken(self) -> None:
        self.model.waiting = False

    @rule(limit=st.none() | st.integers(1, 3))
    def poll(self, limit: int | None) -> None:
        if self.model.polling:
            with pytest.raises(OverlapError):
                self.session.start_poll()
        else:
            self.session.start_poll()
            self.model.polling = True
        self.look(limit)

    @precondition(lambda self: self.model.polling)
    @rule(limit=st.none() | st.integers(1, 3))
    def look(self, limit: int | None) -> None:
        """The GET asks for its answer, or asks again because it was woken."""
        self.model.waiting = True
        packets = self.session.answer_poll(limit, self.woken)
        if self.model.upgraded:
            assert encoded(packets) == ["6"]
        elif len(self.model.received) < self.model.sent:
            assert packets
            assert limit is None or len(packets) <= limit
        elif self.session.closed:
            assert encoded(packets) == ["1"]
        else:
            assert packets == []
            return
        self.model.fetch(packets)
        self.end_poll()

    @precondition(lambda self: self.model.polling)
    @rule()
    def end_poll(self) -> None:
        self.session.end_poll()
        self.model.polling = self.model.waiting = False

    @rule()
    def post(self) -> None:
        self.session.start_post()
        with pytest.raises(OverlapError):
            self.session.start_post()
        self.session.end_post()

    @rule()
    def start_upgrade(self) -> None:
        model = self.model
        possible = not (model.trying or model.upgraded or model.ended)
        assert self.session.start_upgrade() == possible
        model.trying = model.trying or possible

    @precondition(lambda self: self.model.trying)
    @rule()
    def probe(self) -> None:
        if self.model.probing:
            with pytest.raises(PacketError):
                self.session.probe(wire.PING, "probe")
            self.give_up()
            return
        answer = self.session.probe(wire.PING, "probe")
        assert answer is not None
        assert answer.encode() == "3probe"
        self.model.probing = True

    @precondition(lambda self: self.model.trying)
    @rule()
    def upgrade(self) -> None:
        if not self.model.probing:
            with pytest.raises(PacketError):
                self.session.probe(wire.UPGRADE, "")
            self.give_up()
            return
        assert self.session.probe(wire.UPGRADE, "") is None
        if not self.session.connected:
            self.give_up()
            return
        self.model.fetch(self.session.finish_upgrade())
        self.session.end_upgrade()  # as every shell does in the end
        self.model.trying = self.model.probing = False
        self.model.upgraded = True
        assert self.model.received == list(range(self.model.sent))

    @precondition(lambda self: self.model.trying)
    @rule()
    def give_up(self) -> None:
        self.session.end_upgrade()
        self.model.trying = self.model.probing = False

    @rule(passed=st.floats(0, 30))
    def time_passes(self, passed: float) -> None:
        self.now += passed
        due, beat = self.model.due, self.session.beat(self.now)
        if self.model.ended or due is None:
            assert beat is None
        elif self.now < due:
            assert beat == due
        elif self.model.pong_due is not None:
            assert beat is Beat.TIMEOUT
            self.close("ping timeout")
        else:
            assert beat is Beat.PING
            self.model.ping_due, self.model.pong_due = None, self.now + TIMEOUT
            assert self.session.pinged(self.now) == self.model.due

    @rule()
    def pong(self) -> None:
        expected = self.model.pong_due is not None
        assert self.session.ponged() == expected
        if expected:
            self.model.pong_due, self.model.ping_due = None, self.now + INTERVAL
            assert self.session.plan_ping(self.now) == self.model.due

    @rule(reason=st.sampled_from(["client disconnect", "transport error"]))
    def close(self, reason: str) -> None:
        assert self.session.start_close(reason) != self.model.ended
        if not self.model.ended:
            assert self.session.reason == reason
        self.model.ended = True

    @precondition(lambda self: self.model.ended)
    @rule()
    def closed(self) -> None:
        """The disconnect handler has run."""
        self.session.life = Life.CLOSED

    @invariant()
    def nothing_lost_or_twice(self) -> None:
        received = self.model.received
        assert received == list(range(len(received)))
        waiting = [int(packet.data) for packet in self.session.outbox]
        assert received + waiting == list(range(self.model.sent))

    @invariant()
    def buffered_is_the_sum(self) -> None:
        assert self.session.buffered == sum(
            len(packet.wire) + PACKET_COST for packet in self.session.outbox
        )

    @invariant()
    def flags(self) -> None:
        session, model = self.session, self.model
        assert session.connected != model.ended
        assert session.closing == model.ended
        assert (session.upgrading, session.upgraded) == (model.trying, model.upgraded)
        assert session.is_polling == model.polling
        assert (session.waiter is not None) == model.waiting


TestSessionMachine: Callable[..., Any] = SessionMachine.TestCase
TestSessionMachine.settings = hypothesis_settings(  # type: ignore[attr-defined]
    max_examples=100, stateful_step_count=40, deadline=None
)
