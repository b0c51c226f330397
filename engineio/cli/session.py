"""What connect, ping and bench share: options, a client, and how a command ends."""

import asyncio
import contextlib
import enum
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

import engineio
from engineio.cli import verbatim
from engineio.cli.output import make_logger, printable

Command = TypeVar("Command", bound=Callable[..., Any])

TRANSPORTS = ("polling", "websocket")


class Status(enum.IntEnum):
    """Exit statuses of all commands; docs/command-line.md has the same table."""

    OK = 0
    FAILED = 1
    USAGE = 2  # click's own
    NOT_CONNECTED = 3
    LOST = 4
    UNANSWERED = 5
    INTERRUPTED = 128 + 2  # as a shell says that SIGINT ended a program
    BROKEN_PIPE = 128 + 13


EXIT_STATUS_HELP = """\b
Exit status:
  0    it worked
  1    this side failed: a package is missing, a file or address can't be used
  2    wrong usage
  3    could not connect
  4    the connection was lost
  5    messages were not answered
  130  ended by Ctrl-C
"""


class Failure(Exception):  # noqa: N818 - it ends a command, and may be no error of ours
    """A message for stderr, in one line, and the exit status."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = printable(message)


class Lost(Failure):
    """The connection ended, with the client's reason for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(Status.LOST, f"connection lost: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Target:
    """A server, and how to connect to it."""

    url: str
    transports: tuple[str, ...]
    path: str
    headers: dict[str, str]
    insecure: bool
    timeout: float
    verbose: bool

    def client(self) -> "engineio.AsyncClient":
        """Return a client that logs for this target and gives text messages as they came."""
        return engineio.AsyncClient(
            logger=make_logger(self.verbose),
            json=verbatim,
            request_timeout=self.timeout,
            ssl_verify=not self.insecure,
            handle_sigint=False,
        )

    async def connect(
        self, client: "engineio.AsyncClient", transports: tuple[str, ...] = ()
    ) -> None:
        """Connect a client.  Raises `Failure` with what the server answered."""
        try:
            await client.connect(
                self.url,
                headers=dict(self.headers),
                transports=list(transports or self.transports),
                engineio_path=self.path,
            )
        except asyncio.TimeoutError as error:  # an OSError, from Python 3.11 on
            raise Failure(Status.NOT_CONNECTED, f"{self.url}: no answer in time") from error
        except (engineio.exceptions.ConnectionError, OSError, ValueError) as error:
            raise Failure(Status.NOT_CONNECTED, self.explain(error)) from error

    def explain(self, error: Exception) -> str:
        """Return why a connection failed, for people."""
        said = str(error.args[0]) if error.args else type(error).__name__
        body = error.args[1] if len(error.args) > 1 else None
        if isinstance(error, engineio.exceptions.ConnectionError) and body not in (None, said):
            said += f" ({body.get('message', body) if isinstance(body, dict) else body})"
        return f"cannot connect to {self.url}: {said}"

    async def disconnect(self, client: "engineio.AsyncClient") -> None:
        """Disconnect; a server that does not answer is given up after the time limit."""
        with contextlib.suppress(asyncio.TimeoutError, OSError):
            await asyncio.wait_for(client.disconnect(), self.timeout)


class Link:
    """A connected client whose events wait in one queue, for a command that handles them in order.

    Handlers of a client must not print: an error there is logged and the program goes on, but a
    pipe that nobody reads any more has to end it.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.client = target.client()
        self.client.on("connect", self._connected)
        self.client.on("message", self._received)
        self.client.on("disconnect", self._disconnected)
        self._began = 0.0
        self.opening = 0.0  # seconds that `open` took until there was a session

    @property
    def transport(self) -> str:
        """The transport in use."""
        return str(self.client.transport())

    async def open(self, transports: tuple[str, ...] = ()) -> None:
        """Connect, over the target's transports or these.  Raises `Failure`."""
        self._began = time.perf_counter()
        await self.target.connect(self.client, transports)

    @property
    def age(self) -> float:
        """Seconds since `open` was called."""
        return time.perf_counter() - self._began

    async def close(self) -> None:
        """Disconnect, after what was sent has left."""
        await self.target.disconnect(self.client)

    def _connected(self) -> None:
        self.opening = self.age
        self.events.put_nowait(("open", self.transport))

    def _received(self, data: Any) -> None:
        received = verbatim.as_received(data)
        self.events.put_nowait(("message", (received, time.perf_counter())))

    def _disconnected(self, reason: str) -> None:
        self.events.put_nowait(("close", reason))


