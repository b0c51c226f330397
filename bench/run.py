"""Measure this project beside python-engineio 4.15.1 and the JavaScript engine.io.

    python bench/run.py                     everything
    python bench/run.py gevent ws-echo      servers and scenarios whose names begin so
    python bench/run.py --quick             the most important rows, within 60 s
    python bench/run.py --list              all names

Needs two free cores, Linux, gcc, and `pip install -e .[bench]`. README.md beside this file says how
to read the answer.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import installations
import report
from installations import BENCH, UnavailableError
from scenarios import ASYNCIO_HOSTS, CLIENT_HOSTS, IDLE_PING_INTERVAL, QUICK, SCENARIOS, Scenario
from servers import FLOOR, JAVASCRIPT, UPSTREAM, RunningServer, Server, all_servers
from tqdm import tqdm

RESULTS = BENCH / "results"
QUICK_HOSTS = ("gevent", "eventlet", "gunicorn-gthread", "ws", "eiows")
JIT_WARM_UP = 1.5  # seconds that the JavaScript server is given at least: it compiles as it runs
TRANSIENT_ERRORS = 0.01  # errors per message that a figure survives, marked


@dataclass(frozen=True)
class Effort:
    """How long each measurement takes, in seconds, and how often it is repeated."""

    rounds: int
    warm_up: float
    seconds: float


FULL = Effort(rounds=3, warm_up=0.3, seconds=1.0)
SHORT = Effort(rounds=1, warm_up=0.2, seconds=0.5)


@dataclass
class Cores:
    """Where the server runs, and where everything else does."""

    load: int
    server: int

    @classmethod
    def choose(cls) -> "Cores":
        """Move this process away from the server's core; what it starts inherits that."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise SystemExit("bench needs two cores: one for the server, one for the load")
        chosen = cls(cores[0], cores[-1])
        os.sched_setaffinity(0, {chosen.load})
        return chosen


