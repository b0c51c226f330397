"""The smallest useful Engine.IO server on asyncio: it sends back what it gets.

python simple.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path
from typing import Any

import uvicorn

import engineio

STATIC = Path(__file__).resolve().parent.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(
    eio,
    static_files={
        "/": {"filename": str(STATIC / "simple.html"), "content_type": "text/html"},
        "/static": str(STATIC),
    },
)


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
    port = int(os.environ.get("PORT", "5000"))
    uvicorn.run(app, host="127.0.0.1", port=port)
