"""A Flask-SocketIO application; `python flask_app.py PORT` runs it as its author would."""

# mypy: disable-error-code="import-not-found,import-untyped,misc,untyped-decorator,attr-defined"
# ruff: noqa: E402 - some libraries must be patched before they are imported

import json
import os
import sys
from typing import Any

OPTIONS = json.loads(os.environ["SIO"])
MODE = OPTIONS.get("async_mode")

if OPTIONS.get("patch"):
    if MODE == "gevent":
        from gevent import monkey

        monkey.patch_all()
    else:
        import eventlet

        eventlet.monkey_patch()

from flask import Flask, copy_current_request_context, request, session
from flask_socketio import (
    ConnectionRefusedError,
    Namespace,
    SocketIO,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
    send,
)

app = Flask(__name__)
app.config["SECRET_KEY"] = "secret"
# With no mode given it is found out, as in most people's applications.  Flask-SocketIO passes on
# all of these, the message queue too.
socketio = SocketIO(
    app, async_mode=MODE, cors_allowed_origins="*", ping_timeout=10, message_queue=None
)

left: list[list[str]] = []


@app.route("/")
def index() -> str:
    return "a page"


@app.route("/login/<name>")
def login(name: str) -> str:
    session["name"] = name
    return name


@app.route("/announce/<room>/<text>")
def announce(room: str, text: str) -> str:
    socketio.emit("announced", text, to=room)
    return text


@app.route("/mode")
def mode() -> dict[str, Any]:
    return {
        "mode": socketio.server.eio.async_mode,
        "server": request.environ.get("SERVER_SOFTWARE"),
    }


@app.route("/left")
def who_has_left() -> list[list[str]]:
    return left


@socketio.on("connect")
def on_connect(auth: Any) -> None:
    if auth == {"name": "Mallory"}:
        raise ConnectionRefusedError("go away", {"name": "Mallory"})
    session["events"] = 0
    emit("welcome", {"name": session.get("name"), "args": request.args.get("x")})


@socketio.on("disconnect")
def on_disconnect(reason: str) -> None:
    left.append([session.get("name", ""), reason])


@socketio.on("message")
def on_message(text: str) -> None:
    send(text.upper())


@socketio.on("json")
def on_json(data: Any) -> None:
    send({"got": data}, json=True)


@socketio.on("echo")
def on_echo(*args: Any) -> Any:
    session["events"] += 1
    return args


@socketio.event
def count() -> dict[str, Any]:
    """What the session and the request say."""
    return {
        "name": session["name"],
        "events": session["events"],
        "sid": request.sid,
        "namespace": request.namespace,
        "event": request.event["message"],
        "agent": request.headers.get("X-Agent"),
    }


@socketio.event
def enter(room: str) -> list[str]:
    join_room(room)
    return sorted(set(rooms()) - {request.sid})


@socketio.event
def leave(room: str) -> list[str]:
    leave_room(room)
    return sorted(set(rooms()) - {request.sid})


@socketio.event
def shut(room: str) -> None:
    close_room(room)


@socketio.event
def tell(room: str, data: Any, include_self: bool = True) -> None:
    emit("told", data, to=room, include_self=include_self)


@socketio.event
def broadcast(data: Any) -> None:
    emit("news", data, broadcast=True)


@socketio.event
def ask(question: Any) -> None:
    @copy_current_request_context
    def answered(answer: Any) -> None:
        emit("answered", [session["name"], answer])

    emit("question", question, callback=answered)


@socketio.event
def ask_and_wait(question: Any) -> None:
    emit("answered", socketio.call("question", question, to=request.sid))


@socketio.event
def tick() -> None:
    sid = request.sid

    def run() -> None:
        for number in range(3):
            socketio.sleep(0.01)
            socketio.emit("ticked", number, to=sid)

    socketio.start_background_task(run)


@socketio.event
def fail() -> None:
    raise LookupError("on purpose")


@socketio.on_error_default
def on_error(error: Exception) -> None:
    emit("failed", [type(error).__name__, str(error)])


@socketio.event
def leave_me() -> None:
    disconnect()


class Chat(Namespace):
    def on_connect(self) -> None:
        emit("welcome", {"namespace": request.namespace})

    def on_say(self, text: str) -> int:
        emit("said", text, broadcast=True)
        return len(text)


socketio.on_namespace(Chat("/chat"))

if __name__ == "__main__":
    options = {"allow_unsafe_werkzeug": True} if socketio.async_mode == "threading" else {}
    socketio.run(app, host="127.0.0.1", port=int(sys.argv[1]), **options)
