"""Servers under clients that come and go in every way: see docs/soak.md.

    make soak ARGS="gunicorn-gevent --hours 4"

Names are those of tests/rigs.py, by default one server for each async mode.  A run is a number of
rounds of load; after each one all clients leave, and what the server still holds is looked at.
The first round warms the server up.
"""

import argparse
import json
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

import rigs
import wire
from soak import soak_report

HERE = Path(__file__).parent
RESULTS = HERE.parent.parent / "build" / "soak"
MESSAGES_PER_STEP = 3.2  # on average, see load.make_plan
SETTLE = 30.0  # seconds that ends, timers and threads for use again may take after a round
PORTION = 10_000_000  # more clients than a round can have
MOST_PROBLEMS = 20
LATE = 1.0  # seconds that clients may be behind their plans on a machine that carries them
LEAST_PAUSE = 0.02  # seconds


@dataclass(frozen=True)
class Options:
    """What is run."""

    clients: int = 200  # at a time
    rate: float = 1000.0  # messages a second of all clients together, if nothing holds them up
    rounds: int = 3
    seconds: float = 10.0  # of a round's load
    seed: int = 1
    processes: int = 1  # that the clients are spread over
    ping_interval: float = 1.5  # seconds
    ping_timeout: float = 8.0
    growth: float = 0.05  # of memory from the end of the first round on, as a share


@dataclass(frozen=True)
class Level:
    """What a server takes when all clients have gone."""

    second: float
    memory: int  # bytes, after a garbage collection
    counts: dict[str, int]


@dataclass
class Result:
    """What a run has shown."""

    name: str
    options: Options
    start: Level
    levels: list[Level] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    clients: int = 0
    connects: int = 0
    messages: int = 0  # that came from clients
    busy: float = 0.0  # seconds of load
    cpu: float = 0.0  # seconds of the server in them
    problems: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Of memory, from the end of the first round to that of the last, as a share."""
        return self.levels[-1].memory / self.levels[0].memory - 1


class Failed(Exception):  # noqa: N818 - what it says is the outcome
    """A run has found something; the text says what, and has the end of the server's log."""


def soaked(name: str) -> rigs.Spec:
    """A server of tests/rigs.py with the application of this directory."""
    spec = rigs.SPECS[name]
    ours = {
        "contract_app:app": "soak.wsgi_app:app",
        "async_contract_app:app": "soak.asgi_app:app",
        str(rigs.APPS / "launch.py"): str(HERE / "wsgi_app.py"),
        str(rigs.APPS / "async_launch.py"): str(HERE / "asgi_app.py"),
    }
    command = tuple(ours.get(part, part) for part in spec.command)
    if command == spec.command:
        raise LookupError(f"{name} has an application of its own")
    return replace(spec, command=command)


