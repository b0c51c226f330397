"""Clients of an ASGI application in memory: no network, nothing between a test and the code."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

Event = dict[str, Any]
Application = Callable[..., Awaitable[Any]]

WAIT = 8.0  # seconds something may take that a test waits for


class Answer:
    """The response to one request."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = {name.decode(): value.decode() for name, value in headers}
        self.body = body

    @property
    def packets(self) -> list[str]:
        assert self.status == 200, self.body
        return self.body.decode().split("\x1e")


class Exchange:
    """One request on its way: a task of its own, as under a server."""

    def __init__(
        self,
        app: Application,
        method: str,
        query: dict[str, Any],
        body: list[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.sent: list[Event] = []
        self.incoming: asyncio.Queue[Event] = asyncio.Queue()
        self.scope: Event = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": "/engine.io/",
            "query_string": urlencode(query).encode(),
            "headers": [
                (name.lower().encode(), value.encode()) for name, value in (headers or {}).items()
            ],
            "client": ("192.0.2.1", 4242),
            "server": ("192.0.2.2", 80),
        }
        chunks = body or [b""]
        for position, chunk in enumerate(chunks):
            self.push_body(chunk, more=position + 1 < len(chunks))
        self.task = asyncio.ensure_future(app(self.scope, self.incoming.get, self._send))

    def push_body(self, chunk: bytes, more: bool) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    def hang_up(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def _send(self, event: Event) -> None:
        self.sent.append(event)

    async def answer(self) -> Answer:
        await asyncio.wait_for(self.task, WAIT)
        start, *rest = self.sent
        body = b"".join(event["body"] for event in rest)
        return Answer(start["status"], start["headers"], body)


class Polling:
    """A session over polling."""

    def __init__(self, app: Application, opening: dict[str, Any]) -> None:
        self._app = app
        self.opening = opening
        self.sid: str = opening["sid"]

    @classmethod
    async def connect(cls, app: Application, **query: Any) -> "Polling":
        answer = await handshake(app, **query).answer()
        return cls(app, json.loads(answer.packets[0][1:]))

    @property
    def query(self) -> dict[str, str]:
        return {"EIO": "4", "transport": "polling", "sid": self.sid}

    def start_poll(self) -> Exchange:
        return Exchange(self._app, "GET", self.query)

    async def poll(self) -> list[str]:
        return (await self.start_poll().answer()).packets

    def start_post(self, *body: bytes, **headers: str) -> Exchange:
        return Exchange(self._app, "POST", self.query, list(body), headers)

    async def post(self, *packets: str) -> Answer:
        body = "\x1e".join(packets).encode()
        exchange = self.start_post(body, **{"Content-Length": str(len(body))})
        return await exchange.answer()


def handshake(app: Application, **query: Any) -> Exchange:
    return Exchange(app, "GET", {"EIO": "4", "transport": "polling", **query})


class WebSocket:
    """A WebSocket; `blocks` makes the server's sending wait until `unblock`."""

    def __init__(
        self, app: Application, extensions: dict[str, Any] | None = None, **query: Any
    ) -> None:
        self.outgoing: asyncio.Queue[Event] = asyncio.Queue()
        self.incoming: asyncio.Queue[Event] = asyncio.Queue()
        self._open = asyncio.Event()
        self._open.set()
        scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/engine.io/",
            "query_string": urlencode({"EIO": "4", "transport": "websocket", **query}).encode(),
            "headers": [],
            "client": ("192.0.2.1", 4242),
            "server": ("192.0.2.2", 80),
            "extensions": extensions or {},
        }
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(app(scope, self.incoming.get, self._send))

    @classmethod
    async def connect(cls, app: Application, **query: Any) -> "WebSocket":
        websocket = cls(app, **query)
        assert (await websocket.event())["type"] == "websocket.accept"
        if "sid" not in query:
            websocket.sid = json.loads((await websocket.receive())[1:])["sid"]
        return websocket

    sid = ""

    def block(self) -> None:
        self._open.clear()

    def unblock(self) -> None:
        self._open.set()

    async def _send(self, event: Event) -> None:
        await self._open.wait()
        self.outgoing.put_nowait(event)

    async def event(self) -> Event:
        return await asyncio.wait_for(self.outgoing.get(), WAIT)

    async def receive(self) -> Any:
        event = await self.event()
        assert event["type"] == "websocket.send", event
        return event["text"] if event.get("text") is not None else event["bytes"]

    def send(self, data: str | bytes) -> None:
        kind = "text" if isinstance(data, str) else "bytes"
        self.incoming.put_nowait({"type": "websocket.receive", kind: data})

    def hang_up(self, code: int = 1005) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": code})

    async def ended(self) -> None:
        await asyncio.wait_for(self.task, WAIT)


async def upgrade(app: Application, session: Polling) -> WebSocket:
    websocket = await WebSocket.connect(app, sid=session.sid)
    websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    websocket.send("5")
    return websocket
