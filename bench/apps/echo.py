"""What is measured: an Engine.IO server that sends every message back.

Runs unchanged on this project and on python-engineio 4.15.1. The message `bcast` goes to all
clients, as one packet, which is how python-socketio sends an event to a room.
"""

import os
from typing import Any

import engineio
from engineio.packet import MESSAGE, Packet

eio = engineio.Server(
    async_mode=os.environ["BENCH_ASYNC_MODE"],
    ping_interval=float(os.environ["BENCH_PING_INTERVAL"]),
)
app = engineio.WSGIApp(eio)
clients: set[str] = set()


@eio.on("connect")  # type: ignore[untyped-decorator, unused-ignore]
def connect(sid: str, environ: dict[str, Any]) -> None:
    clients.add(sid)


@eio.on("message")  # type: ignore[untyped-decorator, unused-ignore]
def message(sid: str, data: Any) -> None:
    if data == "bcast":
        packet = Packet(MESSAGE, data)
        for client in clients:
            eio.send_packet(client, packet)
    else:
        eio.send(sid, data)


@eio.on("disconnect")  # type: ignore[untyped-decorator, unused-ignore]
def disconnect(sid: str, reason: str) -> None:
    clients.discard(sid)