class Load:
    """The processes with the clients of one round."""

    def __init__(self, rig: rigs.Rig, options: Options, number: int) -> None:
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._running = options.processes
        self._counts: dict[int, dict[str, float]] = {}
        steps = options.rate / MESSAGES_PER_STEP  # a second
        self._processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    str(HERE / "load.py"),
                    json.dumps(
                        {
                            "address": rig.address,
                            "seed": options.seed,
                            "first": number * PORTION + process,
                            "stride": options.processes,
                            "clients": -(-options.clients // options.processes),
                            "seconds": options.seconds,
                            "pause": max(LEAST_PAUSE, options.clients / steps),
                            "websocket": rig.spec.websocket,
                            "holds": options.ping_interval + options.ping_timeout + 1,
                        }
                    ),
                ],
                stdout=subprocess.PIPE,
                env={"PYTHONPATH": str(HERE.parent)},
            )
            for process in range(options.processes)
        ]
        self._readers = [
            threading.Thread(target=self._read, args=numbered)
            for numbered in enumerate(self._processes)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, number: int, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put({"process": number, **json.loads(line)})
        process.stdout.close()
        self._lines.put({"process": number, "status": process.wait()})

    def take(self, seconds: float) -> Iterator[dict[str, Any]]:
        """How clients ended within that time; less when all have."""
        deadline = time.monotonic() + seconds
        while self._running:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            assert line is not None
            if "status" in line:
                self._running -= 1
                if line["status"]:
                    raise Failed(f"the clients ended with status {line['status']}")
            elif "second" in line:
                self._counts[line["process"]] = line
            else:
                yield line

    @property
    def is_running(self) -> bool:
        return bool(self._running)

    @property
    def counts(self) -> dict[str, float]:
        """What the clients counted, all processes together."""
        names = ("clients", "connects", "sent", "received")
        return {name: sum(each[name] for each in self._counts.values()) for name in names}

    @property
    def late(self) -> float:
        """Seconds that a process of clients was late: it has no time left."""
        return max((each["late"] for each in self._counts.values()), default=0.0)

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for reader in self._readers:
            reader.join()


class Match:
    """What clients say, beside what the server says of the same ones."""

    def __init__(self, result: Result) -> None:
        self._result = result
        self._ended: dict[int, dict[str, Any]] = {}
        self._sessions: dict[int, list[Any]] = {}

    def client(self, line: dict[str, Any]) -> None:
        """A client has ended."""
        result = self._result
        result.clients += 1
        result.ends[line["end"]] = result.ends.get(line["end"], 0) + 1
        number = line["client"]
        if number in self._sessions:
            self._check(line, self._sessions.pop(number))
        else:
            self._ended[number] = line

    def server(self, taken: dict[str, Any]) -> None:
        """Sessions have ended."""
        result = self._result
        result.problems += taken["strays"]
        for sid, (client, *seen) in taken["ended"].items():
            if client == "-":
                continue  # the first client of all
            number = int(client)
            for reason in seen[1]:
                result.reasons[reason] = result.reasons.get(reason, 0) + 1
            if number in self._sessions:
                result.problems.append(f"client {number} had two sessions")
            elif number in self._ended:
                self._check(self._ended.pop(number), [sid, *seen])
            else:
                self._sessions[number] = [sid, *seen]

    def _check(self, line: dict[str, Any], session: list[Any]) -> None:
        sid, connects, reasons, received, problems = session
        who = f"client {line['client']} ({sid}, {line['end']}): "
        found = [f"{line['problem']}; the server: {reasons}"] if line["problem"] else []
        found += problems
        if line["sid"] not in ("", sid):
            found.append(f"it has another sid, {line['sid']}")
        if connects != 1:
            found.append(f"{connects} connect events")
        if len(reasons) != 1:
            found.append(f"{len(reasons)} disconnect events: {reasons}")
        elif reasons[0] not in line["reasons"] and not line["problem"]:
            found.append(f"disconnected for {reasons[0]!r}, not for one of {line['reasons']}")
        if received < line["accepted"]:
            found.append(f"message {received + 1} of {line['accepted']} accepted ones was lost")
        self._result.problems += [who + problem for problem in found]

    def finish(self) -> None:
        """All sessions have ended: what is left has no counterpart."""
        for number, line in self._ended.items():
            if line["problem"]:
                self._result.problems.append(f"client {number} ({line['sid']}): {line['problem']}")
            if line["sid"]:
                self._result.problems.append(
                    f"client {number} ({line['sid']}, {line['end']}): no disconnect event"
                )
        for number, session in self._sessions.items():
            self._result.problems.append(f"client {number} ({session[0]}) never ended")
        self._ended.clear()
        self._sessions.clear()


class Run:
    """One server, from its start to the verdict."""

    def __init__(self, name: str, options: Options) -> None:
        timing = {"ping_interval": options.ping_interval, "ping_timeout": options.ping_timeout}
        self.rig = rigs.Rig(soaked(name), config={"soak": timing})
        self.options = options
        self._began = 0.0
        self._start: dict[str, int] = {}  # what the server had before the first round

    def __call__(self) -> Result:
        """Run it; raises Failed.  The server has ended then."""
        self.rig.start()
        try:
            self._began = time.monotonic()
            endpoint = wire.Endpoint(self.rig.address, "/soak/")
            wire.Polling(endpoint).send("1")  # starts what the server keeps for good
            self.rig.settle()
            self._start = self.rig.baseline
            result = Result(self.rig.spec.name, self.options, self._level())
            for number in range(self.options.rounds):
                self._round(result, number)
                if result.problems:
                    problems = result.problems[:MOST_PROBLEMS]
                    late = max(sample["late"] for sample in result.samples)
                    if late > LATE:
                        problems.append(
                            f"The clients were up to {late:.1f} s late: it may have been they who "
                            "kept the server waiting: have fewer, or leave them a processor."
                        )
                    raise Failed("\n".join(problems))
            self._judge(result)
            self.rig.check_log()
        except Exception as error:
            log = self.rig.log() if self.rig.is_running else "(it has ended) " + self.rig.log()
            raise Failed(
                f"{self.rig.spec.name}, seed {self.options.seed}: {type(error).__name__}: {error}\n"
                f"The end of the server's log:\n{log[-5000:]}"
            ) from error
        finally:
            self.rig.stop()
        return result

    def _round(self, result: Result, number: int) -> None:
        """Let the clients come and go, then look at what is left."""
        match = Match(result)
        load = Load(self.rig, self.options, number)
        over = time.monotonic() + self.options.seconds
        is_over = False
        last = self._sample(match, load, None)
        first = last
        try:
            while load.is_running:
                for line in load.take(1.0):
                    match.client(line)
                last = self._sample(match, load, last)
                result.samples.append(last)
                if not is_over and time.monotonic() > over:
                    is_over = True
                    result.busy += last["second"] - first["second"]
                    result.cpu += last["cpu"] - first["cpu"]
                    result.messages += int(last["messages"] - first["messages"])
                    result.connects += int(last["connects"] - first["connects"])
        finally:
            load.stop()
        self._drain(match)
        result.levels.append(self._level())

    def _drain(self, match: Match) -> None:
        """Wait until no session is left, and nothing that they used; it is said what stays."""
        patience = self.options.ping_interval + self.options.ping_timeout + SETTLE
        deadline = time.monotonic() + patience
        while grown := self._grown():
            if time.monotonic() > deadline:
                names = {what: self.rig.control(what) for what in ("threads", "tasks", "files")}
                raise Failed(f"left after {patience:.0f} s: {grown}, had {self._start}; {names}")
            time.sleep(0.2)
            self.rig.control("collect_garbage")  # eventlet and Werkzeug leave connections to it
        match.server(self.rig.control("take_ended"))
        match.finish()

    def _grown(self) -> dict[str, int]:
        return rigs.settings_of(self.rig.control("counts"), self._start)

    def _sample(self, match: Match, load: Load, last: dict[str, float] | None) -> dict[str, float]:
        """Look at the server; sessions that have ended go to `match`."""
        taken = self.rig.control("take_ended")
        match.server(taken)
        processes = self._processes()
        now = time.monotonic() - self._began
        sample: dict[str, float] = {
            "second": now,
            "memory": max(process.memory_info().rss for process in processes),
            "cpu": sum(sum(process.cpu_times()[:2]) for process in processes),
            **self.rig.control("counts"),
            **{f"clients' {name}": count for name, count in load.counts.items()},
            "connects": taken["connects"],
            "messages": taken["messages"],
            "late": load.late,
        }
        if last:
            seconds = now - last["second"]
            for name in ("cpu", "connects", "messages"):
                sample[f"{name}/s"] = (sample[name] - last[name]) / seconds
        return sample

    def _processes(self) -> list[psutil.Process]:
        leader = psutil.Process(self.rig.pid)
        return [leader, *leader.children(recursive=True)]

    def _level(self) -> Level:
        counts = self.rig.control("counts")
        return Level(time.monotonic() - self._began, self.rig.control("memory"), counts)

    def _judge(self, result: Result) -> None:
        """Memory must not have grown; everything else has been looked at after each round."""
        if result.growth > self.options.growth:
            sizes = ", ".join(f"{level.memory / 1e6:.1f}" for level in result.levels)
            raise Failed(f"memory grew: {sizes} MB after each round")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Clients that come and go in every way.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(rigs.SPECS))
    usual = Options()
    parser.add_argument("--clients", type=int, default=usual.clients, help="at a time")
    parser.add_argument("--rate", type=float, default=usual.rate, help="messages a second in all")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of each round")
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--hours", type=float, help="for each server; sets rounds of five minutes")
    parser.add_argument("--seed", type=int, default=usual.seed, help="repeats what clients do")
    parser.add_argument("--processes", type=int, default=usual.processes, help="with clients")
    parser.add_argument("--docs", action="store_true", help="write docs/soak.md's table and plot")
    given = parser.parse_args(arguments)
    if given.hours:
        given.seconds = min(300.0, given.hours * 1200)
        given.rounds = max(3, round(given.hours * 3600 / given.seconds))
    return given


def main() -> int:
    given = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers and clients end too then
    raise_file_limit()
    options = Options(
        clients=given.clients,
        rate=given.rate,
        rounds=given.rounds,
        seconds=given.seconds,
        seed=given.seed,
        processes=given.processes,
        # So many that all are there at once may have to wait for each other.
        ping_timeout=max(Options.ping_timeout, given.clients / 100),
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    failed = 0
    print("\n".join(soak_report.head()), flush=True)
    for name in given.names or rigs.MAIN:
        try:
            result = Run(name, options)()
        except Failed as failure:
            failed += 1
            print(failure, flush=True)
            continue
        results.append(result)
        content = asdict(result)
        (RESULTS / f"{name}.json").write_text(json.dumps(content))
        soak_report.plot_one(content, RESULTS / f"{name}.png")
        print(soak_report.row(content), flush=True)
    contents = [asdict(result) for result in results]
    if contents:
        soak_report.plot_all(contents, RESULTS / "all.svg")
    if given.docs and not failed:
        soak_report.write_page(contents)
    return 1 if failed else 0


def raise_file_limit() -> None:
    """Let servers and clients, which inherit it, have as many files as the system permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
