"""A python-socketio application for asyncio, the same as `sio_sync.py`."""

# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

import json
import os
import sys
from typing import Any

import socketio
import tornado.ioloop
import tornado.web
from aiohttp import web
from sanic import Sanic

OPTIONS = json.loads(os.environ["SIO"])
MODE = OPTIONS["async_mode"]

if OPTIONS.get("redis"):
    OPTIONS["options"]["client_manager"] = socketio.AsyncRedisManager(OPTIONS["redis"])

sio = socketio.AsyncServer(async_mode=MODE, **OPTIONS.get("options", {}))
if OPTIONS.get("admin"):
    sio.instrument(auth={"username": "u", "password": "p"}, **OPTIONS["admin"])

ended: list[list[str]] = []


@sio.event
async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
    assert environ["REQUEST_METHOD"] == "GET"
    if not isinstance(auth, dict) or auth.get("token") != "secret":
        raise socketio.exceptions.ConnectionRefusedError("wrong token", {"got": auth})
    await sio.save_session(sid, {"name": auth["name"]})
    await sio.enter_room(sid, "everybody")
    await sio.emit("hello", auth["name"], to=sid)


@sio.event
async def disconnect(sid: str, reason: str) -> None:
    ended.append([(await sio.get_session(sid))["name"], reason])


@sio.event
async def echo(sid: str, *args: Any) -> Any:
    return args


@sio.event
async def ask(sid: str, question: Any, other: str | None = None) -> None:
    """A client is asked something while its own event is being handled, or another's."""
    answer = await sio.call("question", question, to=other or sid, timeout=10)
    await sio.emit("answered", answer, to=sid)


@sio.event
async def join(sid: str, room: str, other: str | None = None) -> list[str]:
    await sio.enter_room(other or sid, room)
    return sorted(name for name in sio.rooms(sid) if name != sid)


@sio.event
async def leave(sid: str, room: str) -> list[str]:
    await sio.leave_room(sid, room)
    return sorted(name for name in sio.rooms(sid) if name != sid)


@sio.event
async def tell(sid: str, room: str, data: Any) -> None:
    await sio.emit("told", data, to=room, skip_sid=sid if data == "not me" else None)


@sio.event
async def broadcast(sid: str, count: int) -> None:
    for number in range(count):
        await sio.emit("news", {"number": number, "data": bytes([number, 255])}, to="everybody")


@sio.event
async def shut(sid: str, room: str) -> None:
    await sio.close_room(room)


@sio.event
async def whoami(sid: str) -> Any:
    async with sio.session(sid) as session:
        session["asked"] = session.get("asked", 0) + 1
    return await sio.get_session(sid)


@sio.event
async def transport(sid: str) -> str:
    name: str = sio.transport(sid)
    return name


@sio.event
async def kick(sid: str, other: str | None = None) -> None:
    await sio.disconnect(other or sid)


@sio.event
async def who_has_left(sid: str) -> list[list[str]]:
    return ended


@sio.event
async def later(sid: str, data: Any) -> None:
    """What a background task sends."""

    async def send() -> None:
        await sio.sleep(0.01)
        await sio.emit("later", data, to=sid)

    sio.start_background_task(send)


@sio.on("*")
async def anything(event: str, sid: str, *args: Any) -> Any:
    return ["anything", event, *args]


class Chat(socketio.AsyncNamespace):
    async def on_connect(self, sid: str, environ: dict[str, Any], auth: Any) -> bool | None:
        return False if auth == {"name": "Mallory"} else None

    async def on_say(self, sid: str, text: str) -> int:
        await self.emit("said", text)
        return len(text)

    async def on_disconnect(self, sid: str, reason: str) -> None:
        ended.append(["chat", reason])


sio.register_namespace(Chat("/chat"))


if MODE == "asgi":
    app = socketio.ASGIApp(sio)


def main() -> None:
    """Serve it with the framework of its async mode: python sio_async.py PORT."""
    port = int(sys.argv[1])
    if MODE == "aiohttp":
        application = web.Application()
        sio.attach(application)
        web.run_app(application, host="127.0.0.1", port=port, print=None, access_log=None)
    elif MODE == "sanic":
        sanic = Sanic("dropin")
        sio.attach(sanic)
        sanic.run("127.0.0.1", port, single_process=True, access_log=False, motd=False)
    else:
        handlers = [(r"/socket\.io/", socketio.get_tornado_handler(sio))]
        tornado.web.Application(handlers, log_function=lambda _: None).listen(port, "127.0.0.1")
        tornado.ioloop.IOLoop.current().start()


if __name__ == "__main__":
    main()
