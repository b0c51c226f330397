"""The floor of an ASGI server: echo over WebSocket and polling, and no Engine.IO.

It answers what the load generator sends and checks nothing, so no Engine.IO server that speaks
plain ASGI can be faster under the same server. `bcast` goes to all clients.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

OPEN = '0{"sid":"%s","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

clients: dict[Send, None] = {}
queues: dict[str, "asyncio.Queue[bytes]"] = {}
numbers = itertools.count()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await echo(receive, send)
    elif scope["type"] == "http":
        sid = scope["query_string"].partition(b"&sid=")[2].decode()
        body = await poll(scope["method"], sid, receive)
        length = str(len(body)).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def echo(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": OPEN % "floor"})
    clients[send] = None
    try:
        while (event := await receive())["type"] == "websocket.receive":
            text = event.get("text")
            if text is None:
                await send({"type": "websocket.send", "bytes": event["bytes"]})
            elif text == "4bcast":
                for client in list(clients):
                    await client({"type": "websocket.send", "text": text})
            else:
                await send({"type": "websocket.send", "text": text})
    finally:
        del clients[send]


async def poll(method: str, sid: str, receive: Receive) -> bytes:
    if method == "POST":
        chunks = []
        while True:
            event = await receive()
            chunks.append(event["body"])
            if not event.get("more_body"):
                break
        queues[sid].put_nowait(b"".join(chunks))
        return b"ok"
    if sid:
        return await queues[sid].get()
    sid = str(next(numbers))
    queues[sid] = asyncio.Queue()
    return (OPEN % sid).encode()
