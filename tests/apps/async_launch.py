"""Start one framework of its own with the contract application: `python async_launch.py NAME PORT`.

Only the framework that is named gets imported: each is optional.
"""

import asyncio
import sys
from typing import Any

from async_contract_app import control, instances

import engineio


def serve_aiohttp(port: int) -> None:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await control.answer(await request.read()))

    async def plain(request: web.Request) -> web.Response:
        await control.wait_plain()
        return web.Response(text="done")

    async def plain_websocket(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for _ in websocket:
            pass
        return websocket

    app = web.Application()
    app.router.add_post("/control", answer)
    app.router.add_get("/plain/", plain)
    app.router.add_get("/plain-websocket/", plain_websocket)
    for name, application in instances.items():
        application.eio.attach(app, engineio_path=name)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def sanic_app() -> Any:
    from sanic import Request, Sanic, Websocket, response

    app: Any = Sanic("contract")
    app.config.WEBSOCKET_MAX_SIZE = 20_000_000

    async def answer(request: Request) -> Any:
        return response.raw(await control.answer(request.body))

    async def plain(request: Request) -> Any:
        await control.wait_plain()
        return response.text("done")

    async def plain_websocket(request: Request, websocket: Websocket) -> None:
        await websocket.recv()  # under ASGI it can't be iterated over

    app.add_route(answer, "/control", methods=["POST"])
    app.add_route(plain, "/plain/")
    app.add_websocket_route(plain_websocket, "/plain-websocket/")
    for name, application in instances.items():
        application.eio.attach(app, engineio_path=name)
    return app


def serve_sanic(port: int) -> None:
    sanic_app().run("127.0.0.1", port, single_process=True, motd=False, access_log=False)


def serve_sanic_asgi(port: int) -> None:
    import uvicorn

    both = sys.argv[3] if len(sys.argv) > 3 else None
    options: dict[str, Any] = {"access_log": False, "log_level": "warning"}
    options |= {"ssl_certfile": both, "ssl_keyfile": both, "ws_per_message_deflate": False}
    uvicorn.run(sanic_app(), port=port, **options)


def serve_tornado(port: int) -> None:
    from tornado import web, websocket

    class Answer(web.RequestHandler):
        async def post(self) -> None:
            self.finish(await control.answer(self.request.body))

    class Plain(web.RequestHandler):
        async def get(self) -> None:
            await control.wait_plain()
            self.finish("done")

    class PlainWebSocket(websocket.WebSocketHandler):
        pass

    async def serve() -> None:
        handlers: list[Any] = [
            ("/control", Answer),
            ("/plain/", Plain),
            ("/plain-websocket/", PlainWebSocket),
        ]
        for name, application in instances.items():
            handlers.append((f"/{name}/", engineio.get_tornado_handler(application.eio)))
        app = web.Application(handlers, log_function=lambda handler: None)
        app.listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    globals()[f"serve_{sys.argv[1]}"](int(sys.argv[2]))
