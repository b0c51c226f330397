"""The client under test, each kind in a process of its own, and the servers it talks to.

A ClientRig runs tests/apps/client_program.py: threads, asyncio, and threads under gevent's and
eventlet's monkey-patching.  `CLIENTS=threads,asyncio` in the environment runs some of them only;
`upstream-threads` and `upstream-asyncio` are python-engineio's own clients, to find out whether a
scenario that fails asks for too much.
"""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import rigs
from environments import packages

APPS = rigs.APPS
MODES = ("threads", "asyncio", "gevent", "eventlet")
PATIENCE = 30.0  # seconds that one call may take: a client that takes longer hangs
WAIT = 15.0  # seconds an event may take that a test waits for
# What urllib3 has to say to ssl_verify=False.
QUIET = "ignore:Unverified HTTPS request"
# Requests prefers these to what a session says.
OTHERS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy")
# What comes before everything else in the process.
PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all(); ",
    "eventlet": "import eventlet; eventlet.monkey_patch(); ",
}
UPSTREAM = ("python-engineio==4.15.1", "simple-websocket")


def modes() -> tuple[str, ...]:
    """The kinds of clients to test."""
    return tuple(filter(None, os.environ.get("CLIENTS", "").split(","))) or MODES


def python_path(upstream: bool) -> str:
    """PYTHONPATH for a program with this project, or with python-engineio before it."""
    before = [str(packages("upstream", *UPSTREAM))] if upstream else []
    return os.pathsep.join([*before, str(APPS), str(APPS.parent)])


class CallError(Exception):
    """A call ended with an exception in the client's process."""

    def __init__(self, kind: str, arguments: list[Any]) -> None:
        super().__init__(kind, *arguments)
        self.kind = kind
        self.arguments = arguments


class ClientRig:
    """A process with clients."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mode = name.removeprefix("upstream-")
        self.is_ours = self.mode == name
        self.baseline: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._stderr = tempfile.NamedTemporaryFile("w+b", prefix=f"client-{self.name}-")  # noqa: SIM115
        self._read_to = 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            program = f"import client_program; client_program.main({self.mode!r}, {port})"
            self._process = subprocess.Popen(
                [sys.executable, "-W", QUIET, "-c", PATCHES.get(self.mode, "") + program],
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                cwd=APPS,  # -c puts it into the path
                stderr=subprocess.STDOUT,
                env={
                    **{name: value for name, value in os.environ.items() if name not in OTHERS},
                    "PYTHONPATH": python_path(not self.is_ours),
                    "PYTHONUNBUFFERED": "1",
                    "MALLOC_MMAP_THRESHOLD_": "65536",  # glibc returns what is larger at once
                    "EVENTLET_TESTS": "1",  # eventlet prints no deprecation notice then
                },
            )
            listener.settimeout(PATIENCE)
            self._sock, _ = listener.accept()
        self._sock.settimeout(PATIENCE)
        self._answers = self._sock.makefile("rb")

    def stop(self) -> None:
        if self._process is None:
            return
        self._sock.close()
        self._answers.close()
        self._stderr.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def call(self, do: str, **arguments: Any) -> Any:
        """One of the calls of tests/apps/client_program.py.  Raises CallError, or what ends it."""
        self._sock.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        try:
            answer = json.loads(self._answers.readline() or b"null")
        except TimeoutError:
            self._kill_and_tell(f"{do}({arguments}) takes longer than {PATIENCE} s")
        if answer is None:
            self._kill_and_tell(f"the process ended in {do}({arguments})")
        if "error" in answer:
            raise CallError(*answer["error"])
        return answer["result"]

    def _kill_and_tell(self, problem: str) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)  # prints where every thread is
            time.sleep(0.5)
            self._process.kill()
        written = self.take_stderr()
        self.stop()
        raise AssertionError(f"{self.name}: {problem}\n{written}")

    def take_stderr(self) -> str:
        """What the process has written since the last look."""
        data = Path(self._stderr.name).read_bytes()
        new, self._read_to = data[self._read_to :], len(data)
        return new.decode(errors="replace")

    def client(self, **options: Any) -> "RemoteClient":
        return RemoteClient(self, **options)

    def warm_up(self) -> None:
        """Start what stays for good, a loop's thread for one, and take that as the baseline."""
        if self.is_ours:
            for transport in ("polling", "websocket"):
                self.client().refused("http://127.0.0.1:9/", transports=[transport])
        self.settle()

    def settle(self) -> None:
        """Take what is there now as what has to be there after each test."""
        seen: list[dict[str, int]] = []
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline and seen[-3:] != [(seen or [{}])[-1]] * 3:
            seen.append(self.call("counts"))
            time.sleep(0.05)
        self.baseline = seen[-1]

    def reset(self) -> None:
        """End what a test left connected."""
        if self.is_running:
            self.call("reset")

    def clean_up(self) -> None:
        """End what a test left, then fail if some of it stays or if anything was written."""
        self.reset()
        if not self.is_running:
            return
        if not self.is_ours:
            self.take_stderr()
            return
        deadline = time.monotonic() + WAIT
        while leaked := rigs.settings_of(self.call("counts"), self.baseline):
            if time.monotonic() > deadline:
                details = self.call("details")
                self.stop()
                raise AssertionError(f"{self.name} leaked {leaked} of {self.baseline}: {details}")
            self.call("collect_garbage")
            time.sleep(0.02)
        self.call("collect_garbage")
        written = self.take_stderr()
        assert not written, f"{self.name} wrote:\n{written}"


