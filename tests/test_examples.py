"""The examples start in each sync async mode, answer, and write nothing alarming to stderr.

Those with a web framework are started with their command from examples/README.md.
"""

import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import rigs
import wire

ROOT = Path(__file__).resolve().parent.parent
WSGI = ROOT / "examples" / "server" / "wsgi"
# eventlet says on import that it is in maintenance mode; not ours to answer.
ALARMING = re.compile("Traceback|(?<!EventletDeprecation)Warning|handler error")
START = 60  # seconds; a server with debugger and reloader takes two
STOP = 20  # seconds; Ctrl-C takes well under one, gunicorn up to two

# The commands with a framework, and all that their servers may write.
COMMANDS = re.findall(
    r"^\| `(\w+ .*_app.*)` \|", (ROOT / "examples" / "README.md").read_text(), re.MULTILINE
)
PORT = {"flask": "--port {}", "gunicorn": "-b 127.0.0.1:{}", "python": "{}", "uvicorn": "--port {}"}
COLOUR = re.compile(r"\x1b\[[\d;]*m")
EXPECTED = re.compile(
    r"""\[[^\]]+\]\ \[\d+\]\ \[INFO\]\ .*              # gunicorn
    |INFO:\ .*                                       # uvicorn
    |WARNING:\ This\ is\ a\ development\ server\..*   # Flask and Django
    |\ \*\ .*|Press\ CTRL\+C\ to\ quit
    |127\.0\.0\.1\ -\ -\ \[[^\]]+\]\ "(GET|POST)\ \S+\ HTTP/1\.1"\ (101|200)\ -
    |(Watching\ for|Performing|System\ check|Django\ version|Starting|Quit|For\ more)\ .*
    |\w+\ \d+,\ \d+\ -\ [\d:]+
    |\[[^\]]+\]\ "(GET|POST)\ \S+\ HTTP/1\.1"\ 200\ \d+
    |""",
    re.VERBOSE,
)


@contextmanager
def running(example: str, mode: str) -> Iterator[wire.Endpoint]:
    """Run an example on a free port; check that Ctrl-C ends it and that stderr stayed calm."""
    if mode != "threading" and importlib.util.find_spec(mode) is None:
        pytest.skip(f"needs {mode}")
    environ = {**os.environ, "ASYNC_MODE": mode, "PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, example],
        cwd=WSGI,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    stderr = ""
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", first):
            yield wire.Endpoint(("127.0.0.1", int(found[1])))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=STOP)
        assert found, (first, stderr)
        assert process.returncode == 0, stderr
        assert not ALARMING.search(stderr), stderr
    finally:
        wire.close_all()
        process.kill()
        process.communicate()


@pytest.mark.parametrize("mode", ["threading", "eventlet", "gevent"])
@pytest.mark.parametrize("example", ["simple.py", "latency.py"])
def test_page_polling_and_websocket(example: str, mode: str) -> None:
    answer = {"simple.py": "4hello", "latency.py": "4pong"}[example]
    with running(example, mode) as endpoint:
        page = wire.request(endpoint.address, "GET", "/")
        assert (page.status, page.header("Content-Type")) == (200, "text/html")
        assert b"/static/engineio.js" in page.body
        script = wire.request(endpoint.address, "GET", "/static/engineio.js")
        assert script.status == 200
        assert "javascript" in (script.header("Content-Type") or "")

        polling = wire.Polling(endpoint)
        assert polling.opening["upgrades"] == ["websocket"]
        assert polling.post("4hello").status == 200
        assert polling.receive(1) == [answer]
        assert polling.post("1").status == 200
        assert polling.request("GET").status == 400

        websocket = wire.EngineWebSocket(endpoint)
        websocket.send_text("4hello")
        assert websocket.receive() == answer
        websocket.send_text("1")
        websocket.answer_close()


@pytest.mark.parametrize("mode", ["threading", "eventlet", "gevent"])
def test_demo_counts_clients_and_ignores_what_it_does_not_know(mode: str) -> None:
    with running("demo.py", mode) as endpoint:
        first = wire.EngineWebSocket(endpoint)
        welcome = json.loads(first.receive_text(1)[0][1:])
        assert (welcome["type"], welcome["async_mode"]) == ("welcome", mode)
        assert first.receive() == '4{"type":"clients","count":1,"change":1}'

        second = wire.Polling(endpoint)
        assert (second.early or second.receive(2))[1] == '4{"type":"clients","count":2,"change":2}'
        assert first.receive() == '4{"type":"clients","count":2,"change":2}'

        first.send_text("4[]", '4{"type":[]}', '4{"type":"clients"}', "4text", "4true", "47")
        first.send_binary(bytes(range(256)))
        assert first.receive() == bytes(range(256))
        first.send_text('4{"type":"echo","id":1,"text":"é"}')
        echo = json.loads(first.receive_text(1)[0][1:])
        assert echo == {"type": "echo", "id": 1, "text": "é"}

        assert second.post("1").status == 200
        assert first.receive() == '4{"type":"clients","count":1,"change":3}'
        first.send_text("1")
        first.answer_close()


