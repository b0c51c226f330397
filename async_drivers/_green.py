"""What eventlet and gevent have in common: one thread, a hub, greenlets that wait in it.

Everything here runs in the hub's thread and none of it waits except `GreenStream.read`. The rules
that make it fast:

- Writing only marks a stream as dirty. Dirty streams are written once each, when control returns
  to the hub or when the greenlet that read a batch of messages has handled them all.
- Reading keeps one watcher per connection armed, which switches straight into the greenlet that
  waits. It is disarmed when it finds that nobody waits, since hubs go on telling what is unread.
- A handler runs in the greenlet that read its message. Only when the hub gets control while a
  handler is still running - so it waits for something - is a second greenlet started to go on.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from greenlet import getcurrent, greenlet

from engineio.driver import Worker

from ._handover import Environ, Handover, find
from ._hangups import SWEEP_INTERVAL, Hangups
from ._stream import WOULD_BLOCK, BufferedStream
from ._websocket import WSGIWebSocket


class GreenLoop:
    """The hub of one thread, as the shells see it."""

    def __init__(
        self,
        switch_to_hub: Callable[[], Any],
        switch_quickly: Callable[[], Any],
        soon: Callable[[Callable[[], Any]], Any],
    ) -> None:
        # Wait: let the hub run until it switches back here.
        self.switch_to_hub = switch_to_hub
        # The same without what hubs do for greenlets that wait for the first time.
        self.switch_quickly = switch_quickly
        # Run a function in the hub before it waits for anything.
        self.soon = soon
        self.dirty: list[GreenStream] = []
        self._ready: deque[Callable[[], Any]] = deque()
        self._entered: list[tuple[Worker, int]] = []
        self._hangups = Hangups()
        self._sweeps = False
        self.is_scheduled = False

    # -- what a library supplies --

    def hub(self) -> greenlet:
        """Return the greenlet that the hub runs in."""
        raise NotImplementedError

    def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
        """Run a function in the hub after `delay` seconds. Returns how to cancel it."""
        raise NotImplementedError

    def on_readable(self, sock: Any, callback: Callable[..., Any]) -> Callable[[], None]:
        """Call `callback` in the hub whenever there is something to read. Returns how to stop."""
        raise NotImplementedError

    def on_writable(self, sock: Any, callback: Callable[[], Any]) -> Callable[[], None]:
        """Call `callback` in the hub once writing is possible. Returns how to cancel it."""
        raise NotImplementedError

    # -- what is built on it --

    def spawn(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function soon, in a greenlet of its own."""
        # A bare greenlet: `gevent.spawn` costs ten times as much, since it keeps where from.
        self.resume(greenlet(partial(function, *args), self.hub()).switch)

    def waiter(self) -> "GreenWaiter":
        """Return something that one greenlet waits for once."""
        return GreenWaiter(self)

    def resume(self, switch: Callable[[], Any]) -> None:
        """Switch to a greenlet soon, from the hub."""
        self._ready.append(switch)
        if not self.is_scheduled:
            self.schedule()

    def schedule(self) -> None:
        """Have `_on_hub` run before the hub waits."""
        if not self.is_scheduled:
            self.is_scheduled = True
            self.soon(self._on_hub)

    def _on_hub(self) -> None:
        ready = self._ready
        try:
            for _ in range(len(ready)):
                ready.popleft()()
        except BaseException:  # of one greenlet: the others have their turn in the next round
            self.is_scheduled = False
            self.schedule()
            raise
        self.is_scheduled = False
        if ready:
            self.schedule()
        # In the hub: whoever entered and has not left is in the middle of a handler, waiting.
        entered, self._entered = self._entered, []
        for worker, entry in entered:
            if worker.dispatcher == entry:
                worker.overtake(entry)
        dirty, self.dirty = self.dirty, []
        for stream in dirty:
            if stream.is_dirty:
                stream.flush()

    def enter(self, worker: Worker, entry: int) -> None:
        """Note that `worker` is about to run handlers."""
        self._entered.append((worker, entry))
        if not self.is_scheduled:
            self.schedule()

    def leave(self, worker: Worker, entry: int) -> None:
        """Nothing to do: a worker that has left does not let itself be overtaken."""

    def watch(self, sock: Any, on_hangup: Callable[[], Any]) -> Callable[[], None]:
        """Call `on_hangup` once in the hub if the peer goes away. Returns how to stop."""
        if not self._sweeps:
            self._sweeps = True
            self.call_later(SWEEP_INTERVAL, self._sweep)
        return self._hangups.add(sock, on_hangup)

    def _sweep(self) -> None:
        for on_hangup in self._hangups.sweep():
            on_hangup()
        self._sweeps = len(self._hangups) > 0
        if self._sweeps:
            self.call_later(SWEEP_INTERVAL, self._sweep)

    def interrupted(self, frame: Any) -> None:
        """Have the hub look at what was scheduled, in a signal handler that interrupted `frame`."""

    def may_wait(self) -> bool:
        """Tell whether the caller is not the hub."""
        return getcurrent() is not self.hub()

    def stop(self) -> None:
        """Nothing to do: the hub is not ours."""


