"""Real servers for the contract suite.

A Rig runs tests/apps/contract_app.py under one WSGI server, or async_contract_app.py under one for
asyncio, in a subprocess on a free port, and watches what that server logs.  What differs between
servers is data in `SPECS`, not code in tests.
"""

import base64
import contextlib
import importlib.util
import itertools
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import wire
from environments import environment

APPS = Path(__file__).parent / "apps"
CERTIFICATE = APPS.parent / "data" / "tls" / "server.pem"  # and its key
START_TIMEOUT = 30.0  # seconds; two cores that other jobs share
WAIT = 8.0  # seconds an event may take that a test waits for

READY = re.compile(
    r"listening on (\d+)|Listening at: https?://127\.0\.0\.1:(\d+)|"
    r"TCP address 127\.0\.0\.1:(\d+) \("
)
STARTUP_TROUBLE = re.compile(r"(?m)^Traceback|\w+Warning:|\[ERROR\]")
# A handler that raises on purpose: its traceback in the log is right.
DELIBERATE = re.compile(
    r"(?m)^LOG ERROR [^\n]*handler error\nTraceback \(most recent call last\):\n"
    r"(?:(?: |During handling|\n)[^\n]*\n)*contract_common\.ContractError: [^\n]*\n"
)
TRACEBACK = r"Traceback \(most recent call last\):\n(?:(?: |\n)[^\n]*\n)*"
# One short line for what a peer did wrong.
PEER_FAULT = r"LOG (WARNING|ERROR) engineio\.\w+: [^\n]{1,300}"


@dataclass(frozen=True)
class Spec:
    """How a server is started, and what is known about it."""

    name: str
    async_mode: str
    # With {port} in it a free port is chosen; else the log says which one it is.
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    # It runs in a virtual environment of its own that has these.
    packages: tuple[str, ...] = ()
    # Lines that the server itself writes while it runs, and what takes several lines.
    log: tuple[str, ...] = ()
    log_blocks: tuple[str, ...] = ()
    # What a proxy may say of it.
    proxy_log: str = "(?!)"
    websocket: bool = True
    # It hands on what came in one segment with the upgrade request.
    early_frame: bool = True
    # It decodes chunked request bodies.
    chunked: bool = True
    # A request is passed on before its body is there.
    streams_bodies: bool = True
    # An aborted poll can be noticed.
    sees_socket: bool = True
    keep_alive: bool = True
    # A WebSocket can be refused before its 101 is sent, and with an answer of our own, not a 403.
    refuses: bool = True
    refusal: bool = True
    # Our own code reads the request for a WebSocket, not the server before us.
    own_handshake: bool = True
    # The frames of a WebSocket are read by our own code, so the table of protocol.md holds exactly;
    # else the server decides how it ends one that breaks them, and does not mind some violations,
    # named as in the tests.
    own_frames: bool = True
    tolerates: tuple[str, ...] = ()
    # A close frame of ours has the code we want.
    close_codes: bool = True
    # The options max_http_buffer_size and per_message_deflate reach what reads the frames.
    own_limit: bool = True
    own_deflate: bool = True
    # Seconds in which it may still wait for a body that was refused, connection or not.
    lingers: float = 0.0
    # It leaves open files to the garbage collector.
    litters: bool = False
    # It was started by `over_tls`.
    tls: bool = False
    # When it begins to stop, its clients learn it at once.
    tells_clients: bool = False

    @property
    def asyncio(self) -> bool:
        """Whether an event loop runs it."""
        return self.async_mode in ("asgi", "aiohttp", "sanic", "tornado")

    @property
    def chunks_undecoded(self) -> bool:
        """Whether chunked bodies must be refused."""
        return not self.chunked

    @property
    def serves_files(self) -> bool:
        """Whether the application has /static/."""
        return self.async_mode not in ("aiohttp", "sanic", "tornado")

    @property
    def polling_only(self) -> bool:
        """Whether WebSocket is impossible here."""
        return not self.websocket


def launched(name: str, async_mode: str, *needs: str, **more: Any) -> Spec:
    """A server that tests/apps/launch.py starts."""
    command = ("{python}", str(APPS / "launch.py"), name.replace("-", "_"))
    return Spec(name, async_mode, command, needs, **more)


