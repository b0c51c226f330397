"""Threads: `Server(async_mode="threading")`.

For servers with a thread per request: gunicorn's gthread worker, Werkzeug, Django's runserver,
wsgiref, cheroot. In a process that gevent or eventlet has patched, threads are greenlets; there
this mode waits as those libraries' own drivers do.

A WebSocket is read by the thread that its server gave to the request, and handlers run in that
thread. One more thread per server, the loop's, does what nobody should wait for: it finishes
writes that would block, notices polling clients that went away, keeps timers, and starts a thread
of the pool when a handler keeps its client's next messages waiting.
"""

import atexit
import logging
import math
import os
import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import Any

from engineio.driver import Driver, Stream, Worker, load, running_mode

from ._handover import (
    BorrowedSocket,
    Environ,
    Handover,
    find,
    server_name,
    server_stops,
)
from ._hangups import SWEEP_INTERVAL, Hangups
from ._stream import BufferedStream
from ._websocket import WSGIWebSocket

logger = logging.getLogger("engineio.server")

# A handler that has run for one to two ticks is taken to be waiting for something; for as many as
# these where the ticks come late: nobody gets its turn soon then, and order would be lost for it.
TICK = 0.01  # seconds
BUSY_TICKS = 10
# Ticks without anything to look at after which the loop's thread sleeps until it is woken.
IDLE_TICKS = 20

# For a single wait: it needs no file descriptor, and so it works when none is left.
WaitingSelector = getattr(selectors, "PollSelector", selectors.SelectSelector)

MAX_THREADS = 512
IDLE_THREAD = 1.0  # seconds until a thread of the pool that has nothing to do ends


