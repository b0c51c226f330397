"""`make run` as a person types it, with what it installs taken for installed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rigs
import wire

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0  # seconds

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make_run(port: int) -> "subprocess.Popen[str]":
    """Start `make run` with this Python's environment."""
    stamps = (f"{sys.prefix}/.made", f"{sys.prefix}/.installed-run")
    return subprocess.Popen(
        [
            *("make", "--no-print-directory", "run", f"PORT={port}", f"VENV={sys.prefix}"),
            *(part for stamp in stamps for part in ("--old-file", stamp)),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def port() -> Iterator[int]:
    yield rigs.free_port()
    wire.close_all()


def test_run_serves_the_demo_until_ctrl_c(port: int) -> None:
    process = make_run(port)
    output = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            output += line
            if re.search("Booting worker", line):
                break
        assert f"Open http://127.0.0.1:{port}/" in output
        page = wire.request(("127.0.0.1", port), "GET", "/")
        assert (page.status, page.header("Content-Type")) == (200, "text/html")
        websocket = wire.EngineWebSocket(wire.Endpoint(("127.0.0.1", port)))
        assert websocket.receive_text(1)[0].startswith('4{"type":"welcome"')
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        output += process.communicate(timeout=PATIENCE)[0]
        assert "Shutting down: Master" in output
        assert "Traceback" not in output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_run_says_when_the_port_is_taken(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        output, _ = make_run(port).communicate(timeout=PATIENCE)
    assert f"Cannot listen on 127.0.0.1:{port}" in output
    assert f"make run PORT={port + 1}" in output
    assert "Traceback" not in output
