"""What is measured, and what issues 3, 4 and 5 ask of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

WEBSOCKET, POLLING = "WebSocket", "polling"
# The default of 25 would make an idle row take a minute.  It lasts as long: one ping for each.
IDLE_PING_INTERVAL = 3.0  # seconds

THREADED_CLIENTS = 500  # instead of 2,000 where each client needs a thread
COLUMNS = ("gevent", "eventlet", "gunicorn-gthread")  # the columns of issue 3's table
ASYNCIO_HOSTS = ("uvicorn", "hypercorn", "aiohttp")  # for which issue 4 has one number a scenario
CLIENT_HOSTS = ("client", "async-client")  # no servers: Client and AsyncClient


@dataclass(frozen=True)
class Targets:
    """How many times better this project must be at least, by host.

    Better than what: python-engineio on the same host, the JavaScript server on ws or on eiows,
    our own figure on gevent, and our own figure in another scenario (`Scenario.base`).
    """

    upstream: Mapping[str, float] = field(default_factory=dict)
    ws: Mapping[str, float] = field(default_factory=dict)
    eiows: Mapping[str, float] = field(default_factory=dict)
    gevent: Mapping[str, float] = field(default_factory=dict)
    base: float | None = None


@dataclass(frozen=True)
class Scenario:
    """One thing that is measured.

    `arguments` are the load generator's. `figure` is the field of its answer that counts; `unit`
    says what that is, and `less_is_better`. `threaded_clients` replaces the number of clients
    where each needs a thread. `idle` clients are connected besides. A `paced` scenario sends half
    of what python-engineio carries under the same server, so it has no meaning without that one.
    `base` is the scenario of which `targets.base` speaks. `same_run_as` is one whose run, if there
    was one, has this figure too.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    transport: str = WEBSOCKET
    figure: str = "per_cpu_s"
    unit: str = "messages per CPU second"
    less_is_better: bool = False
    clients: int = 100
    threaded_clients: int | None = None
    idle: int = 0
    paced: bool = False
    rounds: int | None = None
    ping_interval: float = 25.0
    base: str | None = None
    same_run_as: str | None = None
    targets: Targets = field(default_factory=Targets)

    @property
    def is_of_clients(self) -> bool:
        """Whether this is about clients and not about servers."""
        return self.arguments[0] == "load-client"

    @property
    def counts_connections(self) -> bool:
        """Whether this is about connections and not about the messages on them."""
        return self.arguments[0] in ("ws-connect", "idle")

    def clients_on(self, host: str) -> int:
        """How many clients there are under this server."""
        if host == "gunicorn-gthread" and self.threaded_clients is not None:
            return self.threaded_clients
        return self.clients

    def idle_on(self, host: str) -> int:
        """How many idle clients there are besides under this server."""
        return min(self.idle, THREADED_CLIENTS) if host == "gunicorn-gthread" else self.idle


def _by_host(
    gevent: float, eventlet: float, gthread: float, asyncio: float = 0
) -> dict[str, float]:
    targets = dict(zip(COLUMNS, (gevent, eventlet, gthread), strict=True))
    return targets | (dict.fromkeys(ASYNCIO_HOSTS, asyncio) if asyncio else {})


def _targets(
    factors: tuple[float, float, float], asyncio: float = 0, ws: float = 0, eiows: float = 0
) -> Targets:
    return Targets(
        upstream=_by_host(*factors, asyncio),
        ws={"gevent": ws} if ws else {},
        eiows={"gevent": eiows} if eiows else {},
        gevent={"gevent_uwsgi": 0.85},
    )


_ECHO_1 = _targets((6.5, 4.5, 6), asyncio=2, ws=1)
_ECHO_16 = _targets((11, 8, 15), asyncio=2.5, eiows=1)
_ECHO_64K = _targets((5, 5, 5), ws=1)
_IDLE_MEMORY = Targets(upstream=_by_host(3, 3, 3, asyncio=2))
_CLIENT = Targets(upstream=dict.fromkeys(CLIENT_HOSTS, 3))
_KINDS = {
    "": ("text", ("--fill", "text")),
    "-json": ("JSON text", ("--fill", "json")),
    "-binary": ("binary", ("--binary",)),
}


def _echo(suffix: str, size: int, depth: int) -> Scenario:
    kind, arguments = _KINDS[suffix]
    small = size < 1000
    targets = (_ECHO_1 if depth == 1 else _ECHO_16) if small else _ECHO_64K
    return Scenario(
        name=f"ws-echo{suffix}-{depth}" if small else f"ws-echo{suffix}-64k-{depth}",
        title=f"WebSocket echo, {kind}, {f'{size} B' if small else '64 KiB'}, {depth} in flight",
        arguments=("ws-echo", "-s", str(size), "-d", str(depth), *arguments),
        # 1,600 large messages would be 100 MB in flight: that measures memory, not the server.
        clients=100 if small or depth == 1 else 10,
        targets=targets,
    )