class GreenWaiter:
    """What one greenlet waits for once, at a fifth of the price of an Event."""

    __slots__ = ("_greenlet", "_is_over", "_loop")

    def __init__(self, loop: GreenLoop) -> None:
        self._loop = loop
        self._greenlet: Any = None
        self._is_over = False

    def wait(self, timeout: float | None = None) -> None:
        """Wait for `wake`, at most `timeout` seconds."""
        if self._is_over:
            return
        cancel = None if timeout is None else self._loop.call_later(timeout, self.wake)
        self._greenlet = getcurrent()
        try:
            self._loop.switch_to_hub()
        finally:
            self._greenlet = None
            if cancel is not None:
                cancel()

    def wake(self) -> None:
        """End the wait, also one that has not begun."""
        if not self._is_over:
            self._is_over = True
            if self._greenlet is not None:
                self._loop.resume(self._resume)

    def _resume(self) -> None:
        if self._greenlet is not None:  # else it was killed meanwhile
            self._greenlet.switch()


class GreenStream(BufferedStream):
    """A connection in a hub."""

    __slots__ = ("_cancel_write", "_loop", "_reader", "_stop_watching", "_waits", "is_dirty")

    def __init__(self, loop: GreenLoop, sock: Any) -> None:
        super().__init__(sock)
        self.is_dirty = False
        self._loop = loop
        self._reader: Any = None
        self._waits = False
        self._stop_watching: Callable[[], None] | None = None
        self._cancel_write: Callable[[], None] | None = None

    def read(self, size: int) -> bytes:
        """Wait for bytes; b'' at the end or after `abort`."""
        if self._tls is not None and self._tls.pending() and not self._ended:
            return self._recv_now(size) or b""
        # In one piece, since it runs for every message.
        while not self._ended:
            if self._stop_watching is None:
                self._stop_watching = self._loop.on_readable(self._sock, self._on_readable)
            current = getcurrent()
            self._waits = True
            if self._reader is current:
                # It has waited here before, so the hub is its parent and runs.
                self._loop.switch_quickly()
            else:
                self._reader = current
                self._loop.switch_to_hub()
            try:
                return self._recv(size)  # type: ignore[no-any-return]
            except WOULD_BLOCK:
                pass
            except OSError:
                break
        return b""

    def _on_readable(self, *_: Any) -> None:
        if self._waits:
            self._waits = False
            self._reader.switch()
        else:
            # The reader is in a handler, or it has gone; switching there would end another wait.
            self._disarm()

    def _disarm(self) -> None:
        stop, self._stop_watching = self._stop_watching, None
        if stop is not None:
            stop()

    def push(self, data: bytes) -> None:
        """Write soon."""
        if self._is_over:
            return
        self.size += len(data)
        self._out.append(data)
        if not self.is_dirty:
            self.is_dirty = True
            loop = self._loop
            loop.dirty.append(self)
            if not loop.is_scheduled:
                loop.schedule()

    def push_control(self, data: bytes, is_last: bool) -> None:
        """Write a control frame soon; behind the last one no message is written."""
        is_over = self._is_over or is_last
        self._is_over = self._ended
        self.push(data)
        self._is_over = is_over

    def hold(self) -> None:
        """Nothing to do: nothing is written at once."""

    def release(self) -> None:
        """Nothing to do."""

    def flush(self) -> None:
        """Write what goes without waiting; the rest when the peer takes it."""
        self.is_dirty = False
        if self._cancel_write is not None:
            self._pack()
        elif not self._write():
            self._cancel_write = self._loop.on_writable(self._sock, self._on_writable)

    def _on_writable(self) -> None:
        self._cancel_write = None
        self.flush()

    def disown(self) -> None:
        """Have nothing to do with the connection any more.

        gevent goes on watching it in the child; what comes is the parent's, so nobody is woken.
        """
        super().disown()
        self._waits = False

    def finish(self) -> None:
        """Let go of the socket."""
        self._ended = self._is_over = True
        self._forget()
        self._disarm()
        if self._cancel_write is not None:
            self._cancel_write()
            self._cancel_write = None
        reader, self._reader = self._reader, None
        if self._waits:  # somebody else than the one that was killed while it finished
            self._waits = False
            self._loop.resume(reader.switch)


class GreenWebSocket(WSGIWebSocket):
    """WebSockets on the sockets of a green library."""

    def find(self, environ: Environ) -> Handover | None:
        """Return the connection of the request."""
        return find(environ)

    def stream(self, sock: Any) -> GreenStream:
        """Return a connection as a stream in the server's hub."""
        return GreenStream(self.server.loop, sock)
