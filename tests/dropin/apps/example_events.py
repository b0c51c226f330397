"""The events that each of the example applications answers, sync and asyncio."""

# mypy: disable-error-code="import-not-found,misc"

from typing import Any

import socketio

PAGE = "the example's page"


class Events(socketio.Namespace):
    """As `sio.register_namespace` takes them."""

    has_begun = False

    def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        self.begin()
        self.emit("response", "connected", room=sid)

    def begin(self) -> None:
        """Start what sends events by itself, once."""
        if not self.has_begun:
            self.has_begun = True
            self.server.start_background_task(self.run)

    def run(self) -> None:
        count = 0
        while True:
            self.server.sleep(0.1)
            count += 1
            self.emit("tick", count)

    def on_say(self, sid: str, text: str) -> None:
        self.emit("response", text, room=sid)

    def on_say_to_all(self, sid: str, text: str) -> None:
        self.emit("response", text)

    def on_join(self, sid: str, room: str) -> None:
        self.enter_room(sid, room)
        self.emit("response", f"in {room}", room=room)

    def on_disconnect_request(self, sid: str) -> None:
        self.disconnect(sid)

    def on_disconnect(self, sid: str) -> None:  # without a reason, as it once was
        print("gone", sid)


class AsyncEvents(socketio.AsyncNamespace):
    """The same for asyncio."""

    has_begun = False

    async def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        self.begin()
        await self.emit("response", "connected", room=sid)

    def begin(self) -> None:
        """Start what sends events by itself, once."""
        if not self.has_begun:
            self.has_begun = True
            self.server.start_background_task(self.run)

    async def run(self) -> None:
        count = 0
        while True:
            await self.server.sleep(0.1)
            count += 1
            await self.emit("tick", count)

    async def on_say(self, sid: str, text: str) -> None:
        await self.emit("response", text, room=sid)

    async def on_say_to_all(self, sid: str, text: str) -> None:
        await self.emit("response", text)

    async def on_join(self, sid: str, room: str) -> None:
        await self.enter_room(sid, room)
        await self.emit("response", f"in {room}", room=room)

    async def on_disconnect_request(self, sid: str) -> None:
        await self.disconnect(sid)

    def on_disconnect(self, sid: str) -> None:  # a plain function, without a reason
        print("gone", sid)
