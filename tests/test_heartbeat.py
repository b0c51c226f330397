"""The heap of deadlines, beside a dictionary that does the same slowly."""

import threading
from contextlib import nullcontext

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engineio.heartbeat import Heartbeat

SIDS = st.sampled_from("abcdef")
TIMES = st.integers(0, 40).map(float)


class HeartbeatMachine(RuleBasedStateMachine):
    """Any sequence of calls gives what a search through a dictionary gives.

    `alarm` is when somebody wakes who waits for the next deadline and is told of earlier ones.
    """

    @initialize()
    def start(self) -> None:
        self.heartbeat = Heartbeat(nullcontext())
        self.due: dict[str, float] = {}
        self.now = 0.0
        self.alarm: float | None = None

    @rule(sid=SIDS, delay=TIMES)
    def push(self, sid: str, delay: float) -> None:
        due = self.now + delay
        self.due[sid] = due
        if self.heartbeat.push(due, sid):
            self.alarm = self.heartbeat.next_due()

    @rule(delay=TIMES)
    def push_a_crowd(self, delay: float) -> None:
        """Enough moved deadlines for the heap to be cleaned up."""
        for number in range(80):
            self.push("abcdef"[number % 6], delay + number % 7)

    @rule(sid=SIDS)
    def discard(self, sid: str) -> None:
        self.due.pop(sid, None)
        self.heartbeat.discard(sid)

    @rule(passed=TIMES)
    def pop_due(self, passed: float) -> None:
        self.now += passed
        expected = {sid: due for sid, due in self.due.items() if due <= self.now}
        popped = self.heartbeat.pop_due(self.now)
        assert sorted(popped) == sorted(expected)
        assert [expected[sid] for sid in popped] == sorted(expected.values())
        for sid in popped:
            del self.due[sid]
        self.alarm = self.heartbeat.next_due()

    @invariant()
    def nobody_oversleeps(self) -> None:
        if self.due:
            assert self.alarm is not None
            assert self.alarm <= min(self.due.values())

    @invariant()
    def same_length(self) -> None:
        assert len(self.heartbeat) == len(self.due)

    @rule()
    def next_due(self) -> None:
        assert self.heartbeat.next_due() == min(self.due.values(), default=None)


TestHeartbeat = HeartbeatMachine.TestCase


def test_empty() -> None:
    heartbeat = Heartbeat(nullcontext())
    assert heartbeat.next_due() is None
    assert heartbeat.pop_due(1e9) == []
    heartbeat.discard("unknown")
    assert len(heartbeat) == 0


def test_an_earlier_and_a_later_deadline_replace_the_one_before() -> None:
    heartbeat = Heartbeat(nullcontext())
    assert heartbeat.push(10.0, "a")
    assert heartbeat.push(5.0, "a")
    assert heartbeat.pop_due(5.0) == ["a"]
    assert heartbeat.pop_due(10.0) == []
    heartbeat.push(20.0, "a")
    heartbeat.push(30.0, "a")
    assert heartbeat.pop_due(29.9) == []
    assert heartbeat.next_due() == 30.0


def test_a_deadline_is_due_at_its_very_time() -> None:
    heartbeat = Heartbeat(nullcontext())
    heartbeat.push(10.0, "a")
    assert heartbeat.pop_due(9.999) == []
    assert heartbeat.pop_due(10.0) == ["a"]


@given(st.lists(st.tuples(TIMES, st.text("ab", min_size=1, max_size=4)), max_size=200))
def test_what_is_gone_does_not_pile_up(pushes: list[tuple[float, str]]) -> None:
    heartbeat = Heartbeat(nullcontext())
    for due, sid in pushes * 5:
        heartbeat.push(due, sid)
        heartbeat.discard(sid)
    # 64 entries of slack, then what is outdated is thrown away.
    assert len(heartbeat._heap) <= 65
    assert len(heartbeat) == 0


def test_threads() -> None:
    heartbeat = Heartbeat(threading.Lock())
    popped: list[str] = []

    def push(name: str) -> None:
        for number in range(500):
            heartbeat.push(float(number), f"{name}{number}")
            popped.extend(heartbeat.pop_due(number / 2))

    threads = [threading.Thread(target=push, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    popped += heartbeat.pop_due(500.0)
    assert len(popped) == len(set(popped)) == 2000
    assert heartbeat.next_due() is None
