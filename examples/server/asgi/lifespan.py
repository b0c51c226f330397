"""A task beside the requests: it starts and stops with the server, and sends to every client.

uvicorn lifespan:app
"""

import asyncio
import itertools

import engineio

eio = engineio.AsyncServer(async_mode="asgi")


async def count_seconds() -> None:
    for number in itertools.count(1):
        await eio.broadcast({"seconds": number})
        await eio.sleep(1)


class Ticker:
    task: asyncio.Task[None]

    async def start(self) -> None:
        self.task = eio.start_background_task(count_seconds)

    async def stop(self) -> None:
        # By now the clients are disconnected. A failure here or in `start` is logged, and told to
        # the server, which then does not start, or ends with an error.
        self.task.cancel()
        print("the ticker stops")


ticker = Ticker()
app = engineio.ASGIApp(eio, on_startup=ticker.start, on_shutdown=ticker.stop)
