"""The floor of a WSGI server for WebSocket connections: a handshake, and a wait for the end.

For the scenarios that are about connections and not about messages. It sends the 101 and an OPEN
packet that never changes, keeps nothing but the parked greenlet or thread of the request, and
checks nothing.
"""

import base64
import hashlib
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

MODE = os.environ["BENCH_ASYNC_MODE"]
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
OPEN = b'0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
CLOSE = 0x88


def socket_of(environ: dict[str, Any]) -> Any:
    if "gunicorn.socket" in environ:
        return environ["gunicorn.socket"]
    if MODE == "eventlet":
        return environ["eventlet.input"].get_socket()
    return environ["wsgi.input"].raw._sock


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    sock = socket_of(environ)
    key = environ["HTTP_SEC_WEBSOCKET_KEY"] + GUID
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept + bytes([0x81, len(OPEN)]) + OPEN
    )
    while (data := sock.recv(4096)) and data[0] != CLOSE:
        pass
    if data:
        sock.sendall(bytes([CLOSE, 0]))
    sock.shutdown(socket.SHUT_RDWR)
    # Each server is told in its own way that there is nothing to send.
    if "gunicorn.socket" in environ:
        start_response("101 Switching Protocols", [])
    elif MODE == "eventlet":
        sys.modules["eventlet.wsgi"].WSGI_LOCAL.already_handled = True
    else:
        environ["wsgi.input"].close()
    return []