def seconds(
    zero: bool = False, endless: bool = False
) -> Callable[[click.Context, click.Parameter, float], float]:
    """Return the check of an option: more than 0 seconds or, with `zero`, from 0 on.

    `endless` allows 'inf'.
    """

    def check(ctx: click.Context, param: click.Parameter, value: float) -> float:
        if value == math.inf and endless:
            return value
        if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
            raise click.BadParameter(f"{value} is not a number of seconds that fits here")
        return value

    return check


def _url(ctx: click.Context, param: click.Parameter, value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname)
        assert parts.port is None or valid  # noqa: S101 - reading it checks it
    except (ValueError, AssertionError):
        valid = False
    if not valid:
        raise click.BadParameter(f"{value!r} is not a URL like http://localhost:5000")
    return url


def _headers(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    headers = {}
    for value in values:
        name, colon, text = value.partition(":")
        if not colon or not name.strip() or not value.isprintable():
            raise click.BadParameter(f"{value!r} is not like 'Name: value'")
        headers[name.strip()] = text.strip()
    return headers


def target_options(command: Command) -> Command:
    """Add the argument URL and the options that say how to connect, which make a `Target`."""
    for decorate in reversed(
        (
            click.argument("url", callback=_url),
            click.option(
                *("-t", "--transport", "transports"),
                multiple=True,
                type=click.Choice(TRANSPORTS),
                help="A transport to use; can be repeated.  By default polling, and then an "
                "upgrade to WebSocket.",
            ),
            click.option(
                *("--path", "path"),
                default="engine.io",
                show_default=True,
                help="The path of the Engine.IO server (socket.io for a Socket.IO server).",
            ),
            click.option(
                *("-H", "--header", "headers"),
                multiple=True,
                callback=_headers,
                metavar="'NAME: VALUE'",
                help="A header for every request; can be repeated.",
            ),
            click.option(
                *("-k", "--insecure"),
                is_flag=True,
                help="Do not check the server's certificate.",
            ),
            click.option(
                "--timeout",
                type=float,
                callback=seconds(),
                default=5.0,
                show_default=True,
                help="Seconds to wait for an answer, to a request or a message.",
            ),
            click.option("-v", "--verbose", is_flag=True, help="Log what the client does."),
        )
    ):
        command = decorate(command)
    return command


def make_target(options: dict[str, Any]) -> Target:
    """Take what `target_options` added out of the options of a command."""
    names = ("url", "transports", "path", "headers", "insecure", "timeout", "verbose")
    given = {name: options.pop(name) for name in names}
    given["transports"] = given["transports"] or TRANSPORTS
    return Target(**given)


def run(work: Coroutine[Any, Any, Status]) -> Status:
    """Run a command to its end.

    Ctrl-C cancels its task, so that it can print what it has and disconnect.
    """

    async def main() -> Status:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        with contextlib.suppress(NotImplementedError):  # Windows: asyncio.run does the same
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except (asyncio.CancelledError, KeyboardInterrupt):
        return Status.INTERRUPTED
    except BrokenPipeError:  # of stdout; connections are the client's
        return forget_stdout()


def forget_stdout() -> Status:
    """Return how a command ends whose output nobody reads any more."""
    # What is still buffered would fail again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Status.BROKEN_PIPE


def is_interactive() -> bool:
    """Tell whether a person types the input."""
    return bool(sys.stdin) and sys.stdin.isatty()
