"""How long does a message take there and back?  Ctrl-C ends.

python latency_client.py [URL], with any server that answers each message with one: the examples
simple.py and latency.py, or the command `engineio serve`.
Needs: pip install 'python-engineio[client]'
"""

import sys
import time
from contextlib import suppress

import engineio

eio = engineio.Client()
sent: list[float] = []


def ping() -> None:
    sent.append(time.perf_counter())
    eio.send("ping")


@eio.on("connect")
def connect() -> None:
    print("connected", flush=True)
    ping()


@eio.on("message")
def message(data: object) -> None:
    latency = time.perf_counter() - sent.pop()
    print(f"latency is {latency * 1000:.2f} ms over {eio.transport()}", flush=True)
    eio.sleep(0.5)
    ping()


@eio.on("disconnect")
def disconnect(reason: str) -> None:
    print("disconnected:", reason)


if __name__ == "__main__":
    # Ctrl-C disconnects, and then reaches the program as it always does.
    with suppress(KeyboardInterrupt):
        eio.connect(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5000")
        eio.wait()
