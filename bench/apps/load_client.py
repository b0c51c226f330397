"""What is measured of clients: `python load_client.py client|async-client OPTIONS`.

Some clients send messages to an echo server and a new one for each that comes back.  Writes what
they did in a while as JSON, in the words of eioload.c: `per_cpu_s` are the messages that came back
for each second of CPU time of this process, user and system.  Runs unchanged on this project and
on python-engineio 4.15.1.
"""

import argparse
import asyncio
import json
import os
import time
from typing import Any

import engineio


class Load:
    """The messages of all clients, and what they cost."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.message = "t" * options.size
        self.count = 0
        self.wrong = 0
        self.ends = 0

    def received(self, data: Any) -> None:
        """Note a message."""
        self.count += 1
        if data != self.message:
            self.wrong += 1

    def ended(self, *_: Any) -> None:
        """Note a disconnect."""
        self.ends += 1

    def now(self) -> tuple[int, float, float]:
        """Return the messages so far, CPU time and time."""
        usage = os.times()
        return self.count, usage.user + usage.system, time.monotonic()

    def finish(self, before: tuple[int, float, float]) -> None:
        """Print the result and end the process.

        At once: python-engineio's tasks do not let themselves be cancelled while they have work.
        """
        after = self.now()
        count, cpu, seconds = (new - old for new, old in zip(after, before, strict=True))
        result = {"count": count, "rate": count / seconds, "per_cpu_s": count / cpu if cpu else 0}
        troubles = {"errors": self.ends, "badecho": self.wrong}
        rest = dict.fromkeys(("reordered", "dead", "stalled"), 0)
        print(json.dumps({**result, **troubles, **rest}), flush=True)
        os._exit(0)


def run(options: argparse.Namespace) -> None:
    """Measure `Client`."""
    load = Load(options)

    def start() -> Any:
        client = engineio.Client()

        def message(data: Any) -> None:
            load.received(data)
            client.send(load.message)

        client.on("message", message)
        client.on("disconnect", load.ended)
        client.connect(options.url, transports=[options.transport])
        return client

    clients = [start() for _ in range(options.clients)]
    for _ in range(options.depth):
        for client in clients:
            client.send(load.message)
    time.sleep(options.warm_up)
    before = load.now()
    time.sleep(options.seconds)
    load.finish(before)


async def run_async(options: argparse.Namespace) -> None:
    """Measure `AsyncClient`."""
    load = Load(options)

    async def start() -> Any:
        client = engineio.AsyncClient()

        async def message(data: Any) -> None:
            load.received(data)
            await client.send(load.message)

        client.on("message", message)
        client.on("disconnect", load.ended)
        await client.connect(options.url, transports=[options.transport])
        return client

    clients = [await start() for _ in range(options.clients)]
    for _ in range(options.depth):
        for client in clients:
            await client.send(load.message)
    await asyncio.sleep(options.warm_up)
    before = load.now()
    await asyncio.sleep(options.seconds)
    load.finish(before)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["client", "async-client"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--transport", required=True)
    parser.add_argument("--depth", type=int, required=True, help="messages in flight")
    parser.add_argument("--size", type=int, required=True, help="bytes of a message")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--warm-up", type=float, required=True, help="seconds")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    if options.kind == "client":
        run(options)
    else:
        asyncio.run(run_async(options))


if __name__ == "__main__":
    main()
