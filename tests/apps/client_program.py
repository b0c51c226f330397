"""Clients that do what a test tells them; tests/client_rigs.py starts this, perhaps monkey-patched.

Orders come as lines of JSON over a connection, {"do": name, ...}; each gets a line back, which is
{"result": ...} or, for an exception, {"error": [type, args]}.  The public methods of `Program` are
the calls; those of `AsyncProgram` are the same ones for AsyncClient.  It runs with
python-engineio's clients as well.
"""

import asyncio
import base64
import contextlib
import faulthandler
import gc
import inspect
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engineio
from wire import summary

Event = list[Any]


def greenlets() -> list[Any]:
    """The greenlets that live, without those of gevent's threads that resolve names."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return []
    alive = [each for each in gc.get_objects() if isinstance(each, greenlet.greenlet) and each]
    return [each for each in alive if not is_of_thread_pool(each)]


def is_of_thread_pool(greenlet: Any) -> bool:
    frame = greenlet.gr_frame
    where = type(greenlet).__module__ if frame is None else frame.f_globals["__name__"]
    return bool(where in ("gevent.threadpool", "gevent._threading"))


def outcome_of(error: BaseException) -> list[Any]:
    """An exception as JSON, with the arguments that have a meaning there."""
    known = (str, int, float, dict, list, type(None))
    return [type(error).__name__, [a if isinstance(a, known) else str(a) for a in error.args]]


class Recorder:
    """One client, and what its handlers saw."""

    def __init__(self, client: Any, welcome: list[str]) -> None:
        self.client: Any = client
        self.welcome = welcome  # what the connect handler sends
        self.events: list[Event] = []
        self.held: dict[str, Any] = {}
        self.outcome: list[Any] | None = None  # of a call that ran in the background

    def record(self, *event: object) -> None:
        self.events.append(list(event))

    def count(self, event: Event) -> int:
        """How many events that begin like `event` were recorded."""
        return sum(recorded[: len(event)] == event for recorded in self.events)

    def note_end(self, reason: str) -> None:
        """What the disconnect handler sees."""
        self.record("disconnect", reason, self.client.state, bool(self.client.sid))


class BaseProgram:
    """The calls that need no waiting."""

    def __init__(self) -> None:
        self._clients: dict[str, Recorder] = {}
        self._environ = dict(os.environ)

    def events(self, client: str) -> list[Event]:
        return self._clients[client].events

    def status(self, client: str) -> list[Any]:
        """State, sid and transport."""
        it = self._clients[client].client
        return [it.state, it.sid, it.transport()]

    def outcome(self, client: str) -> list[Any] | None:
        """What the call in the background came to: ["result", value], ["error", type, args]."""
        return self._clients[client].outcome

    def environ(self, **variables: str) -> None:
        os.environ.update(variables)

    def counts(self) -> dict[str, int]:
        """What a test must not leak."""
        threads = [thread.name for thread in threading.enumerate()]
        # Threads that wait for the next task for a second, and those that resolve names.
        pooled = ("engineio-handler", "asyncio_", "ThreadPoolExecutor")
        return {
            "threads": sum(not name.startswith(pooled) for name in threads),
            "greenlets": len(greenlets()),
            "tasks": len(self.tasks()),
            "fds": len(os.listdir("/proc/self/fd")),
        }

    def details(self) -> dict[str, list[str]]:
        """The same for a person who looks for a leak."""
        links = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                links.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        return {
            "threads": [thread.name for thread in threading.enumerate()],
            "tasks": self.tasks(),
            "fds": links,
            "greenlets": ["".join(traceback.format_stack(g.gr_frame)[-4:]) for g in greenlets()],
        }

    def tasks(self) -> list[str]:
        return []

    def collect_garbage(self) -> None:
        gc.collect()

    def peak_memory(self) -> int:
        """The most bytes of memory that were resident since the last call."""
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def cpu_time(self) -> float:
        return time.process_time()

    def _restore_environ(self) -> None:
        os.environ.clear()
        os.environ.update(self._environ)


class Program(BaseProgram):
    """`Client`."""

    def make(
        self,
        client: str,
        session: dict[str, Any] | None = None,
        factory: bool = False,
        welcome: list[str] | None = None,
        **options: Any,
    ) -> None:
        """Make a client; `session` says what kind of http_session it gets, and `factory` how."""
        if session is not None:
            options["http_session"] = (
                (lambda: self._session(session)) if factory else self._session(session)
            )
        it = Recorder(engineio.Client(**options), welcome or [])
        self._clients[client] = it

        def connect() -> None:
            state, has_sid = it.client.state, bool(it.client.sid)
            for data in it.welcome:
                it.client.send(data)
            it.record("connect", state, has_sid)  # after them, for who sends when it is there

        def message(data: Any) -> None:
            it.record("message", summary(data))
            command, _, argument = data.partition(":") if isinstance(data, str) else ("", "", "")
            match command:
                case "my-hold":
                    held = it.held[argument] = it.client.create_event()
                    held.wait(30)
                    it.record("released", argument)
                case "my-release":
                    it.held[argument].set()
                case "my-disconnect":
                    it.client.disconnect()
                    it.record("disconnected", it.client.state)
                case "my-send":
                    it.client.send(argument)

        def disconnect(reason: str) -> None:
            it.note_end(reason)

        it.client.on("connect", connect)
        it.client.on("message", message)
        it.client.on("disconnect", disconnect)

    def _session(self, given: dict[str, Any]) -> Any:
        import requests

        session = requests.Session()
        for name, value in given.items():
            match name:
                case "headers" | "cookies" | "proxies":
                    getattr(session, name).update(value)
                case "auth":
                    session.auth = tuple(value)
                case _:  # cert, verify, trust_env
                    setattr(session, name, value)
        return session

    def connect(self, client: str, url: str, **options: Any) -> Any:
        return self._clients[client].client.connect(url, **options)

    def send(self, client: str, data: Any = None, binary: str | None = None) -> None:
        it = self._clients[client].client
        it.send(data if binary is None else base64.b64decode(binary))

    def send_size(self, client: str, size: int) -> None:
        self._clients[client].client.send("x" * size)

    def burst(self, client: str, prefix: str, count: int, finish: bool = False) -> None:
        """Send `count` messages without a pause, and perhaps disconnect at once."""
        it = self._clients[client].client
        for number in range(count):
            it.send(f"{prefix}-{number}")
        if finish:
            it.disconnect()

    def disconnect(self, client: str, abort: bool = False) -> None:
        self._clients[client].client.disconnect(abort)

    def join(self, client: str) -> None:
        self._clients[client].client.wait()

    def background(self, call: str, client: str, **arguments: Any) -> None:
        """Do a call in a thread; `outcome` has what came of it."""
        it = self._clients[client]

        def run() -> None:
            try:
                it.outcome = ["result", getattr(self, call)(client, **arguments)]
            except Exception as error:
                it.outcome = ["error", *outcome_of(error)]

        it.outcome = None
        threading.Thread(target=run).start()

    def wait(self, client: str, event: Event, count: int, timeout: float) -> bool:
        """Wait until `count` events that begin like `event` were recorded."""
        it = self._clients[client]
        deadline = time.monotonic() + timeout
        while it.count(event) < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.003)
        return True

    def reset(self) -> None:
        """End what a test left connected, and forget everything."""
        for it in self._clients.values():
            for held in it.held.values():
                held.set()
            it.client.disconnect(abort=True)
        self._clients.clear()
        self._restore_environ()


class AsyncProgram(BaseProgram):
    """`AsyncClient`."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: list[Any] = []

    async def make(
        self,
        client: str,
        session: dict[str, Any] | None = None,
        factory: bool = False,
        welcome: list[str] | None = None,
        **options: Any,
    ) -> None:
        if session is not None:
            options["http_session"] = (
                (lambda: self._session(session)) if factory else self._session(session)
            )
        it = Recorder(engineio.AsyncClient(**options), welcome or [])
        self._clients[client] = it

        async def connect() -> None:
            state, has_sid = it.client.state, bool(it.client.sid)
            for data in it.welcome:
                await it.client.send(data)
            it.record("connect", state, has_sid)

        async def message(data: Any) -> None:
            it.record("message", summary(data))
            command, _, argument = data.partition(":") if isinstance(data, str) else ("", "", "")
            match command:
                case "my-hold":
                    held = it.held[argument] = it.client.create_event()
                    await held.wait()
                    it.record("released", argument)
                case "my-release":
                    it.held[argument].set()
                case "my-disconnect":
                    await it.client.disconnect()
                    it.record("disconnected", it.client.state)
                case "my-send":
                    await it.client.send(argument)

        def disconnect(reason: str) -> None:
            it.note_end(reason)

        it.client.on("connect", connect)
        it.client.on("message", message)
        it.client.on("disconnect", disconnect)

    def _session(self, given: dict[str, Any]) -> Any:
        import aiohttp

        options: dict[str, Any] = {}
        context = ssl.create_default_context()
        for name, value in given.items():
            match name:
                case "auth":
                    options["auth"] = aiohttp.BasicAuth(*value)
                case "proxies":
                    options["proxy"] = value["http"]
                case "cert":
                    context.load_cert_chain(value)
                case "verify":
                    context.load_verify_locations(value)
                case _:  # headers, cookies, trust_env
                    options[name] = value
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), **options)
        self._sessions.append(session)
        return session

    async def connect(self, client: str, url: str, **options: Any) -> Any:
        return await self._clients[client].client.connect(url, **options)

    async def send(self, client: str, data: Any = None, binary: str | None = None) -> None:
        it = self._clients[client].client
        await it.send(data if binary is None else base64.b64decode(binary))

    async def send_size(self, client: str, size: int) -> None:
        await self._clients[client].client.send("x" * size)

    async def burst(self, client: str, prefix: str, count: int, finish: bool = False) -> None:
        it = self._clients[client].client
        for number in range(count):
            await it.send(f"{prefix}-{number}")
        if finish:
            await it.disconnect()

    async def disconnect(self, client: str, abort: bool = False) -> None:
        await self._clients[client].client.disconnect(abort)

    async def join(self, client: str) -> None:
        await self._clients[client].client.wait()

    async def background(self, call: str, client: str, **arguments: Any) -> None:
        it = self._clients[client]

        async def run() -> None:
            try:
                it.outcome = ["result", await getattr(self, call)(client, **arguments)]
            except Exception as error:
                it.outcome = ["error", *outcome_of(error)]

        it.outcome = None
        self._running = asyncio.create_task(run())

    async def wait(self, client: str, event: Event, count: int, timeout: float) -> bool:
        it = self._clients[client]
        deadline = time.monotonic() + timeout
        while it.count(event) < count:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.003)
        return True

    async def reset(self) -> None:
        for it in self._clients.values():
            for held in it.held.values():
                held.set()
            await it.client.disconnect(abort=True)
        self._clients.clear()
        for session in self._sessions:
            await session.close()
        self._sessions.clear()
        self._restore_environ()

    def tasks(self) -> list[str]:
        return [repr(task)[:300] for task in asyncio.all_tasks()]


