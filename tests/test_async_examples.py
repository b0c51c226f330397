"""The asyncio examples start as their docstrings say, answer, and write nothing alarming."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import wire

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "server"
ALARMING = re.compile("Traceback|Warning|ERROR|handler error|never (awaited|retrieved)")
START = 60  # seconds; some frameworks take one or two to import
STOP = 20  # seconds; Ctrl-C takes one or two

JSON = {"Content-Type": "application/json"}


class Example:
    """A running example, and a client's view of it."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path, port: int) -> None:
        self.process = process
        self._output = output
        self.address = ("127.0.0.1", port)
        self.endpoint = wire.Endpoint(self.address)

    def output(self) -> str:
        return self._output.read_text()

    def wait_until_listening(self) -> None:
        deadline = time.monotonic() + START
        while True:
            try:
                socket.create_connection(self.address).close()
            except ConnectionRefusedError:
                assert self.process.poll() is None, self.output()
                assert time.monotonic() < deadline, self.output()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> str:
        """End it with Ctrl-C, check that it ends well and stayed calm; return what it wrote."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(STOP)
        output = self.output()
        assert code in (0, -signal.SIGINT), output
        assert not ALARMING.search(output), output
        return output

    def get(self, path: str, **headers: str) -> wire.Response:
        return wire.request(self.address, "GET", path, headers)

    def post_json(self, path: str, value: object) -> wire.Response:
        return wire.request(self.address, "POST", path, JSON, json.dumps(value).encode())


@contextmanager
def running(folder: str, name: str) -> Iterator[Example]:
    """Run an example on a free port; check that Ctrl-C ends it and that it stayed calm.

    Those that do not start a server themselves are given to uvicorn.
    """
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    if "__main__" in (EXAMPLES / folder / f"{name}.py").read_text():
        command = [f"{name}.py"]
    else:
        command = ["-m", "uvicorn", f"{name}:app", "--port", str(port)]
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=EXAMPLES / folder,
            env={**os.environ, "PORT": str(port), "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        example = Example(process, Path(output.name), port)
        try:
            example.wait_until_listening()
            yield example
            wire.close_all()
            if process.poll() is None:
                example.stop()
        finally:
            wire.close_all()
            process.kill()
            process.wait()


def talk(endpoint: wire.Endpoint, said: str = "4hello", answer: str = "4hello") -> None:
    """Say something by polling, WebSocket and upgrade, check the answers, and leave."""
    polling = wire.Polling(endpoint)
    assert polling.opening["upgrades"] == ["websocket"]
    polling.send(said)
    assert polling.receive(1) == [answer]
    polling.send("1")
    assert polling.request("GET").status == 400

    for is_upgraded in (False, True):
        websocket: wire.WebSocket
        if is_upgraded:
            websocket, _ = wire.upgrade(wire.Polling(endpoint))
        else:
            websocket = wire.EngineWebSocket(endpoint)
        websocket.send_text(said)
        assert websocket.receive() == answer
        websocket.send_text("1")
        websocket.answer_close()


@pytest.mark.parametrize("folder", ["asgi", "aiohttp", "sanic", "tornado"])
@pytest.mark.parametrize("name", ["simple", "latency"])
def test_page_polling_and_websocket(folder: str, name: str) -> None:
    with running(folder, name) as example:
        page = example.get("/")
        assert page.status == 200
        assert (page.header("Content-Type") or "").startswith("text/html")
        assert b"/static/engineio.js" in page.body
        script = example.get("/static/engineio.js")
        assert script.status == 200
        assert "javascript" in (script.header("Content-Type") or "")
        talk(example.endpoint, answer={"simple": "4hello", "latency": "4pong"}[name])

        # These stay while the server ends.
        poll = wire.Polling(example.endpoint).start_poll()
        stay: list[wire.HTTPConnection] = [wire.EngineWebSocket(example.endpoint), poll]
        assert example.get("/").status == 200  # by now the poll is there
        output = example.stop()
        assert poll.read_response().packets() == ["1"]
        if name == "simple":
            clients = 3 + len(stay)
            assert len(re.findall(r"^connected: ", output, re.MULTILINE)) == clients
            assert len(re.findall(r"^disconnected: ", output, re.MULTILINE)) == clients


def test_standalone() -> None:
    with running("asgi", "standalone") as example:
        talk(example.endpoint)
        assert example.get("/").status == 404
        with pytest.raises(wire.Refused) as refused:
            wire.WebSocket(wire.Endpoint(example.address, "/ws"), {})
        assert refused.value.response.status in (403, 404)


def test_fastapi_app() -> None:
    with running("asgi", "fastapi_app") as example:
        assert example.get("/clients").json() == {"clients": 0}
        talk(example.endpoint)
        client = wire.Polling(example.endpoint)
        assert example.get("/clients").json() == {"clients": 1}
        client.send("1")
        assert example.get("/clients").json() == {"clients": 0}
        assert example.get("/openapi.json").status == 200


def test_fastapi_mount() -> None:
    with running("asgi", "fastapi_mount") as example:
        assert example.get("/hello").json() == {"message": "hello"}
        talk(example.endpoint)
        talk(wire.Endpoint(example.address, "/sub/engine.io/"))
        assert example.get("/nope").status == 404


def test_fastapi_broadcast() -> None:
    with running("asgi", "fastapi_broadcast") as example:
        polling = wire.Polling(example.endpoint)
        websocket = wire.EngineWebSocket(example.endpoint)
        answer = example.post_json("/broadcast", {"text": "é"})
        assert sorted(answer.json()["sids"]) == sorted([polling.sid, websocket.sid])
        assert polling.receive(1) == ["4é"]
        assert websocket.receive() == "4é"

        answer = example.post_json("/broadcast", {"text": "skips", "skip": websocket.sid})
        assert answer.json() == {"sids": [polling.sid]}
        assert example.post_json(f"/send/{websocket.sid}", {"text": "one"}).status == 200
        assert polling.receive(1) == ["4skips"]
        assert websocket.receive() == "4one"

        websocket.send_text("4from a client")
        assert polling.receive(1) == ["4from a client"]
        assert example.post_json("/broadcast", {}).status == 422


def test_starlette_app() -> None:
    with running("asgi", "starlette_app") as example:
        assert example.get("/").body == b"hello"
        talk(example.endpoint)
        assert "the site starts" in example.output()
        assert "the site stops" not in example.output()
        wire.close_all()
        assert "the site stops" in example.stop()


def test_static_patterns() -> None:
    with running("asgi", "static_patterns") as example:
        page = example.get("/")
        assert b"<h1>Static files</h1>" in page.body
        for path in re.findall(rb'href="(/[^"]*)"', page.body):
            assert example.get(path.decode()).status == 200, path
        assert example.get("/license").header("Content-Type") == "text/plain"
        assert example.get("/v2.5/index.html").body == page.body
        part = example.get("/v1/index.html", Range="bytes=0-8")
        assert (part.status, part.body) == (206, b"<!doctype")
        etag = page.header("ETag") or ""
        assert example.get("/", **{"If-None-Match": etag}).status == 304
        for path in ("/v1/notice.md", "/v1/..%2fsimple.html", "/static/../simple.py", "/nope"):
            assert example.get(path).status == 404, path
        assert wire.request(example.address, "HEAD", "/nope").status == 404
        talk(example.endpoint)


def test_lifespan() -> None:
    with running("asgi", "lifespan") as example:
        websocket = wire.EngineWebSocket(example.endpoint)
        polling = wire.Polling(example.endpoint)
        first, second = (json.loads(str(websocket.receive())[1:])["seconds"] for _ in range(2))
        assert second == first + 1
        assert re.fullmatch(r'4{"seconds":\d+}', polling.poll()[0])
        wire.close_all()
        assert "the ticker stops" in example.stop()


def test_custom_path() -> None:
    with running("asgi", "custom_path") as example:
        talk(wire.Endpoint(example.address, "/chat/"))
        assert example.get("/engine.io/?EIO=4&transport=polling").status == 404


def test_two_servers() -> None:
    with running("asgi", "two_servers") as example:
        chat, news = (wire.Endpoint(example.address, path) for path in ("/chat/", "/news/"))
        talk(chat)
        reader = wire.Polling(news)
        assert (reader.early or reader.receive(1)) == ["4nothing new"]
        assert reader.opening["pingInterval"] == 60_000
        assert chat.request("GET", wire.polling_query(reader.sid)).status == 400
        assert example.get("/").status == 404


def test_authentication() -> None:
    with running("asgi", "authentication") as example:
        assert example.endpoint.request("GET", wire.polling_query()).status == 401
        with pytest.raises(wire.Refused) as refused:
            wire.WebSocket(example.endpoint)
        assert refused.value.response.status in (401, 403)

        ann = {"Authorization": "Bearer secret-of-ann"}
        bob = {**wire.websocket_headers(), "Authorization": "Bearer secret-of-bob"}
        polling = wire.Polling(example.endpoint, headers=ann)
        websocket = wire.EngineWebSocket(example.endpoint, headers=bob)
        polling.send("4x", "4y")
        assert polling.receive(2) == [
            '4{"user":"ann","messages":1}',
            '4{"user":"ann","messages":2}',
        ]
        websocket.send_text("4x")
        assert websocket.receive() == '4{"user":"bob","messages":1}'


def test_native_websocket() -> None:
    with running("asgi", "native_websocket") as example:
        talk(example.endpoint)
        engine = wire.EngineWebSocket(example.endpoint)
        native = wire.WebSocket(wire.Endpoint(example.address, "/ws"), {})
        native.send(wire.text_frame("from the other side"))
        assert native.receive_text(1) == ["sent to 1"]
        assert engine.receive() == "4from the other side"
        native.send(wire.close_frame())
        native.read_to_eof()
