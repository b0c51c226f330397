"""What the asyncio drivers have in common: the loop as the shells see it, streams, WebSockets.

Everything runs in the event loop's thread. The rules that make it fast are those of `_green.py`:
writing only marks a stream as dirty, dirty streams are written once per iteration of the loop, and
a second task for a client is started only when a handler turns out to wait for something.

A coroutine of a server that never has to wait (sending, mostly) is run without a task: `send` it
once, and it has ended. If it does wait, a task goes on with it.
"""

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from engineio.driver import Worker

# How long a peer may take to answer our close frame, or to take what is left for it.
CLOSE_TIMEOUT = 2.0  # seconds
READ_SIZE = 1 << 16  # bytes

# How often somebody looks who has waited for long, and whether their clients are still there.
HANGUP_INTERVAL = 1.0  # seconds

STALL = 1.0  # seconds the loop may be held up before that is worth a warning

NORMAL = 1000
ABNORMAL = 1006  # no close frame was received (RFC 6455, 7.1.5)
VIOLATIONS = (1002, 1003, 1007, 1008, 1009)

Message = str | bytes


class AsyncLoop:
    """The running event loop, as the shells of one server see it."""

    def __init__(self, on_stall: Callable[[float], Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.dirty: list[Any] = []
        self._on_stall = on_stall
        self._entered: list[tuple[Any, int]] = []
        self._entered_at = 0.0
        self._is_scheduled = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._senders: set[asyncio.Task[Any]] = set()
        # Who waits since the last look, and since the one before it.
        self._new_waiters: dict[PollWaiter, None] = {}
        self._old_waiters: dict[PollWaiter, None] = {}
        self._look_timer: asyncio.TimerHandle | None = None
        # A callback would otherwise run in the context of the client that happened to schedule it.
        self._context = contextvars.Context()

    @property
    def is_running(self) -> bool:
        """Whether this is the event loop that runs."""
        # A thread runs one loop at a time. asyncio.get_running_loop() does a system call before
        # Python 3.12 (getpid), and this is asked for every request.
        return threading.get_ident() == self._thread and self.loop.is_running()

    # -- tasks and timers --

    def spawn(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Run a coroutine function soon, in a task of its own, which is returned."""
        task = self.loop.create_task(function(*args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn_sender(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Do as `spawn` for what sends, which `stop` does not cut off."""
        task = self.spawn(function, *args)
        self._senders.add(task)
        task.add_done_callback(self._senders.discard)
        return task

    def spawn_apart(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Do as `spawn` in a context that is no client's."""
        return self._context.copy().run(self.spawn, function, *args)

    async def finish(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Run a coroutine function to its end even if the caller is cancelled meanwhile."""
        await asyncio.shield(self.spawn(function, *args))

    def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
        """Run a function that does not wait after `delay` seconds. Returns how to cancel it."""
        return self.loop.call_later(delay, function, context=self._context).cancel

    def waiter(self) -> "PollWaiter":
        """Return something to wait for once."""
        return PollWaiter(self)

    async def wait_briefly(self, waiter: "PollWaiter") -> bool:
        """Wait for a waiter, for two looks at most; returns whether it was woken.

        Most waits are that short. One dictionary for all of them costs less than a timer each.
        """
        if self._look_timer is None:
            self._start_looking()
        self._new_waiters[waiter] = None
        try:
            await waiter.future
        finally:
            if waiter in self._new_waiters:
                del self._new_waiters[waiter]
            else:
                self._old_waiters.pop(waiter, None)
        return not waiter.is_impatient

    def _start_looking(self) -> None:
        self._look_timer = self.loop.call_later(HANGUP_INTERVAL, self._look, context=self._context)

    def _look(self) -> None:
        for waiter in self._old_waiters:
            waiter.lose_patience()
        self._old_waiters, self._new_waiters = self._new_waiters, {}
        self._look_timer = None
        if self._old_waiters:
            self._start_looking()

    def is_cancelled(self) -> bool:
        """Tell whether somebody has cancelled the task that runs."""
        task = self.current_task()
        # Without this method (before Python 3.11) it can't be told, so believe it.
        return task is None or not hasattr(task, "cancelling") or task.cancelling() > 0

    def current_task(self) -> Any:
        """Return the task that runs."""
        return asyncio.current_task(self.loop)

    async def stop(self) -> None:
        """End the tasks that belong to this loop, except the one that runs, once all is sent."""
        this = self.current_task()
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        if self._senders:
            await asyncio.wait(self._senders, timeout=CLOSE_TIMEOUT)
        for _ in range(2):
            tasks = self._tasks - {this}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Those that were cancelled may have left disconnect handlers to others.
            if rest := self._tasks - {this}:
                await asyncio.wait(rest, timeout=CLOSE_TIMEOUT)

    # -- who waits, who writes --

    def schedule(self) -> None:
        """Have `_tick` run in the next iteration."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._tick, context=self._context)

    def _tick(self) -> None:
        # Whoever entered in the last iteration and has not left is waiting in a handler.
        self._is_scheduled = False
        entered = self._entered
        if entered:
            self._entered = []
            stalled = time.monotonic() - self._entered_at
            if stalled > STALL:
                self._on_stall(stalled)
            for worker, entry in entered:
                if worker.dispatcher == entry:
                    worker.context.run(worker.overtake, entry)
        dirty = self.dirty
        if dirty:
            self.dirty = []
            for stream in dirty:
                if stream.is_dirty:
                    stream.flush()

    def enter(self, worker: Worker, entry: int) -> None:
        """Note that `worker` is about to run handlers."""
        if not self._entered:
            self._entered_at = time.monotonic()
            if not self._is_scheduled:
                self.schedule()
        self._entered.append((worker, entry))

    def leave(self, worker: Worker, entry: int) -> None:
        """Nothing to do: a worker that has left does not let itself be overtaken."""


class Waiter:
    """What one task waits for once."""

    __slots__ = ("_loop", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.future = loop.create_future()

    def wake(self) -> None:
        """End the wait, also one that has not begun."""
        if not self.future.done():
            self.future.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:
        """Wait for `wake`, at most `timeout` seconds."""
        if timeout is None:
            await self.future
            return
        timer = self._loop.call_later(timeout, self.wake)
        try:
            await self.future
        finally:
            timer.cancel()


class PollWaiter(Waiter):
    """What a poll waits for: packets, briefly at first."""

    __slots__ = ("_waits", "is_impatient")

    def __init__(self, loop: AsyncLoop) -> None:
        super().__init__(loop.loop)
        self._waits = loop
        self.is_impatient = False
        """Whether it was not `wake` that ended the brief wait."""

    def lose_patience(self) -> None:
        """End the brief wait; `future` is another one from now on."""
        if not self.future.done():
            self.is_impatient = True
            future, self.future = self.future, self._loop.create_future()
            future.set_result(None)

    async def wait_briefly(self) -> bool:
        """Wait for `wake`, for a second or two; returns whether it came."""
        return await self._waits.wait_briefly(self)


class Alarm:
    """An event whose wait has a timeout and needs no task for it."""

    def __init__(self, loop: AsyncLoop) -> None:
        self._loop = loop
        self._is_set = False
        self._waiter: Waiter | None = None

    def set(self) -> None:
        """End the wait, or the next one."""
        self._is_set = True
        if self._waiter is not None:
            self._waiter.wake()

    def clear(self) -> None:
        """Make the next wait wait."""
        self._is_set = False

    async def wait(self, timeout: float | None = None) -> None:
        """Wait for `set`, at most `timeout` seconds."""
        if self._is_set:
            return
        self._waiter = self._loop.waiter()
        try:
            await self._waiter.wait(timeout)
        finally:
            self._waiter = None


class _Rest:
    """What is left of a coroutine that was stepped by hand and now waits for a future."""

    def __init__(self, steps: Any, waits_for: Any) -> None:
        self._steps = steps
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._steps
        waits_for = self._waits_for
        try:
            while True:
                try:
                    yield waits_for
                except BaseException as error:
                    if not hasattr(steps, "throw"):
                        raise
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(None) if hasattr(steps, "send") else next(steps)
        except StopIteration:
            return


class Race:
    """An awaitable: the result of another one, or None if `future` is done first.

    The other one runs in the task that awaits this, so that what it does with its task (a timeout,
    a cancel scope) works, and no second task is needed. When it loses it is cancelled.
    """

    def __init__(self, awaitable: Awaitable[Any], future: "asyncio.Future[Any]") -> None:
        self._awaitable = awaitable
        self._future = future

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._awaitable.__await__()
        has_lost = False
        cancelled: BaseException | None = None  # by somebody else
        error: BaseException | None
        try:
            waits_for = next(steps)
            while True:
                error = None
                try:
                    if waits_for is None:
                        yield
                    else:
                        yield from self._either(waits_for, has_lost)
                except BaseException as thrown:
                    error = cancelled = thrown
                is_done = waits_for is None or waits_for.done()
                if error is None and not is_done and self._future.done() and not has_lost:
                    has_lost = True
                    if not hasattr(steps, "throw"):
                        return None
                    error = asyncio.CancelledError()
                if error is None:
                    waits_for = next(steps)
                else:
                    if not is_done:
                        waits_for.cancel()  # as Task.cancel does
                    waits_for = steps.throw(error)
        except StopIteration as end:
            return None if has_lost else end.value
        except asyncio.CancelledError:
            if has_lost and cancelled is None:
                return None
            raise

    def _either(self, waits_for: Any, has_lost: bool) -> Generator[Any, Any, None]:
        waits_for._asyncio_future_blocking = False  # `either` is what the task waits for
        either = self._future.get_loop().create_future()

        def wake(_: Any) -> None:
            if not either.done():
                either.set_result(None)

        waits_for.add_done_callback(wake)
        if not has_lost:
            self._future.add_done_callback(wake)
        try:
            yield from either
        finally:
            waits_for.remove_done_callback(wake)
            self._future.remove_done_callback(wake)


class AsyncStream:
    """What waits to be sent over a WebSocket. Nothing here waits."""

    __slots__ = ("_ended", "_loop", "_out", "_sending", "_task", "_websocket", "is_dirty", "size")

    def __init__(self, websocket: "AsyncWebSocket", loop: AsyncLoop) -> None:
        self.size = 0
        """What was pushed and not yet given to the server, about in bytes."""
        self.is_dirty = False
        self._websocket = websocket
        self._loop = loop
        self._out: list[Message | int] = []  # an int is the code of a close frame
        self._sending: list[Message | int] = []  # what a task has taken out, the next one last
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def push(self, data: Message) -> None:
        """Send soon."""
        if self._ended:
            return
        self.size += len(data)
        self._out.append(data)
        if not self.is_dirty:
            self.is_dirty = True
            self._loop.dirty.append(self)
            self._loop.schedule()

    def hold(self) -> None:
        """Nothing to do: nothing is sent at once."""

    def release(self) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """Send what goes without waiting; the rest when the peer takes it."""
        self.is_dirty = False
        if self._task is not None:
            return
        websocket = self._websocket
        out, self._out = self._out, []
        for position, item in enumerate(out):
            if isinstance(item, int):
                # Closing may wait, with a timeout, for which it needs a task.
                self._out = [item]
                self._task = self._loop.spawn_sender(self._send_all)
                return
            try:
                steps: Any = websocket.send(item)
                if not hasattr(steps, "send"):
                    steps = steps.__await__()
                # What granian returns is an iterator and nothing more.
                waits_for = steps.send(None) if hasattr(steps, "send") else next(steps)
            except StopIteration:
                self.size -= len(item)
                continue
            except (RuntimeError, TypeError):
                # Perhaps what a middleware does can only be done in a task; then it was not sent.
                self._out = [*out[position:], *self._out]
                self._task = self._loop.spawn_sender(self._send_all)
                return
            except Exception:
                self.drop()
                return
            self._out = [*out[position + 1 :], *self._out]
            self._task = self._loop.spawn_sender(self._go_on, steps, waits_for, item)
            return

    async def _go_on(self, steps: Any, waits_for: Any, item: Message) -> None:
        try:
            await _Rest(steps, waits_for)
            self.size -= len(item)
        except Exception:
            self.drop()
            return
        finally:
            self._task = None
        await self._send_all()

    async def _send_all(self) -> None:
        self._task = self._loop.current_task()
        websocket = self._websocket
        try:
            while self._out:
                self._sending, self._out = self._out[::-1], []
                while self._sending:
                    item = self._sending.pop()
                    if isinstance(item, int):
                        await websocket.close(item)
                    else:
                        await websocket.send(item)
                        self.size -= len(item)
        except Exception:
            self.drop()
        finally:
            self._task = None

    def drop(self) -> None:
        """Send nothing more."""
        self._ended = True
        self._out.clear()
        self._sending.clear()
        self.size = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything was given to the server."""
        return self._task is None and not self._out

    def end(self, code: int) -> bool:
        """Send a close frame after everything else. Returns whether this is the first one."""
        if self._ended:
            return False
        self._ended = True
        self._out.append(code)
        self.flush()
        return True

    def abort(self) -> None:
        """Give up what is left, and end the connection."""
        self.drop()
        if self._task is not None:
            self._task.cancel()
        self._websocket.abort()


class AsyncWebSocket:
    """A WebSocket of a server, as the sockets use it, and what a driver calls `websocket`.

    ``await AsyncWebSocket(handler, server)(environ)`` accepts the handshake, runs the handler and
    returns what the application returns to the server. A driver supplies the rest.
    """

    is_compressed = False
    """The server compresses by itself, if at all."""

    was_violated = False
    """Whether the connection ended because the peer broke the WebSocket protocol."""

    takes_frames = False
    """Whether its stream takes frames of ours, and `read` gives all messages there are."""

    reader: Any = None
    """The task that reads."""

    def __init__(self, handler: Callable[["AsyncWebSocket"], Awaitable[Any]], server: Any) -> None:
        self.handler = handler
        self.server = server
        self.size = 0
        """Bytes of the message that was read last."""
        self.is_over = False
        """Whether the server has said that there will be no more."""
        self._is_reading = False  # and so `stop_reading` must cancel
        self._is_stopped = False
        self._is_aborted = False
        self._cancel_abort: Callable[[], None] | None = None

    def check(self, environ: dict[str, Any]) -> None:
        """Raise `ProtocolError` if the handshake can't succeed."""

    async def __call__(self, environ: dict[str, Any]) -> Any:
        """Accept the handshake and run the handler."""
        raise NotImplementedError

    def send(self, message: Message) -> Any:
        """Send one message: str as text, bytes as binary."""
        raise NotImplementedError

    def close(self, code: int = NORMAL, reason: str = "") -> Any:
        """Send a close frame."""
        raise NotImplementedError

    async def wait(self) -> Message | None:
        """Wait for one message and return it, or None when there will be no more."""
        raise NotImplementedError

    async def run(self) -> None:
        """Run the handler, then wait until its last words have left."""
        self.stream = AsyncStream(self, self.server.loop)
        try:
            await self.handler(self)
            await self._finish()
        except BaseException:
            self.abort()
            raise
        finally:
            self.finished()

    def finished(self) -> None:
        """Leave the rest to the server."""
        if self._cancel_abort is not None:
            self._cancel_abort()

    async def _finish(self) -> None:
        self.over()
        loop = self.server.loop
        deadline = time.monotonic() + CLOSE_TIMEOUT
        while not self.stream.is_empty and not self._is_aborted and time.monotonic() < deadline:
            await loop.waiter().wait(0.05)

    def put(self, data: Message) -> None:
        """Send one message soon."""
        self.stream.push(data)

    def end(self, code: int = NORMAL) -> None:
        """Start the closing handshake; the connection ends when the peer answers, or soon."""
        if code != NORMAL:
            self.was_violated = True
        if self.is_over:
            self.stream.drop()
        elif self.stream.end(code):
            self._cancel_abort = self.server.loop.call_later(CLOSE_TIMEOUT, self.stream.abort)

    def over(self) -> None:
        """See to it that the connection ends soon, without waiting."""
        self.end()

    def abort(self) -> None:
        """End the connection at once, also for the one that reads."""
        self._is_aborted = True
        self.stop_reading()

    def stop_reading(self) -> None:
        """Have whoever reads find that there will be no more."""
        self._is_stopped = True
        if self._is_reading:
            self._is_reading = False
            self.reader.cancel()


class Hangups:
    """Who waits on a connection that only shows its end when it is looked at."""

    def __init__(self) -> None:
        self._waiting: dict[Waiter, Callable[[], bool]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, waiter: Waiter, has_gone: Callable[[], bool]) -> bool:
        """Wait for a waiter or the end of a connection; returns whether it was the end."""
        if has_gone():
            return True
        self._waiting[waiter] = has_gone
        if self._timer is None:
            self._start()
        try:
            await waiter.wait()
        finally:
            del self._waiting[waiter]
            if not self._waiting and self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return has_gone()

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HANGUP_INTERVAL, self._look)

    def _look(self) -> None:
        for waiter, has_gone in self._waiting.items():
            if has_gone():
                waiter.wake()
        self._start()


def read_in_small_parts(transport: Any) -> None:
    """Spare a connection of asyncio's own event loop three system calls for every read.

    It reads into buffers of 256 KiB, which malloc asks the system for and gives back each time.
    Below 128 KiB it has them at hand.
    """
    if getattr(transport, "max_size", 0) > READ_SIZE:
        transport.max_size = READ_SIZE


def base_environ(name: str, peer: Any, here: Any) -> dict[str, Any]:
    """Return the part of an environ that is the same on every server, and its addresses.

    `peer` and `here` are socket addresses, or None where there are none.
    """
    peer = peer if isinstance(peer, (tuple, list)) else ("", 0)
    here = here if isinstance(here, (tuple, list)) else (name, 0)
    environ = _SAME_FOR_ALL.copy()
    environ["wsgi.errors"] = sys.stderr
    environ["SERVER_SOFTWARE"] = name
    environ["REMOTE_ADDR"] = str(peer[0])
    environ["REMOTE_PORT"] = str(peer[1])
    environ["SERVER_NAME"] = str(here[0])
    environ["SERVER_PORT"] = str(here[1])
    return environ


_SAME_FOR_ALL = {
    "wsgi.input_terminated": True,
    "wsgi.version": (1, 0),
    "wsgi.async": True,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "SCRIPT_NAME": "",
}


def add_header(environ: dict[str, Any], name: str, value: str) -> None:
    """Put a header of the request into its environ; one that is repeated is joined."""
    key = _KEYS.get(name) or header_key(name)
    environ[key] = f"{environ[key]},{value}" if key in environ else value


# The environ's keys of the headers that nearly every request has.
_KEYS: dict[str, str] = {}


def header_key(name: str) -> str:
    """Return the key of a header in an environ (PEP 3333)."""
    key = name.upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if len(_KEYS) < 200:  # names come from outside
        _KEYS[name] = key
    return key


asyncio_parts: dict[str, Any] = {
    "queue": asyncio.Queue,
    "queue_empty": asyncio.QueueEmpty,
    "event": asyncio.Event,
    "sleep": asyncio.sleep,
    # Never waited for, as nothing waits with it held; nothing written in Python is as fast.
    "lock": threading.Lock,
    "loop": AsyncLoop,
    "alarm": Alarm,
}
"""The fields of a driver that are the same on every server."""
