r"""Static files: single files, a folder, and a pattern.

uvicorn static_patterns:app, then open http://127.0.0.1:8000/
"""

from pathlib import Path

import engineio

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "wsgi" / "static"

eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(
    eio,
    static_files={
        # One file.
        "/": str(HERE / "public" / "index.html"),
        # One file, and what its content is called.
        "/license": {"filename": str(HERE / "public" / "notice.md"), "content_type": "text/plain"},
        # A folder and all below it.
        "/static": str(STATIC),
        # A pattern: its groups go into the file name. /v1/index.html, /v2.5/index.html ...
        r"/v[0-9.]+/(.+\.html)": str(HERE / "public") + r"/\1",
    },
)


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)
