"""Each server with clients of both languages at once, directly, behind nginx and over TLS.

They use polling, WebSocket and an upgrade, for text and binary, up to 1 MB.  What works is a table
in the documentation.
"""

import hashlib
import json
import os
import queue
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import requests

import compatibility
import engineio
import nginx
import rigs
import wire

JAVASCRIPT = Path(__file__).parent / "javascript"
NODE = shutil.which("node")
IS_INSTALLED = (JAVASCRIPT / "node_modules" / "engine.io-client").is_dir()
PATIENCE = 60.0  # seconds; the scenario gives up earlier

SERVER = "big"  # whose max_http_buffer_size is 20 MB
PATH = f"/{SERVER}/"
TRANSPORTS = {
    "polling": ["polling"],
    "WebSocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}
# As in tests/javascript/common.mjs.
MESSAGES: list[list[object]] = [
    ["text", "grüße, \U0001f30d"],
    ["bytes", 256, "Buffer"],
    ["repeat", "x", 100_000],
    ["bytes", 100_000, "Buffer"],
    ["repeat", "ж", 500_000],
    ["bytes", 1_000_000, "Buffer"],
]

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs Node.js"),
    pytest.mark.skipif(not IS_INSTALLED, reason="needs `npm ci` in tests/javascript"),
]

Message = list[object]
Ways = list[tuple[str, wire.Address]]  # a prefix for names, and where the server is


@dataclass(frozen=True)
class Run:
    """What one client does: connect there, by these transports, and exchange all messages."""

    url: str
    transports: list[str]


@pytest.fixture
def proxied(any_rig: rigs.Rig, tmp_path: Path) -> Iterator[wire.Address]:
    """The rig behind nginx."""
    if nginx.NGINX is None:
        pytest.skip("needs nginx")
    with nginx.in_front_of(any_rig.address, tmp_path, any_rig.spec.proxy_log) as address:
        yield address


def test_clients(any_rig: rigs.Rig, proxied: wire.Address) -> None:
    any_rig.server(SERVER)
    cells = try_clients(any_rig.spec, [("", any_rig.address), ("nginx ", proxied)])
    for transport in TRANSPORTS:
        compatibility.check(any_rig.spec.name, transport, cells[transport])
        assert cells[f"nginx {transport}"] == cells[transport]
    compatibility.check(any_rig.spec.name, "nginx", "yes")


def test_the_wire_behind_nginx(any_rig: rigs.Rig, proxied: wire.Address) -> None:
    server = any_rig.server()
    server.endpoint = wire.Endpoint(proxied, server.endpoint.path)
    try:
        check_the_wire(server)
    finally:
        server.endpoint = wire.Endpoint(any_rig.address, server.endpoint.path)


@pytest.mark.parametrize("name", [name for name in rigs.SPECS if rigs.over_tls(name)])
def test_tls(name: str) -> None:
    spec = rigs.over_tls(name)
    assert spec is not None
    rig = rigs.Rig(spec)
    rig.start()
    try:
        server = rig.server(SERVER)
        cells = try_clients(spec, [("", rig.address)])
        check_the_wire(server)
        assert cells["polling"] == "yes"
        assert (cells["WebSocket"] == "yes") is spec.websocket
        rig.clean_up()
    finally:
        wire.close_all()
        rig.stop()
    compatibility.check(name, "TLS", "yes")


def try_clients(spec: rigs.Spec, ways: Ways) -> dict[str, str]:
    """Whether everything came back to all clients, for each way and transport: yes or no."""
    runs = {
        prefix + transport: Run(url_of(address), transports)
        for prefix, address in ways
        for transport, transports in TRANSPORTS.items()
    }
    with Node(runs) as node, ThreadPoolExecutor(len(runs)) as pool:
        python = dict(zip(runs, pool.map(run_python, runs.values()), strict=True))
        javascript = node.wait()
    whole = [describe(make(message)) for message in MESSAGES]
    cells = {}
    for name in runs:
        both = [python[name], javascript.get(name)]
        if spec.websocket or name.endswith("polling"):
            assert both == [whole, whole], (name, both, javascript)
            cells[name] = "yes"
        else:
            # The client of Python raises why, the one of JavaScript reports it, or that no upgrade
            # was offered: nothing came back.
            assert whole not in both
            cells[name] = "no"
    return cells


def url_of(address: wire.Address) -> str:
    scheme = "wss" if isinstance(address, wire.TLSAddress) else "ws"
    return f"{scheme}://localhost:{address[1]}"


class Node:
    """npm's engine.io-client, in one process for all runs."""

    def __init__(self, runs: dict[str, Run]) -> None:
        assert NODE is not None
        given = {
            "ways": [{"name": name, **asdict(run)} for name, run in runs.items()],
            "messages": MESSAGES,
            "options": {"path": PATH},
        }
        self._process = subprocess.Popen(
            [NODE, "matrix.mjs", json.dumps(given)],
            cwd=JAVASCRIPT,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(wire.AUTHORITY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait(self) -> dict[str, object]:
        """What it reports, by name: what came back, or why nothing did."""
        output, errors = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, (output[-3000:], errors)
        return dict(json.loads(line) for line in output.split("\n")[:-1])


def run_python(run: Run) -> list[object]:
    """What came back to a client of this package; described as in JavaScript."""
    session = requests.Session()
    session.verify = str(wire.AUTHORITY)
    session.trust_env = False  # REQUESTS_CA_BUNDLE would win
    client = engineio.Client(http_session=session, handle_sigint=False)
    echoes: queue.Queue[object] = queue.Queue()
    client.on("message", echoes.put)
    try:
        client.connect(run.url, transports=run.transports, engineio_path=PATH)
    except engineio.exceptions.ConnectionError as error:
        return [str(error)]
    try:
        if client.transport() != run.transports[-1]:
            return ["no upgrade"]
        received = []
        for message in MESSAGES:
            client.send(make(message))
            received.append(describe(echoes.get(timeout=PATIENCE)))
        return received
    finally:
        client.disconnect()


def make(message: Message) -> str | bytes:
    """A message from its description."""
    kind, value, *detail = message
    if kind == "text":
        return str(value)
    if kind == "repeat":
        return str(value) * int(str(detail[0]))
    size = int(str(value))
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def describe(data: object) -> object:
    """As in tests/javascript/common.mjs: short text as it is, else type, size and digest."""
    if isinstance(data, str):
        if len(data) <= 200:
            return data
        return ["String", len(data), hashlib.sha256(data.encode()).hexdigest()]
    assert isinstance(data, bytes)
    return ["Buffer", len(data), hashlib.sha256(data).hexdigest()]


def check_the_wire(server: rigs.Server) -> None:
    """One response for each request; after a 101 frames only; the end of a WebSocket is its end."""
    session = server.polling()
    connection = wire.HTTPConnection(server.endpoint.address)
    target = server.endpoint.target(wire.polling_query(session.sid))
    assert connection.request("POST", target, body=b"4hello").body == b"ok"
    if server.spec.keep_alive:
        assert connection.request("GET", target).packets() == ["4hello"]
    assert not connection.has_input(0.1) or connection.read_to_eof() == b""
    connection.close()
    if not server.spec.websocket:
        return
    upgraded, _ = wire.upgrade(server.polling())
    direct = server.websocket()
    for websocket in (upgraded, direct):
        websocket.send_text("4there and back")
        assert websocket.receive() == "4there and back"
        websocket.send(wire.close_frame(1000))
        assert websocket.read_close() == 1000
        websocket.finish()
    other = server.websocket()
    server.call("disconnect", sid=other.sid)
    assert other.receive() == "1"
    assert other.answer_close() == 1000
