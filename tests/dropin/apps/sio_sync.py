"""A python-socketio application for WSGI, the same as `sio_async.py`.

It imports nothing of ours: it is what somebody who uses python-socketio has.
"""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

import json
import os
import threading
from typing import Any

import socketio

OPTIONS = json.loads(os.environ["SIO"])
MODE = OPTIONS["async_mode"]

if OPTIONS.get("redis"):
    OPTIONS["options"]["client_manager"] = socketio.RedisManager(OPTIONS["redis"])

sio = socketio.Server(async_mode=MODE, **OPTIONS.get("options", {}))
if OPTIONS.get("admin"):
    sio.instrument(auth={"username": "u", "password": "p"}, **OPTIONS["admin"])

ended: list[list[str]] = []


@sio.event
def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    assert environ["REQUEST_METHOD"] == "GET"
    if not isinstance(auth, dict) or auth.get("token") != "secret":
        raise socketio.exceptions.ConnectionRefusedError("wrong token", {"got": auth})
    sio.save_session(sid, {"name": auth["name"]})
    sio.enter_room(sid, "everybody")
    sio.emit("hello", auth["name"], to=sid)


@sio.event
def disconnect(sid: str, reason: str) -> None:
    ended.append([sio.get_session(sid)["name"], reason])


@sio.event
def echo(sid: str, *args: Any) -> Any:
    return args


@sio.event
def ask(sid: str, question: Any, other: str | None = None) -> None:
    """A client is asked something while its own event is being handled, or another's."""
    answer = sio.call("question", question, to=other or sid, timeout=10)
    sio.emit("answered", answer, to=sid)


@sio.event
def join(sid: str, room: str, other: str | None = None) -> list[str]:
    sio.enter_room(other or sid, room)
    return sorted(name for name in sio.rooms(sid) if name != sid)


@sio.event
def leave(sid: str, room: str) -> list[str]:
    sio.leave_room(sid, room)
    return sorted(name for name in sio.rooms(sid) if name != sid)


@sio.event
def tell(sid: str, room: str, data: Any) -> None:
    sio.emit("told", data, to=room, skip_sid=sid if data == "not me" else None)


@sio.event
def broadcast(sid: str, count: int) -> None:
    for number in range(count):
        sio.emit("news", {"number": number, "data": bytes([number, 255])}, to="everybody")


@sio.event
def shut(sid: str, room: str) -> None:
    sio.close_room(room)


@sio.event
def whoami(sid: str) -> Any:
    with sio.session(sid) as session:
        session["asked"] = session.get("asked", 0) + 1
    return sio.get_session(sid)


@sio.event
def transport(sid: str) -> str:
    name: str = sio.transport(sid)
    return name


@sio.event
def kick(sid: str, other: str | None = None) -> None:
    sio.disconnect(other or sid)


@sio.event
def who_has_left(sid: str) -> list[list[str]]:
    return ended


@sio.event
def later(sid: str, data: Any) -> None:
    """What a background task sends."""

    def send() -> None:
        sio.sleep(0.01)
        sio.emit("later", data, to=sid)

    sio.start_background_task(send)


@sio.on("*")
def anything(event: str, sid: str, *args: Any) -> Any:
    return ["anything", event, *args]


class Chat(socketio.Namespace):
    def on_connect(self, sid: str, environ: dict[str, Any], auth: Any) -> bool | None:
        return False if auth == {"name": "Mallory"} else None

    def on_say(self, sid: str, text: str) -> int:
        self.emit("said", text)
        return len(text)

    def on_disconnect(self, sid: str, reason: str) -> None:
        ended.append(["chat", reason])


sio.register_namespace(Chat("/chat"))


def threads(sid: str) -> int:
    return threading.active_count()


sio.on("threads", threads)


def page(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the other application"]


app = socketio.WSGIApp(sio, page)
