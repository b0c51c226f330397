"""A client that echoes, connecting over and over: python client_echo.py KIND PORT.

The kinds: threads (engineio.Client), asyncio (engineio.AsyncClient), asyncio-compress, and
websockets, the client of that library.
"""

import asyncio
import logging
import sys
from typing import Any

import websockets.exceptions
import websockets.sync.client

import engineio

LIMIT = 1_000_000  # bytes


def run_threads(url: str) -> None:
    while True:
        client = engineio.Client(max_http_buffer_size=LIMIT)
        client.on("message", client.send)
        try:
            client.connect(url, transports=["websocket"])
        except engineio.exceptions.ConnectionError:
            continue
        client.wait()


async def run_asyncio(url: str, **options: Any) -> None:
    while True:
        client = engineio.AsyncClient(max_http_buffer_size=LIMIT, **options)
        client.on("message", client.send)
        try:
            await client.connect(url, transports=["websocket"])
        except engineio.exceptions.ConnectionError:
            continue
        await client.wait()


def run_websockets(url: str) -> None:
    while True:
        try:
            with websockets.sync.client.connect(url, max_size=LIMIT, proxy=None) as websocket:
                for message in websocket:
                    websocket.send(message)
        except (websockets.exceptions.WebSocketException, EOFError, ConnectionResetError):
            continue


def main() -> None:
    _, kind, port = sys.argv
    logging.disable()  # of what the peer does wrong
    match kind:
        case "threads":
            run_threads(f"http://127.0.0.1:{port}")
        case "asyncio":
            asyncio.run(run_asyncio(f"http://127.0.0.1:{port}"))
        case "asyncio-compress":
            options = {"compress": 15}
            coroutine = run_asyncio(f"http://127.0.0.1:{port}", websocket_extra_options=options)
            asyncio.run(coroutine)
        case "websockets":
            run_websockets(f"ws://127.0.0.1:{port}")


if __name__ == "__main__":
    main()
