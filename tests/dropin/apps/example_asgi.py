"""ASGI with python-socketio, by itself and around FastAPI: python example_asgi.py PORT fastapi."""

# mypy: disable-error-code="import-not-found,no-any-return"

import sys
import tempfile
from pathlib import Path

import socketio
import uvicorn
from example_events import PAGE, AsyncEvents
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins=["http://localhost:5000"])
sio.instrument(auth={"username": "admin", "password": "python"})
sio.register_namespace(AsyncEvents("/"))

page = Path(tempfile.mkdtemp(), "page.html")
page.write_text(PAGE)
alone = socketio.ASGIApp(sio, static_files={"/": str(page)})

fastapi = FastAPI()


@fastapi.get("/", response_class=PlainTextResponse)
async def index() -> str:
    return PAGE


combined = socketio.ASGIApp(sio, fastapi)

if __name__ == "__main__":
    app = combined if "fastapi" in sys.argv else alone
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
