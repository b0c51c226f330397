"""The table of docs/compatibility.md, which tests keep true.

Each test that has tried something on a server compares it with its cell.  With COMPATIBILITY=write
in the environment it writes the cell instead: `make test-deploy COMPATIBILITY=write`.
"""

import fcntl
import os
from pathlib import Path

# The rows, by the names of tests/rigs.py.
TITLES = {
    "threading": "Werkzeug, Flask's `app.run()`",
    "eventlet": "`eventlet.wsgi.server(...)`",
    "gevent": "`gevent.pywsgi`",
    "gevent_uwsgi": "pyuwsgi (wheel) `--gevent --http-socket`",
    "gevent_uwsgi-http": "pyuwsgi (wheel) `--gevent --http --http-websockets`",
    "gunicorn-gthread": "gunicorn `--threads 200`",
    "gunicorn-gevent": "gunicorn `-k gevent`",
    "gunicorn-gevent_pywsgi": "gunicorn `-k gevent_pywsgi`",
    "gunicorn-geventwebsocket": "gunicorn `-k geventwebsocket...GeventWebSocketWorker`",
    "uwsgi-source": "uWSGI from source `--gevent --http --http-websockets`",
    "gunicorn-25-eventlet": "gunicorn 25.3 `-k eventlet`",
    "gunicorn-25-our-eventlet": "gunicorn 25.3 `-k engineio.gunicorn.EventletWorker`",
    "gunicorn-25-gthread": "gunicorn 25.3 `--threads 200`",
    "gunicorn-eventlet": "gunicorn `-k engineio.gunicorn.EventletWorker`",
    "gevent-websocket": "`gevent.pywsgi` with gevent-websocket's handler",
    "wsgiref": "wsgiref with `ThreadingMixIn`",
    "django": "Django's `runserver`",
    "cheroot": "cheroot",
    "waitress": "waitress",
    "granian": "granian `--interface wsgi`",
    "uvicorn": "uvicorn `--ws websockets-sansio`",
    "aiohttp": "aiohttp",
    "sanic": "sanic",
    "tornado": "tornado",
    "sanic-asgi": "sanic, as an ASGI application",
    "uvicorn-wsproto": "uvicorn `--ws wsproto`",
    "hypercorn": "hypercorn",
    "daphne": "daphne",
    "granian-asgi": "granian `--interface asgi`",
    "gunicorn-asgi": "gunicorn `-k asgi`",
}

PAGE = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"


def check(name: str, column: str, found: str) -> None:
    """Compare what was found on a server with the table, or write it there."""
    row = TITLES[name]
    with PAGE.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several processes run tests
        lines = file.read().split("\n")
        header = next(line for line in lines if line.startswith("| server "))
        at = _cells(header).index(column)
        number = next(i for i, line in enumerate(lines) if line.startswith(f"| {row} |"))
        cells = _cells(lines[number])
        if os.environ.get("COMPATIBILITY") != "write":
            assert cells[at] == found, f"{PAGE.name} says {cells[at]!r} for {row}, {column}"
            return
        cells[at] = found
        lines[number] = f"| {' | '.join(cells)} |"
        file.seek(0)
        file.write("\n".join(lines))
        file.truncate()


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
