"""Messages that were received and wait for their handlers; who runs these, and who reads on.

Servers and clients share this: `BaseSocket` and `BaseConnection` inherit it. `reader.py` is what
waits and runs handlers in threads and greenlets; its docstring has the terms.

`_inbox`, `_batch`, `_reader`, `dispatcher`, `_parked`, `progress` and what counts waiting handlers
are only changed with `lock` held.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

from engineio import packet as wire
from engineio.exceptions import PacketError
from engineio.packet import decode_frame
from engineio.session import Life

# A peer may have this many handlers waiting at a time, with messages of so many times
# `max_http_buffer_size` in their hands; then it is not read until one returns.
MAX_RUNNING = 1000
MAX_HELD = 16

# What waiting handlers hold is counted for messages from this size on, in bytes: with more of less
# the number of handlers is reached first.
LARGE = 4096
# What came in fewer bytes than this is taken for messages of equal size.
FEW = 65536

# After so many messages of one client whoever else waits has a turn. A power of 2.
STRETCH = 1024

NOTHING = object()
END = object()  # in an inbox: the connection has ended, its disconnect handler comes next
roles = count(1)


class Inbox:
    """What one connection has received, and the roles of those who deal with it."""

    # What few ever change is kept on the class; see `Session`.
    _room: Any = None
    _held: dict[int, int] | None = None
    _held_size = 0
    _held_back = 0
    _largest = 0
    _parked = False
    _owner: Any = None
    _connection_over = False

    # What a class that inherits this has besides.
    server: Any
    """The server or client that this belongs to: it has the handlers, the loop and the limits."""
    sid: str
    life: Life
    closed: Any
    """Whether it has ended and its disconnect handler has run."""
    lock: AbstractContextManager[Any]
    _stream: Any
    _reason_of_close: str
    """Why it ends when the peer sends a CLOSE packet."""

    def _set_up_inbox(self) -> None:
        self.progress = 0
        # What the dispatcher takes from is in reverse, so that taking one is as cheap from a list
        # as from a deque, which would be the largest part of an idle client.
        self._inbox: list[Any] = []
        self._batch: list[Any] = []
        self._inbox_size = 0
        self._running = 0
        self.dispatcher = 0
        self._reader = 0

    # -- what a shell supplies -------------------------------------------------------------------

    def _dispatch(self, role: int) -> Any:
        """Run the handlers of what is in the inbox, as long as this is the dispatcher."""
        raise NotImplementedError

    def _follow(self, role: int, dispatches: bool) -> Any:
        """Go on in a second thread: dispatch first, then read if `role` is the reader's."""
        raise NotImplementedError

    def _receive_control(self, packet_type: int, data: Any) -> None:
        """Process a packet that is no message. Raises `PacketError` for one that may not come."""
        raise NotImplementedError

    def _start_end(self, reason: str, close_code: int = 1000) -> int:
        """Begin the end, after the messages that came before it. Returns a role to dispatch."""
        raise NotImplementedError

    # -- receiving -----------------------------------------------------------------------------

    def _receive(
        self, packets: Iterable[tuple[int, Any]], size: int, role: int = 0, largest: int = 0
    ) -> int:
        """Process packets that came in `size` bytes; messages go to the inbox.

        `largest` is the size of the largest one, 0 if that makes no difference.

        Returns the role of dispatcher if the caller is to run the handlers. A bad packet ends the
        session (parse error) after the messages before it, and raises `MalformedError` then.
        """
        messages: list[Any] = []
        try:
            for packet_type, data in packets:
                if packet_type == wire.MESSAGE:
                    messages.append(data)
                    continue
                self._receive_control(packet_type, data)
                if packet_type == wire.CLOSE:
                    return self._end_after(messages, self._reason_of_close, role)
        except PacketError as error:
            self.server.log_fault(self.sid, error)
            reason = self.server.reason.PARSE_ERROR
            role = self._end_after(messages, reason, role, error.close_code)
            raise MalformedError(str(error), role) from error
        if not messages:
            return 0
        largest = (largest or size // len(messages)) if size >= LARGE else 0
        return self._deliver(messages, role, size, largest)

    def _receive_frames(self, ws: Any, frames: list[Any], role: int) -> int:
        """Process what came over a WebSocket. Returns the role of dispatcher, as `_receive`."""
        if self.life is not Life.OPEN:
            return 0
        size = ws.size
        largest = max(map(len, frames)) if size > FEW else 0
        try:
            return self._receive(map(decode_frame, frames), size, role, largest)
        except MalformedError as error:
            return error.role

    def _end_after(
        self, messages: list[Any], reason: str, role: int, close_code: int = 1000
    ) -> int:
        dispatch = self._deliver(messages, role) if messages else 0
        return self._start_end(reason, close_code) or dispatch

    def _deliver(self, messages: list[Any], role: int = 0, size: int = 0, largest: int = 0) -> int:
        """Put messages into the inbox. Returns a role if the caller must dispatch them."""
        with self.lock:
            if (self.life is Life.CLOSING or self.life is Life.CLOSED) and messages[-1] is not END:
                return 0  # they were read while another thread ended the session
            self._inbox_size += size
            if largest > self._largest:
                self._largest = largest
            if self._batch or self._inbox or self.dispatcher:
                self._inbox.extend(messages)
                if self.dispatcher and not (self._parked and self.server.async_handlers):
                    return 0  # its dispatcher will come to them
                if self.dispatcher and self._is_full and messages[-1] is not END:
                    self._held_back = self.dispatcher
                    return 0
            else:
                messages.reverse()
                self._batch = messages
            return self._make_dispatcher(role or next(roles))

    def _next_message(self, role: int) -> Any:
        """Take a message out of the inbox, or `NOTHING` if `role` has no more to dispatch."""
        with self.lock:
            if self.dispatcher == role:
                if self._held is not None:
                    self._release(role)
                self._parked = False
                batch = self._batch
                if not batch:
                    self._batch, self._inbox = self._inbox, batch
                    batch = self._batch
                    if not batch:
                        self.dispatcher = 0
                        self._running -= 1
                        self._inbox_size = 0
                        if self._largest:
                            self._largest = 0
                        return NOTHING
                    batch.reverse()
                self.progress += 1
                return batch.pop()
            held_back = self._has_returned(role)
        if held_back:
            self.overtake(held_back)
        return NOTHING

    @property
    def _has_messages(self) -> bool:
        return bool(self._batch or self._inbox)

    def _clear_inbox(self) -> None:
        with self.lock:
            self._inbox.clear()
            self._batch.clear()

    def _let_go(self, role: int, goes_on: bool = True) -> None:
        """End a dispatcher that will not come back to its inbox.

        Another one goes on with what is left there, the end of the session perhaps.
        """
        with self.lock:
            held_back = self._has_returned(role)
            other = 0
            if self.dispatcher == role:
                self.dispatcher = held_back = 0
                if goes_on and self._has_messages:
                    other = self._make_dispatcher(next(roles))
        if other:
            self.server.loop.spawn(self._dispatch, other)
        elif held_back:
            self.overtake(held_back)

    def _make_dispatcher(self, role: int) -> int:
        """Give a role the inbox; `_dispatch` must be called with it. Call with `lock` held."""
        self._parked = False
        self._running += 1
        self.dispatcher = role
        return role

    def _make_room(self) -> None:
        with self.lock:
            room, self._room = self._room, None
        if room is not None:
            room.set()

    def overtake(self, entry: int) -> None:
        """Go on without the handler that the dispatcher `entry` is stuck in."""
        with self.lock:
            if self.dispatcher != entry:
                return
            reads = self._reader == entry and not self._connection_over
            dispatches = self.server.async_handlers
            if dispatches:
                self._hold(entry)
            role = 0
            if not reads and not (dispatches and self._has_messages):
                self._parked = True
                self._inbox_size = self._largest = 0
            elif self._is_full:
                self._held_back = entry
            else:
                role = next(roles)
                if reads:
                    self._reader = role
                if dispatches:
                    self._make_dispatcher(role)
        stream = self._stream
        if stream is not None:
            stream.flush()  # answers that wait for the last one of their batch
        if role:
            self.server.loop.spawn(self._follow, role, dispatches)
        elif self._parked and self._room is not None:
            self._make_room()

    # -- handlers that wait; all of this needs `lock` ------------------------------------------

    def _hold(self, role: int) -> None:
        """Count what the handler that `role` is stuck in may have in its hands."""
        size = self._largest
        if size < LARGE:
            return
        if self._held is None:
            self._held = {}
        if role not in self._held:
            self._held[role] = size
            self._held_size += size

    def _release(self, role: int) -> None:
        if self._held is not None:
            self._held_size -= self._held.pop(role, 0)
            if not self._held:
                self._held = None

    @property
    def _is_full(self) -> bool:
        """Whether so much waits in handlers that nothing more is read."""
        most: int = MAX_HELD * self.server.max_http_buffer_size
        return self._running >= MAX_RUNNING or self._held_size > most

    def _has_returned(self, role: int) -> int:
        """Count a dispatcher out. Returns one that may be overtaken now, or 0."""
        self._running -= 1
        self._release(role)
        held_back = self._held_back
        if held_back:
            self._held_back = 0
        return held_back

    def _give_back(self, role: int) -> bool:
        """Let the owner read again, which has nothing else to do."""
        with self.lock:
            if self._reader != role or self._owner is None:
                return False
            self._reader = next(roles)
            owner = self._owner
        owner.set()
        return True


class MalformedError(PacketError):
    """A bad packet, after `role` was given out for the good ones before it."""

    def __init__(self, message: str, role: int) -> None:
        super().__init__(message)
        self.role = role
