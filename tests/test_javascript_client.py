"""The official JavaScript client, from npm, against real servers.

Each file in tests/javascript is a scenario: one Node process that does it with the client it is
told to make, and writes what it saw as lines of JSON.  What must be so is asserted here.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

import rigs

JAVASCRIPT = Path(__file__).parent / "javascript"
NODE = shutil.which("node")
IS_INSTALLED = (JAVASCRIPT / "node_modules" / "engine.io-client").is_dir()
PATIENCE = 40.0  # seconds; longer than a scenario gives itself

NOWHERE = "nothing-here"
RIGS = ("gunicorn-eventlet", "gevent", "threading", "gevent_uwsgi-http", "uvicorn")
POLLING = ["polling"]
FETCH = ["fetch"]
WEBSOCKET = ["websocket"]
UPGRADE = ["polling", "websocket"]
FETCH_UPGRADE = ["fetch", "websocket"]
TRANSPORTS = [POLLING, WEBSOCKET, UPGRADE]
ALL_TRANSPORTS = [*TRANSPORTS, FETCH, FETCH_UPGRADE]

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="needs Node.js"),
    pytest.mark.skipif(not IS_INSTALLED, reason="needs `npm ci` in tests/javascript"),
]
each_transport = pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
every_transport = pytest.mark.parametrize("transports", ALL_TRANSPORTS, ids="+".join)

Message = list[Any]  # ["text", str], ["repeat", str, times] or ["bytes", size, JavaScript type]

KINDS: list[Message] = [
    ["text", "hello"],
    ["text", ""],
    ["text", "grüße, мир, 世界, \U0001f30d \x00\u2028"],
    ["text", '{"a":[1,null,true],"b":{"c":"d"}}'],
    ["text", "[1,2]"],
    ["text", "12"],
    ["text", "true story"],
    ["text", "bQUJD"],
    ["bytes", 256, "ArrayBuffer"],
    ["bytes", 256, "Buffer"],
    ["bytes", 0, "Buffer"],
    ["bytes", 1, "ArrayBuffer"],
]
MEGABYTE: list[Message] = [
    ["repeat", "x", 1_000_000],
    ["repeat", "ж", 500_000],
    ["bytes", 1_000_000, "Buffer"],
]


@pytest.fixture(scope="session", params=RIGS)
def js_rig(request: pytest.FixtureRequest, _pool: Any) -> rigs.Rig:
    rig: rigs.Rig = _pool.get(request.param)
    return rig


@pytest.fixture(autouse=True)
def _clean_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no session, thread, greenlet or descriptor leaked, nothing in the log."""
    if "js_rig" not in request.fixturenames:
        yield
        return
    running: rigs.Rig = request.getfixturevalue("js_rig")
    if not running.is_running:
        running.start()
    yield
    running.clean_up()


