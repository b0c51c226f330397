"""The application behind the contract suite: many Engine.IO servers, and a way to look inside.

One process carries one `engineio.Server` for each set of options, at `/<name>/`, so that a rig
starts once.  `POST /control` takes a JSON object, a `call` and its arguments, and answers JSON.
"""

import base64
import contextlib
import ctypes
import gc
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

import engineio
from wire import summary

CONFIG: dict[str, Any] = json.loads(os.environ.get("CONTRACT", "{}"))

logging.basicConfig(format="LOG %(levelname)s %(name)s: %(message)s", level=logging.WARNING)


class ContractError(Exception):
    """Raised on purpose; its traceback in the log is expected."""


class Application:
    """One server, its handlers and what they recorded."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.eio = engineio.Server(**options)
        self.wsgi = engineio.WSGIApp(self.eio, engineio_path=name)
        self.events: dict[str, list[list[object]]] = {}
        self.environs: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.held: dict[tuple[str, str], Any] = {}
        self.eio.on("connect", self.connect)
        self.eio.on("message", self.message)
        self.eio.on("disconnect", self.disconnect)

    def record(self, sid: str, *event: object) -> None:
        self.events.setdefault(sid, []).append(list(event))

    def connect(self, sid: str, environ: dict[str, Any]) -> object:
        query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        if token := query.get("token"):
            self.tokens[token] = sid
        self.environs[sid] = environ
        self.record(sid, "connect")
        if "slow" in query:
            self.eio.sleep(float(query["slow"]))
        for number in range(int(query.get("welcome", 0))):
            self.eio.send(sid, f"welcome-{number}")
        match query.get("answer"):
            case "raise":
                raise ContractError("connect handler")
            case "false":
                return False
            case "true":
                return True
            case "json":
                return {"because": "of this"}
            case "text":
                return "keep out"
        return None

    def message(self, sid: str, data: Any) -> None:
        self.record(sid, "message", summary(data))
        command, _, argument = data.partition(":") if isinstance(data, str) else ("", "", "")
        match command:
            case _ if command.startswith("quiet"):
                pass
            case "sleep":
                seconds = argument.partition(":")[0]
                self.eio.sleep(float(seconds))
                self.eio.send(sid, f"slept:{argument}")
            case "hold":
                event = self.held[sid, argument] = self.eio.create_event()
                event.wait(60)
                self.eio.send(sid, f"held:{argument}")
            case "raise":
                raise ContractError("message handler")
            case "burst":
                for number in range(int(argument)):
                    self.eio.send(sid, f"burst-{number}")
            case "close":
                self.eio.disconnect(sid)
            case "size":
                self.eio.send(sid, "x" * int(argument))
            case "bytes":
                self.eio.send(sid, bytes(int(argument)))
            case "transport":
                self.eio.send(sid, self.eio.transport(sid))
            case _:
                self.eio.send(sid, data)

    def disconnect(self, sid: str, reason: str) -> None:
        self.record(sid, "disconnect", reason)
        if self.environs[sid]["QUERY_STRING"].endswith("disconnect=raise"):
            raise ContractError("disconnect handler")


class Control:
    """What a test may ask; each public method is a call."""

    def __init__(self, applications: dict[str, Application]) -> None:
        self._applications = applications

    def events(self, server: str, sid: str) -> list[list[object]]:
        return self._applications[server].events.get(sid, [])

    def wait(self, server: str, sid: str, event: list[object], count: int, timeout: float) -> bool:
        """Wait until `count` events that begin like `event` were recorded."""
        application = self._applications[server]
        deadline = time.monotonic() + timeout
        while True:
            events = application.events.get(sid, [])
            if sum(recorded[: len(event)] == event for recorded in events) >= count:
                return True
            if time.monotonic() > deadline:
                return False
            application.eio.sleep(0.005)

    def token(self, server: str, token: str, timeout: float) -> str | None:
        """The sid whose connect handler began with this token in its query."""
        application = self._applications[server]
        deadline = time.monotonic() + timeout
        while token not in application.tokens and time.monotonic() < deadline:
            application.eio.sleep(0.005)
        return application.tokens.get(token)

    def send(self, server: str, sid: str, data: Any = None, binary: str | None = None) -> None:
        self._applications[server].eio.send(
            sid, data if binary is None else base64.b64decode(binary)
        )

    def burst(self, server: str, sid: str, count: int, size: int = 0) -> float:
        """Send `count` messages without a pause; returns the seconds it took."""
        eio = self._applications[server].eio
        start = time.monotonic()
        for number in range(count):
            eio.send(sid, f"burst-{number}" + "x" * size)
        return time.monotonic() - start

    def release(self, server: str, sid: str, hold: str) -> None:
        """Let the handler of the message `hold:...` return."""
        self._applications[server].held.pop((sid, hold)).set()

    def broadcast(self, server: str, sids: list[str], count: int, binary: bool) -> None:
        """Send the same Packet objects to all sids."""
        eio = self._applications[server].eio
        for number in range(count):
            data = b"cast-%d" % number if binary else f"cast-{number}"
            packet = engineio.packet.Packet(engineio.packet.MESSAGE, data=data)
            for sid in sids:
                eio.send_packet(sid, packet)

    def disconnect(self, server: str, sid: str | None = None) -> float:
        """Disconnect one client or all; returns the seconds it took."""
        start = time.monotonic()
        self._applications[server].eio.disconnect(sid)
        return time.monotonic() - start

    def transport(self, server: str, sid: str) -> str | None:
        try:
            return str(self._applications[server].eio.transport(sid))
        except KeyError:
            return None

    def sids(self) -> list[list[str]]:
        """Server and sid of every live session."""
        return [
            [name, sid] for name, app in self._applications.items() for sid in list(app.eio.sockets)
        ]

    def environ(self, server: str, sid: str) -> dict[str, str]:
        """The strings in the environ that the connect handler got."""
        environ = self._applications[server].environs[sid]
        return {key: value for key, value in environ.items() if isinstance(value, str)}

    def counts(self) -> dict[str, int]:
        """What a test must not leak."""
        return {
            "sessions": len(self.sids()),
            "heap": sum(heap_entries(app.eio) for app in self._applications.values()),
            "threads": len(self.threads()),
            "greenlets": count_greenlets(),
            "fds": len(os.listdir("/proc/self/fd")),
        }

    def threads(self) -> list[str]:
        """Names of the threads, without those gunicorn or granian keeps to run requests."""
        names = [thread.name for thread in threading.enumerate()]
        return [name for name in names if not name.startswith(("ThreadPoolExecutor", "Dummy-"))]

    def collect_garbage(self) -> None:
        gc.collect()

    def files(self) -> list[str]:
        """What the open file descriptors are, for a person who looks for a leak."""
        links = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                links.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        return links

    def cpu_time(self) -> float:
        return time.process_time()

    def memory(self) -> int:
        """Resident memory in bytes, without what the allocator keeps for later."""
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it
            trim(0)
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def heap_entries(eio: Any) -> int:
    """How many deadlines the server's heartbeat loop holds."""
    heartbeat = getattr(eio, "heartbeat", None)
    return len(heartbeat) if heartbeat is not None else 0


