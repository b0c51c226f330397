"""Who owns which sid: the only place that knows the table of sessions.

Everything that names a client by its sid goes through here. A manager that shares clients between
processes replaces this one (`client_manager=`) and forwards what belongs to another process.
"""

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from engineio.packet import Packet


class Member(Protocol):
    """What the table keeps: a session that packets can be sent to."""

    sid: str

    def push(self, pkt: Packet) -> bool:
        """Send a packet, without waiting. Returns False if the client is gone."""


AnyMember = TypeVar("AnyMember", bound=Member)


class Manager(Generic[AnyMember]):
    """The clients of this process."""

    def __init__(self) -> None:
        self.sockets: dict[str, AnyMember] = {}
        self._leaving: dict[str, AnyMember] = {}

    def add(self, socket: AnyMember) -> None:
        """Take a new session in."""
        self.sockets[socket.sid] = socket

    def remove(self, sid: str) -> None:
        """Forget a session that has ended."""
        self.sockets.pop(sid, None)

    def get(self, sid: str) -> AnyMember | None:
        """Return the session of a sid, in whatever state, or None."""
        return self.sockets.get(sid)

    def all(self) -> Iterable[AnyMember]:
        """Return the sessions there are now, as a snapshot."""
        return list(self.sockets.values())

    def send(self, sid: str, packet: Packet) -> bool:
        """Send a packet to one client. Returns False if there is no such client."""
        socket = self.sockets.get(sid)
        return socket is not None and socket.push(packet)

    def leave(self, socket: AnyMember) -> None:
        """Keep an ended session that its client may fetch the last packets of."""
        self._leaving[socket.sid] = socket

    def leaving(self, sid: str) -> AnyMember | None:
        """Return a session kept by `leave`, or None."""
        return self._leaving.get(sid)

    def left(self, sid: str) -> None:
        """Forget a session kept by `leave`."""
        self._leaving.pop(sid, None)
