"""Who connects?  The handler looks at the headers of the ASGI scope, and refuses with a 401.

uvicorn authentication:app
curl -H 'Authorization: Bearer secret-of-ann' 'http://127.0.0.1:8000/engine.io/?EIO=4&transport=polling'

Browsers cannot add headers to a WebSocket; for them take a cookie, which is a header too.
"""

from typing import Any

import engineio

USERS = {b"Bearer secret-of-ann": "ann", b"Bearer secret-of-bob": "bob"}

eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(eio)


@eio.on("connect")
async def connect(sid: str, environ: dict[str, Any]) -> bool:
    headers = dict(environ["asgi.scope"]["headers"])
    user = USERS.get(headers.get(b"authorization", b""))
    if user is None:
        return False
    await eio.save_session(sid, {"user": user})
    return True


@eio.on("message")
async def message(sid: str, data: object) -> None:
    async with eio.session(sid) as session:
        session["messages"] = session.get("messages", 0) + 1
        answer = {"user": session["user"], "messages": session["messages"]}
    await eio.send(sid, answer)
