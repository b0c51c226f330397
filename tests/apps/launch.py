"""Start one WSGI server with the contract application: `python launch.py NAME [PORT]`.

Only the server that is named gets imported: each is optional.
"""

import signal
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


def announce(port: int) -> None:
    print(f"listening on {port}", flush=True)


def serve_threading(app: Any) -> None:
    import werkzeug.serving

    class Handler(werkzeug.serving.WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # as Flask's development server sets it

        def log_request(self, *args: Any, **kwargs: Any) -> None:
            pass

    server = werkzeug.serving.make_server(
        "127.0.0.1", 0, app, threaded=True, request_handler=Handler
    )
    announce(server.socket.getsockname()[1])
    server.serve_forever()


def serve_gevent(app: Any, handler_class: Any = None) -> None:
    import gevent
    from gevent.pywsgi import WSGIServer

    server = WSGIServer(("127.0.0.1", 0), app, log=None, handler_class=handler_class)
    server.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, server.stop)
    announce(server.socket.getsockname()[1])
    server.serve_forever()


def serve_gevent_websocket(app: Any) -> None:
    from geventwebsocket.handler import WebSocketHandler

    serve_gevent(app, WebSocketHandler)


def serve_eventlet(app: Any) -> None:
    import eventlet
    import eventlet.wsgi

    listener = eventlet.listen(("127.0.0.1", 0))
    announce(listener.getsockname()[1])
    eventlet.wsgi.server(listener, app, log_output=False)


def serve_wsgiref(app: Any) -> None:
    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_request(self, *args: Any, **kwargs: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, app, Server, Handler)
    announce(server.server_port)
    server.serve_forever()


def serve_cheroot(app: Any) -> None:
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), app, numthreads=40, max=40)
    server.prepare()
    announce(server.bind_addr[1])
    server.serve()


def serve_waitress(app: Any) -> None:
    from waitress.server import create_server

    server = create_server(app, host="127.0.0.1", port=0, threads=40)
    announce(server.effective_port)
    server.run()


def main() -> None:
    from contract_app import app

    # Or the process would end without a word; gevent has its own way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    globals()[f"serve_{sys.argv[1]}"](app)


if __name__ == "__main__":
    main()
