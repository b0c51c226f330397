"""Sanic with python-socketio, in its worker processes: python example_sanic.py PORT."""

# mypy: disable-error-code="import-not-found"

import sys
from typing import Any

import socketio
from example_events import PAGE, AsyncEvents
from sanic import Sanic
from sanic.request import Request
from sanic.response import HTTPResponse, html

sio = socketio.AsyncServer(async_mode="sanic")
app = Sanic("example")
sio.attach(app)
events = AsyncEvents("/")
sio.register_namespace(events)


@app.listener("before_server_start")
def before_server_start(*_: Any) -> None:
    events.begin()


@app.route("/")
async def index(request: Request) -> HTTPResponse:
    return html(PAGE)


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))
