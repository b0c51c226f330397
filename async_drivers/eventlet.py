"""eventlet: `Server(async_mode="eventlet")`.

Works with and without monkey-patching, under eventlet.wsgi and gunicorn's eventlet worker (its
own up to 25, `engineio.gunicorn.EventletWorker` since).
"""

import atexit
import errno
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

from greenlet import getcurrent, greenlet

from engineio.driver import Driver

from ._green import GreenLoop, GreenWebSocket
from ._handover import (
    Environ,
    Handover,
    eventlet_protocol,
    find,
    native_socket,
    server_name,
    server_stops,
)

with warnings.catch_warnings():
    # eventlet says on import that it is in maintenance mode. Who uses it has been told when they
    # imported it themselves.
    warnings.filterwarnings("ignore", message=r"(?s).*[Ee]ventlet is deprecated")
    import eventlet
    import eventlet.green.ssl
    import eventlet.green.threading
    import eventlet.greenio
    import eventlet.hubs
    import eventlet.patcher
    import eventlet.queue


class Thread(eventlet.green.threading.Thread):  # type: ignore[misc]
    """`threading.Thread` on a green thread."""


def _ignore(*_: Any) -> None:
    pass


class EventletLoop(GreenLoop):
    """The eventlet hub of the thread that creates this."""

    def __init__(self) -> None:
        self._hub = hub = eventlet.hubs.get_hub()
        super().__init__(
            switch_to_hub=hub.switch,
            switch_quickly=lambda: hub.greenlet.switch(),  # noqa: PLW0108 - it may be replaced
            soon=partial(hub.schedule_call_global, 0),
        )

    def hub(self) -> greenlet:
        """Return the greenlet that the hub runs in."""
        running: greenlet = self._hub.greenlet
        return running

    def interrupted(self, frame: Any) -> None:
        """Have the hub look at what was scheduled, in a signal handler that interrupted `frame`."""
        # Its wait goes on where the signal came, however long that was to be (PEP 475). Hubs still
        # know what an interrupted system call is, and look at their timers then.
        if frame.f_code.co_name == "do_poll":
            raise InterruptedError(errno.EINTR, "interrupted by a signal")

    def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
        """Run a function in the hub after `delay` seconds. Returns how to cancel it."""
        cancel: Callable[[], None] = self._hub.schedule_call_global(delay, function).cancel
        return cancel

    def on_readable(self, sock: Any, callback: Callable[..., Any]) -> Callable[[], None]:
        """Call `callback` in the hub whenever there is something to read. Returns how to stop."""
        return self._listen(self._hub.READ, sock, callback)

    def on_writable(self, sock: Any, callback: Callable[[], Any]) -> Callable[[], None]:
        """Call `callback` in the hub once writing is possible. Returns how to cancel it."""

        def run(*_: Any) -> None:
            stop()
            callback()

        stop = self._listen(self._hub.WRITE, sock, run)
        return stop

    def _listen(self, event: str, sock: Any, callback: Callable[..., Any]) -> Callable[[], None]:
        hub = self._hub
        listener = hub.add(event, sock.fileno(), callback, callback, _ignore)

        def stop() -> None:
            hub.remove(listener)
            # The hub may hold an event for it already, from the round it is in.
            listener.cb = listener.tb = _ignore

        return stop


def fits(sock: Any) -> bool:
    """Tell whether eventlet can wait on a server's socket, or here at all if there is none."""
    if sock is None:
        return (
            getcurrent().parent is not None or threading.current_thread() is threading.main_thread()
        )
    return isinstance(sock, _GREEN_SOCKETS)


_GREEN_SOCKETS = (eventlet.greenio.GreenSocket, eventlet.green.ssl.GreenSSLSocket)

# What handles each connection for eventlet.wsgi; one of them is enough to see the server stop.
_protocols: WeakSet[Any] = WeakSet()


def connection(environ: Environ) -> Handover | None:
    """Return the connection of a request."""
    protocol = eventlet_protocol(environ)
    if protocol is not None:
        _protocols.add(protocol)
    return find(environ)


def stops() -> Callable[[], bool]:
    """Return what tells whether the WSGI server has begun to stop."""
    return server_stops() or _wsgi_stops


def _wsgi_stops() -> bool:
    # A connection that has ended has the same state, and may be here still: applications keep
    # environs. The file descriptor tells nothing, since the server leaves readers of it open.
    for protocol in _protocols:
        _, sock, state = protocol.conn_state
        if not native_socket(sock)._closed:
            return bool(state == "close")
    return False


driver = Driver(
    thread=Thread,
    queue=eventlet.queue.Queue,
    queue_empty=eventlet.queue.Empty,
    event=eventlet.green.threading.Event,
    sleep=eventlet.sleep,
    websocket=GreenWebSocket,
    lock=eventlet.patcher.original("_thread").allocate_lock,
    loop=EventletLoop,
    connection=connection,
    fits=fits,
    server_name=server_name,
    server_stops=stops,
    at_exit=atexit.register,
)
_async = driver.primitives()
