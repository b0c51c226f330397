"""How long does a message take there and back?  The page measures, this server answers.

python latency.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path

import uvicorn

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(
    eio,
    static_files={
        "/": {"filename": str(STATIC / "latency.html"), "content_type": "text/html"},
        "/static": str(STATIC),
    },
)


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, "pong")


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "5000"))
    uvicorn.run(app, host="127.0.0.1", port=port)
