"""The application of a soak run for asyncio: the one of the contract suite with a server more.

`python asgi_app.py NAME PORT` starts one of the frameworks of tests/apps/async_launch.py with it.
"""

import asyncio
import random
import sys
from typing import Any

import async_contract_app
import async_launch
from contract_common import CONFIG

from soak import ledger


class Soak(async_contract_app.Application):
    """As in wsgi_app.py.  Nothing here waits while it has a number, so no lock is needed."""

    def __init__(self) -> None:
        super().__init__("soak", {"async_mode": CONFIG.get("async_mode"), **CONFIG["soak"]})
        self.ledger = ledger.Ledger()
        self._chatter: asyncio.Task[None] | None = None

    async def connect(self, sid: str, environ: dict[str, Any]) -> None:
        self.ledger.connected(sid, environ["QUERY_STRING"])
        if self._chatter is None:
            self._chatter = asyncio.ensure_future(self.chatter())

    async def message(self, sid: str, data: Any) -> None:
        if data in ("bye", "leave"):
            await self.eio.send(sid, self.ledger.last_words(sid))
            if data == "leave":
                await self.eio.disconnect(sid)
        elif data == "wait":
            await self.eio.sleep(ledger.WAIT)
            await self.eio.send(sid, "waited")
        else:
            is_time = self.ledger.received(sid, data)
            await self.eio.send(sid, data)
            if is_time:
                await self.tell(sid)

    def record_disconnect(self, sid: str, reason: str) -> None:
        self.ledger.disconnected(sid, reason)

    async def tell(self, sid: str) -> None:
        if text := self.ledger.next_told(sid):
            await self.eio.send(sid, text)

    async def chatter(self) -> None:
        """Tell some clients something, and now and then all of them."""
        turn = 0
        while True:
            await asyncio.sleep(0.25)
            turn += 1
            sids = self.ledger.sids()
            for sid in random.sample(sids, len(sids) // 20):
                await self.tell(sid)
            if turn % 8 == 0:
                await self.eio.broadcast(self.ledger.next_broadcast())


soak = Soak()
async_contract_app.instances["soak"] = soak
vars(async_contract_app.control)["take_ended"] = soak.ledger.take_ended  # one call more
app = async_contract_app.app

if __name__ == "__main__":
    getattr(async_launch, f"serve_{sys.argv[1]}")(int(sys.argv[2]))
