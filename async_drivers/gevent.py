"""gevent: `Server(async_mode="gevent")`.

Works with and without monkey-patching, under gevent.pywsgi and gunicorn's gevent workers, with
nothing but gevent installed. gevent-websocket's handler and worker are used where they run.
"""

import atexit
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import gevent
import gevent.event
import gevent.hub
import gevent.monkey
import gevent.queue
import gevent.socket
from greenlet import getcurrent, greenlet

from engineio.driver import Driver

from ._green import GreenLoop, GreenWebSocket
from ._handover import find, server_name, server_stops

READ, WRITE = 1, 2  # libev's event masks


class Thread(gevent.Greenlet):  # type: ignore[type-arg] # not generic when it runs
    """A greenlet with the keywords of `threading.Thread`, and its `start` and `join`."""

    def __init__(
        self,
        target: Callable[..., Any] | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        group: None = None,
        name: str | None = None,
        daemon: bool | None = None,
    ) -> None:
        super().__init__(target or _nothing, *args, **(kwargs or {}))


def _nothing() -> None:
    """Run a thread without a target."""


class GeventLoop(GreenLoop):
    """The gevent hub of the thread that creates this."""

    def __init__(self) -> None:
        self._hub = gevent.hub.get_hub()
        self._loop = self._hub.loop
        super().__init__(
            switch_to_hub=self._hub.switch,
            switch_quickly=partial(greenlet.switch, self._hub),
            soon=self._loop.run_callback,
        )

    def hub(self) -> greenlet:
        """Return the greenlet that the hub runs in."""
        return self._hub

    def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
        """Run a function in the hub after `delay` seconds. Returns how to cancel it."""
        timer = self._loop.timer(delay)

        def cancel() -> None:
            timer.stop()
            timer.close()

        def run() -> None:
            cancel()
            function()

        timer.start(run)
        return cancel

    def on_readable(self, sock: Any, callback: Callable[..., Any]) -> Callable[[], None]:
        """Call `callback` in the hub whenever there is something to read. Returns how to stop."""
        watcher = self._loop.io(sock.fileno(), READ)

        def stop() -> None:
            watcher.stop()
            watcher.close()

        watcher.start(callback)
        return stop

    def on_writable(self, sock: Any, callback: Callable[[], Any]) -> Callable[[], None]:
        """Call `callback` in the hub once writing is possible. Returns how to cancel it."""
        watcher = self._loop.io(sock.fileno(), WRITE)

        def cancel() -> None:
            watcher.stop()
            watcher.close()

        def run() -> None:
            cancel()
            callback()

        watcher.start(run)
        return cancel


def fits(sock: Any) -> bool:
    """Tell whether gevent can wait on a server's socket, or here at all if there is none."""
    if sock is None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        return isinstance(getcurrent().parent, gevent.hub.Hub) or in_main_thread
    return isinstance(sock, gevent.socket.socket)


driver = Driver(
    thread=Thread,
    queue=gevent.queue.JoinableQueue,
    queue_empty=gevent.queue.Empty,
    event=gevent.event.Event,
    sleep=gevent.sleep,
    websocket=GreenWebSocket,
    lock=gevent.monkey.get_original("_thread", "allocate_lock"),
    loop=GeventLoop,
    connection=find,
    fits=fits,
    server_name=server_name,
    server_stops=server_stops,
    at_exit=atexit.register,
)
_async = driver.primitives()
