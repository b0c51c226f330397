"""What the cases are played against: servers and clients, ours and those that prove the cases."""

import base64
import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import rigs
import wire
from conformance import play
from conformance.cases import Case
from conformance.play import EARLY, FAIL, LAX, PASS, Agreement, Peer, Record, Result, Wrong

HERE = Path(__file__).parent
OPENING = '0{"sid":"conformance","upgrades":[],"pingInterval":60000,"pingTimeout":60000}'
START_TIMEOUT = 60.0  # seconds

# What each needs: a program and its first argument.
PROGRAMS = {
    "websockets": ("reference_echo.py", "websockets"),
    "wsproto": ("reference_echo.py", "wsproto"),
    "ws": ("websocket_echo.mjs", "server"),
    "Client": ("client_echo.py", "threads"),
    "AsyncClient": ("client_echo.py", "asyncio"),
    "AsyncClient, compress": ("client_echo.py", "asyncio-compress"),
    "websockets client": ("client_echo.py", "websockets"),
    "ws client": ("websocket_echo.mjs", "client"),
}
REFERENCES = ("websockets", "wsproto", "ws")
OUR_CLIENTS = ("Client", "AsyncClient", "AsyncClient, compress")
CLIENTS = (*OUR_CLIENTS, "websockets client", "ws client")


class Target:
    """Something at the other end."""

    is_server = True
    # What is lax will not do.
    is_strict = False
    speaks_engineio = False
    compresses = True

    def __init__(self, name: str) -> None:
        self.name = name

    def applies(self, case: Case) -> bool:
        """Whether a case says something about it."""
        return not (case.any_text and self.speaks_engineio)

    def play(self, case: Case, way: str) -> Result:
        raise NotImplementedError

    def try_case(self, case: Case, way: str) -> Result:
        """Play a case, and say what came of it; known deviations of references are lax."""
        reason = case.explained.get(self.name)
        result = self.play(case, way)
        if reason and result.grade == FAIL:
            return Result(LAX, reason)
        # In pieces, the violation may come while the answer is on its way.
        may_be_early = result.note == EARLY and way != "whole"
        if self.is_strict and result.grade == LAX and not may_be_early:
            return Result(FAIL, result.note)
        return result

    def patience(self, case: Case) -> float:
        return play.IMPATIENCE if self.name in case.explained else play.PATIENCE


class ServerTarget(Target):
    """A server."""

    def address(self, case: Case) -> tuple[wire.Address, str]:
        """Where the case is played."""
        raise NotImplementedError

    def applies(self, case: Case) -> bool:
        if case.answer is not None and case.offer is None:
            return False
        return super().applies(case) and (self.compresses or case.family not in ("10", "11"))

    def play(self, case: Case, way: str) -> Result:
        headers = wire.websocket_headers()
        if case.offer is not None:
            headers["Sec-WebSocket-Extensions"] = case.offer
        address, target = self.address(case)
        sock = socket.create_connection(address, play.PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock, masks=True)
        try:
            sock.sendall(wire.request_bytes("GET", target, headers))
            head = read_head(peer)
            status, fields = head[0], head[1]
            answer = fields.get("sec-websocket-extensions")
            note = self._negotiate(case, peer, status, answer)
        except (Wrong, EOFError, OSError) as error:
            peer.end()
            return Result(FAIL, f"handshake: {error!r}")
        if "101" not in status:
            peer.end()
            return Result(LAX if note else PASS, note)
        if self.speaks_engineio:
            opening = Record(peer)
            while not opening.messages:
                opening.take()
        result = play.play(case, peer, way, True, self.patience(case))
        return Result(LAX, note) if result.grade == PASS and note else result

    def _negotiate(self, case: Case, peer: Peer, status: str, answer: str | None) -> str:
        """Take what the server answers; returns what is lax about it."""
        if " 101 " not in status + " ":
            if case.offer is None or " 400 " not in status + " ":
                raise Wrong(f"answers {status!r}")
            return "refuses the handshake" if case.negotiation == "accepted" else ""
        if answer is None:
            return "declines" if case.offer and case.negotiation == "accepted" else ""
        if case.offer is None or case.negotiation == "declined":
            raise Wrong(f"accepts with {answer!r}")
        peer.agreement = play.check_answer(answer, case.offer)
        return ""


