"""What only the threading driver has: a pool, a thread for its loop, and an exit to mind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import socketpair
from typing import Any

import pytest
from engineio.async_drivers.threading import TICK, Pool, ThreadLoop, ThreadStream

import wire

WAIT = 8.0  # seconds an event may take that a test waits for


def eventually(condition: Any) -> None:
    """Wait until something is so; only for what no event tells."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    eventually(lambda: threading.active_count() <= before)


def run_in(pool: Pool) -> threading.Thread:
    """The thread that ran a task."""
    ran = threading.Event()
    threads: list[threading.Thread] = []

    def task() -> None:
        threads.append(threading.current_thread())
        ran.set()

    pool.spawn(task)
    assert ran.wait(WAIT)
    return threads[0]


# -- the pool


def test_threads_are_used_again() -> None:
    pool = Pool()
    first = run_in(pool)
    for _ in range(20):
        eventually(lambda: len(pool._idle) == 1)
        assert run_in(pool) is first
    pool.stop()


def test_no_task_waits_for_a_busy_thread() -> None:
    pool = Pool()
    barrier = threading.Barrier(11)
    for _ in range(10):
        pool.spawn(barrier.wait, WAIT)
    barrier.wait(WAIT)  # breaks unless all ten run at the same time
    pool.stop()


def test_a_burst_on_an_idle_pool() -> None:
    pool = Pool()
    run_in(pool)
    eventually(lambda: len(pool._idle) == 1)
    # More than there are idle threads, before any of them has woken.
    barrier = threading.Barrier(6)
    for _ in range(5):
        pool.spawn(barrier.wait, WAIT)
    barrier.wait(WAIT)
    pool.stop()


def test_the_limit() -> None:
    pool = Pool(limit=2)
    release = threading.Event()
    begun = threading.Semaphore(0)
    order: list[int] = []

    def task(number: int) -> None:
        order.append(number)
        begun.release()
        release.wait(WAIT)

    for number in range(5):
        pool.spawn(task, number)
    begun.acquire()
    begun.acquire()
    assert len(pool._threads) == 2
    assert sorted(order) == [0, 1]
    release.set()
    for _ in range(3):
        assert begun.acquire(timeout=WAIT)
    assert order[2:] == sorted(order[2:])
    pool.stop()


def test_idle_threads_end() -> None:
    pool = Pool(idle=0.01)
    thread = run_in(pool)
    thread.join(WAIT)
    assert not thread.is_alive()
    assert not pool._threads
    assert run_in(pool) is not thread
    pool.stop()


def test_stop() -> None:
    pool = Pool(idle=3600)
    release = threading.Event()
    pool.spawn(release.wait, WAIT)
    threads = [run_in(pool), *pool._threads]
    pool.stop()
    release.set()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool()
    done: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            pool.spawn(done.append, 1)
    run_in(pool)
    eventually(lambda: done == [1])
    pool.stop()


def test_stop_from_a_thread_of_the_pool() -> None:
    pool = Pool(idle=3600)
    stopped = threading.Event()

    def task() -> None:
        pool.stop()
        stopped.set()

    pool.spawn(task)
    assert stopped.wait(WAIT)


def test_work_after_stop() -> None:
    pool = Pool()
    run_in(pool)
    pool.stop()
    run_in(pool)
    pool.stop()


def leave_quietly() -> None:
    """What `sys.exit()` in a handler comes to."""
    raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_task_that_exits_does_not_cost_a_place() -> None:
    pool = Pool(limit=1)
    pool.spawn(leave_quietly)
    eventually(lambda: not any(thread.is_alive() for thread in pool._threads))
    run_in(pool)
    pool.stop()


# -- the loop


def test_the_loop_has_no_thread_until_it_is_needed() -> None:
    before = threading.active_count()
    loop = ThreadLoop()
    assert threading.active_count() == before
    loop.stop()


def test_stop_ends_every_thread() -> None:
    before = threading.active_count()
    loop = ThreadLoop()
    fired = threading.Event()
    loop.call_later(0, fired.set)
    assert fired.wait(WAIT)
    run_in(loop.pool)
    loop.call_later(3600, fired.set)
    loop.stop()
    loop.stop()
    eventually(lambda: threading.active_count() == before)


def test_the_loop_starts_again() -> None:
    loop = ThreadLoop()
    for _ in range(3):
        fired = threading.Event()
        loop.call_later(0, fired.set)
        assert fired.wait(WAIT)
        loop.stop()


def test_an_idle_loop_sleeps_and_wakes() -> None:
    loop = ThreadLoop()
    first = threading.Event()
    loop.call_later(0, first.set)
    assert first.wait(WAIT)
    # Without anything to look at, the ticks end.
    eventually(lambda: loop._asleep and loop._timeout(idle_ticks=1000) is None)
    second = threading.Event()
    loop.call_later(0, second.set)
    assert second.wait(WAIT)
    loop.stop()


class Worker:
    """Something that runs handlers."""

    def __init__(self) -> None:
        self.progress = 0
        self.dispatcher = 0
        self.overtaken = threading.Event()

    def overtake(self, entry: int) -> None:
        self.overtaken.set()


