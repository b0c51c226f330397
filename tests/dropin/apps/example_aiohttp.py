"""aiohttp with python-socketio: python example_aiohttp.py PORT."""

# mypy: disable-error-code="import-not-found"

import sys

import socketio
from aiohttp import web
from example_events import PAGE, AsyncEvents

sio = socketio.AsyncServer(async_mode="aiohttp")
app = web.Application()
sio.attach(app)
events = AsyncEvents("/")
sio.register_namespace(events)


async def index(request: web.Request) -> web.Response:
    return web.Response(text=PAGE)


async def start() -> web.Application:
    events.begin()
    return app


app.router.add_get("/", index)

if __name__ == "__main__":
    web.run_app(start(), port=int(sys.argv[1]))
