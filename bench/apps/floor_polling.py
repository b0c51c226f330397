"""The floor of a WSGI server for polling: echo with a queue, and no Engine.IO.

It answers what the load generator sends and checks nothing, so no Engine.IO server can be faster
under the same WSGI server.
"""

import importlib
import itertools
import os
from collections.abc import Callable
from typing import Any

QUEUES = {
    "gevent": "gevent.queue:SimpleQueue",
    "gevent_uwsgi": "gevent.queue:SimpleQueue",
    "eventlet": "eventlet.queue:LightQueue",
    "threading": "queue:SimpleQueue",
}
module, _, name = QUEUES[os.environ["BENCH_ASYNC_MODE"]].partition(":")
new_queue: Callable[[], Any] = getattr(importlib.import_module(module), name)
queues: dict[str, Any] = {}
numbers = itertools.count()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    sid = environ["QUERY_STRING"].partition("&sid=")[2]
    if environ["REQUEST_METHOD"] == "POST":
        queues[sid].put(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        body = b"ok"
    elif sid:
        body = queues[sid].get()
    else:
        sid = str(next(numbers))
        queues[sid] = new_queue()
        body = b'0{"sid":"%s","pingInterval":25000,"pingTimeout":20000}' % sid.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