def test_a_worker_that_gets_on_is_not_overtaken() -> None:
    loop = ThreadLoop()
    busy, stuck = Worker(), Worker()
    loop.enter(busy, 1)
    loop.enter(stuck, 2)
    while not stuck.overtaken.wait(0.001):
        busy.progress += 1
    # A machine under load may not have run this thread for two ticks; then nothing is shown.
    for _ in range(5):
        if not busy.overtaken.is_set():
            break
        busy.overtaken.clear()
        stuck.overtaken.clear()
        while not stuck.overtaken.wait(0.001):
            busy.progress += 1
    assert not busy.overtaken.is_set()
    loop.stop()


def test_what_else_wakes_the_loop_makes_it_no_less_patient() -> None:
    loop = ThreadLoop()
    worker = Worker()
    start = time.monotonic()
    loop.enter(worker, 1)
    while not worker.overtaken.wait(0.0005):
        assert time.monotonic() < start + WAIT
        loop.call_later(WAIT, lambda: None)()
    assert time.monotonic() - start >= TICK
    loop.stop()


def test_a_worker_that_has_left_is_not_overtaken() -> None:
    loop = ThreadLoop()
    gone, stuck = Worker(), Worker()
    loop.enter(gone, 1)
    loop.leave(gone, 1)
    loop.leave(gone, 1)
    loop.enter(stuck, 2)
    assert stuck.overtaken.wait(WAIT)
    assert not gone.overtaken.is_set()
    loop.stop()


# -- the end of a process

APPLICATION = """
import os
import engineio

eio = engineio.Server(async_mode="threading")

@eio.on("disconnect")
def disconnect(sid, reason):
    os.write(1, f"DISCONNECTED {sid} {reason}\\n".encode())  # in one piece

app = engineio.WSGIApp(eio)
"""

WERKZEUG = """
import signal, sys
import werkzeug.serving
from application import app

class Handler(werkzeug.serving.WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_request(self, *args, **kwargs):
        pass

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = werkzeug.serving.make_server(
    "127.0.0.1", 0, app, threaded=True, request_handler=Handler
)
print("Listening at: http://127.0.0.1:%d" % server.socket.getsockname()[1], flush=True)
server.serve_forever()
"""


def start(command: list[str], folder: Path) -> tuple["subprocess.Popen[bytes]", wire.Endpoint]:
    """Start a server that logs to the file `log`; its address stands there once it listens."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
    eventually(lambda: address.search(log.read_text()) or process.poll() is not None)
    found = address.search(log.read_text())
    assert found, log.read_text()
    return process, wire.Endpoint(("127.0.0.1", int(found[1])))


@pytest.mark.parametrize(
    ("server", "worker", "how"),
    [
        ("werkzeug", (), signal.SIGTERM),
        ("gunicorn", (), signal.SIGTERM),
        ("gunicorn", (), signal.SIGINT),
        ("gunicorn", ("-k", "gevent"), signal.SIGTERM),
        ("gunicorn", ("-k", "engineio.gunicorn.EventletWorker"), signal.SIGTERM),
        ("gunicorn", ("-k", "engineio.gunicorn.EventletWorker"), signal.SIGINT),
    ],
)
def test_a_process_that_ends_disconnects_its_clients(
    server: str, worker: tuple[str, ...], how: signal.Signals, tmp_path: Path
) -> None:
    pytest.importorskip(server)
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "serve.py").write_text(WERKZEUG)
    gunicorn = ["-m", "gunicorn", *worker, "--threads", "20", "--bind", "127.0.0.1:0"]
    gunicorn += ["--no-control-socket", "--graceful-timeout", "30", "application:app"]
    process, endpoint = start(["serve.py"] if server == "werkzeug" else gunicorn, tmp_path)
    try:
        idle, waits, upgraded = (wire.Polling(endpoint) for _ in range(3))
        idle.send("4hello")
        waits.start_poll()
        wire.upgrade(upgraded)[0].send_text("4hello")
        clients: list[Any] = [idle, waits, upgraded, wire.EngineWebSocket(endpoint)]
        process.send_signal(how)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
        wire.close_all()
    output = (tmp_path / "log").read_text()
    lines = [line for line in output.splitlines() if line.startswith("DISCONNECTED")]
    expected = [f"DISCONNECTED {client.sid} server shutdown" for client in clients]
    assert sorted(lines) == sorted(expected), output
    assert "Traceback" not in output
    assert process.returncode == 0


def test_small_pieces_that_wait_take_little_memory() -> None:
    loop = ThreadLoop()
    ours, peer = socketpair()
    with ours, peer:
        stream = ThreadStream(loop, ours)
        pieces = [bytes(1_000_000), *(b"%05d" % number for number in range(50_000))]
        for piece in pieces:
            stream.push(piece)
        assert stream.size > 0
        assert len(stream._out) < 2000
        expected = b"".join(pieces)
        received = b""
        while len(received) < len(expected):
            received += peer.recv(1 << 20)
        assert received == expected
        stream.finish()
    loop.stop()