class Pool:
    """Threads that are started as they are needed, used again, and end when idle.

    At most one thread is on its way to the tasks at a time, and calls the next one if it leaves
    some behind. On its way it has to wait for the interpreter, and whoever has that is often done
    with all tasks first: a thread called for each costs three times as many switches between them.
    """

    def __init__(self, limit: int = MAX_THREADS, idle: float = IDLE_THREAD) -> None:
        self._limit = limit
        self._idle_time = idle
        self._lock = threading.Lock()
        self._tasks: deque[_Task] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle: list[ThreadWaiter] = []
        self._is_called = False  # a thread is on its way
        self._stopping = False

    def spawn(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function in a thread; beyond the limit of threads, when one becomes free."""
        with self._lock:
            self._stopping = False
            self._tasks.append((function, args))
            self._call()

    def _call(self) -> None:
        """Have a thread come if there are tasks and none is on its way. Call with the lock held."""
        if self._is_called or not self._tasks:
            return
        if self._idle:
            # Whoever was busy last: its memory is still in the caches, and the others may end.
            self._idle.pop().wake()
        elif len(self._threads) < self._limit:
            thread = threading.Thread(target=self._run, name="engineio-handler", daemon=True)
            thread.start()
            self._threads.add(thread)
        else:
            return
        self._is_called = True

    def _run(self) -> None:
        try:
            was_called = True
            while (task := self._next_task(was_called)) is not None:
                was_called = False
                function, args = task
                function(*args)
                del task, function, args  # or they would live until the next task
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                self._call()  # a task may have raised, and this thread ends

    def _next_task(self, was_called: bool) -> "_Task | None":
        """Wait for something to do; None if there was nothing for too long."""
        while True:
            with self._lock:
                if was_called:
                    self._is_called = False
                if self._tasks:
                    task = self._tasks.popleft()
                    self._call()
                    return task
                if self._stopping:
                    return None
                waiter = ThreadWaiter()
                self._idle.append(waiter)
            waiter.wait(self._idle_time)
            with self._lock:
                if waiter in self._idle:  # time is up
                    self._idle.remove(waiter)
                    return None
            was_called = True

    def stop(self) -> None:
        """End the threads, the busy ones as soon as they are done."""
        with self._lock:
            self._stopping = True
            threads = [each for each in self._threads if each is not threading.current_thread()]
            for waiter in self._idle:
                waiter.wake()
            self._idle.clear()
        for thread in threads:
            thread.join(TICK)


_Task = tuple[Callable[..., Any], tuple[Any, ...]]
# Who runs handlers: their progress at the last tick, and for how many ticks there was none.
_Seen = dict[tuple[Worker, int], tuple[int, int]]


class ThreadWaiter:
    """What one thread waits for once: a lock, which is most of what is inside of an Event."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for `wake`, at most `timeout` seconds."""
        self._lock.acquire(timeout=-1 if timeout is None else timeout)

    def wake(self) -> None:
        """End the wait, also one that has not begun. To be called once."""
        self._lock.release()


class ThreadLoop:
    """The service thread of one server; started when it is first needed."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.spawn = self.pool.spawn
        self.waiter = ThreadWaiter
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._commands: deque[Callable[[], Any]] = deque()
        self._timers: list[tuple[float, int, Callable[[], Any]]] = []
        self._cancelled: set[int] = set()
        self._numbers = count()
        self._active: dict[tuple[Worker, int], None] = {}
        self._hangups = Hangups()
        self._next_tick = 0.0
        self._asleep = False
        self._stopping = False

    # -- called by any thread --

    def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
        """Run a function that does not wait after `delay` seconds. Returns how to cancel it."""
        number = next(self._numbers)
        due = time.monotonic() + delay
        self._do(lambda: heappush(self._timers, (due, number, function)))
        return lambda: self._do(lambda: self._cancel(number), wake=False)

    def enter(self, worker: Worker, entry: int) -> None:
        """Note that `worker` is about to run handlers."""
        self._active[worker, entry] = None
        if self._asleep or self._thread is None:
            self._wake()

    def leave(self, worker: Worker, entry: int) -> None:
        """Note that the handlers of `entry` have returned; a later entry may still be running."""
        self._active.pop((worker, entry), None)

    def watch(self, sock: Any, on_hangup: Callable[[], Any]) -> Callable[[], None]:
        """Call `on_hangup` once if the peer goes away. Returns how to stop."""
        stop = self._hangups.add(sock, on_hangup)
        if self._asleep or self._thread is None:
            self._wake()
        return stop

    def on_writable(self, sock: Any, callback: Callable[[], Any]) -> Callable[[], None]:
        """Call `callback` once writing is possible. Returns how to cancel it."""
        fd = sock.fileno()

        def start() -> None:
            with suppress(KeyError, ValueError, OSError):
                self._selector.register(fd, selectors.EVENT_WRITE, run)

        def cancel() -> None:
            with suppress(KeyError, ValueError, OSError):
                self._selector.unregister(fd)

        def run() -> None:
            cancel()
            callback()

        self._do(start)
        done = threading.Event()

        def cancel_and_wait() -> None:
            # The socket goes back to its server afterwards, and its number to another one.
            if threading.current_thread() is self._thread:
                cancel()
                return
            self._do(cancel)
            self._do(done.set)
            done.wait(1.0)

        return cancel_and_wait

    def may_wait(self) -> bool:
        """Tell whether the caller is not this loop's thread."""
        return threading.current_thread() is not self._thread

    def stop(self) -> None:
        """End the threads that belong to this loop; what was to run later runs now."""
        with self._lock:
            thread = self._thread
            self._stopping = True
            if thread is not None:
                self._alarm()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.pool.stop()

    def _do(self, command: Callable[[], Any], wake: bool = True) -> None:
        self._commands.append(command)
        if wake:
            self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._thread is None:
                self._start()
            self._alarm()

    def _alarm(self) -> None:
        """Wake the loop's thread. Call with the lock held: it closes the bell when it ends."""
        with suppress(BlockingIOError):  # full: it will wake anyway
            self._bell.send(b"\0")

    def _start(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._thread = threading.Thread(
            target=self._run,
            args=(self._selector, self._ear, self._bell),
            name="engineio-loop",
            daemon=True,
        )
        self._thread.start()

    # -- in the loop's thread --

    def _run(
        self, selector: selectors.BaseSelector, ear: socket.socket, bell: socket.socket
    ) -> None:
        seen: _Seen = {}
        idle_ticks = 0
        self._next_tick = time.monotonic() + TICK
        next_sweep = time.monotonic() + SWEEP_INTERVAL
        while not self._stopping:
            self._asleep = True  # before looking whether there is anything to do
            timeout = self._timeout(idle_ticks)
            self._asleep = timeout is None or timeout > TICK
            events = selector.select(timeout)
            self._asleep = False
            for key, _ in events:
                if key.data is None:
                    with suppress(BlockingIOError):
                        ear.recv(4096)
                else:
                    _call(key.data)
            self._run_commands()
            now = time.monotonic()
            self._run_timers(now)
            if now >= next_sweep:
                next_sweep = now + SWEEP_INTERVAL
                for on_hangup in self._hangups.sweep():
                    _call(on_hangup)
            if now >= self._next_tick:  # and not whenever something else has woken this thread
                is_late = now >= self._next_tick + TICK / 2
                self._next_tick = now + TICK
                seen = self._look_for_blocked(seen, is_late)
                idle_ticks = 0 if seen else idle_ticks + 1
        # Nobody waits for time to pass any more: connections that are closing end now. For what
        # comes later, of one that ended at the same time, there is another thread as short as this.
        while True:
            self._run_commands()
            self._run_timers(math.inf)
            with self._lock:
                if not self._commands:
                    self._thread = None
                    selector.close()
                    ear.close()
                    bell.close()
                    return

    def _run_commands(self) -> None:
        while self._commands:
            _call(self._commands.popleft())

    def _timeout(self, idle_ticks: int) -> float | None:
        if self._commands:
            return 0
        now = time.monotonic()
        timeouts = [self._timers[0][0] - now] if self._timers else []
        if self._active or idle_ticks < IDLE_TICKS:
            timeouts.append(self._next_tick - now)
        if self._hangups:
            timeouts.append(SWEEP_INTERVAL)
        return max(0, min(timeouts)) if timeouts else None

    def _cancel(self, number: int) -> None:
        if any(timer[1] == number for timer in self._timers):
            self._cancelled.add(number)

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, number, function = heappop(self._timers)
            if number in self._cancelled:
                self._cancelled.discard(number)
            else:
                _call(function)

    def _look_for_blocked(self, seen: _Seen, is_late: bool) -> _Seen:
        current: _Seen = {}
        for active in list(self._active):
            worker, entry = active
            progress = worker.progress
            before, ticks = seen.get(active, (None, 0))
            ticks = ticks + 1 if progress == before else 0
            current[active] = progress, ticks
            if ticks >= (BUSY_TICKS if is_late else 1):
                worker.overtake(entry)
        return current


def _call(function: Callable[[], Any]) -> None:
    """Call a function whose failure must not end the loop."""
    try:
        function()
    except Exception:
        logger.exception("error in the loop's thread")


class ThreadStream(BufferedStream):
    """A connection that one thread reads and any may write."""

    __slots__ = ("_cancel_write", "_held", "_lock", "_loop", "_waits_in_recv")

    def __init__(self, loop: ThreadLoop, sock: Any) -> None:
        super().__init__(sock)
        self._loop = loop
        self._lock = threading.Lock()
        self._held = False
        self._cancel_write: Callable[[], None] | None = None
        # Reading waits in recv() itself where one call can be told not to wait for writing. Two
        # threads must not use one TLS object at a time, so there nobody may wait inside of it.
        self._waits_in_recv = self._tls is None and _DONTWAIT != 0
        if self._waits_in_recv:
            self._send = lambda data: sock.send(data, _DONTWAIT)
        else:
            sock.setblocking(False)

    def read(self, size: int) -> bytes:
        """Wait for bytes; b'' at the end or after `abort`."""
        if self._ended:
            return b""
        if self._waits_in_recv:
            return self._recv_now(size) or b""
        while not self._ended:
            with self._lock:
                data = self._recv_now(size)
            if data is not None:
                return data
            with WaitingSelector() as selector:
                selector.register(self._sock.fileno(), selectors.EVENT_READ)
                selector.select()
        return b""

    def push(self, data: bytes) -> None:
        """Write now what goes without waiting, unless held; the rest when the peer takes it."""
        with self._lock:
            if self._is_over:
                return
            self.size += len(data)
            self._out.append(data)
            if not self._held:
                self._write_or_wait()

    def push_control(self, data: bytes, is_last: bool) -> None:
        """Write a control frame as `push` does; behind the last one no message is written."""
        with self._lock:
            if self._ended:
                return
            self._is_over = self._is_over or is_last
            self.size += len(data)
            self._out.append(data)
            if not self._held:
                self._write_or_wait()

    def hold(self) -> None:
        """Let pushed bytes gather."""
        self._held = True

    def release(self) -> None:
        """End `hold`: the next push writes everything."""
        self._held = False

    def flush(self) -> None:
        """Write now as much as goes without waiting."""
        with self._lock:
            self._held = False
            self._write_or_wait()

    def _write_or_wait(self) -> None:
        if self._cancel_write is not None:
            self._pack()
        elif not self._write():
            self._cancel_write = self._loop.on_writable(self._sock, self._on_writable)

    def _on_writable(self) -> None:
        with self._lock:
            self._cancel_write = None
            self._write_or_wait()

    def abort(self) -> None:
        """End the connection in both directions and wake the reader."""
        with self._lock:  # so that none is ended that `finish` has given back
            self._break()

    def finish(self) -> None:
        """Let go of the socket."""
        with self._lock:
            self._ended = self._is_over = True
            self._forget()
            cancel, self._cancel_write = self._cancel_write, None
        if cancel is not None:
            cancel()


_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)


class WebSocket(WSGIWebSocket):
    """WebSockets on the sockets of threaded servers."""

    def find(self, environ: Environ) -> Handover | None:
        """Return the connection of the request."""
        return find(environ, _wrap_uwsgi)

    def stream(self, sock: Any) -> Stream:
        """Return a connection as a stream of bytes."""
        return ThreadStream(self.server.loop, sock)


def _wrap_uwsgi(fd: int) -> socket.socket:
    sock = socket.socket(fileno=os.dup(fd))
    sock.setblocking(True)
    return sock


def fits(sock: Any) -> bool:
    """Tell whether a thread can wait on a server's socket: on any but a green one."""
    return sock is None or type(sock).__module__.partition(".")[0] not in ("gevent", "eventlet")


class DaemonThread(threading.Thread):
    """A thread that does not keep the process from exiting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("daemon", True)
        super().__init__(*args, **kwargs)


def connection(environ: Environ) -> Handover | None:
    """Return the connection of a request."""
    return find(environ, BorrowedSocket)


def _patched() -> Driver | None:
    """Return the driver whose loop runs what this process calls threads, if it was patched."""
    mode = running_mode()
    return load(mode) if mode in ("eventlet", "gevent") else None


_green = _patched()
driver = Driver(
    thread=DaemonThread,
    queue=queue.Queue,
    queue_empty=queue.Empty,
    event=threading.Event,
    sleep=time.sleep,
    websocket=WebSocket if _green is None else _green.websocket,
    lock=threading.Lock if _green is None else _green.lock,
    loop=ThreadLoop if _green is None else _green.loop,
    connection=connection if _green is None else _green.connection,
    fits=fits if _green is None else _green.fits,
    server_name=server_name,
    server_stops=server_stops,
    # Servers that keep their threads in an executor wait for them before `atexit` has its turn.
    at_exit=getattr(threading, "_register_atexit", atexit.register)
    if _green is None
    else _green.at_exit,
)
_async = driver.primitives()