class Deployed:
    """An example that was started as a person does it, in a terminal of its own."""

    def __init__(self, command: str, log: Path) -> None:
        self.port = rigs.free_port()
        self.endpoint = wire.Endpoint(("127.0.0.1", self.port))
        self.log = log
        program, *rest = shlex.split(command)
        arguments = [*rest, *PORT[program].format(self.port).split()]
        bin_folder = Path(sys.executable).parent
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [bin_folder / program, *arguments],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "GUNICORN_CMD_ARGS": "--no-control-socket",  # one for all, in the home folder
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def wait_until_listening(self) -> None:
        deadline = time.monotonic() + START
        while True:
            try:
                socket.create_connection(self.endpoint.address).close()
            except ConnectionRefusedError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Press Ctrl-C, which all its processes get; check how it ends and what it wrote."""
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(STOP)
        lines = COLOUR.sub("", self.log.read_text()).splitlines()
        assert code in (0, -signal.SIGINT), lines
        assert [line for line in lines if not EXPECTED.fullmatch(line)] == []

    def kill(self) -> None:
        wire.close_all()
        with suppress(ProcessLookupError):  # it has ended, and so has everything it started
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def deployed(command: str, log: Path) -> Iterator[Deployed]:
    """Run a command of the README on a free port; it ends with Ctrl-C."""
    for name in ("flask", "django", "falcon", "gunicorn", "gevent", "eventlet", "uvicorn"):
        if re.search(rf"\b{name}(\b|_)", command) and importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    server = Deployed(command, log)
    try:
        server.wait_until_listening()
        yield server
        server.stop()
    finally:
        server.kill()


def talk(endpoint: wire.Endpoint) -> wire.WebSocket:
    """Talk by polling, WebSocket and upgrade; returns the upgraded connection, still open."""
    upgraded = wire.Polling(endpoint)
    assert upgraded.opening["upgrades"] == ["websocket"]
    upgraded.send("4hello")
    assert upgraded.receive(1) == ["4hello"]
    websocket, _ = wire.upgrade(upgraded)
    websocket.send_text("4é")
    websocket.send_binary(b"\x00\xff")
    assert [websocket.receive(), websocket.receive()] == ["4é", b"\x00\xff"]

    polling = wire.Polling(endpoint)
    direct = wire.EngineWebSocket(endpoint)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = wire.request(endpoint.address, "POST", "/broadcast", form, b"text=news+for+all")
    assert (answer.status, answer.json()) == (200, {"clients": 3})
    assert polling.receive(1) == ["4news for all"]
    assert direct.receive() == websocket.receive() == "4news for all"
    direct.send_text("4" + "x" * 100_000)
    assert direct.receive() == "4" + "x" * 100_000
    direct.send_text("1")
    direct.answer_close()
    polling.send("1")
    return websocket


def test_every_framework_is_in_the_readme() -> None:
    files = {path.stem for path in WSGI.glob("*_app.py")}
    assert files == {"flask_app", "django_app", "falcon_app"}
    assert {name for command in COMMANDS for name in files if name in command} == files


@pytest.mark.parametrize("command", COMMANDS)
def test_framework(command: str, tmp_path: Path) -> None:
    with deployed(command, tmp_path / "log") as server:
        page = wire.request(server.endpoint.address, "GET", "/")
        assert page.status == 200
        assert (page.header("Content-Type") or "").startswith("text/html")
        assert b"/static/engineio.js" in page.body
        script = wire.request(server.endpoint.address, "GET", "/static/engineio.js")
        assert script.status == 200
        assert "javascript" in (script.header("Content-Type") or "")
        talk(server.endpoint)  # its last client stays while the server ends


def test_flask_reloads(tmp_path: Path) -> None:
    """With --debug a change of the code ends what there is, and clients come back."""
    code = tmp_path / "changing.py"
    code.touch()
    (command,) = (each for each in COMMANDS if "--debug" in each)
    with deployed(f"{command} --extra-files {code}", tmp_path / "log") as server:
        websocket = talk(server.endpoint)
        # The reloader may not have looked at the file yet, so once may not be enough.
        deadline = time.monotonic() + START
        while not websocket.has_input(2.0):
            assert time.monotonic() < deadline, server.log.read_text()
            code.write_text(f"{time.monotonic()}")
        assert websocket.receive() == "1"
        websocket.answer_close()
        talk(server.endpoint)
