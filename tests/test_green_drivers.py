"""What only the drivers of eventlet and gevent have: a hub, and rules for what happens in it."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from socket import socketpair
from typing import Any

import pytest

from engineio.driver import Driver, load

MODES = ["gevent", "eventlet"]
WAIT = 8.0  # seconds an event may take that a test waits for

Scenario = Callable[[Driver, Any], None]


@pytest.fixture(params=MODES)
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Run a scenario in a thread, which has a hub of its own."""
    mode = request.param
    pytest.importorskip(mode)
    driver = load(mode)

    def run(scenario: Scenario) -> None:
        outcome: Future[None] = Future()

        def body() -> None:
            try:
                scenario(driver, driver.loop())
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(None)
            finally:
                if mode == "gevent":
                    import gevent

                    gevent.get_hub().destroy(destroy_loop=True)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        outcome.result(60)
        thread.join(WAIT)

    return run


class Worker:
    """Something that runs handlers."""

    def __init__(self) -> None:
        self.progress = 0
        self.dispatcher = 0
        self.entries: list[int] = []

    def overtake(self, entry: int) -> None:
        self.entries.append(entry)


def stream_of(driver: Driver, loop: Any, sock: Any) -> Any:
    """A stream on a native socket that does not wait, which is what streams use in the end."""

    class Server:
        pass

    Server.loop = loop  # type: ignore[attr-defined]
    sock.setblocking(False)
    return driver.websocket(None, Server).stream(sock)


