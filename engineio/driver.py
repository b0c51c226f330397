"""What a driver must supply, and how one is chosen and loaded.

A driver fits the server to one concurrency library. Its module under `engineio.async_drivers` is
imported by name only, so that `import engineio` needs none of those libraries.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from engineio.exceptions import DriverError

SYNC_MODES = ["eventlet", "gevent_uwsgi", "gevent", "threading"]
ASYNC_MODES = ["aiohttp", "sanic", "tornado", "asgi"]

PACKAGES = {
    "eventlet": "pip install 'python-engineio[eventlet]'",
    "gevent": "pip install 'python-engineio[gevent]'",
    "aiohttp": "pip install aiohttp",
    "sanic": "pip install sanic",
    "tornado": "pip install tornado",
    "gevent_uwsgi": "run under uWSGI with --gevent, and pip install 'python-engineio[gevent]'",
}


# The clients, which `import engineio` does not load either.
CLIENT_MODULES = {"Client": "client", "AsyncClient": "async_client"}


class Stream(Protocol):
    """A TCP connection that has been handed over: bytes in and out.

    One thread or greenlet reads at a time. Any may write, and writing never waits.
    """

    size: int
    """Bytes written and not yet passed to the operating system."""

    def read(self, size: int) -> bytes:
        """Wait for bytes, at most `size`; b'' at the end or after `abort`."""

    def push(self, data: bytes) -> None:
        """Write soon, in one piece with whatever else is pushed until then."""

    def push_control(self, data: bytes, is_last: bool) -> None:
        """Write a control frame as `push` does; behind the last one nothing else is written.

        Whoever wants to send a message at that moment, in another thread, need not know of it.
        """

    def flush(self) -> None:
        """Write now as much as goes without waiting; the rest follows by itself."""

    def hold(self) -> None:
        """Let pushed bytes gather until `release` or `flush`, if pushing would write at once."""

    def release(self) -> None:
        """End `hold`: the next push writes everything."""

    def end(self) -> None:
        """Tell the peer that nothing more will be written, where that is possible."""

    def abort(self) -> None:
        """End the connection in both directions and wake the reader."""

    def finish(self) -> None:
        """Give the socket back to its server; nothing may be called afterwards."""

    def disown(self) -> None:
        """Leave the connection to the parent process, in one that was forked."""


class Waiter(Protocol):
    """What one thread or greenlet waits for once; lighter than an event."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait for `wake`, at most `timeout` seconds."""

    def wake(self) -> None:
        """End the wait, also one that has not begun. To be called once."""


class Worker(Protocol):
    """Something whose handlers run in a loop's care: a client's socket.

    The loop watches it between `enter` and `leave`; see `Loop.enter`.
    """

    progress: int
    """Grows with every handler that is started."""

    dispatcher: int
    """The entry that runs handlers now, 0 if none does."""

    def overtake(self, entry: int) -> None:
        """Go on without the handler that `entry` is stuck in, if it still is."""


