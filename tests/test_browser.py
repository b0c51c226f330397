"""What a person sees: the demo page, started as `make run` does, in headless Chromium.

Chromium is driven over its DevTools protocol with the WebSocket client this package depends on
anyway.  That needs neither selenium nor chromedriver, and it reports what the console shows.
The last test leaves screenshots in build/screenshots/.
"""

import base64
import itertools
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]
WORKER = "engineio.gunicorn.EventletWorker"
WAIT = 20  # seconds until something that must happen counts as missing

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


class Process:
    """A child process whose stderr is collected, and waited on, line by line."""

    def __init__(self, command: list[str], ready: str, cwd: Path) -> None:
        self.lines: list[str] = []
        self.popen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd)
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.lines.append(line)
            if found := re.search(ready, line):
                self.found = found[1]
                break
        else:
            raise AssertionError(f"{command[0]} ended early: {self.lines}")
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.popen.stderr or ()))
        self.reader.start()

    def stop(self, signum: int) -> str:
        """End the process; what it wrote to stderr."""
        self.popen.send_signal(signum)
        self.popen.wait(WAIT)
        self.reader.join()
        assert self.popen.stderr is not None
        self.popen.stderr.close()
        return "".join(self.lines)


class Demo:
    """The demo on a port of its own, which it keeps over a restart."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.address = "127.0.0.1:{1}".format(*sock.getsockname())
        self.start()

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-k",
            WORKER,
            "-w",
            "1",
            "--chdir",
            "server/wsgi",
        ]
        command += ["--bind", self.address, "--no-control-socket", "demo:app"]
        # Not in ROOT, where the checkout would hide an installed wheel.
        self.process = Process(command, "Listening at: (.*)", ROOT / "examples")

    def stop(self) -> None:
        assert "Traceback" not in self.process.stop(signal.SIGINT)


class Tab:
    """One tab, through the DevTools protocol."""

    def __init__(self, ws: ClientConnection, url: str) -> None:
        self.ws = ws
        self.errors: list[str] = []
        self.ids = itertools.count(1)
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        assert "errorText" not in (answer := self.call("Page.navigate", url=url)), answer
        self.wait("document.readyState === 'complete'")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command; its result.  Errors on the console are kept on the way."""
        number = next(self.ids)
        self.ws.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.ws.recv(timeout=2 * WAIT))
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            self.note(message.get("method"), message.get("params", {}))

    def note(self, event: str | None, params: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
            self.errors.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("warning", "error"):
            self.errors.append(json.dumps(params["args"]))

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited."""
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, (expression, result, self.errors)
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Return when a JavaScript condition has become true."""
        self.js(f"""
            new Promise((resolve, reject) => {{
              const look = () => ({condition}) && resolve(clearInterval(timer));
              const timer = setInterval(look, 20);
              setTimeout(() => reject(new Error(document.body.innerText)), {WAIT * 1000});
              look();
            }})
        """)

    def text(self, name: str) -> str:
        return str(self.js(f"document.getElementById('{name}').textContent"))

    def click(self, selector: str) -> None:
        self.js(f"document.querySelector('{selector}').click()")

    def choose(self, transports: str) -> None:
        """Pick transports as a person does, and wait for the new connection."""
        chosen = str(self.js("document.querySelector('#connection :checked').value"))
        # To break off an upgrade would be a warning on the console.
        self.wait_connected(chosen.split()[-1])
        if transports != chosen:
            sid = self.text("sid")
            self.click(f'#connection input[value="{transports}"]')
            self.wait(f"document.getElementById('sid').textContent !== '{sid}'")
        self.wait_connected(transports.split()[-1])

    def wait_connected(self, transport: str) -> None:
        self.wait(f"document.body.dataset.transport === '{transport}'")

    def screenshot(self, name: str, width: int, height: int, scheme: str) -> None:
        """A picture of the whole page in a window of that size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1 if width > 500 else 2,
            mobile=width <= 500,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        # Two frames: one in which the page notices its new size, one in which it has drawn itself.
        self.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        picture = self.call(
            "Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1}
        )
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        (SCREENSHOTS / f"{name}-{scheme}.png").write_bytes(base64.b64decode(picture["data"]))


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    profile = tmp_path_factory.mktemp("chromium")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    chromium = Process(command, r"DevTools listening on ws://([^/]+)/", profile)
    yield chromium.found
    chromium.stop(signal.SIGTERM)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    demo.stop()


@contextmanager
def open_tab(devtools: str, demo: Demo) -> Iterator[Tab]:
    request = urllib.request.Request(f"http://{devtools}/json/new?about:blank", method="PUT")
    with urllib.request.urlopen(request, timeout=WAIT) as response:
        url = json.load(response)["webSocketDebuggerUrl"]
    with connect(url, max_size=None, compression=None) as ws:
        tab = Tab(ws, f"http://{demo.address}/")
        try:
            yield tab
        finally:
            tab.call("Page.close")


@pytest.fixture
def tab(devtools: str, demo: Demo) -> Iterator[Tab]:
    with open_tab(devtools, demo) as tab:
        yield tab


@pytest.mark.parametrize("transports", ["polling", "websocket", "polling websocket"])
def test_every_choice_carries_text_and_bytes(tab: Tab, transports: str) -> None:
    tab.choose(transports)
    upgraded = " " in transports
    for step in ("probe", "pause", "upgrade"):
        assert (tab.js(f"document.getElementById('step-{step}').className") == "done") is upgraded

    tab.js("document.getElementById('text').value = '<b>Grüße</b> 👋 \\\\u001e \"'")
    tab.click("#text-form button")
    tab.wait("document.getElementById('text-result').className === 'good'")
    tab.click("#bytes")
    tab.wait("document.getElementById('bytes-result').className === 'good'")
    assert tab.text("bytes-result").startswith("65,536 bytes came back equal")

    tab.wait("document.getElementById('latency').textContent.endsWith('ms')")
    assert tab.js("document.body.dataset.transport") == transports.split()[-1]
    assert tab.errors == []


def test_order_and_content_survive_the_upgrade(tab: Tab) -> None:
    """Messages of both kinds, sent in every phase of the upgrade, come back once and in order."""
    tab.wait_connected("websocket")
    got = tab.js("""
        (async () => {
          const { EngineIO } = await import("/static/engineio.js");
          const engine = new EngineIO();
          const sent = [], got = [];
          let number = 0;
          const done = new Promise((resolve) => engine.addEventListener("message", (event) => {
            const { detail } = event;
            if (typeof detail !== "string") got.push(detail[0]);
            else if (JSON.parse(detail).type === "echo") got.push(JSON.parse(detail).id);
            if (got.length === sent.length && engine.transport === "websocket") resolve();
          }));
          const send = () => {
            for (let i = 0; i < 4; i++) {
              sent.push(++number);
              const data = JSON.stringify({ type: "echo", id: number });
              engine.send(i % 3 ? data : new Uint8Array([number]));
            }
          };
          const events = ["open", "probe", "pause", "upgrade"];
          for (const type of events) engine.addEventListener(type, send);
          engine.open();
          await done;
          await engine.close();
          return { sent, got, state: engine.state };
        })()
    """)
    assert len(got["sent"]) == 16
    assert got["got"] == got["sent"]
    assert got["state"] == "closed"
    assert tab.errors == []


@pytest.mark.parametrize("moment", ["open", "probe", "pause", "upgrade"])
def test_a_client_may_leave_at_any_moment_of_the_upgrade(tab: Tab, moment: str) -> None:
    tab.wait_connected("websocket")
    tab.wait("document.getElementById('clients').textContent === '1'")
    reason = tab.js(f"""
        (async () => {{
          const {{ EngineIO }} = await import("/static/engineio.js");
          const engine = new EngineIO();
          const over = new Promise((resolve) => engine.addEventListener("close", resolve));
          engine.addEventListener("{moment}", () => engine.close());
          engine.open();
          return (await over).detail;
        }})()
    """)
    assert reason == "client disconnect"
    # The page itself is told of one client more, and then of one less.
    tab.wait("document.getElementById('log').textContent.includes('2 clients')")
    tab.wait("document.getElementById('clients').textContent === '1'")


def test_posts_stay_within_max_payload(tab: Tab) -> None:
    """Three messages of 400 kB are too much for one POST, so the client makes two."""
    tab.choose("polling")
    lengths = tab.js("""
        (async () => {
          const { EngineIO } = await import("/static/engineio.js");
          const engine = new EngineIO("/engine.io/", ["polling"]);
          const lengths = [];
          let posts = 0;
          engine.addEventListener("traffic", ({ detail }) => { posts += detail.sent; });
          const done = new Promise((resolve, reject) => {
            engine.addEventListener("message", ({ detail }) => {
              if (typeof detail !== "string") lengths.push(detail.length);
              if (lengths.length === 3) resolve();
            });
            engine.addEventListener("close", ({ detail }) => reject(new Error(detail)));
          });
          engine.open();
          for (let i = 0; i < 3; i++) engine.send(new Uint8Array(300_000 + i));
          await done;
          const result = [...lengths, posts];
          await engine.close();
          return result;
        })()
    """)
    assert lengths == [300_000, 300_001, 300_002, 2]
    # The console is not looked at: the last poll and the closing POST race on two connections,
    # and a poll that comes after the session's end is rightly refused.


def test_clients_are_counted_live(tab: Tab, devtools: str, demo: Demo) -> None:
    tab.choose("polling websocket")
    tab.wait("document.getElementById('clients').textContent === '1'")
    with open_tab(devtools, demo) as second:
        second.choose("polling")
        second.wait("document.getElementById('clients').textContent === '2'")
        tab.wait("document.getElementById('clients').textContent === '2'")
        assert second.errors == []
    tab.wait("document.getElementById('clients').textContent === '1'")
    assert tab.errors == []


def test_disconnect_and_connect_again(tab: Tab) -> None:
    tab.wait_connected("websocket")
    tab.click("#connect")
    tab.wait("document.body.dataset.state === 'closed'")
    assert tab.text("connect") == "Connect"
    tab.click("#connect")
    tab.wait_connected("websocket")
    assert tab.errors == []


@pytest.mark.parametrize("transports", ["polling", "polling websocket"])
def test_reconnects_after_a_restart_of_the_server(tab: Tab, demo: Demo, transports: str) -> None:
    tab.choose(transports)
    sid = tab.text("sid")
    demo.stop()
    tab.wait("document.body.dataset.state === 'waiting'")
    assert tab.text("status") == "Reconnecting"
    demo.start()
    tab.wait_connected(transports.split()[-1])
    assert tab.text("sid") != sid
    # A refused connection is the browser's own entry on the console; there must be no other.
    assert [error for error in tab.errors if "ERR_" not in error] == []


def test_looks(tab: Tab) -> None:
    """Nothing is wider than a small phone; the pictures are for people to look at."""
    tab.choose("polling")
    tab.wait("document.getElementById('latency-summary').textContent.startsWith('Median')")
    tab.choose("polling websocket")
    tab.click("#text-form button")
    tab.click("#bytes")
    tab.wait("document.getElementById('bytes-result').className === 'good'")
    for scheme in ("light", "dark"):
        tab.screenshot("demo-desktop", 1280, 800, scheme)
        tab.screenshot("demo-phone", 390, 844, scheme)
        tab.screenshot("demo-small-phone", 360, 640, scheme)
        assert tab.js("document.documentElement.scrollWidth") == 360
    assert tab.errors == []
