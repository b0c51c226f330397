"""Two Engine.IO servers in one application, behind a middleware that chooses by path.

uvicorn two_servers:app, with clients at /chat/ and /news/
"""

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

import engineio

chat = engineio.AsyncServer(async_mode="asgi")
news = engineio.AsyncServer(async_mode="asgi", ping_interval=60)


class Router:
    """Gives each request to the application with its path, everything else to another one."""

    def __init__(self, app: ASGIApp, **by_path: ASGIApp) -> None:
        self.app = app
        self.by_path = by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The lifespan has no path, and so goes to the other application.
        first = scope.get("path", "").strip("/").partition("/")[0]
        await self.by_path.get(first, self.app)(scope, receive, send)


# The path is chosen already: None is every path.
app = Router(
    Starlette(),
    chat=engineio.ASGIApp(chat, engineio_path=None),
    news=engineio.ASGIApp(news, engineio_path=None),
)


@chat.on("message")
async def chat_message(sid: str, data: object) -> None:
    await chat.broadcast(data)


@news.on("connect")
async def news_connect(sid: str, environ: dict[str, object]) -> None:
    await news.send(sid, "nothing new")
