"""Flask-SocketIO applications, unchanged, on this package: the ways they are run."""

import signal
from typing import Any

import pytest

from dropin_servers import GUNICORN, each, gunicorn_25, run_javascript, running

# What Flask-SocketIO's run() and Werkzeug's server print.
RUN = (r"WebSocket transport not available\. Install simple-websocket",)
OUR_CONF = ("-c", "{root}/deploy/gunicorn/gunicorn.conf.py")
APP = "flask_app:app"
ITSELF = ("{python}", "flask_app.py", "{port}")

# name: (async_mode that it finds out, command, what the application is told)
WAYS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "gunicorn -k eventlet": ("eventlet", (*GUNICORN, "-k", "eventlet", *OUR_CONF, APP), {}),
    "gunicorn -k gevent": ("gevent", (*GUNICORN, "-k", "gevent", APP), {}),
    "gunicorn --threads": ("threading", (*GUNICORN, "--threads", "100", APP), {}),
    "run() threading": ("threading", ITSELF, {"async_mode": "threading"}),
    "run() eventlet": ("eventlet", ITSELF, {"async_mode": "eventlet"}),
    "run() gevent": ("gevent", ITSELF, {"async_mode": "gevent"}),
    "run() patched eventlet": ("eventlet", ITSELF, {"async_mode": "eventlet", "patch": True}),
    "run() patched gevent": ("gevent", ITSELF, {"async_mode": "gevent", "patch": True}),
}


@pytest.mark.parametrize("way", each(WAYS))
def test_all_transports(way: str) -> None:
    mode, command, options = WAYS[way]
    with running(*command, stop=signal.SIGINT, **options) as server:
        run_javascript("socketio_flask.mjs", server.url, mode)
        assert not server.trouble(*RUN)


def test_gunicorn_with_an_eventlet_worker_of_its_own() -> None:
    command = (*GUNICORN, "-k", "eventlet", APP)
    with running(*command, folder=gunicorn_25()) as server:
        run_javascript("socketio_flask.mjs", server.url, "eventlet")
        # gunicorn 25 says that its eventlet worker will go.
        assert not server.trouble("[Dd]eprecat|DEPRECAT")
