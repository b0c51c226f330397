"""Who reads a connection and runs its handlers under asyncio, of servers and clients.

The roles are those of `reader.py`, and "thread" there means a task here. Everything runs in one
event loop, so nothing changes between two awaits, and no lock is needed.

The owner of a connection (the task that the server made for the request, or the one that a client
has started) reads and runs handlers. Only when a handler waits for something does a second task go
on.
"""

import asyncio
import contextvars
from typing import Any

from engineio import packet as wire
from engineio.inbox import END, NOTHING, STRETCH, Inbox, roles
from engineio.session import Life


class AsyncReader(Inbox):
    """The part of a connection that waits for its peer and runs the handlers."""

    # -- what a class that inherits this has besides -----------------------------------------------

    ws: Any
    context: contextvars.Context
    """What goes on in another task than the owner's keeps the owner's context."""

    async def _read(self, role: int) -> None:
        """Read and dispatch until the connection ends or somebody else has the role."""
        raise NotImplementedError

    async def _finish(self, say_goodbye: bool) -> None:
        """Run the disconnect handler, and forget the connection."""
        raise NotImplementedError

    async def _connection_ended(self, ws: Any, reason: str | None = None) -> None:
        """Clean up after the last byte; whoever reads it calls this."""
        raise NotImplementedError

    # -- dispatching -----------------------------------------------------------------------------

    async def _dispatch(self, role: int) -> None:
        """Run the handlers of what is in the inbox, as long as this is the dispatcher."""
        if self.closed:
            self._clear_inbox()
            self._let_go(role)
            return
        server = self.server
        server.loop.enter(self, role)
        try:
            while (message := self._next_message(role)) is not NOTHING:
                if message is END:
                    await server.loop.finish(self._finish, False)
                elif self.life is not Life.CLOSED:
                    if server.log_info:
                        server.log_packet(self.sid, "Received", wire.MESSAGE, message)
                    handled = server.handle_message(self.sid, message)
                    if handled is not None:
                        try:
                            await handled
                        except Exception:
                            server.logger.exception("message handler error")
                        except asyncio.CancelledError:
                            if server.loop.is_cancelled():
                                raise
                            # What the handler awaited was cancelled, not the handler.
                            server.logger.exception("message handler error")
                if not self.progress % STRETCH:
                    await asyncio.sleep(0)
        except BaseException as error:  # the task was cancelled
            # Any other exception ends the event loop too.
            self._let_go(role, goes_on=isinstance(error, asyncio.CancelledError))
            raise
        finally:
            if self._room is not None:
                self._make_room()

    async def _follow(self, role: int, dispatches: bool) -> None:
        try:
            if dispatches:
                await self._dispatch(role)
            if self._reader == role:
                await self._read(role)
        except (Exception, asyncio.CancelledError):
            if self._reader == role:  # nobody else would notice the end
                await self._connection_ended(self.ws)
            raise

    async def _wait_for_room(self) -> None:
        """Wait while the handlers are behind by more than one full message."""
        while self._inbox_size > self.server.max_http_buffer_size and self.dispatcher:
            room = self._room = self._room or self.server.create_event()
            await room.wait()

    # -- reading -----------------------------------------------------------------------------------

    async def _own(self, ws: Any) -> None:
        """Read as long as nobody else does, in the task that the connection belongs to."""
        try:
            await self._keep_reading(self._start_reading())
        except (
            Exception,
            asyncio.CancelledError,
        ):  # by the server: the client has gone, or it stops
            await self._connection_ended(ws)
            raise

    def _start_reading(self) -> int:
        """Return a role, which is the reader's."""
        self._reader = next(roles)
        return self._reader

    async def _keep_reading(self, role: int) -> None:
        """Read until the connection ends, and wait while somebody else does."""
        while True:
            await self._read(role)
            if self._connection_over:
                return
            event = self._owner = self.server.create_event()
            await event.wait()
            self._owner = None
            if self._connection_over:
                return
            role = self._reader
