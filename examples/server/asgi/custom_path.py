"""Engine.IO at another path than /engine.io/.  In the browser: new Socket(url, { path: "/chat/" }).

uvicorn custom_path:app
"""

import engineio

eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(eio, engineio_path="chat")


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)
