"""`engineio ping`: how long a message takes there and back, as ping(8) shows it."""

import asyncio
import math
import time
from collections import deque
from itertools import count as counter

from engineio.cli.output import Output, in_ms, milliseconds
from engineio.cli.session import Failure, Link, Lost, Status, Target

# After so many pings without any answer, what to do about it is said, once.
HINT_AFTER = 3


class Statistics:
    """Of times in seconds, in constant space."""

    def __init__(self) -> None:
        self.sent = self.received = 0
        self.least = math.inf
        self.most = 0.0
        self.mean = 0.0
        self._squares = 0.0  # sum of squared distances from the mean

    def add(self, seconds: float) -> None:
        """Count an answer."""
        self.received += 1
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)
        # Welford's way: a difference of large sums would lose the small numbers.
        distance = seconds - self.mean
        self.mean += distance / self.received
        self._squares += distance * (seconds - self.mean)

    @property
    def deviation(self) -> float:
        """The standard deviation, of all answers and not of a sample."""
        return math.sqrt(self._squares / self.received) if self.received else 0.0

    def print(self, output: Output, target: Target) -> None:
        """Print the summary."""
        lost = self.sent - self.received
        times: dict[str, float] = {}
        if self.received:
            times = {"min": self.least, "avg": self.mean, "max": self.most}
            times["stddev"] = self.deviation
        if output.as_json:
            fields = {name: in_ms(seconds) for name, seconds in times.items()}
            sent = {"sent": self.sent, "received": self.received, "lost": lost}
            output.event("summary", **sent, **fields)
            return
        share = f"{100 * lost / self.sent:.3g} % lost" if self.sent else "nothing sent"
        output.line(f"\n--- {target.url} ping statistics ---")
        output.line(f"{self.sent} sent, {self.received} received, {share}")
        if times:
            values = "/".join(f"{seconds * 1000:.3f}" for seconds in times.values())
            output.line(f"round trip {'/'.join(times)} = {values} ms")


class Pings:
    """The messages of one connection that have not been answered."""

    def __init__(self, link: Link) -> None:
        self.link = link
        # Bounded: a server that never answers is asked for as long as somebody likes.
        self._waiting: deque[str] = deque(maxlen=1000)

    async def measure(self, seq: int) -> tuple[float | None, str]:
        """Send a message and wait for its answer: seconds, or None, and the transport it took.

        Raises `Lost`.
        """
        text = f"ping {seq}"
        transport = self.link.transport
        self._waiting.append(text)
        sent = time.perf_counter()
        await self.link.client.send(text)
        try:
            at = await asyncio.wait_for(self._answer(text), self.link.target.timeout)
        except asyncio.TimeoutError:
            return None, transport
        return at - sent, transport

    async def watch(self, seconds: float) -> None:
        """Wait, and see late answers and the connection's end meanwhile."""
        try:
            await asyncio.wait_for(self._answer(None), seconds)
        except asyncio.TimeoutError:
            return

    async def _answer(self, wanted: str | None) -> float:
        while True:
            kind, value = await self.link.events.get()
            if kind == "close":
                raise Lost(value)
            if kind == "message":
                data, at = value
                if self._answered(data) == wanted is not None:
                    return float(at)

    def _answered(self, data: str | bytes) -> str | None:
        """Return the ping that a message answers: one that says the same, or the next for "pong".

        The latter is what the latency examples of this package answer to everything.
        """
        if data == "pong" and self._waiting:
            return self._waiting.popleft()
        if data not in self._waiting:
            return None
        while (text := self._waiting.popleft()) != data:
            pass
        return text


async def ping(
    target: Target, count: int | None, interval: float, handshake: bool, output: Output
) -> Status:
    """Measure until `count` pings are sent, Ctrl-C, or the end of the connection."""
    statistics = Statistics()
    status = Status.OK
    link = Link(target)
    try:
        if handshake:
            await _handshakes(target, count, interval, output, statistics)
        else:
            await link.open()
            output.event("open", sid=link.client.sid, transport=link.transport)
            if not output.as_json:
                output.line(f"PING {target.url} over {link.transport}")
            await _messages(Pings(link), count, interval, output, statistics)
    except asyncio.CancelledError:
        if not statistics.sent:
            return Status.INTERRUPTED
    except Lost as lost:
        output.event("close", reason=lost.reason)
        output.note(lost.message)
        status = Status.LOST
    finally:
        await link.close()
    statistics.print(output, target)
    return status or (Status.OK if statistics.received else Status.UNANSWERED)


async def _messages(
    pings: Pings, count: int | None, interval: float, output: Output, statistics: Statistics
) -> None:
    for seq in counter(1):
        statistics.sent += 1
        began = time.perf_counter()
        seconds, transport = await pings.measure(seq)
        _report(output, statistics, seq, seconds, transport)
        if seq == HINT_AFTER and not statistics.received:
            output.note(
                "No answer yet.  The server has to send messages back, as `engineio serve` does; "
                "with --handshake any server will do."
            )
        if seq == count:
            return
        await pings.watch(began + interval - time.perf_counter())


async def _handshakes(
    target: Target, count: int | None, interval: float, output: Output, statistics: Statistics
) -> None:
    transport = target.transports[0]
    if not output.as_json:
        output.line(f"PING {target.url}, a handshake over {transport} each")
    for seq in counter(1):
        link = Link(target)
        statistics.sent += 1
        began = time.perf_counter()
        seconds = None
        try:
            await link.open((transport,))
            seconds = link.opening
        except Failure as failure:
            if seq == 1:
                raise
            output.note(failure.message)
        finally:
            await link.close()
        _report(output, statistics, seq, seconds, transport)
        if seq == count:
            return
        await asyncio.sleep(max(0.0, began + interval - time.perf_counter()))


def _report(
    output: Output, statistics: Statistics, seq: int, seconds: float | None, transport: str
) -> None:
    if seconds is not None:
        statistics.add(seconds)
    output.event("ping", seq=seq, transport=transport, ms=in_ms(seconds))
    if not output.as_json:
        what = "no answer" if seconds is None else f"time={milliseconds(seconds)}"
        output.line(f"seq={seq} transport={transport} {what}")
