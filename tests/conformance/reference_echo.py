"""Echoes on servers that are not ours: python reference_echo.py websockets|wsproto PORT."""

import asyncio
import logging
import socket
import socketserver
import sys

from websockets.asyncio.server import ServerConnection, serve
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError

LIMIT = 1_000_000  # bytes


async def serve_websockets(port: int) -> None:
    async def echo(websocket: ServerConnection) -> None:
        async for message in websocket:
            await websocket.send(message)

    async with serve(echo, "127.0.0.1", port, max_size=LIMIT, close_timeout=2) as server:
        await server.serve_forever()


class Wsproto(socketserver.BaseRequestHandler):
    """wsproto leaves the connection and the messages to us."""

    request: socket.socket

    def handle(self) -> None:
        connection = WSConnection(ConnectionType.SERVER)
        self.parts: list[str] | list[bytearray] = []
        while data := self.request.recv(65536):
            try:
                connection.receive_data(data)
            except RemoteProtocolError:
                return
            for event in connection.events():
                answer = self.answer(event)
                if answer is not None:
                    self.request.sendall(connection.send(answer))
                if isinstance(event, CloseConnection):
                    self.request.shutdown(socket.SHUT_WR)
                    while self.request.recv(65536):
                        pass
                    return

    def answer(self, event: Event) -> Event | None:
        match event:
            case Request():
                offered = [str(name) for name in event.extensions]
                return AcceptConnection(extensions=[PerMessageDeflate()] if offered else [])
            case Ping() | CloseConnection():
                return event.response()
            case TextMessage() | BytesMessage():
                self.parts.append(event.data)  # type: ignore[arg-type]
                if event.message_finished:
                    parts, self.parts = self.parts, []
                    whole = type(parts[0])().join(parts)  # type: ignore[arg-type]
                    return type(event)(data=whole)  # type: ignore[arg-type]
        return None


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of those who have gone."""


def main() -> None:
    logging.disable()  # of what the peer does wrong
    port = int(sys.argv[2])
    if sys.argv[1] == "websockets":
        asyncio.run(serve_websockets(port))
    else:
        Server(("127.0.0.1", port), Wsproto).serve_forever()


if __name__ == "__main__":
    main()
