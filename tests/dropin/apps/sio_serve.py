"""Serve `sio_sync` as people do with an async mode: python sio_serve.py MODE PORT."""

# mypy: disable-error-code="import-not-found,import-untyped"

import signal
import sys
from typing import Any

mode, port = sys.argv[1], int(sys.argv[2])

if mode == "gevent":
    from gevent import monkey

    monkey.patch_all()
elif mode == "eventlet":
    import eventlet

    eventlet.monkey_patch()


def stop(*_: Any) -> None:
    sys.exit()


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    from sio_sync import app  # only now that everything is patched

    if mode == "gevent":
        from gevent.pywsgi import WSGIServer

        WSGIServer(("127.0.0.1", port), app, log=None).serve_forever()
    elif mode == "eventlet":
        import eventlet.wsgi

        eventlet.wsgi.server(eventlet.listen(("127.0.0.1", port)), app, log_output=False)
    else:
        from werkzeug.serving import WSGIRequestHandler, run_simple

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_request(self, *_: Any) -> None:
                """Write nothing for every request."""

        run_simple("127.0.0.1", port, app, threaded=True, request_handler=Quiet)


main()
