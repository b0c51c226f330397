"""Which of the clients that wait for an answer have gone."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from ._handover import has_hung_up

SWEEP_INTERVAL = 1.0  # seconds


class Hangups:
    """Sockets of polls that wait, each looked at once per interval.

    A watcher per poll, armed and disarmed, cost more than twenty such looks, and most polls are
    over long before the first.
    """

    def __init__(self) -> None:
        self._watched: dict[int, tuple[Any, Callable[[], Any]]] = {}
        self._numbers = count()

    def __len__(self) -> int:
        """How many polls wait."""
        return len(self._watched)

    def add(self, sock: Any, on_hangup: Callable[[], Any]) -> Callable[[], None]:
        """Call `on_hangup` once if the peer goes away. Returns how to stop that."""
        number = next(self._numbers)
        self._watched[number] = (sock, on_hangup)

        def stop() -> None:
            self._watched.pop(number, None)

        return stop

    def sweep(self) -> Iterator[Callable[[], Any]]:
        """Return what must be called now, because the peer has gone; one call may stop another."""
        for number, (sock, on_hangup) in list(self._watched.items()):
            if number not in self._watched or not has_hung_up(sock):
                continue
            if self._watched.pop(number, None) is not None:
                yield on_hangup
