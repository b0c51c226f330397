"""What the asyncio drivers share, by values: Race, brief waits, the heartbeat, stop signals."""

import asyncio
import functools
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest
from engineio.async_drivers import asgi
from engineio.async_drivers._asyncio import AsyncLoop, Race

from asgi_client import WAIT, WebSocket
from engineio.async_server import AsyncServer


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine function as a test, for so long at most."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), WAIT))

    return run


class Runner:
    """Something to race: it waits for each of its futures, and tells how it ended."""

    def __init__(self, waits: int = 1, *, yields: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.waits = [loop.create_future() for _ in range(waits)]
        self.yields = yields
        self.task: Any = None
        self.ended = ""

    async def run(self) -> Any:
        self.task = asyncio.current_task()
        results = []
        try:
            for wait in self.waits:
                if self.yields:
                    await asyncio.sleep(0)
                results.append(await wait)
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        except BaseException as error:
            self.ended = repr(error)
            raise
        self.ended = "done"
        return results


async def race(awaitable: Awaitable[Any], future: "asyncio.Future[Any]") -> Any:
    return await Race(awaitable, future)


async def iterations(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@in_loop
async def test_the_result_of_what_does_not_wait() -> None:
    async def at_once() -> str:
        return "result"

    future = asyncio.get_running_loop().create_future()
    assert await Race(at_once(), future) == "result"
    assert not future.done()


@pytest.mark.parametrize("yields", [False, True])
@in_loop
async def test_the_result_of_what_waits_several_times(yields: bool) -> None:
    runner = Runner(3, yields=yields)
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(race(runner.run(), future))
    for number, wait in enumerate(runner.waits):
        await iterations()
        wait.set_result(number)
    assert await task == [0, 1, 2]
    # It ran in the task that waited for it, and left nothing at the future.
    assert runner.task is task
    assert not future.done()
    assert future.cancel()


@pytest.mark.parametrize("lost_at", [0, 1, 2])
@in_loop
async def test_the_future_wins_at_any_wait(lost_at: int) -> None:
    runner = Runner(3)
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(race(runner.run(), future))
    for wait in runner.waits[:lost_at]:
        await iterations()
        wait.set_result(None)
    await iterations()
    future.set_result("whatever")
    assert await task is None
    assert runner.ended == "cancelled"
    assert runner.waits[lost_at].cancelled()


@in_loop
async def test_a_future_that_is_done_already_wins() -> None:
    runner = Runner()
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    assert await Race(runner.run(), future) is None
    assert runner.ended == "cancelled"


@in_loop
async def test_both_at_once_is_a_result_and_not_lost() -> None:
    runner = Runner()
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(race(runner.run(), future))
    await iterations()
    future.set_result(None)
    runner.waits[0].set_result("event")
    assert await task == ["event"]


@in_loop
async def test_an_exception_comes_through() -> None:
    runner = Runner()
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(race(runner.run(), future))
    await iterations()
    runner.waits[0].set_exception(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError, match="gone"):
        await task
    assert "ConnectionResetError" in runner.ended


@in_loop
async def test_to_cancel_the_task_cancels_what_runs_in_it() -> None:
    runner = Runner()
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(race(runner.run(), future))
    await iterations()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.ended == "cancelled"
    assert runner.waits[0].cancelled()


@in_loop
async def test_to_cancel_a_race_that_is_lost_is_not_swallowed() -> None:
    """Both happen in one iteration: the task was cancelled, whoever won."""
    runner = Runner()
    future = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(race(runner.run(), future))
    await iterations()
    future.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.ended == "cancelled"


@in_loop
async def test_a_loser_that_cleans_up_is_waited_for() -> None:
    loop = asyncio.get_running_loop()
    cleaned = loop.create_future()
    steps = []

    async def careful() -> None:
        try:
            await loop.create_future()
        finally:
            steps.append("cleaning")
            await cleaned
            steps.append("clean")

    future = loop.create_future()
    task = asyncio.ensure_future(race(careful(), future))
    await iterations()
    future.set_result(None)
    await iterations()
    assert steps == ["cleaning"]
    assert not task.done()
    cleaned.set_result(None)
    assert await task is None
    assert steps == ["cleaning", "clean"]


@in_loop
async def test_a_timeout_inside_works() -> None:
    """Timeouts remember the task they are entered in, and this one ends itself."""
    runner = Runner()
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(asyncio.TimeoutError):
        await Race(asyncio.wait_for(runner.run(), 0.01), future)
    assert runner.ended == "cancelled"


class Bare:
    """As granian's: an iterator that can't be thrown into."""

    def __init__(self, future: "asyncio.Future[Any]") -> None:
        self.future = future
        self.asked = False

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # type: ignore[return-value]

    def __iter__(self) -> "Bare":
        return self

    def __next__(self) -> Any:
        if self.future.done():
            raise StopIteration(self.future.result())
        self.future._asyncio_future_blocking = True
        return self.future


@pytest.mark.parametrize(("wins", "result"), [("bare", "event"), ("future", None)])
@in_loop
async def test_what_is_only_an_iterator(wins: str, result: str | None) -> None:
    loop = asyncio.get_running_loop()
    futures = {"bare": loop.create_future(), "future": loop.create_future()}
    task = asyncio.ensure_future(race(Bare(futures["bare"]), futures["future"]))
    await iterations()
    futures[wins].set_result("event")
    assert await task == result


# -- brief waits -----------------------------------------------------------------------------------


def never(seconds: float) -> None:
    raise AssertionError("stalled")


@in_loop
async def test_a_brief_wait_ends_when_it_is_woken() -> None:
    loop = AsyncLoop(never)
    waiter = loop.waiter()
    asyncio.get_running_loop().call_soon(waiter.wake)
    assert await waiter.wait_briefly()
    assert not loop._new_waiters
    await loop.stop()


@in_loop
async def test_a_brief_wait_ends_by_itself_at_the_second_look() -> None:
    loop = AsyncLoop(never)
    waiter = loop.waiter()
    task = asyncio.ensure_future(waiter.wait_briefly())
    await iterations()
    loop._look()
    await iterations()
    assert not task.done()
    loop._look()
    assert await task is False
    # To wake it now ends what it waits for next.
    assert not waiter.future.done()
    waiter.wake()
    assert waiter.future.done()
    assert not loop._old_waiters
    await loop.stop()


@in_loop
async def test_to_wake_at_the_second_look_is_not_lost() -> None:
    loop = AsyncLoop(never)
    for order in ("wake first", "look first"):
        waiter = loop.waiter()
        task = asyncio.ensure_future(waiter.wait_briefly())
        await iterations()
        loop._look()
        if order == "wake first":
            waiter.wake()
        loop._look()
        waiter.wake()
        await task
        assert waiter.future.done(), order
    await loop.stop()


END_OF_BODY = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


async def no_send(event: dict[str, Any]) -> None:
    raise AssertionError(event)


@pytest.mark.parametrize(
    ("events", "has_gone"),
    [
        ([GONE], True),
        ([END_OF_BODY, GONE], True),
        ([{**END_OF_BODY, "more_body": True}, END_OF_BODY, GONE], True),
        ([END_OF_BODY], False),
        # A server that tells the end of the body again may do so for ever: it is not asked again.
        ([END_OF_BODY, END_OF_BODY, GONE], False),
    ],
)
@in_loop
async def test_a_long_poll_asks_the_server_whether_its_client_has_gone(
    events: list[dict[str, Any]], has_gone: bool
) -> None:
    loop = AsyncLoop(never)
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    for event in events:
        incoming.put_nowait(event)
    waiter = loop.waiter()
    task = asyncio.ensure_future(asgi.Connection(incoming.get, no_send).wait(waiter))
    await iterations()
    assert incoming.qsize() == len(events)
    loop._look()
    loop._look()
    await iterations(20)
    assert task.done() is has_gone
    waiter.wake()
    assert await task is has_gone
    await loop.stop()


@pytest.mark.parametrize("flag", ["disconnected", "closed"])
@in_loop
async def test_a_short_poll_sees_that_its_client_has_gone(flag: str) -> None:
    """Where the server's objects show it, as those of uvicorn and hypercorn."""

    class Stream:
        async def send(self, event: dict[str, Any]) -> None:
            raise AssertionError(event)

    loop = AsyncLoop(never)
    for value, has_gone in ((False, False), (True, True), (loop.stop, False)):
        stream = Stream()
        setattr(stream, flag, value)
        waiter = loop.waiter()
        waiter.wake()
        connection = asgi.Connection(asyncio.Queue().get, stream.send)
        assert await connection.wait(waiter) is has_gone
    await loop.stop()


# -- the heartbeat ---------------------------------------------------------------------------------


class CoarseLoop(asyncio.SelectorEventLoop):
    """An event loop that counts in milliseconds, as uvloop does; a timer may be early."""

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        milliseconds = int(delay * 1000)
        return super().call_later(milliseconds / 1000, callback, *args, context=context)


def test_a_timer_that_is_early_does_not_keep_the_heartbeat_busy() -> None:
    clients = 40
    looks = 0

    async def main() -> None:
        nonlocal looks
        eio = AsyncServer(async_mode="asgi", ping_interval=0.05, ping_timeout=WAIT)
        next_due = eio.heartbeat.next_due

        def count() -> float | None:
            nonlocal looks
            looks += 1
            return next_due()

        eio.heartbeat.next_due = count  # type: ignore[method-assign]
        websockets = []
        for _ in range(clients):
            websockets.append(await WebSocket.connect(eio.handle_request))
            await asyncio.sleep(0.0033)
        for websocket in websockets:
            assert await websocket.receive() == "2"
        await eio.shutdown()

    loop = CoarseLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), WAIT))
    finally:
        loop.close()
    # One for a ping, and one for what wakes it besides. It was hundreds.
    assert looks <= 3 * clients


# -- the end of the process ------------------------------------------------------------------------


def test_a_signal_that_the_event_loop_handles_is_noted_and_passed_on() -> None:
    signals = asgi.StopSignals()
    assert not signals.watch()  # nobody handles any

    async def main() -> None:
        loop = asyncio.get_running_loop()
        handled = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, handled.set)
        try:
            assert signals.watch()
            assert signals.watch()  # as a second server of the process would
            assert not signals.has_come()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(handled.wait(), WAIT)
            assert signals.has_come()
            signals.MEMORY = 0.0  # it was no end, if we are still here then
            assert not signals.has_come()
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
        assert not signals.watch()

    asyncio.run(main())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_an_application_does_at_a_signal_is_left_alone() -> None:
    def mine(*_: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, mine)
    try:
        assert asgi.server_stops() is None
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
