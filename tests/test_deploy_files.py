"""The files in deploy/ and the commands of their READMEs, run for real."""

import configparser
import contextlib
import difflib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

import nginx
import rigs
import wire
from environments import ROOT, environment

DEPLOY = ROOT / "deploy"
GUNICORN = DEPLOY / "gunicorn"
APPLICATION = Path(__file__).parent / "data" / "echo_app.py"
PATIENCE = 30.0  # seconds
BIN = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application's folder."""
    shutil.copy(APPLICATION, tmp_path / "app.py")
    return tmp_path


class Running:
    """A server that was started by a command, and what it writes."""

    def __init__(self, command: list[str], folder: Path, port: int, **env: str) -> None:
        self.endpoint = wire.Endpoint(("127.0.0.1", port))
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "EVENTLET_TESTS": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self.lines.append(line.rstrip())

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        wire.close_all()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def connect(self) -> wire.EngineWebSocket:
        """A WebSocket, once the server answers."""
        found: list[wire.EngineWebSocket] = []

        def is_there() -> bool:
            assert self._process.poll() is None, self.text
            with contextlib.suppress(OSError, EOFError):
                found.append(wire.EngineWebSocket(self.endpoint))
            return bool(found)

        rigs.until(is_there, PATIENCE)
        return found[0]

    def check(self) -> wire.EngineWebSocket:
        """Try polling, an upgrade and a WebSocket; returns the last one, open."""
        websocket = self.connect()
        session = wire.Polling(self.endpoint)
        session.send("4hello", "bAP8=")
        assert session.receive(2) == ["4hello", "bAP8="]
        upgraded, _ = wire.upgrade(session)
        for each in (websocket, upgraded):
            each.send_text("4hello")
            each.send_binary(b"\x00\xff")
            assert [each.receive(), each.receive()] == ["4hello", b"\x00\xff"]
        upgraded.close()
        return websocket

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> None:
        """Wait for a good end by itself."""
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert status == 0, self.text
        assert "Traceback" not in self.text

    def stop(self, websocket: wire.EngineWebSocket, number: signal.Signals) -> None:
        """A stop that tells the client, runs its handler and ends well."""
        self.send_signal(number)
        assert websocket.receive() == "1"
        websocket.answer_close()
        self.wait()
        assert "left: server shutdown" in self.lines


def commands(readme: Path, program: str) -> list[str]:
    """The commands of a README that begin with a program's name, in code blocks and tables."""
    text = readme.read_text()
    found = re.findall(rf"(?m)^    ({program} .*)|`({program} [^`]*)`", text)
    return [block or inline for block, inline in found]


GUNICORN_COMMANDS = [
    command
    for command in commands(GUNICORN / "README.md", "gunicorn")
    if "main:app" not in command and command != "gunicorn app:app"
]


def test_the_readme_has_its_commands() -> None:
    workers = {shlex.split(command)[2] for command in GUNICORN_COMMANDS if " -k " in command}
    assert workers >= {
        "engineio.gunicorn.EventletWorker",
        "gevent",
        "geventwebsocket.gunicorn.workers.GeventWebSocketWorker",
        "eventlet",
    }
    assert any("--threads" in command for command in GUNICORN_COMMANDS)
    assert commands(DEPLOY / "uwsgi" / "README.md", "uwsgi")[1:]


@pytest.mark.parametrize("command", dict.fromkeys(GUNICORN_COMMANDS))
def test_gunicorn_commands(command: str, folder: Path) -> None:
    if command == "gunicorn -k eventlet -w 1 app:app":
        (folder / "gunicorn.conf.py").write_text("import engineio.gunicorn\n")
    run_gunicorn(shlex.split(command), folder)


