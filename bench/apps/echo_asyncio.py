"""The asyncio twin of echo.py: an Engine.IO server that sends every message back.

Runs unchanged on this project and on python-engineio 4.15.1, under an ASGI server or aiohttp.
"""

import os
from typing import Any

import engineio
from engineio.packet import MESSAGE, Packet

MODE = os.environ["BENCH_ASYNC_MODE"]
eio = engineio.AsyncServer(
    async_mode=MODE,
    ping_interval=float(os.environ["BENCH_PING_INTERVAL"]),
)
clients: set[str] = set()


@eio.on("connect")  # type: ignore[untyped-decorator, unused-ignore]
async def connect(sid: str, environ: dict[str, Any]) -> None:
    clients.add(sid)


@eio.on("message")  # type: ignore[untyped-decorator, unused-ignore]
async def message(sid: str, data: Any) -> None:
    if data == "bcast":
        packet = Packet(MESSAGE, data)
        for client in list(clients):
            await eio.send_packet(client, packet)
    else:
        await eio.send(sid, data)


@eio.on("disconnect")  # type: ignore[untyped-decorator, unused-ignore]
async def disconnect(sid: str, reason: str) -> None:
    clients.discard(sid)


if MODE == "aiohttp":
    from aiohttp import web

    app: Any = web.Application()
    eio.attach(app)
else:
    app = engineio.ASGIApp(eio)
