"""`engineio connect`: what is typed or piped in is sent, what arrives is printed.

stdin --thread--> lines ┐
                        ├─> one queue ──> the command's task: sends and prints, in order
client ---> its events  ┘
"""

import asyncio
import base64
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from engineio.cli.output import Output, in_ms, milliseconds
from engineio.cli.session import Failure, Link, Status, Target, is_interactive

READ_SIZE = 65536  # bytes
# How far reading may be ahead of sending.
LINES_AHEAD = 100


class Input:
    """Reads stdin in a thread of its own, line by line.

    `put` is called in the event loop with ("line", bytes) for each and ("end", None).
    """

    def __init__(self, events: "asyncio.Queue[tuple[str, Any]]") -> None:
        self._loop = asyncio.get_running_loop()
        self._events = events
        self._ahead = threading.Semaphore(LINES_AHEAD)

    def start(self) -> None:
        """Begin to read.  The thread is a daemon: nothing can wake it while a person thinks."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def taken(self) -> None:
        """Say that a line has been dealt with."""
        self._ahead.release()

    def _read(self) -> None:
        rest = b""
        while chunk := self._chunk():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._put("line", line)
        if rest:
            self._put("line", rest)
        self._put("end", None)

    @staticmethod
    def _chunk() -> bytes:
        if sys.stdin is None:  # closed by who started this
            return b""
        try:
            # Not through sys.stdin: a thread that holds its lock at exit is a fatal error.
            return os.read(sys.stdin.fileno(), READ_SIZE)
        except OSError:  # a terminal that has been closed
            return b""

    def _put(self, kind: str, value: bytes | None) -> None:
        self._ahead.acquire()
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, (kind, value))
        except RuntimeError:  # the loop has ended
            return


def parse_line(line: bytes) -> str | bytes:
    """Return the message that a line of input asks for.

    `@file` is the content of that file, `@@text` is "@text", every other line is itself.  Raises
    `Failure` for a file that can't be read and for what is not UTF-8.
    """
    try:
        text = line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise Failure(Status.FAILED, f"input is not UTF-8 ({error}); use @file for it") from error
    if text.startswith("@@"):
        return text[1:]
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Failure(Status.FAILED, f"cannot read {text[1:]!r}: {reason}") from error


class Conversation:
    """One run of the command."""

    def __init__(self, target: Target, wait: float, limit: int | None, output: Output) -> None:
        self.wait = wait
        self.limit = limit
        self.output = output
        self.link = Link(target)
        self.is_interactive = is_interactive()
        self.transport = ""
        self.received = 0
        self.sent_at: float | None = None
        self.ends_at: float | None = None  # when the end of the input is the end of all

    async def run(self) -> Status:
        """Connect, talk, disconnect.  Raises `Failure`."""
        link = self.link
        try:
            await link.open()
            self._opened()
            lines = Input(link.events)
            lines.start()
            while not self._is_over():
                kind, value = await self._next()
                if kind == "line":
                    lines.taken()
                    await self._send(value)
                elif kind == "message":
                    self._print(*value)
                elif kind == "end":
                    self.ends_at = time.perf_counter() + (0 if self.is_interactive else self.wait)
                elif kind == "close":
                    return self._closed(value)
        finally:
            await link.close()
        self._closed("client disconnect")
        return Status.OK

    def _opened(self) -> None:
        link = self.link
        _, first = link.events.get_nowait()
        took = milliseconds(link.opening)
        self.output.event("open", sid=link.client.sid, transport=first, ms=in_ms(link.opening))
        self.output.note(f"connected over {first} in {took}, session {link.client.sid}")
        self.transport = first
        self._look_at_transport()
        if self.is_interactive:
            self.output.note("Lines are sent, @FILE sends a file, Ctrl-D ends.")

    def _look_at_transport(self) -> None:
        transport = self.link.transport
        if transport != self.transport and transport in ("polling", "websocket"):
            self.transport = transport
            self.output.event("upgrade", transport=transport, ms=in_ms(self.link.age))
            self.output.note(f"upgraded to {transport} after {milliseconds(self.link.age)}")

    def _is_over(self) -> bool:
        if self.limit is not None and self.received >= self.limit:
            return True
        return self.ends_at is not None and time.perf_counter() >= self.ends_at

    async def _next(self) -> tuple[str, Any]:
        get = self.link.events.get()
        if self.ends_at is None or self.ends_at == float("inf"):
            event = await get
        else:
            try:
                event = await asyncio.wait_for(get, max(0.0, self.ends_at - time.perf_counter()))
            except asyncio.TimeoutError:
                event = ("silence", None)
        self._look_at_transport()
        return event

    async def _send(self, line: bytes) -> None:
        try:
            message = parse_line(line)
        except Failure as failure:
            if not self.is_interactive:
                raise
            self.output.note(failure.message)
            return
        self.sent_at = time.perf_counter()
        await self.link.client.send(message)

    def _print(self, data: str | bytes, at: float) -> None:
        self.received += 1
        if self.ends_at is not None:
            self.ends_at = time.perf_counter() + self.wait
        # From the last line to its first answer.
        took, self.sent_at = None if self.sent_at is None else at - self.sent_at, None
        if self.output.as_json:
            field = {"text": data} if isinstance(data, str) else _base64(data)
            self.output.event("message", **field, ms=in_ms(took))
            return
        self.output.data(data)
        if took is not None and self.is_interactive:
            self.output.note(f"round trip {milliseconds(took)} over {self.transport}")

    def _closed(self, reason: str) -> Status:
        self.output.event("close", reason=reason)
        self.output.note(f"disconnected: {reason}")
        is_done = self.ends_at is not None and reason == "server disconnect"
        return Status.OK if is_done else Status.LOST


def _base64(data: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode("ascii")}


async def connect(target: Target, wait: float, limit: int | None, output: Output) -> Status:
    """Send lines and print messages until either side has enough."""
    return await Conversation(target, wait, limit, output).run()