def test_what_is_pushed_leaves_in_one_write(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        ours, peer = socketpair()
        with ours, peer:
            peer.setblocking(False)
            stream = stream_of(driver, loop, ours)
            for text in (b"one ", b"two ", b"three"):
                stream.push(text)
            assert stream.size == 13
            with pytest.raises(BlockingIOError):
                peer.recv(100)  # nothing is written before the hub has its turn
            driver.sleep(0)
            assert stream.size == 0
            assert peer.recv(100) == b"one two three"
            stream.finish()

    run(scenario)


def test_many_streams_leave_in_one_round(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        pairs = [socketpair() for _ in range(20)]
        streams = [stream_of(driver, loop, ours) for ours, _ in pairs]
        for stream in streams:
            stream.push(b"hello")
        driver.sleep(0)
        assert not loop.dirty
        for stream, (ours, peer) in zip(streams, pairs, strict=True):
            assert peer.recv(100) == b"hello"
            stream.finish()
            ours.close()
            peer.close()

    run(scenario)


def test_flush_writes_at_once(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        ours, peer = socketpair()
        with ours, peer:
            peer.setblocking(False)
            stream = stream_of(driver, loop, ours)
            stream.push(b"hello")
            stream.flush()
            assert peer.recv(100) == b"hello"
            driver.sleep(0)  # the hub finds nothing to do
            with pytest.raises(BlockingIOError):
                peer.recv(100)
            stream.push(b"again")
            driver.sleep(0)
            assert peer.recv(100) == b"again"
            stream.finish()

    run(scenario)


def test_small_pieces_that_wait_take_little_memory(run: Callable[[Scenario], None]) -> None:
    pieces = [b"%05d" % number for number in range(50_000)]

    def scenario(driver: Driver, loop: Any) -> None:
        ours, peer = socketpair()
        with ours, peer:
            stream = stream_of(driver, loop, ours)
            full = bytes(1_000_000)
            stream.push(full)
            stream.flush()
            assert stream.size > 0
            for piece in pieces:
                stream.push(piece)
                stream.flush()
            assert len(stream._out) < 2000
            expected = full + b"".join(pieces)
            received = b""
            peer.setblocking(False)
            while len(received) < len(expected):
                driver.sleep(0.001)
                with contextlib.suppress(BlockingIOError):
                    received += peer.recv(1 << 20)
            assert received == expected
            stream.finish()

    run(scenario)


def test_a_finished_stream_is_not_written_by_the_hub(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        ours, peer = socketpair()
        with ours, peer:
            peer.setblocking(False)
            stream = stream_of(driver, loop, ours)
            stream.push(b"hello")
            stream.finish()
            driver.sleep(0)
            with pytest.raises(BlockingIOError):
                peer.recv(100)

    run(scenario)


def test_input_does_not_end_another_wait_of_the_reader(run: Callable[[Scenario], None]) -> None:
    """A handler, or a reader that is to slow down, waits while its client goes on sending."""

    def scenario(driver: Driver, loop: Any) -> None:
        ours, peer = socketpair()
        released, done = driver.event(), driver.event()
        seen: list[object] = []

        def reader() -> None:
            seen.append(stream.read(100))
            seen.append(released.wait(WAIT))
            seen.append(stream.read(100))
            done.set()

        with ours, peer:
            stream = stream_of(driver, loop, ours)
            loop.spawn(reader)
            peer.send(b"one")
            driver.sleep(0.02)
            peer.send(b"two")
            driver.sleep(0.02)
            assert seen == [b"one"]
            released.set()
            assert done.wait(WAIT)
            assert seen == [b"one", True, b"two"]
            stream.finish()

    run(scenario)


def test_input_that_nobody_reads_costs_nothing(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        ours, peer = socketpair()
        with ours, peer:
            stream = stream_of(driver, loop, ours)
            loop.spawn(stream.read, 100)
            peer.send(b"one")
            driver.sleep(0.02)
            peer.send(b"two")
            driver.sleep(0.02)
            start = time.thread_time()
            driver.sleep(0.3)
            assert time.thread_time() - start < 0.1
            stream.finish()

    run(scenario)


def test_finishing_wakes_another_greenlet_that_reads(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        ours, peer = socketpair()
        done = driver.event()
        seen: list[bytes] = []

        def reader() -> None:
            seen.append(stream.read(100))
            done.set()

        with ours, peer:
            stream = stream_of(driver, loop, ours)
            loop.spawn(reader)
            driver.sleep(0.02)
            stream.finish()
            assert done.wait(WAIT)
            assert seen == [b""]

    run(scenario)


def test_a_worker_that_does_not_wait_costs_no_greenlet(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        worker = Worker()
        worker.dispatcher = 1
        loop.enter(worker, 1)
        worker.progress += 1
        worker.dispatcher = 0
        loop.leave(worker, 1)
        driver.sleep(0)
        assert worker.entries == []

    run(scenario)


def test_a_worker_is_told_once_for_each_entry(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        one, two = Worker(), Worker()
        loop.enter(one, 1)
        loop.enter(two, 2)
        loop.enter(one, 3)
        one.dispatcher, two.dispatcher = 3, 2
        driver.sleep(0)
        assert (one.entries, two.entries) == ([3], [2])
        driver.sleep(0)
        assert (one.entries, two.entries) == ([3], [2])

    run(scenario)


def test_workers_are_told_before_anything_else_runs(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        seen: list[str] = []

        class Follower(Worker):
            def overtake(self, entry: int) -> None:
                loop.spawn(lambda: seen.append("follower"))

        worker = Follower()
        worker.dispatcher = 1
        done = driver.event()

        def timer() -> None:
            seen.append("timer")
            done.set()

        loop.call_later(0.02, timer)
        loop.enter(worker, 1)
        assert done.wait(WAIT)  # the handler waits for something
        assert seen == ["follower", "timer"]

    run(scenario)


def test_cancelling_a_timer_from_another(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        called: list[str] = []
        done = driver.event()
        cancel = loop.call_later(0.02, lambda: called.append("cancelled"))
        loop.call_later(0.01, cancel)
        loop.call_later(0.04, done.set)
        assert done.wait(WAIT)
        assert called == []

    run(scenario)


def test_a_watch_stopped_from_its_own_hub_round(run: Callable[[Scenario], None]) -> None:
    """Two connections end at the same time; the end of one stops the watch on the other."""

    def scenario(driver: Driver, loop: Any) -> None:
        pairs = [socketpair() for _ in range(2)]
        calls: list[int] = []
        stops: list[Callable[[], None]] = []

        def hangup(number: int) -> Callable[[], None]:
            def called() -> None:
                calls.append(number)
                stops[1 - number]()

            return called

        for number, (ours, _) in enumerate(pairs):
            ours.setblocking(False)
            stops.append(loop.watch(ours, hangup(number)))
        for _, peer in pairs:
            peer.close()
        deadline = time.monotonic() + 10
        while not calls and time.monotonic() < deadline:
            driver.sleep(0.05)
        assert len(calls) == 1
        for ours, _ in pairs:
            ours.close()

    run(scenario)


def test_a_thread_of_the_driver(run: Callable[[Scenario], None]) -> None:
    def scenario(driver: Driver, loop: Any) -> None:
        seen: list[Any] = []
        thread = driver.thread(
            target=lambda *args, **kwargs: seen.append((args, kwargs)),
            args=(1,),
            kwargs={"two": 2},
            daemon=True,
        )
        thread.start()
        thread.join()
        assert seen == [((1,), {"two": 2})]

    run(scenario)


@pytest.mark.parametrize("mode", MODES)
def test_fits_in_a_thread_without_a_hub(mode: str) -> None:
    # An application that gevent or eventlet does not run: nobody would switch to its greenlets.
    pytest.importorskip(mode)
    driver = load(mode)
    outcome: Future[bool] = Future()
    thread = threading.Thread(target=lambda: outcome.set_result(driver.fits(None)))
    thread.start()
    thread.join()
    assert not outcome.result()


@pytest.mark.parametrize("mode", MODES)
def test_fits_only_its_own_sockets(mode: str) -> None:
    pytest.importorskip(mode)
    ours, peer = socketpair()
    with ours, peer:
        assert not load(mode).fits(ours)
        assert load("threading").fits(ours)
