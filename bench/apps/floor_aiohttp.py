"""The floor of aiohttp: echo over its WebSocket and polling, and no Engine.IO.

It answers what the load generator sends and checks nothing. `bcast` goes to all clients.
"""

import asyncio
import itertools

from aiohttp import WSMsgType, web

OPEN = '0{"sid":"%s","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'

clients: dict[web.WebSocketResponse, None] = {}
queues: dict[str, "asyncio.Queue[bytes]"] = {}
numbers = itertools.count()


async def handle(request: web.Request) -> web.StreamResponse:
    if "Upgrade" in request.headers:
        return await echo(request)
    sid = request.query_string.partition("&sid=")[2]
    if request.method == "POST":
        queues[sid].put_nowait(await request.read())
        body = b"ok"
    elif sid:
        body = await queues[sid].get()
    else:
        sid = str(next(numbers))
        queues[sid] = asyncio.Queue()
        body = (OPEN % sid).encode()
    return web.Response(body=body, content_type="text/plain")


async def echo(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    await websocket.send_str(OPEN % "floor")
    clients[websocket] = None
    try:
        async for message in websocket:
            if message.type is WSMsgType.BINARY:
                await websocket.send_bytes(message.data)
            elif message.data == "4bcast":
                for client in list(clients):
                    await client.send_str(message.data)
            else:
                await websocket.send_str(message.data)
    finally:
        del clients[websocket]
    return websocket


app = web.Application()
app.router.add_route("*", "/{path:.*}", handle)