class Loop(Protocol):
    """What the shells need beside the primitives that applications reach.

    One object for each event loop (or, with threads, each server).
    """

    def spawn(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function soon, in a thread or greenlet of its own."""

    def waiter(self) -> Waiter:
        """Return something to wait for once."""

    def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
        """Run a function that does not wait after `delay` seconds. Returns how to cancel it."""

    def enter(self, worker: Worker, entry: int) -> None:
        """Note that `worker` is about to run handlers.

        If one of them blocks, the loop calls `worker.overtake(entry)`.
        """

    def leave(self, worker: Worker, entry: int) -> None:
        """Note that the handlers of `entry` have returned."""

    def watch(self, sock: Any, on_hangup: Callable[[], Any]) -> Callable[[], None]:
        """Call `on_hangup`, which must not wait, if the peer goes away. Returns how to stop."""

    def may_wait(self) -> bool:
        """Tell whether the caller may wait: anything but the loop itself may."""

    def stop(self) -> None:
        """End the threads that belong to this loop."""


class Driver(NamedTuple):
    """One async mode.

    The first six are what applications reach through `create_queue()` and its relatives.
    """

    thread: Callable[..., Any]
    queue: Callable[..., Any]
    queue_empty: type[Exception]
    event: Callable[..., Any]
    sleep: Callable[[float], Any]
    websocket: Callable[..., Any]
    lock: Callable[[], AbstractContextManager[Any]]
    loop: Callable[[], Loop]
    connection: Callable[[dict[str, Any]], Any]
    """The connection of a request, or None where it can't be reached."""
    fits: Callable[[Any], bool]
    """Whether this mode can wait on a server's socket (None: one that can't be reached)."""
    server_name: Callable[[dict[str, Any]], str]
    """The name of the WSGI server of a request, for people."""
    server_stops: Callable[[], Callable[[], bool] | None]
    """What tells whether the WSGI server has begun to stop, or None if nothing can."""
    at_exit: Callable[[Callable[[], Any]], Any]
    """Have a function called when the process exits, before threads are waited for."""

    def primitives(self) -> dict[str, Any]:
        """Return what python-engineio's drivers published as their `_async` dictionary."""
        names = ("thread", "queue", "queue_empty", "event", "sleep", "websocket")
        return {name: getattr(self, name) for name in names}


class AsyncLoop(Protocol):
    """What the asyncio shells need of the event loop; see `Loop` for what has the same name."""

    @property
    def is_running(self) -> bool:
        """Whether this is the event loop that runs."""

    def spawn(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a coroutine function soon, in a task of its own, which is returned."""

    def spawn_apart(self, function: Callable[..., Any], *args: Any) -> Any:
        """Do as `spawn` in a context that is no client's."""

    async def finish(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a coroutine function to its end even if the caller is cancelled meanwhile."""

    def call_later(self, delay: float, function: Callable[[], Any]) -> Callable[[], None]:
        """Run a function that does not wait after `delay` seconds. Returns how to cancel it."""

    def waiter(self) -> Any:
        """Return something to wait for once, with `wake` and a coroutine `wait`."""

    def current_task(self) -> Any:
        """Return the task that runs."""

    def is_cancelled(self) -> bool:
        """Tell whether somebody has cancelled the task that runs."""

    def enter(self, worker: Worker, entry: int) -> None:
        """Note that `worker` is about to run handlers."""

    async def stop(self) -> None:
        """End the tasks that belong to this loop, except the one that runs."""


class AsyncDriver(NamedTuple):
    """One async mode of `AsyncServer`."""

    translate_request: Callable[..., Any]
    """The environ of a request, from what the web framework gives to its handlers."""
    make_response: Callable[[str, list[tuple[str, str]], bytes, dict[str, Any]], Any]
    """The framework's response, from a status line, headers, body and environ."""
    websocket: Callable[..., Any]
    create_route: Callable[[Any, Any, str], None] | None
    """What `attach` does with an application, the server and a path, or None."""
    connection: Callable[[dict[str, Any]], Any]
    """What can wait for the end of a request's connection, or None."""
    queue: Callable[..., Any]
    queue_empty: type[Exception]
    event: Callable[..., Any]
    sleep: Callable[[float], Any]
    lock: Callable[[], AbstractContextManager[Any]]
    loop: Callable[[Callable[[float], Any]], AsyncLoop]
    """The event loop that runs; it is given what to call when it was held up, with the seconds."""
    alarm: Callable[[AsyncLoop], Any]
    """An event whose `wait` takes a timeout."""
    create_handler: Callable[[Any], Any] | None = None
    """Return the request handler class for a server, where that is what a framework wants."""
    server_stops: Callable[[], Callable[[], bool] | None] = lambda: None
    """What tells whether the server has begun to stop, or None if nothing can."""

    def primitives(self) -> dict[str, Any]:
        """Return what python-engineio's drivers published as their `_async` dictionary."""
        names = ["translate_request", "make_response", "websocket"]
        if self.create_route is not None:
            names.append("create_route")
        return {"asyncio": True, **{name: getattr(self, name) for name in names}}


def load(mode: str) -> Any:
    """Return the `Driver` or `AsyncDriver` of a mode.

    Raises `DriverError` with what to install if it can't be imported.
    """
    try:
        module = import_module(f"engineio.async_drivers.{mode}")
    except ImportError as error:
        advice = PACKAGES.get(mode, "check the installation")
        raise DriverError(f"async_mode {mode!r} needs {error.name or error}: {advice}") from error
    return module.driver


def load_client_module(name: str) -> Any:
    """Return a module of `CLIENT_MODULES`. Raises `ImportError` if there is none."""
    return import_module(f"engineio.{name}")


def running_mode() -> str | None:
    """Return the mode this process has already been set up for, or None.

    Inside uWSGI that is uWSGI's own loop; otherwise the library that patched the standard one.
    """
    if "uwsgi" in sys.modules or _is_uwsgi():
        return "gevent_uwsgi" if _uwsgi_has_gevent() else "threading"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return "eventlet"
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return "gevent"
    return None


def _is_uwsgi() -> bool:
    # The module exists only inside a running uWSGI.
    try:
        import_module("uwsgi")
    except ImportError:
        return False
    return True


def _uwsgi_has_gevent() -> bool:
    options = getattr(sys.modules.get("uwsgi"), "opt", {})
    return "gevent" in options or b"gevent" in options


def choose(mode: str | None, modes: Iterable[str]) -> tuple[str, Any]:
    """Load the driver of `mode`, or with None the first of `modes` that this process offers.

    Raises `ValueError` for a mode that is not among `modes`, `DriverError` for one whose
    packages are missing.
    """
    modes = list(modes)
    if mode is not None:
        if mode not in modes:
            raise ValueError("Invalid async_mode specified")
        return mode, load(mode)
    running = running_mode()
    if running in modes:
        return running, load(running)
    for candidate in modes:
        try:
            return candidate, load(candidate)
        except DriverError:
            continue
    raise ValueError("Invalid async_mode specified")
