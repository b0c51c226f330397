"""The application of a soak run under WSGI: the one of the contract suite with a server more.

`python wsgi_app.py NAME` starts one of the servers of tests/apps/launch.py with it.
"""

import random
from typing import Any

import contract_app
import launch
from contract_common import CONFIG

from soak import ledger


class Soak(contract_app.Application):
    """Sends back what comes, and now and then something of its own."""

    def __init__(self) -> None:
        super().__init__("soak", {"async_mode": CONFIG.get("async_mode"), **CONFIG["soak"]})
        self.ledger = ledger.Ledger()
        self._chatters = False

    def connect(self, sid: str, environ: dict[str, Any]) -> None:
        self.ledger.connected(sid, environ["QUERY_STRING"])
        if not self._chatters:
            self._chatters = True
            self.eio.start_background_task(self.chatter)

    def message(self, sid: str, data: Any) -> None:
        if data in ("bye", "leave"):
            with self.ledger.lock:
                self.eio.send(sid, self.ledger.last_words(sid))
            if data == "leave":
                self.eio.disconnect(sid)
        elif data == "wait":
            self.eio.sleep(ledger.WAIT)
            self.eio.send(sid, "waited")
        else:
            is_time = self.ledger.received(sid, data)
            self.eio.send(sid, data)
            if is_time:
                self.tell(sid)

    def record_disconnect(self, sid: str, reason: str) -> None:
        self.ledger.disconnected(sid, reason)

    def tell(self, sid: str) -> None:
        with self.ledger.lock:
            if text := self.ledger.next_told(sid):
                self.eio.send(sid, text)

    def chatter(self) -> None:
        """Tell some clients something, and now and then all of them."""
        turn = 0
        while True:
            self.eio.sleep(0.25)
            turn += 1
            sids = self.ledger.sids()
            for sid in random.sample(sids, len(sids) // 20):
                self.tell(sid)
            if turn % 8 == 0:
                with self.ledger.lock:
                    self.eio.broadcast(self.ledger.next_broadcast())


soak = Soak()
contract_app.instances["soak"] = soak
vars(contract_app.control)["take_ended"] = soak.ledger.take_ended  # one call more
app = contract_app.app

if __name__ == "__main__":
    launch.main()
