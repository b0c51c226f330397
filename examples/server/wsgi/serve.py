"""Run a WSGI application under the server that belongs to an async mode.

The other examples use this, so that each of them shows Engine.IO and nothing else.
"""

import os
import signal
from contextlib import suppress
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

import engineio

HOST = "127.0.0.1"


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """The standard library's WSGI server, with a thread for each connection.

    A polling client always has one request waiting, so a server that handles
    one request at a time would be busy with its first client for ever.
    """

    daemon_threads = True


def serve(app: engineio.WSGIApp, async_mode: str) -> None:
    """Listen on 127.0.0.1 until Ctrl-C; the port is PORT of the environment, or 5000."""
    address = HOST, int(os.environ.get("PORT", "5000"))
    with suppress(KeyboardInterrupt):
        if async_mode == "eventlet":
            import eventlet.wsgi

            sock = eventlet.listen(address)
            announce(sock.getsockname()[1])
            eventlet.wsgi.server(sock, app)
        elif async_mode == "gevent":
            import gevent
            from gevent.pywsgi import WSGIServer as GeventServer

            gevent_server = GeventServer(address, app)
            gevent_server.start()
            # KeyboardInterrupt would be raised in whichever greenlet happens to run.
            gevent.signal_handler(signal.SIGINT, gevent_server.stop)
            announce(gevent_server.socket.getsockname()[1])
            gevent_server.serve_forever()
        else:
            server = make_server(*address, app, server_class=ThreadingServer)
            announce(server.server_port)
            server.serve_forever()


def announce(port: int) -> None:
    """Say where to look, once that address answers."""
    print(f"Open http://{HOST}:{port}/ (Ctrl-C ends)", flush=True)
