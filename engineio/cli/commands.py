"""The command line: what there is to type, and what it calls."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import engineio
from engineio.cli.bench import Load, Results, bench
from engineio.cli.connect import connect
from engineio.cli.output import Output
from engineio.cli.ping import ping
from engineio.cli.serve import Echo
from engineio.cli.session import (
    EXIT_STATUS_HELP,
    Failure,
    Status,
    forget_stdout,
    make_target,
    run,
    seconds,
    target_options,
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs, an object in a line."
)


@click.group(epilog=EXIT_STATUS_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    engineio.__version__, "-V", "--version", message="python-engineio %(version)s"
)
def engineio_command() -> None:
    """Talk to Engine.IO servers, measure them, and run one to try things with."""


@engineio_command.command("connect", epilog=EXIT_STATUS_HELP)
@target_options
@click.option(
    "--wait",
    type=float,
    callback=seconds(zero=True, endless=True),
    default=1.0,
    show_default=True,
    help="At the end of piped input, wait for answers until so many seconds pass without any; "
    "'inf' stays until the server ends the connection.",
)
@click.option(
    *("-n", "--count", "limit"), type=click.IntRange(1), help="End after so many messages."
)
@json_option
def connect_command(wait: float, limit: int | None, as_json: bool, **options: Any) -> Status:
    """Send lines of input as messages, and print the messages that come.

    A line is a text message, and JSON if it is JSON.  @FILE sends the content of a file as a binary
    message; @@ at the beginning sends a line that begins with @.
    """
    return run(connect(make_target(options), wait, limit, Output(as_json)))


@engineio_command.command("ping", epilog=EXIT_STATUS_HELP)
@target_options
@click.option(*("-c", "--count"), type=click.IntRange(1), help="End after so many pings.")
@click.option(
    *("-i", "--interval"),
    type=float,
    callback=seconds(zero=True),
    default=1.0,
    show_default=True,
    help="Seconds from one ping to the next.",
)
@click.option(
    "--handshake",
    is_flag=True,
    help="Open a session for each ping and measure that, which every server allows.",
)
@json_option
def ping_command(
    count: int | None, interval: float, handshake: bool, as_json: bool, **options: Any
) -> Status:
    """Measure how long messages take there and back, until Ctrl-C.

    The server has to send back what it gets, or "pong", as `engineio serve` and the examples do.
    """
    return run(ping(make_target(options), count, interval, handshake, Output(as_json)))


@engineio_command.command("serve", epilog=EXIT_STATUS_HELP)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 for all.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="The port; 0 for any that is free.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A web page's origin that may connect, '*' for all; can be repeated.  By default only "
    "the page that this server has.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log what the server does.")
@json_option
def serve_command(
    host: str, port: int, origins: tuple[str, ...], verbose: bool, as_json: bool
) -> Status:
    """Run a server that sends back what it gets, and has a page to try it with."""
    return Echo(origins, verbose, Output(as_json)).run(host, port)


@engineio_command.command("bench", epilog=EXIT_STATUS_HELP)
@target_options
@click.option(
    *("-n", "--clients"),
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="How many clients connect.",
)
@click.option(
    *("-d", "--duration"),
    type=float,
    callback=seconds(),
    default=5.0,
    show_default=True,
    help="For how many seconds they send.",
)
@click.option(
    "--size",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    help="Characters in a message.",
)
@click.option(
    "--in-flight",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Messages of a client that are on their way at the same time.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the latencies into a file, .png or .svg; needs matplotlib.",
)
@json_option
def bench_command(
    clients: int,
    duration: float,
    size: int,
    in_flight: int,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> Status:
    """Put load on a server that sends back what it gets, and show latencies."""
    target = make_target(options)
    title = f"{target.url}, {clients} clients over {target.transports[-1]}"
    save_plot = None if plot is None else plotter(plot, title)
    load = Load(clients, duration, size, in_flight)
    return run(bench(target, load, Output(as_json), save_plot))


def plotter(path: Path, title: str) -> Callable[[Results], None]:
    """Return what draws the results into a file.

    Raises `Failure` if that can't work, before anything has been measured.
    """
    try:
        plot = import_module("engineio.cli.plot")
    except ModuleNotFoundError as error:
        advice = f"--plot needs {error.name}: pip install matplotlib"
        raise Failure(Status.FAILED, advice) from error
    if not plot.can_write(path):
        raise Failure(Status.FAILED, f"--plot: not a picture's name: {path}")

    def save(results: Results) -> None:
        try:
            plot.save(path, title, results.times, results.latencies)
        except OSError as error:
            raise Failure(Status.FAILED, f"cannot write {path}: {error.strerror}") from error

    return save


def main() -> int:
    """Run the command line.  Returns the exit status."""
    # A stream that was closed by who started this is None.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Better \u20ac than an exception, where a terminal or a locale has few characters.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = engineio_command.main(prog_name="engineio", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Failure as failure:
        click.echo(f"Error: {failure.message}", err=True)
        return failure.status
    except (engineio.exceptions.DriverError, OSError) as error:  # nothing installed, a full disk
        forget_stdout()
        click.echo(f"Error: {error}", err=True)
        return Status.FAILED
    except (click.Abort, KeyboardInterrupt):
        return Status.INTERRUPTED
    return int(status or 0)
