"""Engine.IO mounted in FastAPI: the API comes first, so mount it after the last route.

uvicorn fastapi_mount:app

The other mount shows that a path below which it is mounted needs no further setting: its clients
connect to /sub/engine.io/.  A framework passes no startup and shutdown on to what is mounted in it.
"""

from fastapi import FastAPI

import engineio

app = FastAPI()
eio = engineio.AsyncServer(async_mode="asgi")


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"message": "hello"}


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)


app.mount("/sub", engineio.ASGIApp(eio))
app.mount("/", engineio.ASGIApp(eio))
