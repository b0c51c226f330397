"""Short runs of tests/soak, and that it sees what it is there to see."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from soak import load, run_soak

# An allocator keeps some of what it had for a while; in so short a run that is no sign of a leak.
GROWTH = 0.15
SHORT = run_soak.Options(
    clients=60, rate=400, rounds=2, seconds=1.5, growth=GROWTH, ping_interval=0.5, ping_timeout=8.0
)


def test_clients_leave_nothing_behind() -> None:
    names = ("threading", "gevent", "aiohttp")
    with ThreadPoolExecutor() as pool:  # most of the time they wait
        for result in pool.map(lambda name: run_soak.Run(name, SHORT)(), names):
            assert result.clients >= SHORT.clients * SHORT.rounds
            assert len(result.ends) >= 8, result.ends  # ways to leave
            assert result.messages
            assert result.levels[-1].counts["sessions"] == 0


# -- what a run sees

CLIENT: dict[str, Any] = {
    "client": 7,
    "sid": "S",
    "end": "close",
    "reasons": ["client disconnect"],
    "accepted": 3,
    "problem": "",
}
# Client, connect events, disconnect events, messages received, problems.
SESSION: list[Any] = ["7", 1, ["client disconnect"], 3, []]


def problems_of(clients: list[dict[str, Any]], sessions: dict[str, list[Any]]) -> list[str]:
    level = run_soak.Level(0.0, 0, {})
    result = run_soak.Result("none", SHORT, level)
    match = run_soak.Match(result)
    for client in clients:
        match.client(client)
    match.server({"strays": [], "ended": sessions})
    match.finish()
    return result.problems


def changed(position: int, value: object) -> list[Any]:
    return [*SESSION[:position], value, *SESSION[position + 1 :]]


def test_a_client_and_its_session_match() -> None:
    assert problems_of([CLIENT], {"S": SESSION}) == []


@pytest.mark.parametrize(
    ("clients", "sessions", "problem"),
    [
        ([CLIENT], {"S": changed(1, 2)}, "2 connect events"),
        ([CLIENT], {"S": changed(2, ["client disconnect"] * 2)}, "2 disconnect events"),
        ([CLIENT], {"S": changed(2, ["ping timeout"])}, "disconnected for 'ping timeout'"),
        ([CLIENT], {"S": changed(3, 2)}, "message 3 of 3 accepted ones was lost"),
        ([CLIENT], {"S": changed(4, ["message 3 came after 1"])}, "message 3 came after 1"),
        ([CLIENT], {"T": SESSION}, "another sid"),
        ([CLIENT], {}, "no disconnect event"),
        ([], {"S": SESSION}, "never ended"),
        ([], {"S": SESSION, "T": SESSION}, "two sessions"),
        ([{**CLIENT, "problem": "it got nothing"}], {"S": SESSION}, "it got nothing"),
    ],
)
def test_what_is_wrong_is_seen(
    clients: list[dict[str, Any]], sessions: dict[str, list[Any]], problem: str
) -> None:
    found = problems_of(clients, sessions)
    assert any(problem in each and "client 7" in each for each in found), found


@pytest.mark.parametrize(
    ("heard", "trouble"),
    [
        (["2 two"], "instead of message 1"),
        (["1 one", "1 one"], "instead of message 2"),
        (["1 one", b"2 tw", "1 one"], "once more"),
        (["1 on"], "instead of message 1"),
        (["s1", "s3"], "instead of s2"),
        (["c4", "c6"], "broadcast 6 came after 4"),
        (["1 one", "last 2 0 0 0"], "message 2 has not come back"),
        (["1 one", b"2 tw", "last 1 0 0 0"], "the server has 1 of 2"),
        (["1 one", b"2 tw", "s1", "last 2 2 0 0"], "sent 2 messages of its own, 1 came"),
        (["1 one", b"2 tw", "c5", "last 2 0 3 5"], "of the broadcasts 4 to 5 came 5 to 5"),
        (["1 one", b"2 tw", "c5", "last 2 0 4 6"], "of the broadcasts 5 to 6 came 5 to 5"),
        (["1 one", b"2 tw", "s1", "c4", "c5", "last 2 1 3 5"], ""),
    ],
)
def test_what_a_client_hears_is_checked(heard: list[str | bytes], trouble: str) -> None:
    class Client(load.Client):
        """One that has sent two messages."""

        def __init__(self) -> None:
            super().__init__(load.Load(("127.0.0.1", 0), 1, 0.1, True, 1.0), 1)
            self.sent = 2
            self.expected.extend([Said("1 one"), Said(b"2 tw")])

    async def hear() -> str:
        client = Client()
        try:
            for data in heard:
                client.hear(data)
        except load.Trouble as error:
            return str(error)
        return ""

    found = asyncio.run(hear())
    assert trouble in found
    assert bool(found) == bool(trouble)


class Said(load.Message):
    """A message of a given text."""

    def __init__(self, data: str | bytes) -> None:
        super().__init__(int(data[:1]), len(data), isinstance(data, bytes))
        object.__setattr__(self, "text", data)

    @property
    def data(self) -> str | bytes:
        text: str | bytes = self.__dict__["text"]
        return text


def test_a_seed_repeats_what_clients_do() -> None:
    plans = [load.make_plan(seed, 5, 0.1, True) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
