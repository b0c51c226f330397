"""Applications of the kinds that python-socketio's documentation shows, each with its framework."""

import signal
from typing import Any

import pytest

from dropin_servers import GUNICORN, each, run_javascript, running

PYTHON = "{python}"

EXAMPLES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    # No mode is given: eventlet is installed, so it is that.
    "flask": ((PYTHON, "example_flask.py", "{port}"), {}),
    "flask threading": ((PYTHON, "example_flask.py", "{port}"), {"async_mode": "threading"}),
    "flask gevent": ((PYTHON, "example_flask.py", "{port}"), {"async_mode": "gevent"}),
    "flask uwsgi": (
        (
            *("{bin}/uwsgi", "--http", "127.0.0.1:{port}", "--gevent", "1000", "--http-websockets"),
            *("--master", "-H", "{prefix}", "--wsgi-file", "example_flask.py", "--callable", "app"),
        ),
        {},
    ),
    "django": ((*GUNICORN, "--threads", "100", "example_django:application"), {}),
    "aiohttp": ((PYTHON, "example_aiohttp.py", "{port}"), {}),
    "sanic": ((PYTHON, "example_sanic.py", "{port}"), {}),
    "tornado": ((PYTHON, "example_tornado.py", "--port={port}"), {}),
    "asgi": ((PYTHON, "example_asgi.py", "{port}"), {}),
    "fastapi": ((PYTHON, "example_asgi.py", "{port}", "fastapi"), {}),
}
# A client that polls is told with a 400 that its server has disconnected it, and so is the log.
LOG = (r'"(GET|POST) /socket\.io/\S* HTTP/1\.1" 400', r"WARNING +tornado|WARNING:tornado")


@pytest.mark.parametrize("name", each(EXAMPLES))
def test_example(name: str) -> None:
    command, options = EXAMPLES[name]
    with running(*command, stop=signal.SIGINT, **options) as server:
        run_javascript("socketio_example.mjs", server.url)
        assert not server.trouble(*LOG)
