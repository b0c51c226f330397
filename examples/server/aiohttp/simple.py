"""The smallest useful Engine.IO server under aiohttp: it sends back what it gets.

python simple.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path
from typing import Any

from aiohttp import web

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="aiohttp")
app = web.Application()
eio.attach(app)


@eio.on("connect")
async def connect(sid: str, environ: dict[str, Any]) -> None:
    print("connected:", sid)


@eio.on("message")
async def message(sid: str, data: Any) -> None:
    # Text is a str, unless it is JSON: then it arrives decoded. A binary message is bytes.
    await eio.send(sid, data)


@eio.on("disconnect")
async def disconnect(sid: str, reason: str) -> None:
    print("disconnected:", sid, reason)


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "simple.html")


app.router.add_get("/", page)
app.router.add_static("/static", STATIC)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "5000")))