class Node:
    """A running scenario."""

    def __init__(self, scenario: str, url: str, transports: list[str], **given: object) -> None:
        assert NODE is not None
        given |= {"url": url, "transports": transports}
        self.process = subprocess.Popen(
            [NODE, f"{scenario}.mjs", json.dumps(given)],
            cwd=JAVASCRIPT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.reports: dict[str, list[Any]] = defaultdict(list)

    def __enter__(self) -> "Node":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_report(self, name: str) -> Any:
        """The value of the next report of that name."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            reported, value = json.loads(line)
            self.reports[reported].append(value)
            if reported == name:
                return value
        raise AssertionError(f"no {name}, but {self._all()}")

    def wait(self) -> dict[str, list[Any]]:
        """Wait for the end: everything it reported, by name."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        for line in output.split("\n")[:-1]:  # not splitlines, which knows U+2028
            name, value = json.loads(line)
            self.reports[name].append(value)
        assert self.process.returncode == 0, errors + self._all()
        return self.reports

    def _all(self) -> str:
        return json.dumps(self.reports)[:3000]


def start(rig: rigs.Rig, scenario: str, server: str, transports: list[str], **given: Any) -> Node:
    """Start a scenario against the server of that name, see SERVERS in contract_app.py."""
    if server != NOWHERE:
        rig.server(server)  # warms it up, so that what it keeps for good is no leak
    options = {"path": f"/{server}/", **given.pop("options", {})}
    host, port = rig.address
    return Node(scenario, f"ws://{host}:{port}", transports, options=options, **given)


def run(
    rig: rigs.Rig, scenario: str, server: str, transports: list[str], **given: Any
) -> dict[str, list[Any]]:
    """Run a scenario to its end: everything it reported, by name."""
    with start(rig, scenario, server, transports, **given) as node:
        return node.wait()


def echo(message: Message, binary_type: str) -> Any:
    """How common.mjs describes a message that came back."""
    if message[0] == "text":
        return message[1]
    if message[0] == "repeat":
        text = message[1] * message[2]
        return ["String", len(text), hashlib.sha256(text.encode()).hexdigest()]
    data = (bytes(range(256)) * (message[1] // 256 + 1))[: message[1]]
    received = "ArrayBuffer" if binary_type == "arraybuffer" else "Buffer"
    return [received, len(data), hashlib.sha256(data).hexdigest()]


def is_upgraded(transports: list[str]) -> bool:
    return len(transports) == 2


def closed_by_client(transports: list[str]) -> str:
    """The reason on the server: this client sends no CLOSE packet over a WebSocket."""
    return "client disconnect" if transports in (POLLING, FETCH) else "transport close"


def sid_of(reports: dict[str, list[Any]]) -> str:
    sid: str = reports["opening"][0]["sid"]
    return sid


@pytest.mark.parametrize(
    ("transports", "binary_type"),
    [
        (POLLING, "nodebuffer"),
        (POLLING, "arraybuffer"),
        (WEBSOCKET, "nodebuffer"),
        (WEBSOCKET, "arraybuffer"),
        (UPGRADE, "nodebuffer"),
        (FETCH_UPGRADE, "arraybuffer"),
    ],
)
def test_text_json_and_binary_both_ways(
    js_rig: rigs.Rig, transports: list[str], binary_type: str
) -> None:
    reports = run(js_rig, "exchange", "serial", transports, messages=KINDS, binaryType=binary_type)
    assert reports["message"] == [echo(message, binary_type) for message in KINDS]
    assert reports["close"] == ["forced close"]
    assert reports["upgrade"] == ["websocket"] * is_upgraded(transports)
    assert reports["upgradeError"] == reports["error"] == []
    js_rig.server("serial").assert_ended(sid_of(reports), closed_by_client(transports))


@each_transport
def test_base64_for_clients_that_ask_for_it(js_rig: rigs.Rig, transports: list[str]) -> None:
    reports = run(
        *(js_rig, "exchange", "serial", transports),
        messages=KINDS,
        binaryType="nodebuffer",
        options={"forceBase64": True},
    )
    assert reports["message"] == [echo(message, "nodebuffer") for message in KINDS]


@every_transport
def test_a_megabyte_each_way(js_rig: rigs.Rig, transports: list[str]) -> None:
    reports = run(
        *(js_rig, "exchange", "big", transports),
        messages=MEGABYTE,
        binaryType="nodebuffer",
        inTurn=True,
    )
    assert reports["message"] == [echo(message, "nodebuffer") for message in MEGABYTE]
    assert reports["error"] == []


@every_transport
def test_a_thousand_messages_each_way_in_order(js_rig: rigs.Rig, transports: list[str]) -> None:
    reports = run(js_rig, "bursts", "serial", transports, count=1000)
    assert reports["echoes"] == [[str(number) for number in range(1000)]]
    assert reports["bursts"] == [[f"burst-{number}" for number in range(1000)]]
    if is_upgraded(transports):
        assert reports["upgrade"] == ["websocket"]
        assert "websocket" in reports["over"][0]
    messages = js_rig.server("serial").messages(sid_of(reports))
    assert messages == ["burst:1000", *(str(number) for number in range(1000))]


@every_transport
def test_the_client_closes(js_rig: rigs.Rig, transports: list[str]) -> None:
    reports = run(js_rig, "ending", "engine.io", transports, how="client")
    assert reports["close"] == ["forced close"]
    js_rig.server().assert_ended(sid_of(reports), closed_by_client(transports))


@pytest.mark.parametrize("transports", [UPGRADE, FETCH_UPGRADE], ids="+".join)
def test_the_client_closes_while_an_upgrade_is_pending(
    js_rig: rigs.Rig, transports: list[str]
) -> None:
    reports = run(js_rig, "ending", "engine.io", transports, how="early")
    assert reports["close"] == ["forced close"]
    js_rig.server().assert_ended(sid_of(reports), "client disconnect")


@every_transport
def test_the_server_disconnects(js_rig: rigs.Rig, transports: list[str]) -> None:
    reports = run(js_rig, "ending", "engine.io", transports, how="server")
    assert reports["close"] == ["transport close"]
    assert reports["error"] == []
    js_rig.server().assert_ended(sid_of(reports), "server disconnect")


@each_transport
def test_the_client_vanishes(js_rig: rigs.Rig, transports: list[str]) -> None:
    with start(js_rig, "ending", "engine.io", transports, how="never") as node:
        node.wait_report("settled")
        sid = sid_of(node.reports)
        assert js_rig.server().is_alive(sid)
    reason = "transport error" if transports == POLLING else "transport close"
    js_rig.server().assert_ended(sid, reason)


@every_transport
def test_pings_are_answered(js_rig: rigs.Rig, transports: list[str]) -> None:
    reports = run(js_rig, "heartbeat", "beat", transports, pings=4)
    assert reports["opening"][0]["pingInterval"] == 300
    assert reports["message"] == ["still here"]
    assert reports["close"] == ["forced close"]


@each_transport
def test_the_client_notices_a_server_that_hangs(js_rig: rigs.Rig, transports: list[str]) -> None:
    assert js_rig._process is not None
    group = js_rig._process.pid
    with start(js_rig, "ending", "drop_late", transports, how="never") as node:
        node.wait_report("settled")
        os.killpg(group, signal.SIGSTOP)
        try:
            node.wait_report("close")
        finally:
            os.killpg(group, signal.SIGCONT)
        reports = node.wait()
    assert reports["close"] == ["ping timeout"]


@pytest.mark.parametrize("transports", [POLLING, WEBSOCKET], ids="+".join)
@pytest.mark.parametrize(
    ("answer", "body"), [("false", "Unauthorized"), ("json", {"because": "of this"})]
)
def test_a_rejected_client_sees_401(
    js_rig: rigs.Rig, transports: list[str], answer: str, body: object
) -> None:
    options = {"query": {"answer": answer}}
    reports = run(js_rig, "refusal", "engine.io", transports, options=options)
    assert reports["open"] == []
    assert reports["close"] == ["transport error"]
    [error] = reports["error"]
    if transports == WEBSOCKET:
        assert error["body"] == "Unexpected server response: 401"
    else:
        assert error["status"] == 401
        assert json.loads(error["body"]) == body


@pytest.mark.parametrize("transports", [POLLING, WEBSOCKET], ids="+".join)
def test_a_path_where_nothing_is(js_rig: rigs.Rig, transports: list[str]) -> None:
    reports = run(js_rig, "refusal", NOWHERE, transports)
    [error] = reports["error"]
    assert reports["close"] == ["transport error"]
    assert "404" in (str(error["status"]), *error["body"].split())


def test_a_transport_that_is_not_enabled(js_rig: rigs.Rig) -> None:
    reports = run(js_rig, "refusal", "websocket_only", POLLING)
    [error] = reports["error"]
    assert error["status"] == 400
    assert error["body"] == '{"code":0,"message":"Transport unknown"}'


@pytest.mark.parametrize(
    ("server", "transports", "opened"),
    [
        ("websocket_only", ["polling", "websocket"], "websocket"),
        ("polling_only", ["websocket", "polling"], "polling"),
    ],
)
def test_the_next_transport_is_tried(
    js_rig: rigs.Rig, server: str, transports: list[str], opened: str
) -> None:
    options = {"tryAllTransports": True}
    reports = run(js_rig, "refusal", server, transports, options=options)
    assert reports["open"] == [opened]
    assert reports["error"] == []


@every_transport
def test_extra_headers_reach_the_connect_handler(js_rig: rigs.Rig, transports: list[str]) -> None:
    options = {"extraHeaders": {"X-Token": "s3cret", "User-Agent": "interop/1"}}
    reports = run(
        *(js_rig, "exchange", "engine.io", transports),
        messages=[["text", "hello"]],
        binaryType="nodebuffer",
        options=options,
    )
    assert reports["message"] == ["hello"]
    environ = js_rig.control("environ", server="engine.io", sid=sid_of(reports))
    assert environ["HTTP_X_TOKEN"] == "s3cret"
    assert environ["HTTP_USER_AGENT"] == "interop/1"


def test_the_cookie_comes_back(js_rig: rigs.Rig) -> None:
    reports = run(
        *(js_rig, "exchange", "cookie", POLLING),
        messages=[["text", "hello"]],
        binaryType="nodebuffer",
        options={"withCredentials": True},
    )
    first, *others = reports["http"][0]
    assert first["cookie"] == ""
    assert others
    assert {request["cookie"] for request in others} == {f"io={sid_of(reports)}"}


@pytest.mark.parametrize("transports", [POLLING, FETCH], ids="+".join)
def test_posts_stay_within_max_payload(js_rig: rigs.Rig, transports: list[str]) -> None:
    messages = [["text", f"{number:03} {'x' * 90}"] for number in range(50)]
    reports = run(
        js_rig, "exchange", "small", transports, messages=messages, binaryType="nodebuffer"
    )
    assert reports["opening"][0]["maxPayload"] == 1000
    # The default server runs handlers side by side, so echoes may change places.
    assert sorted(reports["message"]) == [message[1] for message in messages]
    posts = [request for request in reports["http"][0] if request["method"] == "POST"]
    assert {post["status"] for post in posts} == {200}
    assert max(post["length"] for post in posts) <= 1000
    assert len(posts) > 4


@pytest.mark.parametrize(("server", "encodings"), [("big", {"gzip"}), ("no_compression", set())])
def test_compressed_polls(js_rig: rigs.Rig, server: str, encodings: set[str]) -> None:
    message: Message = ["repeat", "compressible ", 5000]
    reports = run(js_rig, "exchange", server, FETCH, messages=[message], binaryType="nodebuffer")
    assert reports["message"] == [echo(message, "nodebuffer")]
    seen = {request["encoding"] for request in reports["http"][0]}
    assert seen == {None, *encodings}


@pytest.mark.parametrize("transports", [WEBSOCKET, UPGRADE], ids="+".join)
@pytest.mark.parametrize(("server", "extension"), [("deflate", "permessage-deflate"), ("big", "")])
def test_compressed_websockets(
    js_rig: rigs.Rig, transports: list[str], server: str, extension: str
) -> None:
    messages: list[Message] = [["repeat", "compressible ", 5000], ["bytes", 50_000, "Buffer"]]
    reports = run(
        *(js_rig, "exchange", server, transports),
        messages=[*messages, *KINDS],
        binaryType="nodebuffer",
        inTurn=True,
    )
    assert reports["deflate"] == [extension if js_rig.spec.own_deflate else ""]
    assert reports["message"] == [echo(message, "nodebuffer") for message in [*messages, *KINDS]]


@pytest.fixture(scope="module", params=["gunicorn-eventlet", "gunicorn-gthread"])
def mortal_rig(request: pytest.FixtureRequest) -> Iterator[rigs.Rig]:
    """A server that comes back on the same port."""
    spec = rigs.SPECS[request.param]
    port = str(rigs.free_port())
    command = tuple(part.replace("127.0.0.1:0", f"127.0.0.1:{port}") for part in spec.command)
    rig = rigs.Rig(replace(spec, command=command))
    rig.start()
    yield rig
    rig.stop()


@every_transport
def test_the_client_reconnects_after_the_server_was_killed(
    mortal_rig: rigs.Rig, transports: list[str]
) -> None:
    rig = mortal_rig
    with start(rig, "reconnect", "engine.io", transports) as node:
        sid = node.wait_report("open")
        assert rig._process is not None
        os.killpg(rig._process.pid, signal.SIGKILL)
        rig._process.wait()
        reason = node.wait_report("close")
        rig.start()
        reports = node.wait()
    over_http = transports in (POLLING, FETCH)
    assert reason == ("transport error" if over_http else "transport close")
    assert reports["open"][0] == sid != reports["open"][-1]
    assert reports["message"] == ["back again"]
    rig.server().assert_ended(reports["open"][-1], closed_by_client(transports))