def count_greenlets() -> int:
    """How many greenlets live, of any library."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return 0
    kind = greenlet.greenlet
    return sum(isinstance(item, kind) and bool(item) for item in gc.get_objects())


SERVERS: dict[str, dict[str, Any]] = {
    "engine.io": {},
    "beat": {"ping_interval": 0.3, "ping_timeout": 20},
    "drop": {"ping_interval": 0.2, "ping_timeout": 0.5},
    "drop_late": {"ping_interval": 0.2, "ping_timeout": 2},
    "small": {"max_http_buffer_size": 1000},
    "big": {"max_http_buffer_size": 20_000_000},
    "serial": {"async_handlers": False},
    "cors_any": {"cors_allowed_origins": "*"},
    "cors_list": {"cors_allowed_origins": ["http://a.example", "http://b.example"]},
    "cors_off": {"cors_allowed_origins": []},
    "cors_function": {"cors_allowed_origins": lambda origin: origin == "http://a.example"},
    "cors_plain": {"cors_allowed_origins": "http://a.example", "cors_credentials": False},
    "cookie": {"cookie": "io"},
    "cookie_dict": {
        "cookie": {"name": "who", "path": "/x", "SameSite": "Strict", "HttpOnly": True}
    },
    "polling_only": {"transports": ["polling"]},
    "websocket_only": {"transports": ["websocket"]},
    "no_upgrades": {"allow_upgrades": False},
    "no_compression": {"http_compression": False},
    "low_threshold": {"compression_threshold": 100},
    "upgrade_timeout": {"upgrade_timeout": 0.5},
    "send_buffer": {"max_send_buffer": 100_000},
    "deflate": {"per_message_deflate": True},
    "rounded": {"ping_interval": 1.2346, "ping_timeout": 0.3},
}

instances = {
    name: Application(name, {"async_mode": CONFIG.get("async_mode"), **options})
    for name, options in SERVERS.items()
}
control = Control(instances)
eio = instances["engine.io"].eio


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Send the request to the server its path names, or to the control calls."""
    name = environ["PATH_INFO"].strip("/").partition("/")[0]
    if name in instances:
        result: Iterable[bytes] = instances[name].wsgi(environ, start_response)
        return result
    if name != "control":
        start_response("404 Not Found", [("Content-Length", "0")])
        return []
    arguments = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    body = json.dumps(getattr(control, arguments.pop("call"))(**arguments)).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
