"""Flask with python-socketio, on what its async mode asks for: python example_flask.py PORT."""

# mypy: disable-error-code="import-not-found,import-untyped,no-any-return"

import json
import os
import sys

import socketio
from example_events import PAGE, Events
from flask import Flask

sio = socketio.Server(async_mode=json.loads(os.environ["SIO"]).get("async_mode"))
app = Flask(__name__)
app.wsgi_app = socketio.WSGIApp(sio, app.wsgi_app)  # type: ignore[method-assign]
events = Events("/")
sio.register_namespace(events)


@app.route("/")
def index() -> str:
    events.begin()  # before there is any client
    return PAGE


if __name__ == "__main__":
    port = int(sys.argv[1])
    if sio.async_mode == "threading":
        app.run(port=port, threaded=True)
    elif sio.async_mode == "eventlet":
        import eventlet
        import eventlet.wsgi

        eventlet.wsgi.server(eventlet.listen(("127.0.0.1", port)), app)
    elif sio.async_mode == "gevent":
        from gevent import pywsgi

        pywsgi.WSGIServer(("127.0.0.1", port), app).serve_forever()
