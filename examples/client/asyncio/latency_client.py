"""How long does a message take there and back?  Ctrl-C ends.

python latency_client.py [URL], with any server that answers each message with one: the examples
simple.py and latency.py, or the command `engineio serve`.
Needs: pip install 'python-engineio[asyncio_client]'
"""

import asyncio
import sys
import time
from contextlib import suppress

import engineio

eio = engineio.AsyncClient()
sent: list[float] = []


async def ping() -> None:
    sent.append(time.perf_counter())
    await eio.send("ping")


@eio.on("connect")
async def connect() -> None:
    print("connected", flush=True)
    await ping()


@eio.on("message")
async def message(data: object) -> None:
    latency = time.perf_counter() - sent.pop()
    print(f"latency is {latency * 1000:.2f} ms over {eio.transport()}", flush=True)
    await eio.sleep(0.5)
    await ping()


@eio.on("disconnect")
def disconnect(reason: str) -> None:
    print("disconnected:", reason)


async def main() -> None:
    await eio.connect(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5000")
    await eio.wait()


if __name__ == "__main__":
    # Ctrl-C disconnects, and then cancels what is still running.
    with suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(main())