def _all() -> list[Scenario]:
    return [
        *(_echo(kind, 32, depth) for kind in _KINDS for depth in (1, 16)),
        *(_echo(kind, 65536, 1) for kind in _KINDS),
        _echo("", 65536, 16),
        Scenario(
            name="ws-echo-many",
            title="WebSocket echo, text, 32 B, 1 in flight, 2,000 clients",
            arguments=("ws-echo", "-s", "32", "-c", "100"),
            clients=2000,
            threaded_clients=THREADED_CLIENTS,
            base="ws-echo-1",
            targets=Targets(base=1 / 1.3),
        ),
        Scenario(
            name="ws-echo-idle",
            title="WebSocket echo, text, 32 B, 1 in flight, beside 2,000 idle clients",
            arguments=("ws-echo", "-s", "32"),
            idle=2000,
            base="ws-echo-1",
            targets=Targets(base=1 / 1.3),
        ),
        Scenario(
            name="poll-echo",
            title="polling echo, text, 32 B",
            arguments=("poll-echo", "-s", "32"),
            transport=POLLING,
            clients=50,
            targets=_targets((1.5, 1.5, 1.5), asyncio=1.5),
        ),
        Scenario(
            name="fanout",
            title="fan-out to 500 WebSocket clients",
            arguments=("fanout",),
            clients=500,
            unit="deliveries per CPU second",
            targets=_targets((4, 4, 4), ws=1),
        ),
        Scenario(
            name="ws-connect",
            title="WebSocket connects",
            arguments=("ws-connect", "-c", "20"),
            unit="connects per CPU second",
            targets=_targets((2.5, 1.8, 2.5)),
        ),
        Scenario(
            name="poll-connect",
            title="polling connects",
            arguments=("poll-connect", "-c", "20"),
            transport=POLLING,
            unit="connects per CPU second",
            targets=Targets(gevent={"gevent_uwsgi": 0.85}),
        ),
        Scenario(
            name="upgrade",
            title="upgrades from polling to WebSocket",
            arguments=("upgrade", "-c", "20"),
            unit="upgrades per CPU second",
            targets=Targets(gevent={"gevent_uwsgi": 0.85}),
        ),
        *_of_clients(),
        *_latency(),
        *_idle(WEBSOCKET),
        *_idle(POLLING),
    ]


def _of_clients() -> list[Scenario]:
    return [
        Scenario(
            name=f"client-{short}-{depth}",
            title=f"a client's {transport} echo, text, 32 B, {depth} in flight",
            arguments=("load-client", "--depth", str(depth), "--size", "32"),
            transport=transport,
            unit="messages per CPU second of the client",
            clients=10,
            targets=_CLIENT if transport == WEBSOCKET else Targets(),
        )
        for short, transport, depth in (
            ("ws", WEBSOCKET, 1),
            ("ws", WEBSOCKET, 16),
            ("poll", POLLING, 16),
        )
    ]


def _latency() -> list[Scenario]:
    return [
        Scenario(
            name=f"{'ws' if transport == WEBSOCKET else 'poll'}-latency",
            title=f"{transport} echo at half of python-engineio's load",
            arguments=(command, "-s", "32"),
            transport=transport,
            figure="p99_us",
            unit="p99 in microseconds",
            less_is_better=True,
            clients=clients,
            paced=True,
            targets=Targets(upstream=_by_host(1, 1, 1)),
        )
        for transport, command, clients in ((WEBSOCKET, "ws-echo", 100), (POLLING, "poll-echo", 50))
    ]


def _idle(transport: str) -> list[Scenario]:
    arguments = ("idle", "-c", "50", *(("--polling",) if transport == POLLING else ()))
    short = "ws" if transport == WEBSOCKET else "poll"
    title = f"2,000 idle {'WebSocket' if transport == WEBSOCKET else 'polling'} clients"
    return [
        Scenario(
            name=f"{short}-idle-{what}",
            title=f"{title}, {what}",
            arguments=arguments,
            transport=transport,
            figure=figure,
            unit=unit,
            less_is_better=True,
            clients=2000,
            threaded_clients=THREADED_CLIENTS,
            rounds=1,
            ping_interval=IDLE_PING_INTERVAL,
            same_run_as=f"{short}-idle-memory" if what == "cpu" else None,
            targets=targets,
        )
        for what, figure, unit, targets in (
            ("memory", "rss_per_conn", "bytes per client", _IDLE_MEMORY),
            ("cpu", "cpu_us_per_conn_s", "CPU microseconds per client and second", Targets()),
        )
    ]


SCENARIOS = {scenario.name: scenario for scenario in _all()}
QUICK = ("ws-echo-1", "ws-echo-16", "poll-echo", "fanout", "ws-connect")