class OurServer(ServerTarget):
    """One of our servers, in a rig."""

    speaks_engineio = True

    def __init__(self, rig: rigs.Rig, compresses: bool) -> None:
        super().__init__(rig.spec.name)
        self.rig = rig
        self.compresses = compresses
        self.is_strict = rig.spec.own_frames

    def address(self, case: Case) -> tuple[wire.Address, str]:
        name = "deflate" if case.family in ("10", "11") else "engine.io"
        endpoint = self.rig.server(name).endpoint
        return endpoint.address, endpoint.target(wire.websocket_query())


class Reference(ServerTarget):
    """An echo that is not ours."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        port = rigs.free_port()
        self._address = ("127.0.0.1", port)
        self._process = start_program(name, port)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(self._address, 1).close()
                return
            assert self._process.poll() is None, f"{name} has ended"
            assert time.monotonic() < deadline, f"{name} does not start"
            time.sleep(0.05)

    def address(self, case: Case) -> tuple[wire.Address, str]:
        return self._address, "/"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class ClientTarget(Target):
    """A client in a process of its own, which connects to us over and over."""

    is_server = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_strict = self.speaks_engineio = name in OUR_CLIENTS
        self.compresses = name not in ("Client", "AsyncClient")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(START_TIMEOUT)
        self._process = start_program(name, self._listener.getsockname()[1])

    def applies(self, case: Case) -> bool:
        if case.negotiation == "refused":
            return True
        if case.family in ("10", "11") and not (case.answer and self.compresses):
            return False
        return super().applies(case)

    def play(self, case: Case, way: str) -> Result:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(play.PATIENCE)
        peer = Peer(sock, masks=False)
        try:
            fields = read_head(peer)[1]
            if case.answer and case.negotiation != "refused":
                if "sec-websocket-extensions" not in fields:
                    raise Wrong("offers no compression")
                peer.agreement = Agreement(play.parameters_of(case.answer))
            answer = switching(fields["sec-websocket-key"], case.answer)
            if self.speaks_engineio:
                answer += wire.frame(wire.TEXT, OPENING.encode(), mask=None)
            if case.negotiation == "refused":
                answer += wire.frame(wire.TEXT, b"4accepted", mask=None)
            sock.sendall(answer)
        except (Wrong, EOFError, OSError) as error:
            peer.end()
            return Result(FAIL, f"handshake: {error!r}")
        if case.negotiation == "refused":
            return play.expect_refusal(peer)
        return play.play(case, peer, way, False, self.patience(case))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.close()


def start_program(name: str, port: int) -> "subprocess.Popen[bytes]":
    """Start what PROGRAMS says."""
    program, argument = PROGRAMS[name]
    command = [sys.executable, str(HERE / program)]
    if program.endswith(".mjs"):
        command = ["node", str(HERE.parent / "javascript" / program)]
    return subprocess.Popen(
        [*command, argument, str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": ""},
    )


def read_head(peer: Peer) -> tuple[str, dict[str, str]]:
    """The first line of a request or an answer, and its headers."""
    head = peer.read_until(b"\r\n\r\n").decode("latin-1")
    first, *lines = head.split("\r\n")[:-2]
    pairs = [line.partition(":") for line in lines]
    return first, {name.lower(): value.strip() for name, _, value in pairs}


def switching(key: str, extensions: str | None) -> bytes:
    """A server's answer to a handshake."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
    ]
    if extensions:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    return "\r\n".join([*lines, "", ""]).encode()
