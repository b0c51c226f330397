"""A FastAPI endpoint that sends to all Engine.IO clients; the server is a dependency.

uvicorn fastapi_broadcast:app
curl -H 'Content-Type: application/json' -d '{"text": "hi"}' http://127.0.0.1:8000/broadcast
"""

from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

import engineio

eio = engineio.AsyncServer(async_mode="asgi")
api = FastAPI()
app = engineio.ASGIApp(eio, api)


class Announcement(BaseModel):
    text: str
    skip: str | None = None  # a sid that does not get it, such as its author's


def get_eio() -> engineio.AsyncServer:
    """Return the server; a test can override it with another one."""
    return eio


EngineIO = Annotated[engineio.AsyncServer, Depends(get_eio)]


@api.post("/broadcast")
async def broadcast(announcement: Announcement, server: EngineIO) -> dict[str, list[str]]:
    await server.broadcast(announcement.text, skip=announcement.skip)
    return {"sids": [sid for sid in server.sids if sid != announcement.skip]}


@api.post("/send/{sid}")
async def send_to_one(sid: str, announcement: Announcement, server: EngineIO) -> None:
    await server.send(sid, announcement.text)


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.broadcast(data, skip=sid)
