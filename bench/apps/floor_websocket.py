"""The floor of a library for WebSocket: a read, a hand-parsed frame, a write.

`python floor_websocket.py gevent|eventlet|threading PORT`. No WSGI, no Engine.IO beyond its OPEN
packet, no check of anything, and the simplest reading and writing that each library offers.
`bcast` goes to all clients.
"""

import base64
import hashlib
import importlib
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OPEN = b'0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000}'
READ_SIZE = 65536
BACKLOG = 2048
clients: dict[Any, None] = {}


def frame(head: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((head, size)) + data
    if size < 65536:
        return bytes((head, 126)) + size.to_bytes(2, "big") + data
    return bytes((head, 127)) + size.to_bytes(8, "big") + data


def unmask(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Split frames from what was read. Returns them, and the rest."""
    frames = []
    while len(data) >= 6:
        size, start = data[1] & 127, 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10], "big"), 10
        end = start + 4 + size
        if len(data) < end:
            break
        frames.append((data[0], unmask(data[start + 4 : end], data[start : start + 4])))
        data = data[end:]
    return frames, data


def serve(sock: Any, *_: Any) -> None:
    request = sock.recv(READ_SIZE)
    found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
    if found is None:
        sock.close()
        return
    accept = base64.b64encode(hashlib.sha1(found[1] + GUID).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + frame(0x81, OPEN)
    )
    clients[sock] = None
    rest = bytearray()
    try:
        while data := sock.recv(READ_SIZE):
            rest += data
            wanted = 10 + (int.from_bytes(rest[2:10], "big") if rest[1:2] == b"\xff" else 0)
            if len(rest) < wanted and len(rest) > READ_SIZE:
                continue  # a large frame: do not copy it at each read
            frames, tail = split(bytes(rest))
            rest = bytearray(tail)
            answer = []
            for head, payload in frames:
                if head == 0x88:
                    sock.sendall(b"\x88\x00")
                    return
                if payload == b"4bcast":
                    for client in clients:
                        client.sendall(frame(head, payload))
                else:
                    answer.append(frame(head, payload))
            if answer:
                sock.sendall(b"".join(answer))
    except OSError:
        pass  # the load generator is done
    finally:
        del clients[sock]
        sock.close()


def main(library: str, port: int) -> None:
    if library == "threading":
        import socket

        listener = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(sock,), daemon=True).start()
    elif library == "gevent":
        server = importlib.import_module("gevent.server")
        server.StreamServer(("127.0.0.1", port), serve, backlog=BACKLOG).serve_forever()
    else:
        eventlet: Any = importlib.import_module("eventlet")
        listen: Callable[..., Any] = eventlet.listen
        eventlet.serve(listen(("127.0.0.1", port), backlog=BACKLOG), serve, concurrency=20000)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
