"""Engine.IO in front of Flask: what is not for Engine.IO goes on to Flask.

flask --app flask_app run --debug, or gunicorn -k gevent -w 1 flask_app:app

Then open http://127.0.0.1:5000/ (gunicorn: port 8000), and from a shell:
curl -d text=hi http://127.0.0.1:5000/broadcast
"""

from flask import Flask, Response, request

import engineio

app = Flask(__name__)
# Threads fit Flask's own server. Under gunicorn's gevent and eventlet workers they are greenlets.
eio = engineio.Server(async_mode="threading")
# Not `app = WSGIApp(...)`: the command `flask` and Flask's extensions want a Flask.
app.wsgi_app = engineio.WSGIApp(eio, app.wsgi_app)  # type: ignore[method-assign]


@app.get("/")
def index() -> Response:
    return app.send_static_file("simple.html")


@app.post("/broadcast")
def broadcast() -> dict[str, int]:
    eio.broadcast(request.form["text"])
    return {"clients": len(eio.sids)}


@eio.on("message")
def message(sid: str, data: object) -> None:
    eio.send(sid, data)
