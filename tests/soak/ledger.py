"""What the server of a soak run knows of each client, under WSGI and for asyncio alike.

A message of a client begins with its number: "17 " and anything.  The server sends it back.  What
it sends by itself is "s1", "s2", ... for each client, and "c1", "c2", ... broadcast to all.
"""

import threading
from typing import Any
from urllib.parse import parse_qs

# What `bye` and `leave` are answered with: how many messages of the client came, how many of its
# own the server has sent it, and the broadcasts that it must have got: those after the first
# number, up to the second one.
LAST = "last {} {} {} {}"
WAIT = 0.03  # seconds; longer than anybody takes a handler for a quick one
TELL_EVERY = 5  # messages of a client


class Entry:
    """One session."""

    __slots__ = (
        "client",
        "connects",
        "is_quiet",
        "problems",
        "reasons",
        "received",
        "since",
        "told",
    )

    def __init__(self, client: str) -> None:
        self.client = client
        self.connects = 0
        self.reasons: list[str] = []
        self.received = 0
        self.told = 0
        self.since: int | None = None
        self.is_quiet = False
        self.problems: list[str] = []


class Ledger:
    """All sessions since the last `take_ended`.

    `lock` makes a message's number and its place among those of the server one thing; it is held
    while messages are sent, which never waits, but may end a session.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.broadcasts = 0
        self.connects = 0
        self.messages = 0
        self._open: dict[str, Entry] = {}
        self._ended: list[str] = []
        self._strays: list[str] = []

    def connected(self, sid: str, query: str) -> None:
        with self.lock:
            self.connects += 1
            entry = self._open.setdefault(sid, Entry(parse_qs(query).get("client", ["-"])[0]))
            entry.connects += 1

    def received(self, sid: str, data: str | bytes) -> bool:
        """Note a message that was numbered by its client; says whether it is time to tell it.

        Takes no lock: a handler that waits for one may be overtaken, and order is lost by right.
        """
        head = data[:12].partition(" " if isinstance(data, str) else b" ")[0]  # type: ignore[arg-type]
        number = int(head)
        self.messages += 1  # threads may lose one of these
        entry = self._open.get(sid)
        if entry is None:
            self._strays.append(f"message {number} of {sid}, which is not connected")
            return False
        if entry.reasons:
            entry.problems.append(f"message {number} after the disconnect handler")
        if number != entry.received + 1:
            entry.problems.append(f"message {number} came after {entry.received}")
        entry.received = number
        if entry.since is None:
            entry.since = self.broadcasts
        return number % TELL_EVERY == 0

    def next_told(self, sid: str) -> str | None:
        """What to send to a client; None for one that has said good-bye.  Call with the lock."""
        entry = self._open.get(sid)
        if entry is None or entry.is_quiet or entry.reasons:
            return None
        entry.told += 1
        return f"s{entry.told}"

    def next_broadcast(self) -> str:
        """What to send to all.  Call with the lock."""
        self.broadcasts += 1
        return f"c{self.broadcasts}"

    def last_words(self, sid: str) -> str:
        """What to answer to a client that leaves.  Call with the lock."""
        entry = self._open.get(sid)
        if entry is None:
            self._strays.append(f"the last message of {sid}, which is not connected")
            return LAST.format(0, 0, 0, 0)
        entry.is_quiet = True
        since = self.broadcasts if entry.since is None else entry.since
        return LAST.format(entry.received, entry.told, since, self.broadcasts)

    def disconnected(self, sid: str, reason: str) -> None:
        with self.lock:
            entry = self._open.get(sid)
            if entry is None:
                self._strays.append(f"{sid} was disconnected again: {reason}")
                return
            if not entry.reasons:
                self._ended.append(sid)
            entry.reasons.append(reason)

    def sids(self) -> list[str]:
        with self.lock:
            return [sid for sid, entry in self._open.items() if not entry.reasons]

    def take_ended(self) -> dict[str, Any]:
        """Counts of the whole run, and the sessions that ended, which are forgotten."""
        with self.lock:
            ended, self._ended = self._ended, []
            entries = {sid: self._open.pop(sid) for sid in ended}
            strays, self._strays = self._strays, []
        return {
            "connects": self.connects,
            "messages": self.messages,
            "broadcasts": self.broadcasts,
            "strays": strays,
            "ended": {
                sid: [entry.client, entry.connects, entry.reasons, entry.received, entry.problems]
                for sid, entry in entries.items()
            },
        }
