"""How long does a message take there and back, under aiohttp?  The page measures, this answers.

python latency.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path

from aiohttp import web

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="aiohttp")
app = web.Application()
eio.attach(app)


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, "pong")


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "latency.html")


app.router.add_get("/", page)
app.router.add_static("/static", STATIC)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "5000")))
