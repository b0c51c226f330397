"""When each session next needs attention: a heap of deadlines, whatever the number of clients."""

from contextlib import AbstractContextManager
from heapq import heappop, heappush
from typing import Any


class Heartbeat:
    """Deadlines of sessions, by sid, on the monotonic clock (seconds).

    A session has one valid deadline, the latest that was pushed for it; older entries stay in
    the heap until their time comes and are skipped then. Every method may be called from any
    thread: `lock` guards them.
    """

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._lock = lock

    def __len__(self) -> int:
        """How many sessions have a deadline."""
        return len(self._due)

    def push(self, due: float, sid: str) -> bool:
        """Set the deadline of a session. Returns whether it may be the earliest of all now."""
        with self._lock:
            self._due[sid] = due
            # Entries of sessions that are gone, or were moved, would pile up while many
            # clients come and go within one ping interval.
            if len(self._heap) > 64 + 4 * len(self._due):
                self._heap = sorted((due, sid) for sid, due in self._due.items())
                return self._heap[0][1] == sid
            heappush(self._heap, (due, sid))
            return self._heap[0][1] == sid

    def discard(self, sid: str) -> None:
        """Forget a session; it need not be known."""
        with self._lock:
            self._due.pop(sid, None)

    def pop_due(self, now: float) -> list[str]:
        """Take out the sessions whose deadline has come, earliest first."""
        sids = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                due, sid = heappop(self._heap)
                if self._due.get(sid) == due:
                    del self._due[sid]
                    sids.append(sid)
        return sids

    def next_due(self) -> float | None:
        """Return the earliest deadline, or None when there is none."""
        with self._lock:
            while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
                heappop(self._heap)
            return self._heap[0][0] if self._heap else None