# The last gunicorn with an eventlet worker of its own.
OLD_GUNICORN = ("gunicorn==25.3.*", "eventlet", "packaging")


def gunicorn(name: str, async_mode: str, *needs: str, worker: tuple[str, ...], **more: Any) -> Spec:
    """A gunicorn with one worker process."""
    common = ("--bind", "127.0.0.1:0", "--no-control-socket", "--graceful-timeout", "1")
    command = ("{python}", "-m", "gunicorn", "-w", "1", *worker, *common, "contract_app:app")
    return Spec(name, async_mode, command, ("gunicorn", *needs), **more)


def uwsgi(name: str, *socket_options: str, **more: Any) -> Spec:
    """A uWSGI with the gevent loop, by default as the wheel pyuwsgi installs it."""
    common = ("--gevent", "1000", "--master", "--die-on-term", "--disable-logging", "--need-app")
    size = ("--buffer-size", "16384")  # of a request's head; 4096 is too little for some tests
    where = ("--pythonpath", str(APPS), "--module", "contract_app:app", "-H", "{prefix}")
    command = ("{bin}/uwsgi", *socket_options, *common, *size, *where)
    log = (
        r"\[uwsgi-body-read\] Error reading .*",
        r"\[uwsgi-http .*Connection reset by peer.*",
        # A client has gone when its poll is answered.
        r".*uwsgi_response_write\w+\(\): (Connection reset by peer|Broken pipe) .*",
        r"OSError: write error",
    )
    # The driver reads the file descriptor, not what uWSGI read ahead of it.
    limits: dict[str, Any] = {"chunked": False, "keep_alive": False, "early_frame": False}
    return Spec(name, "gevent_uwsgi", command, ("pyuwsgi", "gevent"), log=log, **limits, **more)


def asgi(name: str, *command: str, **more: Any) -> Spec:
    """An ASGI server."""
    whole = ("{python}", "-m", *command, "async_contract_app:app")
    limits: dict[str, Any] = {
        # The server reads WebSockets, with one set of options for all its applications.
        "own_handshake": False,
        "own_frames": False,
        "own_limit": False,
        "own_deflate": False,
    }
    return Spec(name, "asgi", whole, (command[0],), **limits, **more)


def uvicorn(name: str, *options: str, **more: Any) -> Spec:
    """A uvicorn with one of its implementations of WebSocket."""
    common = ("--host", "127.0.0.1", "--port", "{port}", "--no-access-log")
    # It knows one answer for all applications: whether compression is negotiated.
    quiet = ("--log-level", "warning", "--ws-per-message-deflate", "false")
    log = (
        r"WARNING:  Unsupported upgrade request\.",
        r"WARNING:  Invalid HTTP request received\.",
    )
    return asgi(name, "uvicorn", *common, *quiet, *options, log=log, tells_clients=True, **more)


def framework(name: str, **more: Any) -> Spec:
    """One with a driver of its own; tests/apps/async_launch.py starts it."""
    command = ("{python}", str(APPS / "async_launch.py"), name, "{port}")
    return Spec(name, name, command, (name,), **more)


# What gevent.pywsgi says to requests that never reach an application.
PYWSGI_LOG = (r"<gevent\._socket3\.socket .*>: (Invalid request )?\(from .*\).*",)

# What aiohttp says to a request that never reaches an application.
AIOHTTP_LOG = (
    r"LOG ERROR aiohttp\.server: Error handling request from 127\.0\.0\.1\n"
    + TRACEBACK
    + r"aiohttp\.http_exceptions\.BadHttpMessage: 400, message:\n(?: [^\n]*\n|\n)*"
)

