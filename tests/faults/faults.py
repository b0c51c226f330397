"""What is done to servers and clients: packets dropped, clocks moved, processes frozen or killed.

All of it works without privileges, on any Linux.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import rigs
import wire

HERE = Path(__file__).parent
HOUR = 3600
IS_FULL = os.environ.get("FAULTS") == "full"
STOPPED = 60.0 if IS_FULL else 0.8  # seconds that a process stands still


# Packets


SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
_RETURN = 0x06  # the instruction BPF_RET | BPF_K: how many bytes of the packet are let through
_drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
_program = struct.pack("HP", 1, ctypes.addressof(_drop_all))


def deafen(sock: socket.socket) -> None:
    """Have the kernel drop every packet that comes for a socket, before TCP sees it.

    The peer's data is not acknowledged and its handshakes are not answered, as if the cable had
    been pulled out.  What a packet filter in a network namespace does, without being root.
    """
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, _program)


class Cable:
    """A port that leads to another one, until it is cut: then nothing gets through any more.

    Neither side sees an end: its packets are dropped, and nothing comes.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Cable":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_cut = True
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
            for sock in self._ends:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)
                    # A reset, since a FIN waits for acknowledgements, which are dropped.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for sock in (self._listener, *self._ends):
                sock.close()

    def cut(self) -> None:
        """Drop everything from now on, new connections too."""
        with self._lock:
            self._is_cut = True
            for sock in (self._listener, *self._ends):
                # Those that ended before are closed.
                with contextlib.suppress(OSError):
                    deafen(sock)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    ends[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    if self._is_cut:
                        return
                    target.sendall(data)
        with self._lock, contextlib.suppress(OSError):
            if not self._is_cut:
                target.shutdown(socket.SHUT_WR)


# Clocks


class Clock:
    """The wall clock of the processes that are started inside of `applied`."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("needs a C compiler")
        self._library = folder / "clock.so"
        self._file = folder / "clock"
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(self._library)]
        subprocess.run([*command, str(HERE / "clock.c"), "-ldl"], check=True)
        self.move(0)

    def move(self, seconds: int) -> None:
        """Set the clock to that many seconds after the true time."""
        with open(self._file, "r+b" if self._file.exists() else "wb") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(self._library))
            patch.setenv("FAULTS_CLOCK", str(self._file))
            yield


# Processes


def workers(rig: rigs.Rig) -> list[psutil.Process]:
    """The processes of a server that serve requests: its children, or itself if it has none."""
    process = psutil.Process(rig.pid)
    return process.children(recursive=True) or [process]


@contextlib.contextmanager
def frozen(group: int) -> Iterator[None]:
    """Stop the processes of a group as if the machine had gone to sleep, and wake them again."""
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


# A client that answers


class Talker:
    """A WebSocket whose pings are answered by a thread, as long as the `with` block lasts."""

    def __init__(self, websocket: wire.EngineWebSocket) -> None:
        self.websocket = websocket
        self.sid = websocket.sid
        self.messages: list[str] = []
        self.pings: list[float] = []  # when they came
        self.is_over = False
        websocket.sock.settimeout(None)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Talker":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the server was first
            self.websocket.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.websocket.close()

    def send(self, *messages: str) -> None:
        with self._lock:
            self.websocket.send_text(*("4" + message for message in messages))

    def echo(self, *messages: str) -> None:
        """Send messages and wait for their echoes, which must come in order."""
        before = len(self.messages)
        self.send(*messages)
        rigs.until(lambda: self.is_over or len(self.messages) >= before + len(messages))
        assert self.messages[before:] == list(messages)

    def wait(self, message: str) -> None:
        rigs.until(lambda: message in self.messages)

    def wait_pings(self, count: int) -> None:
        """Wait until as many pings have come in all."""
        rigs.until(lambda: len(self.pings) >= count)

    def _read(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while (frame := self.websocket.read_frame()).opcode == wire.TEXT:
                packet = frame.payload.decode()
                if packet == "2":
                    self.pings.append(time.monotonic())
                    with self._lock:
                        self.websocket.send_text("3")
                elif packet[0] == "4":
                    self.messages.append(packet[1:])
        self.is_over = True
