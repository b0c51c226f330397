"""AsyncClient against a real server: what has to do with tasks, event loops, cancellation, SIGINT.

What both clients do alike is in tests/client.
"""

import asyncio
import functools
import gc
import os
import signal
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

import engineio
import rigs
from engineio import base_client

WAIT = 20.0  # seconds that something may take that a test waits for
POLLING = ["polling"]
WEBSOCKET = ["websocket"]
UPGRADE = ["polling", "websocket"]
each_transport = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, UPGRADE], ids="+".join)


@pytest.fixture(scope="module")
def host() -> Iterator[rigs.Rig]:
    rig = rigs.Rig(rigs.SPECS["aiohttp"])
    rig.start()
    yield rig
    rig.stop()


@pytest.fixture
def url(host: rigs.Rig) -> Iterator[str]:
    yield f"http://127.0.0.1:{host.address[1]}"
    host.check_log()


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def run(main: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """asyncio.run, after which nothing may be left: no task, no warning, no file."""
    complaints: list[Any] = []

    async def watched() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        return await main(*args)

    before = fds()
    gc.freeze()  # what is there now is not looked at again and again
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        result = asyncio.run(watched())
        gc.collect()
    gc.unfreeze()
    assert complaints == []
    assert [str(each.message) for each in caught] == []
    assert fds() <= before
    assert base_client.connected_clients == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return result


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine function as a test; no task may be left when it returns."""

    @functools.wraps(test)
    def runs(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await test(*args, **kwargs)
            await no_other_task()

        run(main)

    return runs


async def no_other_task() -> None:
    await asyncio.sleep(0)
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    assert not rest


async def until(condition: Callable[[], object], message: object = "") -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.002)

    try:
        await asyncio.wait_for(wait(), WAIT)
    except asyncio.TimeoutError:
        pytest.fail(f"did not happen in time: {message}")


class Recorder(engineio.AsyncClient):
    """A client that keeps what its handlers got."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.events: list[Any] = []
        self.messages: list[Any] = []
        self.on("connect", self.connected)
        self.on("message", self.messages.append)
        self.on("disconnect", self.disconnected)

    async def connected(self) -> None:
        await asyncio.sleep(0)
        self.events.append("connect")

    async def disconnected(self, reason: str) -> None:
        await asyncio.sleep(0)
        self.events.append((reason, self.state))

    async def receives(self, *messages: Any) -> None:
        await until(lambda: len(self.messages) >= len(messages), self.messages)
        assert self.messages == list(messages)
        self.messages.clear()

    async def works(self, url: str, transports: list[str]) -> None:
        """Connect, get an echo, disconnect."""
        self.events.clear()
        self.messages.clear()
        self.on("message", self.messages.append)
        await self.connect(url, transports=transports)
        await self.send("hello")
        await self.receives("hello")
        await self.disconnect()
        assert self.events == ["connect", ("client disconnect", "disconnecting")]


class Steps(Coroutine[Any, Any, Any]):
    """A coroutine that calls a function each time it waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], count: Callable[[], Any]) -> None:
        self._coroutine = coroutine
        self._count = count

    def send(self, value: Any) -> Any:
        waits_for = self._coroutine.send(value)
        self._count()
        return waits_for

    def throw(self, *error: Any) -> Any:
        waits_for = self._coroutine.throw(*error)
        self._count()
        return waits_for

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


async def cancelled_at(step: int, coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Run a coroutine in a task, and cancel it where it waits for the n-th time."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            task.cancel()

    task = asyncio.create_task(Steps(coroutine, count))
    await asyncio.wait([task], timeout=WAIT)
    assert task.done()
    if not task.cancelled():
        task.result()
    return task.cancelled()


# Cancellation


@each_transport
def test_connecting_is_cancelled_at_every_await(url: str, transports: list[str]) -> None:
    was_cancelled: list[bool] = []

    async def main(step: int) -> None:
        client = Recorder()
        was_cancelled.append(await cancelled_at(step, client.connect(url, transports=transports)))
        assert client.state == ("disconnected" if was_cancelled[-1] else "connected")
        await client.disconnect()
        await no_other_task()
        # A connect handler that was cancelled itself has seen no connection.
        assert client.events in (
            [],
            ["connect", ("client disconnect", "disconnecting")],
        )
        await client.works(url, transports)
        await no_other_task()

    for step in range(1, 100):
        run(main, step)
        if not was_cancelled[-1]:
            break
    assert not was_cancelled[-1]
    assert sum(was_cancelled) >= 3


@each_transport
def test_disconnecting_is_cancelled_at_every_await(url: str, transports: list[str]) -> None:
    was_cancelled: list[bool] = []

    async def main(step: int) -> None:
        client = Recorder()
        await client.connect(url, transports=transports)
        was_cancelled.append(await cancelled_at(step, client.disconnect()))
        await client.wait()
        assert client.events == ["connect", ("client disconnect", "disconnecting")]
        assert client.state == "disconnected"
        await no_other_task()
        await client.works(url, transports)

    for step in range(1, 100):
        run(main, step)
        if not was_cancelled[-1]:
            break
    assert not was_cancelled[-1]
    assert sum(was_cancelled) >= 2


@each_transport
def test_the_event_loop_ends_at_every_step(url: str, transports: list[str]) -> None:
    """asyncio.run returns at any time, and another one goes on with the same client."""

    async def scenario(client: Recorder) -> None:
        @client.on("message")
        async def message(data: str) -> None:
            client.messages.append(data)
            await asyncio.Event().wait()

        await client.connect(url, transports=transports)
        for number in range(5):
            await client.send(number)
        await until(lambda: len(client.messages) == 5)
        await client.disconnect()

    async def main(client: Recorder, step: int) -> bool:
        loop = asyncio.get_running_loop()
        reached = loop.create_future()
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                reached.set_result(None)

        loop.set_task_factory(
            lambda loop, coroutine, **options: asyncio.Task(
                Steps(coroutine, count), loop=loop, **options
            )
        )
        task = loop.create_task(scenario(client))
        await asyncio.wait([task, reached], return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    is_done = False
    step = 0
    while not is_done:
        step += 1
        client = Recorder()
        is_done = run(main, client, step)
        names = [event if event == "connect" else "disconnect" for event in client.events]
        assert names in ([], ["connect", "disconnect"]), (step, client.events)
        run(client.works, url, transports)
    assert step > 20
