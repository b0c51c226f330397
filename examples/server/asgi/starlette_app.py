"""Engine.IO in front of Starlette, whose lifespan goes on as if it were alone.

uvicorn starlette_app:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import engineio

eio = engineio.AsyncServer(async_mode="asgi")


@asynccontextmanager
async def lifespan(site: Starlette) -> AsyncIterator[dict[str, str]]:
    print("the site starts")
    yield {"greeting": "hello"}
    print("the site stops")


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.greeting)


site = Starlette(routes=[Route("/", home)], lifespan=lifespan)
app = engineio.ASGIApp(eio, site)


@eio.on("message")
async def message(sid: str, data: object) -> None:
    await eio.send(sid, data)
