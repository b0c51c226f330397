"""Send text, JSON and bytes, print what comes back, and disconnect.

python simple_client.py [URL], with a server that sends back what it gets: the examples simple.py,
or the command `engineio serve`.
Needs: pip install 'python-engineio[asyncio_client]'
"""

import asyncio
import sys
from typing import Any

import engineio

MESSAGES = ["hello", {"a": [1, 2, 3]}, b"\x00\x01\x02"]

eio = engineio.AsyncClient()
received: list[Any] = []


@eio.on("connect")
async def connect() -> None:
    # The upgrade to WebSocket comes after this; messages stay in order across it.
    print("connected over", eio.transport())
    for message in MESSAGES:
        await eio.send(message)


@eio.on("message")
async def message(data: Any) -> None:
    # Text is a str, unless it is JSON: then it arrives decoded. A binary message is bytes.
    print("received", repr(data))
    received.append(data)
    if len(received) == len(MESSAGES):
        await eio.disconnect()


@eio.on("disconnect")
def disconnect(reason: str) -> None:
    print("disconnected:", reason)


async def main() -> None:
    await eio.connect(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5000")
    await eio.wait()


if __name__ == "__main__":
    asyncio.run(main())
