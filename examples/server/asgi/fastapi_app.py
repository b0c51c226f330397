"""Engine.IO in front of FastAPI: what is not for Engine.IO goes on to the API.

uvicorn fastapi_app:app
"""

from fastapi import FastAPI

import engineio

api = FastAPI()
eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(eio, api)


@api.get("/clients")
async def count_clients() -> dict[str, int]:
    return {"clients": len(eio.sids)}


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)
