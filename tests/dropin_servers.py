"""Servers for tests/dropin: applications of other packages, in an environment that has them."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from environments import ROOT, environment, packages
from rigs import free_port

APPS = Path(__file__).parent / "dropin" / "apps"
JAVASCRIPT = Path(__file__).parent / "javascript"
START_TIMEOUT = 40.0  # seconds
PATIENCE = 90.0  # seconds; longer than the clients have themselves

# What the tests of python-socketio and Flask-SocketIO run in: these packages from PyPI, and this
# checkout, which pip must take for the python-engineio that they require.
PACKAGES = (
    *("python-socketio", "flask-socketio", "redis", "django", "fastapi"),
    *("gevent", "eventlet", "pyuwsgi", "gunicorn", "packaging"),
    *("uvicorn", "aiohttp", "sanic", "tornado"),
    *("requests", "websocket-client"),
)

# What is not ours to say, or is said to a client that asks once more after its end.
EXPECTED = (
    r"This is a development server",
    r"you are running uWSGI as root",
    r"Session ID unknown: GET",
)
TROUBLE = re.compile(r"(?im)^.*(?:traceback|warning|error|exception|critical|deprecat).*$")


def python() -> Path:
    """Return the python of the environment."""
    return environment("socketio", *PACKAGES)


def gunicorn_25() -> Path:
    """Return a folder with the last gunicorn that has an eventlet worker of its own."""
    return packages("only-gunicorn-25.3", "gunicorn==25.3.*")


@dataclass
class Server:
    """A server that runs."""

    url: str
    port: int
    process: "subprocess.Popen[bytes]"
    log_file: Any

    def log(self) -> str:
        """What it has printed so far."""
        return Path(self.log_file.name).read_text(errors="replace")

    def trouble(self, *expected: str) -> list[str]:
        """The lines it has printed that complain about something not `expected` (patterns)."""
        pattern = "|".join([*EXPECTED, *expected])
        lines = TROUBLE.findall(self.log())
        return [line for line in lines if not re.search(pattern, line)]


@contextlib.contextmanager
def running(
    *command: str, folder: Path | None = None, stop: int = signal.SIGTERM, **options: Any
) -> Iterator[Server]:
    """Run a command in the environment and stop it afterwards.

    `{python}`, `{bin}`, `{prefix}`, `{root}` and `{port}` in it are replaced.  `options` reach the
    application as JSON in the environment variable SIO.  `folder` has packages that go before
    those of the environment.
    """
    port = free_port()
    interpreter = python()
    names = {
        "port": port,
        "python": interpreter,
        "bin": interpreter.parent,
        "prefix": interpreter.parent.parent,
        "root": ROOT,
    }
    path = [str(folder)] if folder else []
    path += [str(APPS)]
    with tempfile.NamedTemporaryFile("wb", prefix="dropin-") as log_file:
        process = subprocess.Popen(
            [part.format(**names) for part in command],
            cwd=APPS,
            env={
                **os.environ,
                "SIO": json.dumps(options),
                "PYTHONPATH": os.pathsep.join(path),
                "PYTHONUNBUFFERED": "1",
                "EVENTLET_TESTS": "1",  # eventlet prints no deprecation notice then
            },
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        server = Server(f"http://127.0.0.1:{port}", port, process, log_file)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            _stop(process, stop)


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and server.process.poll() is None:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
        with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
            connection.request("OPTIONS", "/socket.io/")  # nothing is logged for it
            connection.getresponse().read()
            return
        time.sleep(0.05)
    raise RuntimeError(f"{server.process.args!r} did not start:\n{server.log()}")


def _stop(process: "subprocess.Popen[bytes]", how: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too
        process.wait()


GUNICORN = (
    *("{python}", "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket"),
    *("--graceful-timeout", "1", "--log-level", "warning"),
)
# How an application is served in each mode: {app} is the module.
SERVE = {
    "threading": ("{python}", "sio_serve.py", "threading", "{port}"),
    "gthread": (*GUNICORN, "--threads", "100", "sio_sync:app"),
    "gevent": ("{python}", "sio_serve.py", "gevent", "{port}"),
    "eventlet": ("{python}", "sio_serve.py", "eventlet", "{port}"),
    "gevent_uwsgi": (
        *("{bin}/uwsgi", "--http-socket", "127.0.0.1:{port}", "--gevent", "1000", "--master"),
        *("--die-on-term", "--disable-logging", "--need-app", "--buffer-size", "16384"),
        *("-H", "{prefix}", "--module", "sio_sync:app"),
    ),
    "asgi": (
        *("{python}", "-m", "uvicorn", "--port", "{port}", "--log-level", "warning"),
        "sio_async:app",
    ),
    "aiohttp": ("{python}", "sio_async.py", "{port}"),
    "sanic": ("{python}", "sio_async.py", "{port}"),
    "tornado": ("{python}", "sio_async.py", "{port}"),
}


def serve(mode: str, **options: Any) -> contextlib.AbstractContextManager[Server]:
    """Run the application of sio_sync.py, or of sio_async.py, in a mode."""
    async_mode = {"gthread": "threading"}.get(mode, mode)
    return running(*SERVE[mode], async_mode=async_mode, **{"options": {}, **options})


def each(names: Iterable[str]) -> list[Any]:
    """Return parameters whose tests may run in different processes."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(f"dropin {name}")) for name in names]


def redis_server() -> str | None:
    """Return the command of a Redis server that is installed, or None."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def run_javascript(script: str, *arguments: str) -> None:
    """Run one of tests/javascript; it asserts."""
    _run("node", str(JAVASCRIPT / script), *arguments)


def run_python(script: str, *arguments: str) -> None:
    """Run one of tests/dropin/apps in the environment; it asserts."""
    _run(str(python()), str(APPS / script), *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