class RemoteClient:
    """One client in a ClientRig."""

    def __init__(self, rig: ClientRig, **options: Any) -> None:
        self.rig = rig
        self.name = uuid.uuid4().hex
        rig.call("make", client=self.name, **options)

    def call(self, do: str, **arguments: Any) -> Any:
        return self.rig.call(do, client=self.name, **arguments)

    def connect(self, url: str, **options: Any) -> Any:
        """Connect to a URL, the path of which becomes the option `engineio_path`."""
        return self.call("connect", **_options(url, options))

    def refused(self, url: str, **options: Any) -> list[Any]:
        """The arguments of the ConnectionError that connecting ends with."""
        try:
            self.connect(url, **options)
        except CallError as error:
            if error.kind != "ConnectionError" or self.status()[:2] != ["disconnected", None]:
                raise
            return error.arguments
        raise AssertionError(f"it connected: {self.status()} {self.events()}")

    def send(self, data: Any) -> None:
        if isinstance(data, bytes):
            self.call("send", binary=base64.b64encode(data).decode())
        else:
            self.call("send", data=data)

    def burst(self, prefix: str, count: int, **options: Any) -> None:
        self.call("burst", prefix=prefix, count=count, **options)

    def disconnect(self, **options: Any) -> None:
        self.call("disconnect", **options)

    def start(self, call: str, **arguments: Any) -> None:
        """Do a call in the background."""
        self.call("background", call=call, **arguments)

    def start_connect(self, url: str, **options: Any) -> None:
        self.start("connect", **_options(url, options))

    def outcome(self) -> list[Any]:
        """What came of it: ["result", value] or ["error", type, arguments]."""
        deadline = time.monotonic() + PATIENCE
        while (outcome := self.call("outcome")) is None:
            assert time.monotonic() < deadline, "the call in the background does not end"
            time.sleep(0.01)
        return list(outcome)

    def status(self) -> list[Any]:
        """State, sid and transport."""
        return list(self.call("status"))

    def events(self, name: str = "") -> list[list[Any]]:
        """All events, or the rest of those with a name."""
        events = self.call("events")
        return [event[1:] for event in events if event[0] == name] if name else list(events)

    def messages(self) -> list[Any]:
        return [event[0] for event in self.events("message")]

    def wait(self, *event: object, count: int = 1) -> None:
        """Wait until the handlers have seen such events."""
        arguments = {"event": list(event), "count": count, "timeout": WAIT}
        assert self.call("wait", **arguments), f"no {event}: {self.events()[-20:]}"

    def ended(self) -> list[Any]:
        """What the disconnect handler saw: reason, state, whether there was a sid.  Once only."""
        self.wait("disconnect")
        deadline = time.monotonic() + WAIT
        while self.status()[:2] != ["disconnected", None]:
            assert time.monotonic() < deadline, f"still {self.status()}"
            time.sleep(0.01)
        (end,) = self.events("disconnect")
        return end


def _options(url: str, options: dict[str, Any]) -> dict[str, Any]:
    path = ""
    with contextlib.suppress(ValueError):  # the client will say so
        path = urlsplit(url).path.strip("/")
    return {"url": url, **({"engineio_path": path} if path else {}), **options}


def _servers() -> dict[str, rigs.Spec]:
    uvicorn = rigs.SPECS["uvicorn"]
    upstream = f"PYTHONPATH={python_path(upstream=True)}"
    node = str(APPS.parent / "javascript" / "server.mjs")
    return {
        "ours-gevent": rigs.SPECS["gevent"],
        "ours-uvicorn": uvicorn,
        "upstream": rigs.Spec(
            "upstream", "asgi", ("env", upstream, *uvicorn.command), ("uvicorn",), log=(r".*",)
        ),
        "javascript": rigs.Spec("javascript", "", ("node", node, "{port}")),
    }


SERVERS = ("ours-gevent", "ours-uvicorn", "upstream", "javascript")


class ServerRig(rigs.Rig):
    """A server for the clients."""

    def __init__(self, name: str) -> None:
        super().__init__(_servers()[name])
        self.name = name
        self.is_ours = name.startswith("ours")

    def url(self, name: str = "engine.io", scheme: str = "http", **query: object) -> str:
        """The URL of one of its Engine.IO servers."""
        self.server(name)  # so that what it keeps for good is no leak
        pairs = "&".join(f"{key}={value}" for key, value in query.items())
        return f"{scheme}://127.0.0.1:{self.address[1]}/{name}/?{pairs}"

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it without a goodbye."""
        assert self._process is not None
        self.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def server(self, name: str = "engine.io") -> rigs.Server:
        if self.name == "upstream":
            return self.servers.setdefault(name, rigs.Server(self, name))
        return super().server(name)

    def clean_up(self) -> None:
        if self.name == "upstream":  # what it leaks and logs is not ours
            self.check_log()
        else:
            super().clean_up()
