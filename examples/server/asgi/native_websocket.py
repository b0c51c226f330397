"""A WebSocket endpoint of FastAPI's own beside Engine.IO, which sends on what comes in there.

uvicorn native_websocket:app, with Engine.IO clients at /engine.io/ and others at /ws
"""

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

import engineio

api = FastAPI()
eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(eio, api)


@api.websocket("/ws")
async def native(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            text = await websocket.receive_text()
            await eio.broadcast(text)
            await websocket.send_text(f"sent to {len(eio.sids)}")
    except WebSocketDisconnect:
        pass


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)
