"""Engine.IO in front of Falcon.

gunicorn -k gevent -w 1 falcon_app:app

Then open http://127.0.0.1:8000/, and from a shell:
curl -d text=hi http://127.0.0.1:8000/broadcast
"""

from pathlib import Path

from falcon import MEDIA_HTML, App, Request, Response

import engineio

STATIC = Path(__file__).resolve().parent / "static"

eio = engineio.Server(async_mode="gevent")


class Index:
    def on_get(self, request: Request, response: Response) -> None:
        response.content_type = MEDIA_HTML
        response.data = (STATIC / "simple.html").read_bytes()


class Broadcast:
    def on_post(self, request: Request, response: Response) -> None:
        eio.broadcast(request.get_media().get("text", ""))
        response.media = {"clients": len(eio.sids)}


api = App()
api.add_route("/", Index())
api.add_route("/broadcast", Broadcast())
api.add_static_route("/static", STATIC)
app = engineio.WSGIApp(eio, api)  # type: ignore[arg-type]  # Falcon says more from Python 3.11 on


@eio.on("message")
def message(sid: str, data: object) -> None:
    eio.send(sid, data)