_ALL = [
    launched("threading", "threading", "werkzeug", keep_alive=False, litters=True),
    launched("eventlet", "eventlet", "eventlet", litters=True),
    launched("gevent", "gevent", "gevent", log=PYWSGI_LOG),
    uwsgi("gevent_uwsgi", "--http-socket", "127.0.0.1:0"),
    uwsgi("gevent_uwsgi-http", "--http", "127.0.0.1:{port}", "--http-websockets"),
    gunicorn("gunicorn-gthread", "threading", worker=("--threads", "200")),
    gunicorn("gunicorn-gevent", "gevent", "gevent", worker=("-k", "gevent")),
    gunicorn("gunicorn-gevent_pywsgi", "gevent", "gevent", worker=("-k", "gevent_pywsgi")),
    gunicorn(
        "gunicorn-geventwebsocket",
        *("gevent", "gevent", "geventwebsocket"),
        worker=("-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"),
        refuses=False,
    ),
    uwsgi(
        "uwsgi-source",
        *("--http", "127.0.0.1:{port}", "--http-websockets"),
        packages=("uwsgi", "gevent"),
    ),
    gunicorn(
        "gunicorn-25-eventlet",
        *("eventlet", "eventlet"),
        worker=("-k", "eventlet"),
        packages=OLD_GUNICORN,
        # It closes the listening socket and says so when it stops, and warns of its own end.
        log=(r".*DEPRECAT.*",),
    ),
    gunicorn(
        "gunicorn-25-our-eventlet",
        *("eventlet", "eventlet"),
        worker=("-k", "engineio.gunicorn.EventletWorker"),
        packages=OLD_GUNICORN,
    ),
    gunicorn(
        "gunicorn-25-gthread", "threading", worker=("--threads", "200"), packages=OLD_GUNICORN
    ),
    gunicorn(
        "gunicorn-eventlet",
        *("eventlet", "eventlet"),
        worker=("-k", "engineio.gunicorn.EventletWorker"),
    ),
    launched(
        "gevent-websocket", "gevent", "gevent", "geventwebsocket", log=PYWSGI_LOG, refuses=False
    ),
    launched("wsgiref", "threading", chunked=False, keep_alive=False),
    Spec(
        "django",
        "threading",
        ("{python}", str(APPS / "django_contract.py"), "127.0.0.1:{port}"),
        ("django",),
        log=(r'LOG WARNING django\.server: "(GET|POST) .* 40[018] \d+',),
        chunked=False,
        keep_alive=False,
    ),
    launched("cheroot", "threading", "cheroot"),
    launched(
        *("waitress", "threading", "waitress"),
        websocket=False,
        streams_bodies=False,
        sees_socket=False,
    ),
    Spec(
        "granian",
        "threading",
        (
            *("{python}", "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
            *("--port", "{port}", "--blocking-threads", "40", "--no-ws", "contract_app:app"),
        ),
        ("granian",),
        websocket=False,
        streams_bodies=False,
        sees_socket=False,
    ),
    uvicorn(
        "uvicorn",
        *("--ws", "websockets-sansio"),
        early_frame=False,
        log_blocks=(
            r"ERROR: +Invalid UTF-8 sequence received from client\.\n"
            + TRACEBACK
            + r"UnicodeDecodeError: [^\n]*\n",
        ),
    ),
    framework("aiohttp", tells_clients=True, lingers=10.0, log_blocks=(AIOHTTP_LOG,)),
    framework("sanic", tells_clients=True, log=(r"Main .* INFO: .*", r"LOG INFO sanic\..*")),
    framework("tornado"),
    # Sanic as an ASGI application, under uvicorn.
    Spec(
        "sanic-asgi",
        "sanic",
        ("{python}", str(APPS / "async_launch.py"), "sanic_asgi", "{port}"),
        ("sanic", "uvicorn"),
        log=(r"LOG INFO sanic\..*", r"WARNING:  .*"),
        early_frame=False,
        own_handshake=False,
        own_frames=False,
        own_limit=False,
        own_deflate=False,
        tells_clients=True,
    ),
    uvicorn("uvicorn-wsproto", "--ws", "wsproto", "--loop", "asyncio", early_frame=False),
    asgi(
        "hypercorn",
        *("hypercorn", "--workers", "0", "--graceful-timeout", "1", "--log-level", "warning"),
        *("--bind", "127.0.0.1:{port}"),
        early_frame=False,
        tells_clients=True,
    ),
    asgi(
        "daphne",
        *("daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}"),
        # A megabyte by default, also for servers with a larger max_http_buffer_size.
        *("--websocket-max-message-size", "20000000", "--websocket-max-frame-size", "20000000"),
        # It may end a WebSocket with a reset.
        proxy_log="reset by peer.* while proxying upgraded connection",
        early_frame=False,
        streams_bodies=False,
        refusal=False,
        close_codes=False,
    ),
    asgi(
        "granian-asgi",
        *("granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"),
        *("--log-level", "warning"),
        # It may end a WebSocket with a reset.
        proxy_log="reset by peer.* while proxying upgraded connection",
        tells_clients=True,
    ),
    asgi(
        "gunicorn-asgi",
        *("gunicorn", "-w", "1", "-k", "asgi", "--bind", "127.0.0.1:0", "--no-control-socket"),
        *("--graceful-timeout", "20"),
        early_frame=False,
        refusal=False,
        tells_clients=True,
    ),
]
SPECS = {spec.name: spec for spec in _ALL}
MAIN = ("threading", "eventlet", "gevent", "gevent_uwsgi", "uvicorn", "aiohttp", "sanic", "tornado")


def over_tls(name: str) -> Spec | None:
    """That server, speaking TLS; None: it cannot."""
    spec = SPECS[name]
    command = spec.command
    program = Path(command[1]).stem if command[1] != "-m" else command[2]
    both = str(CERTIFICATE)
    match program:
        case "launch" | "async_launch" if name != "waitress":
            command = (*command, both)
        case "gunicorn" | "hypercorn":
            command = (*command, "--certfile", both, "--keyfile", both)
        case "uvicorn":
            command = (*command, "--ssl-certfile", both, "--ssl-keyfile", both)
        case "granian":
            command = (*command, "--ssl-certificate", both, "--ssl-keyfile", both)
        case "daphne":
            endpoint = f"ssl:{{port}}:interface=127.0.0.1:privateKey={both}:certKey={both}"
            plain = ("-b", "127.0.0.1", "-p", "{port}")
            command = (*(part for part in command if part not in plain), "-e", endpoint)
        case _ if name == "uwsgi-source":
            https = {"--http": "--https", "127.0.0.1:{port}": f"127.0.0.1:{{port}},{both},{both}"}
            command = tuple(https.get(part, part) for part in command)
        case _:
            return None
    return replace(spec, name=f"{name}-tls", command=command, tls=True)


# Below the ports that the kernel gives to connections and to those who ask for any, so that nobody
# takes one between here and the server that gets it; each process of a test run has its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
_ports = itertools.count(random.randrange(2_000))


def free_port() -> int:
    while True:
        port = 10_000 + 2_000 * WORKER + next(_ports) % 2_000
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def settings_of(counts: Mapping[str, int], baseline: Mapping[str, int]) -> dict[str, int]:
    """What grew, by name."""
    return {name: count for name, count in counts.items() if count > baseline[name]}


@dataclass
class Rig:
    """A running server."""

    spec: Spec
    # Arguments added to its command, and what CONTRACT tells the application besides.
    arguments: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    address: wire.Address = ("127.0.0.1", 0)
    servers: "dict[str, Server]" = field(default_factory=dict)
    baseline: dict[str, int] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server.  LookupError: something it needs is not installed."""
        self.servers.clear()
        python = Path(sys.executable)
        if self.spec.packages:
            python = environment(self.spec.packages[0].replace("==", "-"), *self.spec.packages)
        for module in self.spec.needs:
            if not self.spec.packages and importlib.util.find_spec(module) is None:
                raise LookupError(f"{module} is not installed")
        port = free_port()
        names = {
            "port": str(port),
            "python": str(python),
            "bin": str(python.parent),
            "prefix": str(python.parent.parent),
        }
        variables = {
            **os.environ,
            "CONTRACT": json.dumps({"async_mode": self.spec.async_mode, **self.config}),
            "PYTHONPATH": os.pathsep.join([str(APPS), str(APPS.parent)]),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "django_contract",
            "MALLOC_MMAP_THRESHOLD_": "65536",  # glibc returns what is larger at once
            "EVENTLET_TESTS": "1",  # eventlet prints no deprecation notice then
        }
        self._log = tempfile.NamedTemporaryFile("w+b", prefix=f"rig-{self.spec.name}-")  # noqa: SIM115
        self._read_to = 0
        self._process = subprocess.Popen(
            [part.format(**names) for part in (*self.spec.command, *self.arguments)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=APPS,
            env=variables,
            start_new_session=True,
        )
        is_ours = any("{port}" in part for part in self.spec.command)
        self._wait_until_ready(port if is_ours else None)
        # What a server says while it starts is its own affair, unless it complains.
        log = self.log()
        self._read_to = len(log.encode())
        if STARTUP_TROUBLE.search(log):
            self.stop()
            raise RuntimeError(f"{self.spec.name} complains when it starts:\n{log}")

    def _wait_until_ready(self, port: int | None) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if not self.is_running:
                break
            found = READY.search(self.log())
            if port or found:
                number = port or int(next(filter(None, found.groups())))  # type: ignore[union-attr]
                address = "127.0.0.1", number
                self.address = wire.TLSAddress(address) if self.spec.tls else address
                with contextlib.suppress(OSError, EOFError):
                    self.baseline = self.control("counts")
                    return
            time.sleep(0.02)
        log = self.log()
        self.stop()
        raise RuntimeError(f"{self.spec.name} did not start:\n{log}")

    @property
    def pid(self) -> int:
        """The process that was started; it leads a process group."""
        assert self._process is not None
        return self._process.pid

    def terminate(self) -> None:
        """Ask the server to stop."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Wait for the server to end by itself; returns its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
        self._log.close()

    def log(self) -> str:
        return self.log_bytes().decode(errors="replace")

    def log_bytes(self) -> bytes:
        return Path(self._log.name).read_bytes()

    def skip_log(self) -> None:
        """Take what the server has written so far for right: somebody else has checked it."""
        self._read_to = len(self.log_bytes())

    def check_log(self) -> None:
        """Fail when the server wrote something unexpected since the last check."""
        data = self.log_bytes()
        new, self._read_to = data[self._read_to :], len(data)
        text = DELIBERATE.sub("", new.decode(errors="replace"))
        for block in self.spec.log_blocks:
            text = re.sub("(?m)^" + block, "", text)
        expected = re.compile("|".join((PEER_FAULT, *self.spec.log)))
        unexpected = [line for line in text.splitlines() if not expected.fullmatch(line)]
        assert not unexpected, f"{self.spec.name} wrote to its log:\n" + text

    def control(self, call: str, **arguments: Any) -> Any:
        """One of the calls of tests/apps/contract_app.py."""
        body = json.dumps({"call": call, **arguments}).encode()
        response = wire.request(self.address, "POST", "/control", None, body)
        assert response.status == 200, response
        return response.json()

    def server(self, name: str = "engine.io") -> "Server":
        """The Engine.IO server with that set of options, one of SERVERS in contract_common.py."""
        if name not in self.servers:
            self.servers[name] = Server(self, name)
            # The first client starts what the server keeps for good, its heartbeat loop for one.
            self.servers[name].warm_up()
            self.settle()
        return self.servers[name]

    def settle(self) -> None:
        """Take what is there now, without sessions, as what has to be there after each test."""
        deadline = time.monotonic() + WAIT
        seen: list[dict[str, int]] = []
        while time.monotonic() < deadline:
            seen.append(self.control("counts"))
            if seen[-3:] == [seen[-1]] * 3 and not seen[-1]["sessions"]:
                break
            time.sleep(0.03)
        # A later server may find fewer connections in the act of closing than an earlier one did.
        self.baseline = seen[-1]

    def clean_up(self) -> None:
        """End what a test left open, then fail if the server still holds on to any of it."""
        wire.close_all()
        for name, sid in self.control("sids"):
            endpoint = self.servers[name].endpoint
            endpoint.request("POST", wire.polling_query(sid), None, b"1")
        deadline = time.monotonic() + WAIT + self.spec.lingers
        while leaked := settings_of(self.control("counts"), self.baseline):
            if time.monotonic() > deadline:
                before, self.baseline = self.baseline, self.control("counts")
                names = {what: self.control(what) for what in ("threads", "tasks", "files")}
                raise AssertionError(f"leaked {leaked}, had {before}; {names}")
            time.sleep(0.02)
            if self.spec.litters:
                self.control("collect_garbage")
        if self.spec.asyncio:
            self.control("collect_garbage")  # a task says that nobody waited for it when it goes
        self.check_log()


class Server:
    """One of the Engine.IO servers of a rig, with the calls that look inside it."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        self.name = name
        self.endpoint = wire.Endpoint(rig.address, f"/{name}/")

    @property
    def spec(self) -> Spec:
        return self.rig.spec

    def warm_up(self) -> None:
        if self.name == "websocket_only":
            websocket = self.websocket()
            websocket.send_text("1")
            self.wait(websocket.sid, "disconnect")
            websocket.close()
        else:
            session = self.polling()
            session.send("1")
            # Its handler runs in the care of a loop, which has its thread and files then.
            self.wait(session.sid, "disconnect")

    def polling(self, headers: wire.Headers | None = None, **query: str) -> wire.Polling:
        """A new session over polling."""
        return wire.Polling(self.endpoint, query, headers)

    def websocket(self, headers: wire.Headers | None = None, **query: str) -> wire.EngineWebSocket:
        """A new session over a WebSocket."""
        return wire.EngineWebSocket(self.endpoint, query, headers)

    def request(
        self,
        method: str,
        query: wire.Query | None = None,
        headers: wire.Headers | None = None,
        body: bytes | None = None,
    ) -> wire.Response:
        return self.endpoint.request(method, query, headers, body)

    def call(self, name: str, **arguments: Any) -> Any:
        return self.rig.control(name, server=self.name, **arguments)

    def send(self, sid: str, data: Any) -> None:
        if isinstance(data, bytes):
            self.call("send", sid=sid, binary=base64.b64encode(data).decode())
        else:
            self.call("send", sid=sid, data=data)

    def release(self, sid: str, name: str) -> None:
        """Let the handler of the message `hold:name`, which has begun, return."""
        self.wait(sid, "message", f"hold:{name}")
        self.call("release", sid=sid, hold=name)

    def events(self, sid: str) -> list[list[Any]]:
        events: list[list[Any]] = self.call("events", sid=sid)
        return events

    def messages(self, sid: str) -> list[Any]:
        """What the message handler got so far."""
        return [event[1] for event in self.events(sid) if event[0] == "message"]

    def wait(self, sid: str, *event: object, count: int = 1) -> None:
        """Wait until the application has recorded such events."""
        arguments = {"event": list(event), "count": count, "timeout": WAIT}
        assert self.call("wait", sid=sid, **arguments), f"no {event}: {self.events(sid)}"

    def transport(self, sid: str) -> str | None:
        """What Server.transport says; None when it raises KeyError."""
        transport: str | None = self.call("transport", sid=sid)
        return transport

    def is_alive(self, sid: str) -> bool:
        return [self.name, sid] in self.rig.control("sids")

    def assert_ended(self, sid: str, *reasons: str) -> None:
        """The session ended for one of the reasons, once, and no request finds it any more."""
        self.wait(sid, "disconnect")
        deadline = time.monotonic() + WAIT
        while self.is_alive(sid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not self.is_alive(sid)
        ends = [event for event in self.events(sid) if event[0] == "disconnect"]
        assert ends in [[["disconnect", reason]] for reason in reasons], ends
        response = self.request("GET", wire.polling_query(sid))
        assert (response.status, response.body) == (
            400,
            b'{"code":1,"message":"Session ID unknown"}',
        )

    def assert_failed(self, websocket: wire.EngineWebSocket, *codes: int) -> None:
        """The server ended the WebSocket with one of the codes, and with it the session."""
        if self.spec.own_frames:
            assert websocket.answer_close() in codes
            self.assert_ended(websocket.sid, "transport error")
            return
        with contextlib.suppress(ConnectionResetError):
            rest = websocket.read_to_eof()  # a close frame, with or without a code, or nothing
            assert len(rest) <= 2 or struct.unpack("!H", rest[2:4])[0] in codes, rest
        self.assert_ended(websocket.sid, "transport error", "transport close")

    def assert_alive(self, session: wire.Polling) -> None:
        """The session still answers over polling."""
        session.send("4still here")
        assert "4still here" in session.poll()


def until(condition: Callable[[], bool], seconds: float = WAIT) -> None:
    """Wait until the condition holds; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)
