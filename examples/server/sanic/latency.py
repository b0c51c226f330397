"""How long does a message take there and back, under sanic?  The page measures, this answers.

python latency.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path

from sanic import Sanic

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="sanic")
app = Sanic("latency")
eio.attach(app)
app.static("/", STATIC / "latency.html", name="page")
app.static("/static", STATIC, name="static")


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, "pong")


if __name__ == "__main__":
    # Clients belong to a process, so there is only one.
    port = int(os.environ.get("PORT", "5000"))
    app.run(host="127.0.0.1", port=port, single_process=True, motd=False)
