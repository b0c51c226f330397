"""How many clients there may be, and how fast they may come; what was counted.

Nothing here knows the time.
"""

from collections import Counter
from contextlib import AbstractContextManager
from ipaddress import IPv6Address, IPv6Network
from typing import Any

from engineio.request import TOO_MANY_CLIENTS, TOO_MANY_REQUESTS, Reject, parse_address
from engineio.settings import Settings

# More addresses than this are not remembered for their rate: who has been away for the longest
# time is forgotten first.
MAX_ADDRESSES = 10_000

# Whoever has one IPv6 address has the rest of its network too (RFC 6177).
_IPV6_PREFIX = 64


class Admission:
    """Who may come in. `lock` guards everything in here."""

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._clients = 0
        self._by_group: Counter[str] = Counter()
        self._allowances: dict[str, tuple[float, float]] = {}
        self._counts = {what: Counter[str]() for what in ("connects", "disconnects", "refused")}

    def admit(self, settings: Settings, address: str, now: float) -> str | Reject:
        """Let one more client in. Returns what to give to `leave` at its end, or why it may not.

        address: as `client_address` has it; with "" only the clients in total are limited.
        """
        most = settings.max_clients
        rate = settings.max_handshakes_per_address
        most_here = settings.max_clients_per_address
        group = _group(address) if rate is not None or most_here is not None else ""
        with self._lock:
            if group and rate is not None and not self._take_allowance(group, rate, now):
                return Reject(429, TOO_MANY_REQUESTS, "max_handshakes_per_address")
            if most is not None and self._clients >= most:
                return Reject(503, TOO_MANY_CLIENTS, "max_clients")
            if group and most_here is not None and self._by_group[group] >= most_here:
                return Reject(429, TOO_MANY_CLIENTS, "max_clients_per_address")
            self._clients += 1
            if group:
                self._by_group[group] += 1
            return group

    def leave(self, group: str) -> None:
        """Forget a client."""
        with self._lock:
            self._clients -= 1
            if group:
                self._by_group[group] -= 1
                if not self._by_group[group]:
                    del self._by_group[group]

    def count(self, what: str, key: str) -> None:
        """Count something for `totals`."""
        with self._lock:
            self._counts[what][key] += 1

    def totals(self) -> dict[str, dict[str, int]]:
        """Return a copy of what was counted."""
        with self._lock:
            return {what: dict(counter) for what, counter in self._counts.items()}

    def _take_allowance(self, group: str, rate: float, now: float) -> bool:
        """Take one from what an address has saved up: a second's worth at most, but at least one.

        Returns False if there is none.
        """
        most = max(rate, 1.0)
        saved, since = self._allowances.pop(group, (most, now))
        saved = min(most, saved + (now - since) * rate)
        is_allowed = saved >= 1
        # Put at the end: the first ones have been away for the longest time.
        self._allowances[group] = (saved - 1 if is_allowed else saved, now)
        if len(self._allowances) > MAX_ADDRESSES:
            del self._allowances[next(iter(self._allowances))]
        return is_allowed


def _group(address: str) -> str:
    """Return what an address is counted as."""
    found = parse_address(address) if ":" in address else None
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, _IPV6_PREFIX), strict=False))
    return address if found is None else str(found)
