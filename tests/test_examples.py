"""The examples start in each sync async mode, answer, and write nothing alarming to stderr."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wire

WSGI = Path(__file__).resolve().parent.parent / "examples" / "server" / "wsgi"
# eventlet says on import that it is in maintenance mode; not ours to answer.
ALARMING = re.compile("Traceback|(?<!EventletDeprecation)Warning|handler error")
STOP = 20  # seconds; Ctrl-C takes well under one


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