def run_gunicorn(words: list[str], folder: Path) -> list[str]:
    """Run a command, try everything and stop it.  Returns the lines before the worker booted."""
    port = rigs.free_port()
    bind = ["--no-control-socket", "-b", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", *words, *bind]
    with Running(command, folder, port) as server:
        server.stop(server.check(), signal.SIGTERM)
        booted = next(i for i, line in enumerate(server.lines) if "Booting worker" in line)
        return server.lines[:booted]


def test_the_newest_gunicorn_with_eventlet_gives_no_advice(folder: Path) -> None:
    shutil.copy(GUNICORN / "gunicorn.conf.py", folder)
    lines = run_gunicorn(["gunicorn", "-k", "eventlet", "-w", "1", "app:app"], folder)
    assert [re.sub(r"^\[[^]]*\] \[\d+\] ", "", line).partition(" ")[0] for line in lines] == [
        "[INFO]"
    ] * 3


def test_the_unit(folder: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # keeps the case
    unit.read(GUNICORN / "engineio.service")
    service = unit["Service"]
    shutil.copy(GUNICORN / "gunicorn.conf.py", folder)
    settings: dict[str, object] = {}
    exec((folder / "gunicorn.conf.py").read_text(), settings)
    assert float(service["TimeoutStopSec"]) > float(str(settings["graceful_timeout"]))
    program, *arguments = shlex.split(service["ExecStart"])
    assert program == service["WorkingDirectory"] + "/.venv/bin/gunicorn"
    assert service["ExecReload"] == "/bin/kill -s HUP $MAINPID"
    port = rigs.free_port()
    arguments[arguments.index("-b") + 1] = f"127.0.0.1:{port}"
    command = [str(BIN / "gunicorn"), "--no-control-socket", *arguments]
    with Running(command, folder, port) as server:
        websocket = server.check()
        server.send_signal(signal.SIGHUP)
        assert websocket.receive() == "1"
        websocket.answer_close()
        server.stop(server.check(), signal.SIGTERM)


def test_nginx_keeps_a_client_with_its_process(tmp_path: Path) -> None:
    if nginx.NGINX is None:
        pytest.skip("needs nginx")
    with ExitStack() as stack:
        backends = []
        for _ in range(2):
            rig = rigs.Rig(rigs.SPECS["wsgiref"])
            rig.start()
            stack.callback(rig.stop)
            backends.append(rig.address)
        address = stack.enter_context(nginx.in_front_of(backends[0], tmp_path, others=backends[1:]))
        stack.callback(wire.close_all)
        for _ in range(5):
            session = wire.Polling(wire.Endpoint(address))
            for number in range(4):
                session.send(f"4{number}")
                assert session.poll() == [f"4{number}"]
            wire.upgrade(session)


def uwsgi_ini(folder: Path, port: int) -> list[str]:
    """Put uWSGI's file into the folder, for that port; the command."""
    text = (DEPLOY / "uwsgi" / "uwsgi.ini").read_text()
    assert text.count("\nhttp-socket = 127.0.0.1:8000\n") == 1
    (folder / "uwsgi.ini").write_text(text.replace(":8000\n", f":{port}\n", 1))
    (folder / "reload").touch()
    return [str(BIN / "uwsgi"), "uwsgi.ini", "-H", sys.prefix]


@pytest.mark.skipif(find_spec("pyuwsgi") is None, reason="needs pyuwsgi")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_uwsgi_reloads_and_stops(folder: Path, number: signal.Signals) -> None:
    port = rigs.free_port()
    with Running(uwsgi_ini(folder, port), folder, port) as server:
        websocket = server.check()
        application = folder / "app.py"
        application.write_text(application.read_text().replace("left:", "new code:"))
        # It looks at whole seconds, and may have started in this one.
        os.utime(folder / "reload", (time.time() + 5,) * 2)
        assert websocket.receive() == "1"
        websocket.answer_close()
        rigs.until(lambda: "Respawned uWSGI worker 1" in server.text, PATIENCE)
        assert "left: server shutdown" in server.lines
        websocket = server.check()
        server.send_signal(number)
        assert websocket.receive() == "1"
        websocket.answer_close()
        server.wait()
        assert "new code: server shutdown" in server.lines


def test_uwsgi_from_source_starts_anew_at_sighup(folder: Path) -> None:
    python = environment("uwsgi", "uwsgi", "gevent")
    port = rigs.free_port()
    _, *arguments = uwsgi_ini(folder, port)
    arguments[-1] = str(python.parent.parent)
    with Running([str(python.parent / "uwsgi"), *arguments], folder, port) as server:
        websocket = server.check()
        server.send_signal(signal.SIGHUP)
        assert websocket.receive() == "1"
        websocket.answer_close()
        rigs.until(lambda: "binary reloading uWSGI" in server.text, PATIENCE)
        server.stop(server.check(), signal.SIGTERM)


@pytest.mark.skipif(find_spec("pyuwsgi") is None, reason="needs pyuwsgi")
def test_the_one_line_of_uwsgi(folder: Path) -> None:
    command = commands(DEPLOY / "uwsgi" / "README.md", "uwsgi")[1]
    port = rigs.free_port()
    _, *arguments = shlex.split(command.replace(":8000", f"127.0.0.1:{port}"))
    with Running([str(BIN / "uwsgi"), *arguments, "-H", sys.prefix], folder, port) as server:
        server.check()
        server.send_signal(signal.SIGTERM)
        server.wait()
        # uWSGI kills its router before it tells the worker.
        assert {"left: server shutdown", "left: transport close"} & set(server.lines)


def test_the_command_of_the_container(folder: Path) -> None:
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    found = re.search(r"(?m)^CMD (\[.*\])$", dockerfile)
    assert found
    program, *arguments = json.loads(found[1])
    port = rigs.free_port()
    arguments[arguments.index("-b") + 1] = f"127.0.0.1:{port}"
    with Running([str(BIN / program), *arguments], folder, port) as server:
        server.stop(server.check(), signal.SIGTERM)


def test_the_containers_fit_together() -> None:
    compose = (DEPLOY / "docker" / "compose.yaml").read_text()
    services = re.findall(r"(?m)^  (\w+):$", compose)
    assert services == ["app", "nginx"]
    ours = nginx.SITE.read_text().splitlines()
    theirs = (DEPLOY / "docker" / "nginx.conf").read_text().splitlines()
    changes = [line for line in difflib.ndiff(ours, theirs) if line[0] in "-+"]
    assert sorted(line[1:].strip() for line in changes) == [
        "# server 127.0.0.1:8001;",
        "# server app2:8000;",
        "server 127.0.0.1:8000;",
        "server app:8000;",
    ]
    assert "./nginx.conf:/etc/nginx/conf.d/default.conf:ro" in compose
    assert 'expose: ["8000"]' in compose
