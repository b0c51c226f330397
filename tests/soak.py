"""Clients that come and go: memory and file descriptors of a server must stay as they are.

    make soak ARGS="gunicorn-gevent uwsgi-source --cycles 10000"

Each cycle is a client that connects by polling, by WebSocket or with an upgrade, gets a message
back and leaves; one in ten is cut off with a TCP reset instead.  Names are those of tests/rigs.py;
without any, all servers are run, and a table is printed.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import rigs
import wire

AT_ONCE = 16  # clients; fewer than any server of tests/rigs.py has threads for
WARM_UP = 1000  # cycles after which memory has found its level
ABORTED = 10  # one in so many
# Seconds.  hypercorn does not tell of a client that cuts its poll off as soon as it has begun.
PING_TIMEOUT = 60.0


@dataclass(frozen=True)
class Usage:
    """What a server takes."""

    memory: int  # bytes, after a garbage collection
    files: int  # open descriptors
    threads: int
    sessions: int


@dataclass(frozen=True)
class Result:
    """What a run has shown."""

    cycles: int
    seconds: float
    before: Usage
    after: Usage

    @property
    def growth(self) -> int:
        """Bytes of memory per thousand cycles."""
        return (self.after.memory - self.before.memory) * 1000 // self.cycles


def poll(server: rigs.Server, aborted: bool) -> None:
    """A client that polls."""
    session = server.polling()
    session.send("4hello")
    assert session.poll() == ["4hello"]
    if aborted:
        session.start_poll().reset()  # the server has to notice by itself
    else:
        session.send("1")


def connect(server: rigs.Server, aborted: bool) -> None:
    """A client with a WebSocket from the start."""
    leave(server.websocket(), aborted)


def upgrade(server: rigs.Server, aborted: bool) -> None:
    """A client that upgrades."""
    session = server.polling()
    if aborted:
        probe = wire.probe(session)
        probe.reset()
        session.send("1")
    else:
        websocket, _ = wire.upgrade(session)
        leave(websocket, aborted)


def leave(websocket: wire.WebSocket, aborted: bool) -> None:
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"
    if aborted:
        websocket.reset()
        return
    websocket.send(wire.close_frame(1000))
    websocket.read_close()
    websocket.close()


def run(rig: rigs.Rig, cycles: int, warm_up: int = WARM_UP) -> Result:
    """Measure what `cycles` clients leave behind in a server that has seen `warm_up` others."""
    server = rig.server()
    kinds = (poll, connect, upgrade) if rig.spec.websocket else (poll,)
    come_and_go(server, kinds, warm_up)
    before = usage(rig)
    start = time.monotonic()
    come_and_go(server, kinds, cycles)
    seconds = time.monotonic() - start
    return Result(cycles, seconds, before, usage(rig))


def come_and_go(
    server: rigs.Server, kinds: Sequence[Callable[[rigs.Server, bool], None]], cycles: int
) -> None:
    def cycle(number: int) -> None:
        kinds[number % len(kinds)](server, number % ABORTED == 0)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for first in range(0, cycles, 100):
            list(pool.map(cycle, range(first, min(first + 100, cycles))))
            server.rig.control("forget")


def usage(rig: rigs.Rig) -> Usage:
    """What the server takes once the last clients are gone."""
    rigs.until(lambda: not rig.control("sids"), PING_TIMEOUT)
    memory = rig.control("memory")  # first: eventlet leaves connections to the garbage collector
    rig.settle()
    counts = rig.baseline
    return Usage(memory, counts["fds"], counts["threads"], counts["sessions"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Connect and disconnect many times.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(rigs.SPECS))
    parser.add_argument("--cycles", type=int, default=10_000)
    given = parser.parse_args()
    print("| server | cycles/s | memory before, after (MB) | bytes/cycle | files | threads |")
    print("|---|---|---|---|---|---|")
    for name in given.names or rigs.SPECS:
        rig = rigs.Rig(rigs.SPECS[name])
        rig.start()
        try:
            result = run(rig, given.cycles)
        finally:
            wire.close_all()
            rig.stop()
        before, after = result.before, result.after
        print(
            f"| {name} | {result.cycles / result.seconds:.0f} "
            f"| {before.memory / 1e6:.1f}, {after.memory / 1e6:.1f} | {result.growth / 1000:.0f} "
            f"| {before.files}, {after.files} | {before.threads}, {after.threads} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
