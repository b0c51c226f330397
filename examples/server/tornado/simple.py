"""The smallest useful Engine.IO server under tornado: it sends back what it gets.

python simple.py, then open http://127.0.0.1:5000/
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import tornado.web

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="tornado")


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


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write((STATIC / "simple.html").read_bytes())


async def main() -> None:
    app = tornado.web.Application(
        [
            ("/", Page),
            ("/engine.io/", engineio.get_tornado_handler(eio)),
            ("/static/(.*)", tornado.web.StaticFileHandler, {"path": STATIC}),
        ]
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGINT, lambda *args: loop.call_soon_threadsafe(stop.set))
    server = app.listen(int(os.environ.get("PORT", "5000")), "127.0.0.1")
    await stop.wait()
    server.stop()
    await eio.shutdown()
    await server.close_all_connections()


if __name__ == "__main__":
    asyncio.run(main())
