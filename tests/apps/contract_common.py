"""What the applications behind the contract suite share, whether they wait with await or without.

One process carries one Engine.IO server for each set of options, at `/<name>/`, so that a rig
starts once.  `POST /control` takes a JSON object, a `call` and its arguments, and answers JSON.
"""

import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from wire import summary

CONFIG: dict[str, Any] = json.loads(os.environ.get("CONTRACT", "{}"))

logging.basicConfig(
    format="LOG %(levelname)s %(name)s: %(message)s", level=logging.WARNING, force=True
)


class ContractError(Exception):
    """Raised on purpose; its traceback in the log is expected."""


class Recorder:
    """What the handlers of one server saw."""

    eio: Any

    def __init__(self) -> None:
        self.events: dict[str, list[list[object]]] = {}
        self.environs: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.held: dict[tuple[str, str], Any] = {}

    def record(self, sid: str, *event: object) -> None:
        self.events.setdefault(sid, []).append(list(event))

    def record_message(self, sid: str, data: object) -> None:
        """Record a message, unless its client said that it would send too many."""
        if "unrecorded=1" not in self.environs[sid]["QUERY_STRING"]:
            self.record(sid, "message", summary(data))

    def record_connect(self, sid: str, environ: dict[str, Any]) -> dict[str, str]:
        """Record a connect event; returns what its query asks for."""
        query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        if token := query.get("token"):
            self.tokens[token] = sid
        self.environs[sid] = environ
        self.record(sid, "connect")
        return query

    def record_disconnect(self, sid: str, reason: str) -> None:
        self.record(sid, "disconnect", reason)
        if journal := CONFIG.get("journal"):  # for who asks when this process has ended
            with open(journal, "a") as file:
                print(sid, reason, file=file)
        if self.environs[sid]["QUERY_STRING"].endswith("disconnect=raise"):
            raise ContractError("disconnect handler")

    def to_be_told(self) -> list[str]:
        """The clients that get a message just before the server is stopped."""
        return [
            sid for sid, environ in self.environs.items() if "told=1" in environ["QUERY_STRING"]
        ]

    def count(self, sid: str, event: list[object]) -> int:
        """How many events that begin like `event` were recorded."""
        return sum(recorded[: len(event)] == event for recorded in self.events.get(sid, []))


def stop(argument: str) -> None:
    """Send a signal: `process:signal`, where a negative process is a process group."""
    process, number = map(int, argument.split(":"))
    if process < 0:
        os.killpg(-process, signal.Signals(number))
    else:
        os.kill(process, signal.Signals(number))


def connect_answer(query: Mapping[str, str]) -> object:
    """What the connect handler returns, as its query wants it."""
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


# What the application has at /static/ where it has static files.
STATIC_FILES = {"/static": os.path.dirname(__file__)}

LIMIT = 1_000_000  # bytes of a request's body that the floor reads
FLOOR_OPEN = '0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'


def floor_answer(method: str, query: str) -> bytes:
    """What an echo without Engine.IO answers."""
    if method == "POST":
        return b"ok"
    return b"6" if "sid=" in query else FLOOR_OPEN.encode()


class BaseControl:
    """What a test may ask that needs no waiting; each public method is a call."""

    def __init__(self, applications: Mapping[str, Recorder]) -> None:
        self._recorders = applications

    def events(self, server: str, sid: str) -> list[list[object]]:
        return self._recorders[server].events.get(sid, [])

    def release(self, server: str, sid: str, hold: str) -> None:
        """Let the handler of the message `hold:...` return."""
        self._recorders[server].held.pop((sid, hold)).set()

    def transport(self, server: str, sid: str) -> str | None:
        try:
            return str(self._recorders[server].eio.transport(sid))
        except KeyError:
            return None

    def waiting_polls(self, server: str) -> int:
        """How many clients wait for the answer of a poll."""
        sockets = list(self._recorders[server].eio.sockets.values())
        return sum(socket.is_polling for socket in sockets)

    def unsent(self, server: str, sid: str) -> int:
        """How many bytes wait to be sent to a client."""
        size: int = self._recorders[server].eio.sockets[sid].unsent
        return size

    def sids(self) -> list[list[str]]:
        """Server and sid of every live session."""
        return [
            [name, sid] for name, app in self._recorders.items() for sid in list(app.eio.sockets)
        ]

    def environ(self, server: str, sid: str) -> dict[str, str]:
        """The strings in the environ that the connect handler got."""
        environ = self._recorders[server].environs[sid]
        return {key: value for key, value in environ.items() if isinstance(value, str)}

    def environ_keys(self, server: str, sid: str) -> list[str]:
        return list(self._recorders[server].environs[sid])

    def counts(self) -> dict[str, int]:
        """What a test must not leak."""
        return {
            "sessions": len(self.sids()),
            "heap": sum(heap_entries(app.eio) for app in self._recorders.values()),
            "threads": len(self.threads()),
            "greenlets": count_greenlets(),
            "tasks": len(self.tasks()),
            "fds": len(os.listdir("/proc/self/fd")),
        }

    def threads(self) -> list[str]:
        """Names of the threads, without those a server or an event loop keeps to run things."""
        names = [thread.name for thread in threading.enumerate()]
        return [
            name
            for name in names
            if not name.startswith(("ThreadPoolExecutor", "asyncio_", "uvloop_", "Dummy-"))
        ]

    def tasks(self) -> list[str]:
        """The tasks of the event loop, where there is one."""
        return []

    def forget(self) -> None:
        """Drop what was recorded of sessions that have ended."""
        for recorder in self._recorders.values():
            for sid, events in list(recorder.events.items()):
                if events[-1][0] == "disconnect":
                    del recorder.events[sid], recorder.environs[sid]

    def start_afresh(self) -> None:
        """Forget what is over; log the next fault of each kind as if it were the first."""
        self.forget()
        for recorder in self._recorders.values():
            recorder.eio.log_message_keys.clear()

    def collect_garbage(self) -> None:
        gc.collect()

    def has_gil(self) -> bool:
        """Whether only one thread runs Python at a time."""
        has_gil = getattr(sys, "_is_gil_enabled", None)
        return has_gil is None or has_gil()

    def files(self) -> list[str]:
        """What the open file descriptors are, for a person who looks for a leak."""
        links = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                links.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        return links

    def pid(self) -> int:
        return os.getpid()

    def cpu_time(self) -> float:
        return time.process_time()

    def memory(self) -> int:
        """Resident memory in bytes, without what the allocator keeps for later."""
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc has it
            trim(0)
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def peak_memory(self) -> int:
        """The most resident memory in bytes since this was last asked."""
        with open("/proc/self/status") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # proc(5): what it is now is the peak from here on
        return peak * 1024


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
    "medium": {"max_http_buffer_size": 20_000},
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
    "slow_bodies": {"body_timeout": 0.8},
    "send_buffer": {"max_send_buffer": 100_000},
    "deflate": {"per_message_deflate": True},
    "rounded": {"ping_interval": 1.2346, "ping_timeout": 0.3},
}
