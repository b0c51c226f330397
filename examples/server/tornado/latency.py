"""How long does a message take there and back, under tornado?  The page measures, this answers.

python latency.py, then open http://127.0.0.1:5000/
"""

import asyncio
import os
import signal
from pathlib import Path

import tornado.web

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="tornado")


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, "pong")


class Page(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write((STATIC / "latency.html").read_bytes())


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