def find(program: BaseProgram, line: bytes) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The call that an order asks for, and its arguments."""
    arguments = json.loads(line)
    return getattr(program, arguments.pop("do")), arguments


def serve(sock: socket.socket) -> None:
    program = Program()
    with sock.makefile("rb") as orders:
        for line in orders:
            try:
                call, arguments = find(program, line)
                answer = {"result": call(**arguments)}
            except Exception as error:
                answer = {"error": outcome_of(error)}
            sock.sendall(json.dumps(answer).encode() + b"\n")


async def serve_async(sock: socket.socket) -> None:
    program = AsyncProgram()
    reader, writer = await asyncio.open_connection(sock=sock)
    while line := await reader.readline():
        try:
            call, arguments = find(program, line)
            result = call(**arguments)
            answer = {"result": await result if inspect.isawaitable(result) else result}
        except Exception as error:
            answer = {"error": outcome_of(error)}
        writer.write(json.dumps(answer).encode() + b"\n")
    writer.close()


def main(kind: str, port: int) -> None:
    """Take orders until the connection ends, for Client or, if the kind is asyncio, AsyncClient."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    sock = socket.create_connection(("127.0.0.1", port))
    if kind == "asyncio":
        asyncio.run(serve_async(sock))
    else:
        serve(sock)
