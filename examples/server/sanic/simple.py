"""The smallest useful Engine.IO server under sanic: it sends back what it gets.

python simple.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path
from typing import Any

from sanic import Sanic

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="sanic")
app = Sanic("simple")
eio.attach(app)
app.static("/", STATIC / "simple.html", name="page")
app.static("/static", STATIC, name="static")


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


if __name__ == "__main__":
    # Clients belong to a process, so there is only one.
    port = int(os.environ.get("PORT", "5000"))
    app.run(host="127.0.0.1", port=port, single_process=True, motd=False)
