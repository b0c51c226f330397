"""How long the body of a POST may take."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from engineio.exceptions import ProtocolError

LOOKS = 4  # at all of them in the time that one may take


class LateBodyError(ProtocolError):
    """A body took longer than `body_timeout`."""

    status = 408


class Bodies:
    """The bodies that are being read now, and a timer for all of them while there are any.

    A client that sends a byte now and then would keep a thread for ever: its session ends when no
    ping is answered, but who reads does not learn of that.

    `stop` ends the reading, without waiting; it gets what was given to `begin`. `lock` guards
    everything in here.
    """

    def __init__(self, stop: Callable[[Any], Any], lock: AbstractContextManager[Any]) -> None:
        self._stop = stop
        self._lock = lock
        self._reading: dict[Any, tuple[float, Any]] = {}
        self._timed_by: Any = None

    def begin(self, session: Any, reader: Any, seconds: float, loop: Any) -> None:
        """Note that a session's body is read from now on, for at most so long."""
        with self._lock:
            self._reading[session] = (time.monotonic() + seconds, reader)
            if self._timed_by is loop:
                return
            self._timed_by = loop  # another one after a shutdown, which ends timers
        self._look_later(seconds, loop)

    def end(self, session: Any) -> bool:
        """Note that its body is not read any more. Returns True if that was stopped."""
        with self._lock:
            return self._reading.pop(session, None) is None

    def _look_later(self, seconds: float, loop: Any) -> None:
        wait = seconds / LOOKS
        at_least = time.monotonic() + wait / 2
        loop.call_later(wait, lambda: self._look(at_least, seconds, loop))

    def _look(self, at_least: float, seconds: float, loop: Any) -> None:
        now = time.monotonic()
        with self._lock:  # so that nobody who has just ended is stopped
            for session, (due, reader) in list(self._reading.items()):
                if due <= now:
                    del self._reading[session]
                    self._stop(reader)
            # A loop that ends runs its timers before their time.
            goes_on = self._timed_by is loop and bool(self._reading) and now >= at_least
            if not goes_on and self._timed_by is loop:
                self._timed_by = None
        if goes_on:
            self._look_later(seconds, loop)
