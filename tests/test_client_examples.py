"""The client examples run against a server of ours and against the JavaScript server from npm."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "client"
JAVASCRIPT = ROOT / "tests" / "javascript"
NODE = shutil.which("node")
HAS_PACKAGES = all(
    (JAVASCRIPT / "node_modules" / name).is_dir() for name in ("engine.io", "engine.io-client")
)
PATIENCE = 30.0  # seconds; an example takes one or two
ALARMING = re.compile("Traceback|Warning|[Ee]rror")

needs_node = pytest.mark.skipif(
    NODE is None or not HAS_PACKAGES, reason="needs Node.js and `npm ci` in tests/javascript"
)
KINDS = ["threads", "asyncio", pytest.param("javascript", marks=needs_node)]
SERVERS = ["python", pytest.param("javascript", marks=needs_node)]


@pytest.fixture(scope="module", params=SERVERS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command: list[str | Path] = [sys.executable, "-m", "engineio", "serve", "--port", str(port)]
    if request.param == "javascript":
        command = [str(NODE), JAVASCRIPT / "server.mjs", str(port)]
    process = subprocess.Popen(
        command, cwd=EXAMPLES, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server does not answer")


def command_of(kind: str, name: str, folder: Path) -> list[str | Path]:
    if kind != "javascript":
        return [sys.executable, "-W", "error", EXAMPLES / kind / f"{name}.py"]
    # Node looks for packages beside the file, where a person has run `npm install`.
    for file in (EXAMPLES / kind).iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    (folder / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    return [str(NODE), folder / f"{name}.mjs"]


@pytest.mark.parametrize("kind", KINDS)
def test_simple(kind: str, url: str, tmp_path: Path) -> None:
    command = [*command_of(kind, "simple_client", tmp_path), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    opened, *received, closed = done.stdout.splitlines()
    assert opened == "connected over polling"
    expected = ["'hello'", "{'a': [1, 2, 3]}", r"b'\x00\x01\x02'"]
    reason = "client disconnect"
    if kind == "javascript":
        expected = ["hello", '{"a":[1,2,3]}', "<Buffer 00 01 02>"]
        reason = "forced close"
    assert received == [f"received {data}" for data in expected]
    assert closed == f"disconnected: {reason}"


@pytest.mark.parametrize("kind", KINDS)
def test_latency_until_ctrl_c(kind: str, url: str, tmp_path: Path) -> None:
    command = [*command_of(kind, "latency_client", tmp_path), url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "connected\n"
            for transport in ("(polling|websocket)", "(polling|websocket)", "websocket"):
                line = process.stdout.readline()
                assert re.fullmatch(rf"latency is \d+\.\d\d ms over {transport}\n", line)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 0
    assert out.splitlines()[-1].startswith("disconnected: ")
    assert not ALARMING.search(err), err
