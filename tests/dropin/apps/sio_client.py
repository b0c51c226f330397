"""What python-socketio's client sees of `sio_sync.py` or `sio_async.py`, all asserted here.

python sio_client.py URL
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

import sys
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import socketio

WAIT = 10  # seconds
TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]
VALUES = ["text", "grüße 世界 \U0001f30d", 12, 1.5, True, None, [1, [2]], {"a": {"b": []}}]

url = sys.argv[1]


class User:
    """A client, and what it has heard."""

    def __init__(self, transports: list[str], name: str, **auth: Any) -> None:
        self.name = name
        self.heard: list[tuple[Any, ...]] = []
        self._news = threading.Condition()
        self.sio = socketio.Client(reconnection=False, handle_sigint=False)
        for event in ("connect", "connect_error", "disconnect"):
            self.sio.on(event, self._listener(event))
            self.sio.on(event, self._listener(f"chat {event}"), namespace="/chat")
        for event in ("hello", "answered", "told", "news", "later"):
            self.sio.on(event, self._listener(event))
        self.sio.on("said", self._listener("said"), namespace="/chat")
        self.sio.on("question", self.question)
        auth = auth or {"token": "secret", "name": name}
        self.sio.connect(url, auth=auth, transports=transports, namespaces=["/", "/chat"])

    def _listener(self, event: str) -> Callable[..., None]:
        def listen(*data: Any) -> None:
            with self._news:
                self.heard.append((event, *data))
                self._news.notify_all()

        return listen

    def question(self, question: str) -> Any:
        return {"question": question, "answer": b"\x2a"}

    def hears(self, *what: Any) -> None:
        with self._news:
            assert self._news.wait_for(lambda: what in self.heard, WAIT), (what, self.heard)

    def all(self, event: str) -> list[Any]:
        return [item[1] for item in self.heard if item[0] == event]

    def call(self, event: str, *data: Any) -> Any:
        return self.sio.call(event, data, timeout=WAIT)


def until(ask: Callable[[], Any], is_right: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + WAIT
    while not is_right(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


def check_rejection(transports: list[str]) -> None:
    sio = socketio.Client(reconnection=False, handle_sigint=False)
    errors: list[Any] = []
    sio.on("connect_error", errors.append)
    try:
        sio.connect(url, auth={"token": "wrong"}, transports=transports)
    except socketio.exceptions.ConnectionError:
        pass
    else:
        raise AssertionError("it was let in")
    assert errors == [{"message": "wrong token", "data": {"got": {"token": "wrong"}}}], errors
    sio.disconnect()


def check_events(user: User) -> None:
    user.hears("connect")
    user.hears("hello", user.name)
    assert user.call("echo", *VALUES) == tuple(VALUES)
    assert user.call("nobody knows", 1) == ["anything", "nobody knows", 1]
    user.sio.emit("ask", "why?")
    user.hears("answered", {"question": "why?", "answer": b"\x2a"})
    user.sio.emit("later", "at last")
    user.hears("later", "at last")
    data = {"name": "x", "parts": [bytes(range(256)), b"", {"deep": b"\x07" * 100_000}]}
    assert user.call("echo", data) == data
    assert user.call("whoami") == {"name": user.name, "asked": 1}
    assert user.call("whoami") == {"name": user.name, "asked": 2}


def check_rooms(one: User, other: User) -> None:
    assert one.call("join", "a") == ["a", "everybody"]
    other.call("join", "b")
    one.call("join", "both")
    other.call("join", "both")
    for room, text in [("a", "to a"), ("b", "to b"), ("both", "to both"), ("both", "not me")]:
        one.call("tell", room, text)
    assert one.call("leave", "a") == ["both", "everybody"]
    one.call("tell", "a", "nobody")
    one.call("shut", "both")
    one.call("tell", "both", "nobody")
    other.hears("told", "not me")
    assert sorted(one.all("told")) == ["to a", "to both"]
    assert sorted(other.all("told")) == ["not me", "to b", "to both"]


def check_broadcast(users: list[User]) -> None:
    count = 30
    users[0].sio.emit("broadcast", count)
    for user in users:
        news = until(lambda user=user: user.all("news"), lambda news: len(news) == count)
        # Its handlers run in threads of their own, so the order is theirs.
        news.sort(key=lambda item: item["number"])
        assert news == [{"number": n, "data": bytes([n, 255])} for n in range(count)]


def check_namespace(user: User) -> None:
    user.hears("chat connect")
    assert user.sio.call("say", "hello", namespace="/chat", timeout=WAIT) == 5
    user.hears("said", "hello")


def check(transports: list[str]) -> None:
    others = ["websocket"] if transports[0] == "polling" else ["polling"]
    name = f"{uuid.uuid4()} {transports}"
    check_rejection(transports)
    one = User(transports, f"{name} one")
    other = User(others, f"{name} other")
    check_events(one)
    check_rooms(one, other)
    check_broadcast([one, other])
    check_namespace(one)
    until(lambda: one.call("transport"), lambda now: now == transports[-1])
    assert one.sio.transport() == transports[-1]
    other.sio.emit("kick")
    other.hears("disconnect", "server disconnect")
    other.sio.disconnect()
    one.sio.disconnect()
    if transports == TRANSPORTS[-1]:
        one.sio.wait()  # returns, after python-socketio has slept for a second
    one.hears("disconnect", "client disconnect")

    witness = User(others, f"{name} witness")
    left = until(
        lambda: [item for item in witness.call("who_has_left") if item[0].startswith(name)],
        lambda left: len(left) == 2,
    )
    assert dict(left) == {
        f"{name} one": "client disconnect",
        f"{name} other": "server disconnect",
    }, left
    witness.sio.disconnect()


def check_simple_client() -> None:
    """A client without handlers, over both transports at a time."""
    with socketio.SimpleClient(reconnection=False) as client:
        client.connect(url, auth={"token": "secret", "name": "simple"})
        assert client.receive(timeout=WAIT) == ["hello", "simple"]
        assert client.call("echo", {"data": b"x"}, timeout=WAIT) == {"data": b"x"}
        client.emit("later", "at last")
        assert client.receive(timeout=WAIT) == ["later", "at last"]
        assert client.transport == "websocket"


def main() -> None:
    check_simple_client()
    for transports in TRANSPORTS:
        check(transports)


main()