@dataclass
class Bench:
    """The run: what was measured, by scenario, server and round."""

    effort: Effort
    cores: Cores
    load_generator: Path
    results: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)

    def rounds(self, scenario: Scenario) -> int:
        """How often a scenario is measured."""
        return min(self.effort.rounds, scenario.rounds or self.effort.rounds)

    def measure(self, scenario: Scenario, servers: Sequence[Server], progress: "tqdm[Any]") -> None:
        """Measure a scenario on all servers, one after the other in each round.

        The servers run for the whole scenario; a server that is not asked costs nothing.
        """
        results = self.results.setdefault(scenario.name, {})
        notes = self.notes.setdefault(scenario.name, {})
        if scenario.same_run_as in self.results:
            for server in servers:
                if server.lacks(scenario) is None:
                    _copy(server.name, self.results[scenario.same_run_as], results)
                    _copy(server.name, self.notes[scenario.same_run_as], notes)
            progress.update(len(servers) * self.rounds(scenario))
            return
        with contextlib.ExitStack() as stack:
            running = self._start(scenario, servers, stack)
            pace: dict[str, float] = {}
            for number in range(self.rounds(scenario)):
                # Whoever comes first must not always be the same one.
                for server in servers if number % 2 == 0 else servers[::-1]:
                    progress.set_postfix_str(f"{scenario.name} {server.name}")
                    if server in running:
                        try:
                            if scenario.paced:
                                self._find_pace(scenario, server, running, pace)
                            answer = self._load(
                                scenario, server, running[server], pace.get(server.host)
                            )
                            results.setdefault(server.name, []).append(answer)
                            if trouble := _trouble(answer):
                                notes[server.name] = trouble
                        except (UnavailableError, TimeoutError) as error:
                            notes[server.name] = str(error)
                            running.pop(server).stop()
                    progress.update()

    def _start(
        self, scenario: Scenario, servers: Sequence[Server], stack: contextlib.ExitStack
    ) -> dict[Server, RunningServer]:
        running: dict[Server, RunningServer] = {}
        notes = self.notes[scenario.name]
        for server in servers:
            reason = server.lacks(scenario)
            if reason is not None:
                notes[server.name] = reason
                continue
            try:
                process = RunningServer(server, scenario, self.cores.server)
            except UnavailableError as error:
                notes[server.name] = str(error)
                continue
            stack.callback(process.stop)
            running[server] = process
        for server, process in list(running.items()):
            try:
                process.wait_until_ready()
            except UnavailableError as error:
                notes[server.name] = str(error)
                del running[server]
        return running

    def _find_pace(
        self,
        scenario: Scenario,
        server: Server,
        running: dict[Server, RunningServer],
        pace: dict[str, float],
    ) -> None:
        """Half of what python-engineio carries on this host is everybody's load there."""
        slowest = Server(UPSTREAM, server.host)
        if slowest not in running:
            raise UnavailableError("no python-engineio to take half the load of")
        if server.host not in pace:
            pace[server.host] = self._load(scenario, slowest, running[slowest])["rate"] / 2

    def _load(
        self,
        scenario: Scenario,
        server: Server,
        process: RunningServer,
        pace: float | None = None,
    ) -> dict[str, Any]:
        if scenario.is_of_clients:
            return self._load_client(scenario, server, process)
        clients = scenario.clients_on(server.host)
        least = JIT_WARM_UP if server.maker == JAVASCRIPT else 0.0
        warm_up = max(self.effort.warm_up, least)
        options = ["-n", str(clients), "-w", str(warm_up), "--name", server.name]
        options += ["-t", str(self.effort.seconds), "--hold", str(IDLE_PING_INTERVAL)]
        if pace is not None:
            options += ["--pace", str(pace)]
        with self._idle_clients(scenario.idle_on(server.host), process):
            command = [*self._command(process), *options]
            command[1:1] = scenario.arguments
            answer = self._answer(command)
        answer["clients"] = clients
        if not answer.get("count") and not answer.get("opened"):
            kinds = ", ".join(answer.get("err_kinds", {})) or "nothing came back"
            raise UnavailableError(f"failed: {kinds}")
        return answer

    def _load_client(
        self, scenario: Scenario, server: Server, process: RunningServer
    ) -> dict[str, Any]:
        """Run the clients; they say what it cost them."""
        command = server.load_command(scenario, process.port)
        command += ["--clients", str(scenario.clients), "--warm-up", str(self.effort.warm_up)]
        answer = self._answer([*command, "--seconds", str(self.effort.seconds)])
        return {**answer, "clients": scenario.clients}

    def _answer(self, command: list[str]) -> dict[str, Any]:
        limit = 90 + 10 * self.effort.seconds
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=limit
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"no answer in {limit:g} s") from None
        if not done.stdout:
            raise UnavailableError(f"the load generator failed: {done.stderr.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _command(self, process: RunningServer) -> list[str]:
        return [str(self.load_generator), "--port", str(process.port), "--pid", str(process.pid)]

    @contextlib.contextmanager
    def _idle_clients(self, count: int, process: RunningServer) -> Iterator[None]:
        if not count:
            yield
            return
        command = self._command(process)
        command[1:1] = ["idle", "-n", str(count), "-c", "50", "--hold", "600"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as idle:
            try:
                process.wait_for_clients(count, seconds=30)
                yield
            finally:
                idle.terminate()


def _copy(name: str, source: dict[str, Any], target: dict[str, Any]) -> None:
    if name in source:
        target[name] = source[name]


def _trouble(answer: dict[str, Any]) -> str | None:
    """Return what went wrong in a measurement that is kept all the same."""
    count = answer.get("count") or answer.get("opened") or 1
    found = []
    if answer["errors"] > TRANSIENT_ERRORS * count:
        found.append(f"errors: {', '.join(answer.get('err_kinds', {})) or answer['errors']}")
    for name in ("badecho", "reordered", "dead"):
        if answer[name]:
            found.append(f"{name}: {answer[name]}")
    if answer["stalled"]:
        found.append("stalled for 3 s")
    return "; ".join(found) or None


def select(names: Sequence[str], quick: bool) -> tuple[list[Scenario], list[Server]]:
    """Return what the names on the command line stand for.

    A name is that of a scenario or a server, or the beginning of scenarios' names. The JavaScript
    servers come along with the sync ones, which are compared with them.
    """
    servers = all_servers()
    hosts = {server.host for server in servers} | {server.maker for server in servers}
    wanted_servers = {name for name in names if name in hosts}
    wanted_scenarios = tuple(name for name in names if name not in hosts)
    for name in wanted_scenarios:
        if not any(known.startswith(name) for known in SCENARIOS):
            raise SystemExit(f"no scenario or server is called {name!r}: see --list")
    scenarios = [
        scenario
        for name, scenario in SCENARIOS.items()
        if (name.startswith(wanted_scenarios) if wanted_scenarios else not quick or name in QUICK)
    ]
    if wanted_servers:
        keep = set(wanted_servers)
        if not wanted_servers <= {*ASYNCIO_HOSTS, *CLIENT_HOSTS}:
            keep.add(JAVASCRIPT)
        servers = [each for each in servers if each.host in keep or each.maker in keep]
    elif quick:
        servers = [each for each in servers if each.host in QUICK_HOSTS and each.maker != FLOOR]
    return scenarios, servers


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="scenarios and servers; all by default")
    parser.add_argument("--quick", action="store_true", help="end within 60 s, with less precision")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--seconds", type=float, help="for each measurement")
    parser.add_argument("--name", help="of the files in bench/results; the time by default")
    return parser.parse_args(arguments)


def _print_names() -> None:
    for scenario in SCENARIOS.values():
        print(f"{scenario.name:20} {scenario.title}")
    print()
    for server in all_servers():
        print(server.name)


def _environment() -> dict[str, Any]:
    packages = ("python-engineio", *installations.HOSTS, "gunicorn")
    cpu = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0]
    commit = subprocess.run(
        ["git", "-C", str(BENCH), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "cpu": cpu.strip(" \t:"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "packages": {name: version(name) for name in packages},
    }


def _install(scenarios: Sequence[Scenario], servers: Sequence[Server]) -> None:
    """Make what is needed before the clock runs: the first time this takes minutes."""
    for server in servers:
        for scenario in scenarios:
            if server.lacks(scenario) is None:
                with contextlib.suppress(UnavailableError):  # a note in the table says so
                    server.command(scenario, 0)
                break


def main(arguments: Sequence[str]) -> None:
    """Measure, print the table, and leave the figures and a plot in bench/results."""
    options = _options(arguments)
    if options.list:
        _print_names()
        return
    scenarios, servers = select(options.names, options.quick)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chosen = SHORT if options.quick else FULL
    effort = Effort(
        rounds=options.rounds or chosen.rounds,
        warm_up=chosen.warm_up,
        seconds=options.seconds or chosen.seconds,
    )
    try:
        bench = Bench(effort, Cores.choose(), installations.load_generator())
    except UnavailableError as error:
        raise SystemExit(f"bench: {error}") from None
    _install(scenarios, servers)
    total = len(servers) * sum(bench.rounds(scenario) for scenario in scenarios)
    with tqdm(total=total, unit="run", dynamic_ncols=True, disable=None) as progress:
        for scenario in scenarios:
            if progress.disable:  # not a terminal: a line for a log instead
                print(f"{scenario.name} ...", file=sys.stderr)
            bench.measure(scenario, servers, progress)
    run = {
        "environment": _environment(),
        "effort": vars(effort),
        "results": bench.results,
        "notes": bench.notes,
    }
    print(report.table(run))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / (options.name or time.strftime("run-%Y%m%d-%H%M%S"))
    path.with_suffix(".json").write_text(json.dumps(run) + "\n")
    report.plot(run, path.with_suffix(".svg"))
    print(f"\nWritten to {path.with_suffix('.json')} and {path.with_suffix('.svg')}.")


if __name__ == "__main__":
    main(sys.argv[1:])
