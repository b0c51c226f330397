"""`engineio bench`: many clients of one server, each with messages on their way there and back.

Two phases, so that connecting does not disturb what is measured: all clients connect, then all send
until the time is over.  The server has to send back what it gets, in order, as `engineio serve`
does: the answer to a client's oldest message is the next one it gets.
"""

import asyncio
import shutil
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engineio.cli import verbatim
from engineio.cli.output import Output, in_ms, milliseconds, printable
from engineio.cli.session import Failure, Status, Target

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

AT_ONCE = 50  # clients that connect at the same time; no server's backlog is shorter by default
TICK = 0.1  # seconds between two looks at what has been done
ERRORS_SHOWN = 3
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
SPARE_DESCRIPTORS = 100


@dataclass(frozen=True)
class Load:
    """What to do: how many clients, for how many seconds, what each sends."""

    clients: int
    duration: float
    size: int
    in_flight: int


class Results:
    """What was measured, in seconds."""

    def __init__(self) -> None:
        self.connecting = array("d")
        self.latencies = array("d")
        self.times = array("d")  # when each answer came, since sending began
        self.errors: Counter[str] = Counter()
        self.elapsed = 0.0
        self.sent = 0
        self.strays = 0
        self.lost_connections = 0


class Member:
    """One of the clients."""

    def __init__(self, bench: "Bench") -> None:
        self.bench = bench
        self.client = bench.target.client()
        self.client.on("message", self._received)
        self.client.on("disconnect", self._disconnected)
        self.is_connected = False
        self.waiting: deque[float] = deque()  # when the messages without an answer were sent

    async def connect(self) -> None:
        """Connect, and note how long it took or what went wrong."""
        began = time.perf_counter()
        try:
            await self.bench.target.connect(self.client)
        except Failure as failure:
            self.bench.results.errors[failure.message] += 1
            return
        self.bench.results.connecting.append(time.perf_counter() - began)
        self.is_connected = True

    async def send(self) -> None:
        """Send one more message."""
        self.waiting.append(time.perf_counter())
        self.bench.results.sent += 1
        await self.client.send(self.bench.text)

    async def _received(self, data: Any) -> None:
        now = time.perf_counter()
        bench = self.bench
        if not self.waiting or verbatim.as_received(data) != bench.text:
            bench.results.strays += 1
            return
        bench.results.latencies.append(now - self.waiting.popleft())
        bench.results.times.append(now - bench.began)
        if bench.is_sending:
            await self.send()

    def _disconnected(self, reason: str) -> None:
        self.is_connected = False
        if not self.bench.is_over:
            self.bench.results.lost_connections += 1
            self.bench.results.errors[f"connection lost: {reason}"] += 1


class Bench:
    """One run."""

    def __init__(self, target: Target, load: Load, progress: Progress) -> None:
        self.target = target
        self.load = load
        self.progress = progress
        self.results = Results()
        self.text = "m" * load.size
        self.members = [Member(self) for _ in range(load.clients)]
        self.began = 0.0
        self.is_sending = False
        self.is_over = False

    async def run(self) -> None:
        """Connect, send, and disconnect whatever happens."""
        try:
            await self._connect()
            await self._send()
        finally:
            self.is_sending = False
            self.is_over = True
            await self._for_all(lambda member: self.target.disconnect(member.client))

    async def _for_all(self, action: Callable[[Member], Any]) -> None:
        free = asyncio.Semaphore(AT_ONCE)

        async def one(member: Member) -> None:
            async with free:
                await action(member)

        await asyncio.gather(*(one(member) for member in self.members))

    async def _connect(self) -> None:
        task = self.progress.add_task("connecting", total=self.load.clients, rate="")

        async def connect(member: Member) -> None:
            await member.connect()
            self.progress.advance(task)

        await self._for_all(connect)

    async def _send(self) -> None:
        connected = [member for member in self.members if member.is_connected]
        if not connected:
            return
        results = self.results
        task = self.progress.add_task("sending", total=self.load.duration, rate="")
        self.is_sending = True
        self.began = time.perf_counter()
        try:
            for member in connected:
                for _ in range(self.load.in_flight):
                    await member.send()
            while (elapsed := time.perf_counter() - self.began) < self.load.duration:
                rate = f"{len(results.latencies) / elapsed:,.0f} messages/s" if elapsed else ""
                self.progress.update(task, completed=elapsed, rate=rate)
                if not any(member.is_connected for member in connected):
                    return
                await asyncio.sleep(min(TICK, self.load.duration - elapsed))
            self.progress.update(task, completed=self.load.duration)
        finally:
            self.is_sending = False
            results.elapsed = time.perf_counter() - self.began
        await self._wait_for_answers(connected)

    async def _wait_for_answers(self, connected: list[Member]) -> None:
        deadline = time.perf_counter() + self.target.timeout
        while any(member.waiting and member.is_connected for member in connected):
            if time.perf_counter() > deadline:
                return
            await asyncio.sleep(TICK / 10)


