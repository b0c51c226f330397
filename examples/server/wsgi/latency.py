"""How long does a message take there and back?  The page measures, this server answers.

python latency.py, then open http://127.0.0.1:5000/
"""

import os
from pathlib import Path

from serve import serve

import engineio

STATIC = Path(__file__).resolve().parent / "static"

# None takes the first async mode that is installed: eventlet, gevent or threading.
eio = engineio.Server(async_mode=os.environ.get("ASYNC_MODE"))
app = engineio.WSGIApp(
    eio,
    static_files={
        "/": {"filename": str(STATIC / "latency.html"), "content_type": "text/html"},
        "/static": str(STATIC),
    },
)


@eio.on("message")
def message(sid: str, data: object) -> None:
    eio.send(sid, "pong")


if __name__ == "__main__":
    serve(app, eio.async_mode)
