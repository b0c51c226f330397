"""The servers that are measured, and how each is started, pinned to a core and stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import installations
from installations import BENCH, BUILD, GUNICORN_WITH_EVENTLET, UnavailableError
from scenarios import ASYNCIO_HOSTS, CLIENT_HOSTS, WEBSOCKET, Scenario

APPS = BENCH / "apps"
START_TIMEOUT = 20.0  # seconds

OURS, UPSTREAM, JAVASCRIPT, FLOOR = "ours", "upstream", "javascript", "floor"
ASYNC_MODES = {
    "gevent": "gevent",
    "eventlet": "eventlet",
    "gunicorn-gthread": "threading",
    "gunicorn-gevent": "gevent",
    "gunicorn-eventlet": "eventlet",
    "gevent_uwsgi": "gevent_uwsgi",
    "uvicorn": "asgi",
    "hypercorn": "asgi",
    "aiohttp": "aiohttp",
    # What clients talk to.
    "client": "gevent",
    "async-client": "gevent",
}
WORKERS = {
    "gunicorn-gthread": ("-k", "gthread", "--threads", "1200"),
    "gunicorn-gevent": ("-k", "gevent"),
    "gunicorn-eventlet": ("-k", "engineio.gunicorn.EventletWorker"),
}
# Why a server does not take part where it could not differ from another, or needs no explanation.
NO_ROW = ""
# Without WSGI there is one floor for each library; threads are threads, with gunicorn or without.
PLAIN_LIBRARIES = {"gevent": "gevent", "eventlet": "eventlet", "gunicorn-gthread": "threading"}


@dataclass(frozen=True)
class Server:
    """An implementation under a host: a server, or the WebSocket engine of JavaScript."""

    maker: str
    host: str

    @property
    def name(self) -> str:
        """A name for result files: `ours/gevent`."""
        return f"{self.maker}/{self.host}"

    def lacks(self, scenario: Scenario) -> str | None:
        """Return why this server does not take part in a scenario, None if it does."""
        if (self.host in CLIENT_HOSTS) is not scenario.is_of_clients:
            return NO_ROW
        if self.maker == FLOOR:
            if scenario.idle or scenario.paced or scenario.same_run_as:
                return NO_ROW
            if self.host in ASYNCIO_HOSTS:
                return NO_ROW if scenario.name == "upgrade" else None
            if scenario.transport == WEBSOCKET and scenario.counts_connections:
                return NO_ROW if self.host == "gevent_uwsgi" else None
            if scenario.transport == WEBSOCKET:
                is_plain = self.host in PLAIN_LIBRARIES and scenario.name != "upgrade"
                return None if is_plain else NO_ROW
        if self.name == "upstream/gevent_uwsgi" and scenario.transport == WEBSOCKET:
            return "python-engineio needs a uWSGI with TLS for WebSocket; the wheel has none"
        if self.maker == JAVASCRIPT and scenario.paced:
            return NO_ROW
        if self.maker == JAVASCRIPT and self.host == "eiows" and scenario.transport != WEBSOCKET:
            return NO_ROW
        return None

    def command(self, scenario: Scenario, port: int) -> list[str]:
        """Return what starts it.  Raises `UnavailableError` if it cannot be installed."""
        if self.maker == JAVASCRIPT:
            if self.host == "eiows":
                installations.eiows()
            return ["node", str(installations.javascript() / "server.mjs"), self.host, str(port)]
        if self.host in CLIENT_HOSTS:
            self.load_command(scenario, port)
            return [sys.executable, str(APPS / "launch.py"), "gevent", str(port), "echo"]
        python = str(self._python())
        if self.host in ASYNCIO_HOSTS:
            return self._asyncio_command(python, port)
        if self.maker == FLOOR and self._floor_app(scenario) is None:
            program = str(APPS / "floor_websocket.py")
            return [python, program, PLAIN_LIBRARIES[self.host], str(port)]
        module = (self.maker == FLOOR and self._floor_app(scenario)) or "echo"
        address = f"127.0.0.1:{port}"
        if self.host == "gevent_uwsgi":
            return [
                *(str(Path(python).with_name("uwsgi")), "--http-socket", address),
                *("--gevent", "2500", "--listen", "1024", "--disable-logging", "--die-on-term"),
                # It closes after each answer, and without this nobody is told.
                *("--add-header", "Connection: close"),
                *("--pythonpath", str(APPS), "--module", f"{module}:app"),
                *("-H", str(Path(python).parent.parent)),
            ]
        if self.host in WORKERS:
            worker = WORKERS[self.host]
            if self._needs_eventlet_worker:
                worker = ("-k", "eventlet")
            return [
                *(python, "-m", "gunicorn", "-w", "1", *worker, "--worker-connections", "10000"),
                *("--bind", address, "--no-control-socket", "--pythonpath", str(APPS)),
                f"{module}:app",
            ]
        return [python, str(APPS / "launch.py"), self.host, str(port), module]

    def load_command(self, scenario: Scenario, port: int) -> list[str]:
        """Return what runs the clients.  Raises `UnavailableError` if it cannot be installed."""
        python = installations.upstream_client() if self.maker == UPSTREAM else sys.executable
        return [
            *(str(python), str(APPS / "load_client.py"), self.host, *scenario.arguments[1:]),
            *("--transport", scenario.transport.lower(), "--url", f"http://127.0.0.1:{port}"),
        ]

    def _asyncio_command(self, python: str, port: int) -> list[str]:
        module = "echo_asyncio"
        if self.maker == FLOOR:
            module = "floor_aiohttp" if self.host == "aiohttp" else "floor_asgi"
        if self.host == "aiohttp":
            return [python, str(APPS / "launch.py"), "aiohttp", str(port), module]
        if self.host == "uvicorn":
            return [
                *(python, "-m", "uvicorn", "--port", str(port), "--no-access-log"),
                *("--log-level", "warning"),  # or each WebSocket is logged
                # What a new uvicorn chooses by itself with `uvicorn[standard]`, spelled out.
                *("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"),
                f"{module}:app",
            ]
        return [
            *(python, "-m", "hypercorn", "--workers", "0", "--backlog", "2048"),
            *("--bind", f"127.0.0.1:{port}", f"{module}:app"),
        ]

    def _floor_app(self, scenario: Scenario) -> str | None:
        """Return the WSGI application that is the floor, None for the program without WSGI."""
        if scenario.transport != WEBSOCKET:
            return "floor_polling"
        return "floor_handshake" if scenario.counts_connections else None

    @property
    def _needs_eventlet_worker(self) -> bool:
        return self.name == "upstream/gunicorn-eventlet"

    def _python(self) -> Path:
        if self.maker != UPSTREAM:
            return Path(sys.executable)
        gunicorn = GUNICORN_WITH_EVENTLET if self._needs_eventlet_worker else None
        return installations.upstream(gunicorn)


def all_servers() -> list[Server]:
    """Return every server, in the order of the table."""
    return [
        *(
            Server(maker, host)
            for host in ASYNC_MODES
            for maker in (OURS, UPSTREAM, FLOOR)
            if host not in CLIENT_HOSTS or maker != FLOOR
        ),
        *(Server(JAVASCRIPT, engine) for engine in ("ws", "eiows")),
    ]


class RunningServer:
    """A server process and its children, on one core."""

    def __init__(self, server: Server, scenario: Scenario, core: int) -> None:
        self.port = _free_port()
        command = server.command(scenario, self.port)
        environment = {
            **os.environ,
            "BENCH_ASYNC_MODE": ASYNC_MODES.get(server.host, ""),
            "BENCH_PING_INTERVAL": str(scenario.ping_interval),
            "EVENTLET_TESTS": "1",  # eventlet prints no deprecation notice then
        }
        BUILD.mkdir(parents=True, exist_ok=True)
        self._log = BUILD / f"{server.name.replace('/', '-')}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=APPS,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_until_ready(self) -> None:
        """Wait for its first answer.  Raises `UnavailableError` when it does not start."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), self._connect() as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                sock.recv(1)  # b"" is an answer as well
                return
            time.sleep(0.02)
        last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise UnavailableError(f"did not start: {last or 'it says nothing'}")

    def wait_for_clients(self, count: int, seconds: float) -> None:
        """Wait until so many connections are open.  Raises `TimeoutError`."""
        deadline = time.monotonic() + seconds
        while _established(self.port) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} clients did not connect in {seconds:g} s")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once, with everything it started: there is nothing to save."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _connect(self) -> Any:
        return socket.create_connection(("127.0.0.1", self.port), timeout=START_TIMEOUT)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _established(port: int) -> int:
    """Count the server's side of open connections."""
    local = f":{port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(local in line[:21] and line.split()[3] == "01" for line in lines)
