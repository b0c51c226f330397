"""Start a server: `python launch.py gevent|eventlet|aiohttp PORT MODULE`, which has an `app`.

Only the server that is named gets imported, and nothing is monkey-patched.
"""

import importlib
import sys
from typing import Any

BACKLOG = 2048
MOST_CONNECTIONS = 20000


def serve_gevent(port: int, app: Any) -> None:
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", port), app, log=None, backlog=BACKLOG).serve_forever()


def serve_eventlet(port: int, app: Any) -> None:
    import eventlet
    import eventlet.wsgi

    listener = eventlet.listen(("127.0.0.1", port), backlog=BACKLOG)
    eventlet.wsgi.server(listener, app, log_output=False, max_size=MOST_CONNECTIONS)


def serve_aiohttp(port: int, app: Any) -> None:
    from aiohttp import web

    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, backlog=BACKLOG)


SERVE = {"gevent": serve_gevent, "eventlet": serve_eventlet, "aiohttp": serve_aiohttp}

if __name__ == "__main__":
    SERVE[sys.argv[1]](int(sys.argv[2]), importlib.import_module(sys.argv[3]).app)
