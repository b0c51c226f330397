"""The smallest useful Engine.IO server: it sends back what it gets.

python simple.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path
from typing import Any

from serve import serve

import engineio

STATIC = Path(__file__).resolve().parent / "static"

# None takes the first async mode that is installed: eventlet, gevent or threading.
eio = engineio.Server(async_mode=os.environ.get("ASYNC_MODE"))
app = engineio.WSGIApp(
    eio,
    static_files={
        "/": {"filename": str(STATIC / "simple.html"), "content_type": "text/html"},
        "/static": str(STATIC),
    },
)


@eio.on("connect")
def connect(sid: str, environ: dict[str, Any]) -> None:
    print("connected:", sid)


@eio.on("message")
def message(sid: str, data: Any) -> None:
    # Text is a str, unless it is JSON: then it arrives decoded. A binary message is bytes.
    eio.send(sid, data)


@eio.on("disconnect")
def disconnect(sid: str, reason: str) -> None:
    print("disconnected:", sid, reason)


if __name__ == "__main__":
    serve(app, eio.async_mode)
