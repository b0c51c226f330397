"""An Engine.IO server and nothing else: every other path is a 404.

uvicorn standalone:app, or hypercorn, daphne, granian --interface asgi
"""

import engineio

eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(eio)


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)
