"""Who reads a connection and runs its handlers, in threads and greenlets, of servers and clients.

Two roles move between threads (or greenlets; "thread" below means either):

- The *reader* reads the WebSocket. First it is the owner: the thread that the WSGI server gave
  to the request, or the one that a client has started for its connection.
- The *dispatcher* takes messages out of the inbox and runs their handlers, in order. Usually the
  reader does that itself, between two reads.

When a handler turns out to wait for something, the loop calls `overtake`: a second thread takes
over the roles of the one that is stuck (with `async_handlers=False` only reading, as handlers then
run one after the other). A role is held by whoever knows its current number; who comes back from
its handler and finds the number changed is no longer in charge.
"""

from typing import Any

from engineio import packet as wire
from engineio.inbox import END, NOTHING, STRETCH, Inbox, roles
from engineio.session import Life


class Reader(Inbox):
    """The part of a connection that waits for its peer and runs the handlers."""

    _reason_of_kill: str
    """Why it ends when the greenlet that reads is killed."""

    ws: Any

    # -- what a class that inherits this has besides -----------------------------------------------

    def _read(self, role: int) -> None:
        """Read and dispatch until the connection ends or somebody else has the role."""
        raise NotImplementedError

    def _finish(self, say_goodbye: bool) -> None:
        """Run the disconnect handler, and forget the connection."""
        raise NotImplementedError

    def _connection_ended(self, ws: Any, reason: str | None = None) -> None:
        """Clean up after the last byte; whoever reads it calls this."""
        raise NotImplementedError

    # -- dispatching -----------------------------------------------------------------------------

    def _dispatch(self, role: int) -> None:
        """Run the handlers of what is in the inbox, as long as this is the dispatcher."""
        if self.closed:  # a loop that shutdown() has ended must not start again
            self._clear_inbox()
            self._let_go(role)
            return
        server = self.server
        loop = server.loop
        stream = self._stream
        held = False
        loop.enter(self, role)
        try:
            while (message := self._next_message(role)) is not NOTHING:
                if stream is not None:
                    # The answers of a batch leave in one write, with the last one.
                    is_last = not self._batch and not self._inbox
                    if not is_last and not held:
                        held = True
                        stream.hold()
                        if self.dispatcher != role:
                            stream.flush()  # overtaken before that, so nobody else would
                    elif is_last and held:
                        held = False
                        stream.release()
                if message is END:
                    self._finish(say_goodbye=False)
                elif self.life is not Life.CLOSED:
                    if server.log_info:
                        server.log_packet(self.sid, "Received", wire.MESSAGE, message)
                    server.handle_message(self.sid, message)
                if not self.progress % STRETCH:
                    server.sleep(0)
        except BaseException:  # killed, or the process exits
            self._let_go(role)
            raise
        finally:
            loop.leave(self, role)
            if stream is not None and (held or stream.size):
                stream.flush()
            if self._room is not None:
                self._make_room()

    def _follow(self, role: int, dispatches: bool) -> None:
        try:
            if dispatches:
                self._dispatch(role)
            if self._reader == role:
                self._read(role)
        except BaseException:  # its handler exits
            if self._reader == role:  # and nobody else would read
                self._connection_ended(self.ws, self._reason_of_kill)
            raise

    def _wait_for_room(self) -> None:
        """Wait while the handlers are behind by more than one full message."""
        while self._inbox_size > self.server.max_http_buffer_size and self.dispatcher:
            with self.lock:
                if not self.dispatcher:
                    return
                room = self._room = self._room or self.server.create_event()
            room.wait()

    # -- reading -----------------------------------------------------------------------------------

    def _own(self, ws: Any, frames: list[Any]) -> None:
        """Read as long as nobody else does, in the thread that the connection belongs to."""
        try:
            role = next(roles)
            with self.lock:
                self._reader = role
            if frames and (dispatch := self._receive_frames(ws, frames, role)):
                self._dispatch(dispatch)
            while True:
                self._read(role)
                with self.lock:
                    if self._connection_over:
                        return
                    event = self._owner = self.server.create_event()
                event.wait()
                with self.lock:
                    self._owner = None
                    if self._connection_over:
                        return
                    role = self._reader
        except BaseException:  # a greenlet is killed
            self._connection_ended(ws, self._reason_of_kill)
            raise
