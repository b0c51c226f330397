"""What the commands print: data to stdout, notes about it to stderr.

A terminal never gets a control character that came from a server: it could move the cursor, change
the title or fake a line.  A pipe gets data as it came.
"""

import json
import logging
import sys
import threading
from typing import Any

import click


def printable(text: str, keep: str = "") -> str:
    r"""Return `text` with what a terminal would act on or hide as \x1b, \u202e and so on.

    `keep`: characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


class Output:
    """Where a command prints, from any thread.

    as_json: events go to stdout as JSON, one in a line, and notes are left out.

    Every method that writes to stdout raises BrokenPipeError when nobody reads it any more.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.is_terminal = sys.stdout.isatty()
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Tell a person something, in one line on stderr."""
        if not self.as_json:
            with self._lock:
                click.secho(printable(text), err=True, dim=True)

    def event(self, kind: str, **fields: Any) -> None:
        """Write an event for a program, if one is listening."""
        if self.as_json:
            self.line(json.dumps({"type": kind, **fields}))

    def line(self, text: str) -> None:
        """Write text of our own and a line end to stdout."""
        self._write(text + "\n")

    def data(self, data: str | bytes) -> None:
        """Write a received message to stdout.

        A terminal gets it readable.  A pipe gets text as it came, and a line end; and bytes as they
        came, with nothing between them, so that they make up a file.
        """
        if isinstance(data, bytes) and not self.is_terminal:
            with self._lock:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        elif isinstance(data, bytes):
            dots = "..." if len(data) > 16 else ""
            self._write(f"<{len(data):,} bytes: {data[:16].hex(' ')}{dots}>\n")
        elif self.is_terminal:
            self._write(printable(data, keep="\n\t") + "\n")
        else:
            self._write(data + "\n")

    def _write(self, text: str) -> None:
        with self._lock:
            sys.stdout.write(text)
            sys.stdout.flush()


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


def make_logger(verbose: bool) -> logging.Logger:
    """Return the logger for clients and servers: silent unless `verbose`, then to stderr."""
    logger = logging.getLogger("engineio.cli")
    logger.propagate = False
    handler: logging.Handler = logging.NullHandler()
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.CRITICAL)
    return logger


def milliseconds(seconds: float) -> str:
    """Return a time for people, with three digits that count: '0.042 ms', '1.23 ms', '1,230 ms'."""
    value = seconds * 1000
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} ms"


def in_ms(seconds: float | None) -> float | None:
    """Return a time for JSON: milliseconds, to the microsecond."""
    return None if seconds is None else round(seconds * 1000, 3)
