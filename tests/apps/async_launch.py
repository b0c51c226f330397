"""Start one framework of its own with the contract application.

    python async_launch.py NAME PORT [CERTIFICATE]

Only the framework that is named gets imported: each is optional.
"""

import asyncio
import signal
import ssl
import sys
from typing import Any

from async_contract_app import control, instances
from contract_common import floor_answer

import engineio


def tls_context() -> ssl.SSLContext | None:
    """For the file with certificate and key, if one was given."""
    if len(sys.argv) < 4:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    return context


def serve_aiohttp(port: int) -> None:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await control.answer(await request.read()))

    async def floor(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=floor_answer(request.method, request.query_string))

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
    app.router.add_route("*", "/floor/", floor)
    app.router.add_get("/plain/", plain)
    app.router.add_get("/plain-websocket/", plain_websocket)
    for name, application in instances.items():
        application.eio.attach(app, engineio_path=name)
    listen: dict[str, Any] = {"host": "127.0.0.1", "port": port, "ssl_context": tls_context()}
    web.run_app(app, **listen, print=None, access_log=None)


def sanic_app() -> Any:
    from sanic import Request, Sanic, Websocket, response

    app: Any = Sanic("contract")
    app.config.WEBSOCKET_MAX_SIZE = 20_000_000

    async def answer(request: Request) -> Any:
        return response.raw(await control.answer(request.body))

    async def floor(request: Request) -> Any:
        return response.raw(floor_answer(request.method, request.query_string))

    async def plain(request: Request) -> Any:
        await control.wait_plain()
        return response.text("done")

    async def plain_websocket(request: Request, websocket: Websocket) -> None:
        await websocket.recv()  # under ASGI it can't be iterated over

    app.add_route(answer, "/control", methods=["POST"])
    app.add_route(floor, "/floor/", methods=["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
    app.add_route(plain, "/plain/")
    app.add_websocket_route(plain_websocket, "/plain-websocket/")
    for name, application in instances.items():
        application.eio.attach(app, engineio_path=name)
    return app


def serve_sanic(port: int) -> None:
    quiet = {"motd": False, "access_log": False}
    sanic_app().run("127.0.0.1", port, ssl=tls_context(), single_process=True, **quiet)


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

    class Floor(web.RequestHandler):
        def get(self) -> None:
            self.finish(floor_answer(self.request.method or "", self.request.query))

        post = get

    class Plain(web.RequestHandler):
        async def get(self) -> None:
            await control.wait_plain()
            self.finish("done")

    class PlainWebSocket(websocket.WebSocketHandler):
        pass

    async def serve() -> None:
        handlers: list[Any] = [
            ("/control", Answer),
            ("/floor/", Floor),
            ("/plain/", Plain),
            ("/plain-websocket/", PlainWebSocket),
        ]
        for name, application in instances.items():
            handlers.append((f"/{name}/", engineio.get_tornado_handler(application.eio)))
        app = web.Application(handlers, log_function=lambda handler: None)
        app.listen(port, "127.0.0.1", ssl_options=tls_context())
        is_over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, is_over.set)
        await is_over.wait()
        for application in instances.values():
            await application.eio.shutdown()

    asyncio.run(serve())


if __name__ == "__main__":
    globals()[f"serve_{sys.argv[1]}"](int(sys.argv[2]))
