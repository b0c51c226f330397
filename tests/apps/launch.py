"""Start one WSGI server with the contract application: `python launch.py NAME [CERTIFICATE]`.

Only the server that is named gets imported: each is optional.
"""

import signal
import ssl
import sys
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

CERTIFICATE = sys.argv[2] if len(sys.argv) > 2 else None  # a file with the key in it too


def tls_context() -> ssl.SSLContext | None:
    if CERTIFICATE is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def announce(port: int) -> None:
    print(f"listening on {port}", flush=True)


def serve_threading(app: Any) -> None:
    import werkzeug.serving

    class Handler(werkzeug.serving.WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # as Flask's development server sets it

        def log_request(self, *args: Any, **kwargs: Any) -> None:
            pass

    server = werkzeug.serving.make_server(
        "127.0.0.1", 0, app, threaded=True, request_handler=Handler, ssl_context=tls_context()
    )
    announce(server.socket.getsockname()[1])
    server.serve_forever()


def serve_gevent(app: Any, handler_class: Any = None) -> None:
    import gevent
    from gevent.pywsgi import WSGIServer

    tls: dict[str, Any] = {"certfile": CERTIFICATE} if CERTIFICATE else {}
    server = WSGIServer(("127.0.0.1", 0), app, log=None, handler_class=handler_class, **tls)
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
    if CERTIFICATE:
        listener = eventlet.wrap_ssl(listener, certfile=CERTIFICATE, server_side=True)
    eventlet.wsgi.server(listener, app, log_output=False)


def serve_wsgiref(app: Any) -> None:
    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_request(self, *args: Any, **kwargs: Any) -> None:
            pass

        def get_environ(self) -> dict[str, Any]:
            # Or wsgi.url_scheme would say http, and no page could connect.
            return {**super().get_environ(), "HTTPS": "on" if CERTIFICATE else "off"}

    server = make_server("127.0.0.1", 0, app, Server, Handler)
    if context := tls_context():
        server.socket = context.wrap_socket(server.socket, server_side=True)
    announce(server.server_port)
    server.serve_forever()


def serve_cheroot(app: Any) -> None:
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), app, numthreads=40, max=40)
    if CERTIFICATE:
        server.ssl_adapter = BuiltinSSLAdapter(CERTIFICATE, CERTIFICATE)
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
