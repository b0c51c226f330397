"""Programs that end, or fork, with live clients: `leave.py WHAT ...`; the tests patch it first.

Each prints what a test must know of it, and goes on when it gets a line.  What then happens is
the business of the interpreter: nobody disconnects, joins or closes anything.
"""

import asyncio
import multiprocessing
import os
import sys
import threading
import time
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import engineio

STATUS = 3


def say(*words: object) -> None:
    print(*words, flush=True)


# A client


def client(url: str, transport: str) -> None:
    it = engineio.Client()
    it.on("disconnect", lambda reason: say("disconnect", reason))
    it.connect(url, transports=[transport])
    it.send("quiet-last")
    say(it.sid)
    it.sleep(0.3)  # for the message to leave
    sys.exit(STATUS)


def async_client(url: str, transport: str) -> None:
    async def main() -> None:
        it = engineio.AsyncClient()
        await it.connect(url, transports=[transport])
        await it.send("quiet-last")
        say(it.sid)
        await asyncio.sleep(0.3)

    asyncio.run(main())
    sys.exit(STATUS)


# A server


class Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any, **__: Any) -> None:
        pass


class Threads(WSGIServer):
    """A thread for each request, none of which keeps the process."""

    def process_request(self, request: Any, client_address: Any) -> None:
        args = (request, client_address)
        threading.Thread(target=self._process, args=args, daemon=True).start()

    def _process(self, request: Any, client_address: Any) -> None:
        self.finish_request(request, client_address)
        self.shutdown_request(request)


def serve_threading(app: Any) -> int:
    server = make_server("127.0.0.1", 0, app, Threads, Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def serve_gevent(app: Any) -> int:
    from gevent.pywsgi import WSGIServer

    server = WSGIServer(("127.0.0.1", 0), app, log=None)
    server.start()
    return int(server.address[1])


def serve_eventlet(app: Any) -> int:
    import eventlet
    import eventlet.wsgi

    listener = eventlet.listen(("127.0.0.1", 0))
    eventlet.spawn(eventlet.wsgi.server, listener, app, log_output=False)
    return int(listener.getsockname()[1])


def make(mode: str) -> Any:
    eio = engineio.Server(async_mode=mode, ping_interval=0.2, ping_timeout=5)
    eio.on("message", lambda sid, data: eio.send(sid, f"{os.getpid()}:{data}"))
    eio.on("disconnect", lambda sid, reason: say("disconnect", os.getpid(), sid, reason))
    return eio


def serve(mode: str, eio: Any) -> None:
    port = globals()[f"serve_{mode}"](engineio.WSGIApp(eio))
    say(os.getpid(), port)


def wait_for_line(eio: Any) -> None:
    """Wait without keeping greenlets from running."""
    os.set_blocking(0, False)
    while True:
        try:
            os.read(0, 100)
            return
        except BlockingIOError:
            eio.sleep(0.02)


def server(mode: str) -> None:
    eio = make(mode)
    serve(mode, eio)
    wait_for_line(eio)
    sys.exit(STATUS)


def forked_server(mode: str) -> None:
    """The parent goes on; the child serves clients of its own with the same object."""
    eio = make(mode)
    serve(mode, eio)
    wait_for_line(eio)
    child = os.fork()
    if child:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            eio.sleep(0.02)
        say("child ended")
        wait_for_line(eio)
    else:
        if mode == "eventlet":
            import eventlet.hubs

            eventlet.hubs.use_hub()  # the parent's has an epoll descriptor that they share
        assert eio.sids == ()
        eio.broadcast("to nobody")
        serve(mode, eio)
        wait_for_line(eio)
    sys.exit(STATUS)


def multiprocessing_server(mode: str) -> None:
    """A child that multiprocessing forks, has nothing to do with Engine.IO, and ends."""
    eio = make(mode)
    serve(mode, eio)
    wait_for_line(eio)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.1,))
    child.start()
    child.join()
    say("child ended")
    wait_for_line(eio)
    sys.exit(STATUS)


def forked_async_server() -> None:
    """The event loop stays the parent's; the child may have one of its own."""
    import aiohttp.web

    eio = engineio.AsyncServer(async_mode="aiohttp", ping_interval=0.2, ping_timeout=5)

    @eio.on("message")
    async def message(sid: str, data: Any) -> None:
        await eio.send(sid, f"{os.getpid()}:{data}")

    async def main() -> None:
        app = aiohttp.web.Application()
        eio.attach(app)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        say(os.getpid(), runner.addresses[0][1])
        await asyncio.to_thread(sys.stdin.readline)
        child = os.fork()
        if not child:
            if not eio.sids:
                asyncio.run(eio.broadcast("to nobody"))
                os._exit(STATUS)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        say("child ended", os.waitstatus_to_exitcode(status))
        await asyncio.to_thread(sys.stdin.readline)
        await eio.shutdown()
        await runner.cleanup()

    asyncio.run(main())
    sys.exit(STATUS)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
