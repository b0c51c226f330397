"""The application behind the deployment files: sends messages back, and says how clients left."""

import engineio

eio = engineio.Server()


@eio.on("message")
def message(sid: str, data: str | bytes) -> None:
    eio.send(sid, data)


@eio.on("disconnect")
def disconnect(sid: str, reason: str) -> None:
    print(f"left: {reason}", flush=True)


app = engineio.WSGIApp(eio)
