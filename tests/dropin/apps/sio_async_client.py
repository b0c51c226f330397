"""What python-socketio's AsyncClient sees of `sio_sync.py` or `sio_async.py`, all asserted here.

python sio_async_client.py URL
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import socketio

WAIT = 10  # seconds
TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]
VALUES = ["text", "grüße 世界 \U0001f30d", 12, 1.5, True, None, [1, [2]], {"a": {"b": []}}]

url = sys.argv[1]


class User:
    """A client, and what it has heard."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[tuple[Any, ...]] = []
        self.sio = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        for event in ("connect", "connect_error", "disconnect"):
            self.sio.on(event, self._listener(event))
            self.sio.on(event, self._listener(f"chat {event}"), namespace="/chat")
        for event in ("hello", "answered", "told", "news", "later"):
            self.sio.on(event, self._listener(event))
        self.sio.on("said", self._listener("said"), namespace="/chat")
        self.sio.on("question", self.question)

    @classmethod
    async def connected(cls, transports: list[str], name: str) -> "User":
        user = cls(name)
        auth = {"token": "secret", "name": name}
        namespaces = ["/", "/chat"]
        await user.sio.connect(url, auth=auth, transports=transports, namespaces=namespaces)
        return user

    def _listener(self, event: str) -> Callable[..., Awaitable[None]]:
        async def listen(*data: Any) -> None:
            self.heard.append((event, *data))

        return listen

    async def question(self, question: str) -> Any:
        return {"question": question, "answer": b"\x2a"}

    async def hears(self, *what: Any) -> None:
        await until(self.everything, lambda heard: what in heard)

    async def everything(self) -> list[tuple[Any, ...]]:
        return self.heard

    def all(self, event: str) -> list[Any]:
        return [item[1] for item in self.heard if item[0] == event]

    async def call(self, event: str, *data: Any) -> Any:
        return await self.sio.call(event, data, timeout=WAIT)


async def until(ask: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool]) -> Any:
    async def try_again() -> Any:
        while not is_right(answer := await ask()):
            await asyncio.sleep(0.02)
        return answer

    return await asyncio.wait_for(try_again(), WAIT)


async def check_rejection(transports: list[str]) -> None:
    sio = socketio.AsyncClient(reconnection=False, handle_sigint=False)
    errors: list[Any] = []
    sio.on("connect_error", errors.append)
    try:
        await sio.connect(url, auth={"token": "wrong"}, transports=transports)
    except socketio.exceptions.ConnectionError:
        pass
    else:
        raise AssertionError("it was let in")
    assert errors == [{"message": "wrong token", "data": {"got": {"token": "wrong"}}}], errors
    await sio.disconnect()


async def check_events(user: User) -> None:
    await user.hears("connect")
    await user.hears("hello", user.name)
    assert await user.call("echo", *VALUES) == tuple(VALUES)
    assert await user.call("nobody knows", 1) == ["anything", "nobody knows", 1]
    await user.sio.emit("ask", "why?")
    await user.hears("answered", {"question": "why?", "answer": b"\x2a"})
    await user.sio.emit("later", "at last")
    await user.hears("later", "at last")
    data = {"name": "x", "parts": [bytes(range(256)), b"", {"deep": b"\x07" * 100_000}]}
    assert await user.call("echo", data) == data
    assert await user.call("whoami") == {"name": user.name, "asked": 1}
    assert await user.call("whoami") == {"name": user.name, "asked": 2}


async def check_rooms(one: User, other: User) -> None:
    assert await one.call("join", "a") == ["a", "everybody"]
    await other.call("join", "b")
    await one.call("join", "both")
    await other.call("join", "both")
    for room, text in [("a", "to a"), ("b", "to b"), ("both", "to both"), ("both", "not me")]:
        await one.call("tell", room, text)
    assert await one.call("leave", "a") == ["both", "everybody"]
    await one.call("tell", "a", "nobody")
    await one.call("shut", "both")
    await one.call("tell", "both", "nobody")
    await other.hears("told", "not me")
    assert sorted(one.all("told")) == ["to a", "to both"]
    assert sorted(other.all("told")) == ["not me", "to b", "to both"]


async def check_broadcast(users: list[User]) -> None:
    count = 30
    await users[0].sio.emit("broadcast", count)
    for user in users:
        await until(user.everything, lambda _, user=user: len(user.all("news")) == count)
        assert user.all("news") == [{"number": n, "data": bytes([n, 255])} for n in range(count)]


async def check_namespace(user: User) -> None:
    await user.hears("chat connect")
    assert await user.sio.call("say", "hello", namespace="/chat", timeout=WAIT) == 5
    await user.hears("said", "hello")


async def check(transports: list[str]) -> None:
    others = ["websocket"] if transports[0] == "polling" else ["polling"]
    name = f"{uuid.uuid4()} {transports}"
    await check_rejection(transports)
    one = await User.connected(transports, f"{name} one")
    other = await User.connected(others, f"{name} other")
    await check_events(one)
    await check_rooms(one, other)
    await check_broadcast([one, other])
    await check_namespace(one)
    await until(lambda: one.call("transport"), lambda now: now == transports[-1])
    assert one.sio.transport() == transports[-1]
    await other.sio.emit("kick")
    await other.hears("disconnect", "server disconnect")
    await other.sio.disconnect()
    await one.sio.disconnect()
    if transports == TRANSPORTS[-1]:
        await one.sio.wait()  # returns, after python-socketio has slept for a second
    await one.hears("disconnect", "client disconnect")

    witness = await User.connected(others, f"{name} witness")

    async def who_has_left() -> list[Any]:
        everybody = await witness.call("who_has_left")
        return [item for item in everybody if item[0].startswith(name)]

    left = await until(who_has_left, lambda left: len(left) == 2)
    assert dict(left) == {
        f"{name} one": "client disconnect",
        f"{name} other": "server disconnect",
    }, left
    await witness.sio.disconnect()


async def check_simple_client() -> None:
    """A client without handlers, over both transports at a time."""
    async with socketio.AsyncSimpleClient(reconnection=False) as client:
        await client.connect(url, auth={"token": "secret", "name": "simple"})
        assert await client.receive(timeout=WAIT) == ["hello", "simple"]
        assert await client.call("echo", {"data": b"x"}, timeout=WAIT) == {"data": b"x"}
        await client.emit("later", "at last")
        assert await client.receive(timeout=WAIT) == ["later", "at last"]
        assert client.transport == "websocket"


async def main() -> None:
    await check_simple_client()
    for transports in TRANSPORTS:
        await check(transports)


asyncio.run(main())
