"""The application behind the contract suite, for asyncio; see contract_common.py.

`/plain/` is a GET that waits and `/plain-websocket/` a WebSocket, both without Engine.IO: they
show what a server itself spends on each.
"""

import asyncio
import base64
import inspect
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from contract_common import (
    CONFIG,
    FLOOR_OPEN,
    LIMIT,
    SERVERS,
    STATIC_FILES,
    BaseControl,
    ContractError,
    Recorder,
    connect_answer,
    floor_answer,
    stop,
)

import engineio

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application(Recorder):
    """One server and its handlers: coroutines, and a function for the disconnect event."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.eio = engineio.AsyncServer(**options)
        self.asgi = engineio.ASGIApp(self.eio, engineio_path=name)
        self.eio.on("connect", self.connect)
        self.eio.on("message", self.message)
        self.eio.on("disconnect", self.record_disconnect)

    async def connect(self, sid: str, environ: dict[str, Any]) -> object:
        # Under granian a refused WebSocket stays open as long as somebody has its scope or `send`.
        kept = {key: value if isinstance(value, str) else None for key, value in environ.items()}
        query = self.record_connect(sid, kept)
        if "slow" in query:
            await self.eio.sleep(float(query["slow"]))
        for number in range(int(query.get("welcome", 0))):
            await self.eio.send(sid, f"welcome-{number}")
        return connect_answer(query)

    async def message(self, sid: str, data: Any) -> None:
        self.record_message(sid, data)
        command, _, argument = data.partition(":") if isinstance(data, str) else ("", "", "")
        match command:
            case _ if command.startswith("quiet"):
                pass
            case "sleep":
                seconds = argument.partition(":")[0]
                await self.eio.sleep(float(seconds))
                await self.eio.send(sid, f"slept:{argument}")
            case "hold":
                event = self.held[sid, argument] = self.eio.create_event()
                await event.wait()
                await self.eio.send(sid, f"held:{argument}")
            case "raise":
                raise ContractError("message handler")
            case "burst":
                for number in range(int(argument)):
                    await self.eio.send(sid, f"burst-{number}")
            case "close":
                await self.eio.disconnect(sid)
            case "stop":
                for other in self.to_be_told():
                    await self.eio.send(other, "last")
                stop(argument)
            case "size":
                await self.eio.send(sid, "x" * int(argument))
            case "bytes":
                await self.eio.send(sid, bytes(int(argument)))
            case "transport":
                await self.eio.send(sid, self.eio.transport(sid))
            case _:
                await self.eio.send(sid, data)


class Control(BaseControl):
    """The calls that wait, or send; and those about tasks."""

    def __init__(self, applications: dict[str, Application]) -> None:
        super().__init__(applications)
        self._applications = applications
        self._plain: list[asyncio.Future[None]] = []

    async def answer(self, body: bytes) -> bytes:
        """Do what the body of a request to /control asks for."""
        arguments = json.loads(body)
        result = getattr(self, arguments.pop("call"))(**arguments)
        return json.dumps(await result if inspect.isawaitable(result) else result).encode()

    async def wait(
        self, server: str, sid: str, event: list[object], count: int, timeout: float
    ) -> bool:
        """Wait until `count` events that begin like `event` were recorded."""
        application = self._applications[server]
        deadline = time.monotonic() + timeout
        while True:
            if application.count(sid, event) >= count:
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.005)

    async def token(self, server: str, token: str, timeout: float) -> str | None:
        """The sid whose connect handler began with this token in its query."""
        application = self._applications[server]
        deadline = time.monotonic() + timeout
        while token not in application.tokens and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        return application.tokens.get(token)

    async def send(
        self, server: str, sid: str, data: Any = None, binary: str | None = None
    ) -> None:
        await self._applications[server].eio.send(
            sid, data if binary is None else base64.b64decode(binary)
        )

    async def burst(self, server: str, sid: str, count: int, size: int = 0) -> float:
        """Send `count` messages without a pause; returns the seconds it took."""
        eio = self._applications[server].eio
        start = time.monotonic()
        for number in range(count):
            await eio.send(sid, f"burst-{number}" + "x" * size)
        return time.monotonic() - start

    async def broadcast(self, server: str, sids: list[str], count: int, binary: bool) -> None:
        """Send the same Packet objects to all sids."""
        eio = self._applications[server].eio
        for number in range(count):
            data = b"cast-%d" % number if binary else f"cast-{number}"
            packet = engineio.packet.Packet(engineio.packet.MESSAGE, data=data)
            for sid in sids:
                await eio.send_packet(sid, packet)

    async def disconnect(self, server: str, sid: str | None = None) -> float:
        """Disconnect one client or all; returns the seconds it took."""
        start = time.monotonic()
        await self._applications[server].eio.disconnect(sid)
        return time.monotonic() - start

    async def shutdown(self, server: str) -> None:
        await self._applications[server].eio.shutdown()

    def tasks(self) -> list[str]:
        return [repr(task)[:200] for task in asyncio.all_tasks()]

    async def wait_plain(self) -> None:
        """What the GETs of /plain/ wait for."""
        future = asyncio.get_running_loop().create_future()
        self._plain.append(future)
        await future

    def plain(self) -> int:
        """How many GETs of /plain/ wait."""
        return len(self._plain)

    def release_plain(self) -> None:
        """Let the GETs of /plain/ end."""
        while self._plain:
            self._plain.pop().set_result(None)


instances = {
    name: Application(name, {"async_mode": CONFIG.get("async_mode"), **options})
    for name, options in SERVERS.items()
}
control = Control(instances)
eio = instances["engine.io"].eio
# For /static/, and for paths that are nobody's.
nothing = engineio.ASGIApp(eio, static_files=STATIC_FILES)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    name = scope["path"].strip("/").partition("/")[0]
    if name in instances:
        await instances[name].asgi(scope, receive, send)
    elif name == "floor":
        await floor(scope, receive, send)
    elif name == "plain-websocket":
        await plain_websocket(receive, send)
    elif name == "control":
        await respond(send, await control.answer(await read_body(receive)))
    elif name == "plain":
        await control.wait_plain()
        await respond(send, b"done")
    else:
        await nothing(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def plain_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def floor(scope: Message, receive: Receive, send: Send) -> None:
    """A plain echo: what happens here is the web server's doing."""
    if scope["type"] == "http":
        left = LIMIT
        while left > 0 and (event := await receive()).get("more_body"):
            left -= len(event["body"])
        await respond(send, floor_answer(scope["method"], scope["query_string"].decode("latin-1")))
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": FLOOR_OPEN})
    while (event := await receive())["type"] == "websocket.receive":
        kind = "bytes" if event.get("text") is None else "text"
        await send({"type": "websocket.send", kind: event[kind]})


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        event = await receive()
        body += bytes(event.get("body", b""))
        if not event.get("more_body"):
            return body


async def respond(send: Send, body: bytes) -> None:
    length = (b"Content-Length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