def summary(values: Iterable[float]) -> dict[str, float]:
    """Return min, p50, p90, p99 and max; {} without values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    quantiles = {name: ordered[round(share * last)] for name, share in QUANTILES.items()}
    return {"min": ordered[0], **quantiles, "max": ordered[-1]}


def histogram(values: Iterable[float], width: int, block: str) -> list[str]:
    """Return a bar for each range of times, from 1-2-5 to 1-2-5; [] without values."""
    counts: Counter[int] = Counter()
    bounds = [factor * 10.0**power for power in range(-6, 5) for factor in (1, 2, 5)]
    for value in values:
        index = 0
        while index < len(bounds) - 1 and value >= bounds[index]:
            index += 1
        counts[index] += 1
    if not counts:
        return []
    most = max(counts.values())
    room = max(10, width - 36)
    lines = []
    for index in range(min(counts), max(counts) + 1):
        number = counts[index]
        bar = block * max(round(room * number / most), 1 if number else 0)
        lines.append(f"  under {milliseconds(bounds[index]):>9}  {number:>9,}  {bar}".rstrip())
    return lines


def as_json(load: Load, results: Results) -> dict[str, Any]:
    """Return what --json prints; docs/command-line.md describes it."""
    answered = len(results.latencies)
    rate = answered / results.elapsed if results.elapsed else 0.0
    return {
        "clients": load.clients,
        "connected": len(results.connecting),
        "lost_connections": results.lost_connections,
        "sent": results.sent,
        "received": answered,
        "unanswered": results.sent - answered,
        "seconds": round(results.elapsed, 3),
        "per_second": round(rate, 1),
        "connect_ms": {name: in_ms(value) for name, value in summary(results.connecting).items()},
        "latency_ms": {name: in_ms(value) for name, value in summary(results.latencies).items()},
        "errors": dict(results.errors),
    }


def report(load: Load, results: Results, output: Output) -> None:
    """Print the results for a person."""

    def times(values: Iterable[float]) -> str:
        return "  ".join(f"{name} {milliseconds(value)}" for name, value in summary(values).items())

    found = as_json(load, results)
    output.line(f"connected   {found['connected']} of {load.clients}")
    if results.connecting:
        output.line(f"  took      {times(results.connecting)}")
    if results.elapsed:
        output.line(
            f"messages    {found['received']:,} in {results.elapsed:.2f} s: "
            f"{found['per_second']:,.0f} per second"
        )
    if results.latencies:
        output.line(f"  latency   {times(results.latencies)}")
    if results.sent:
        output.line(f"  unanswered  {found['unanswered']:,}")
    if results.strays:
        output.line(f"  others    {results.strays:,} that were no answers")
    for error, number in results.errors.most_common(ERRORS_SHOWN):
        output.line(f"{number} x {printable(error)}")
    block = "\N{FULL BLOCK}"
    try:
        block.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        block = "#"
    for line in histogram(results.latencies, shutil.get_terminal_size().columns, block):
        output.line(line)


def allow_descriptors(number: int) -> None:
    """Let this process have so many connections, as far as the system allows it."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * number + SPARE_DESCRIPTORS  # an upgrade has two for a moment
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def bench(
    target: Target,
    load: Load,
    output: Output,
    save_plot: Callable[[Results], None] | None,
) -> Status:
    """Run, with a progress bar on a terminal, and print the results."""
    allow_descriptors(load.clients)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    status = Status.OK
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        run = Bench(target, load, progress)
        try:
            await run.run()
        except asyncio.CancelledError:
            status = Status.INTERRUPTED
    results = run.results
    if output.as_json:
        output.event("bench", **as_json(load, results))
    else:
        report(load, results, output)
    if save_plot is not None:
        save_plot(results)
    if status or not results.connecting:
        return status or Status.NOT_CONNECTED
    if results.lost_connections:
        return Status.LOST
    complete = len(results.connecting) == load.clients
    is_answered = results.sent == len(results.latencies)
    return Status.OK if complete and is_answered else Status.UNANSWERED
