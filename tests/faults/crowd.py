"""Many clients in one process, that a test kills: `crowd.py PORT COUNT JOURNAL`.

Polling clients POST numbered messages, and write down in the journal which ones were accepted.
Others have a WebSocket, and others are in the middle of an upgrade.  What is to know of them is
printed as one line of JSON when all are there; then they go on sending until they are killed.
"""

import itertools
import json
import sys
from typing import Any

import wire


def main() -> None:
    port, count = map(int, sys.argv[1:3])
    endpoint = wire.Endpoint(("127.0.0.1", port))
    quick = wire.Endpoint(("127.0.0.1", port), "/drop_late/")
    polling = [wire.Polling(endpoint) for _ in range(count)]
    websockets = [wire.EngineWebSocket(endpoint) for _ in range(count)]
    # Before their probe a GET waits; after it nothing does, which only the next ping shows.
    before = [wire.Polling(endpoint) for _ in range(count)]
    after = [wire.Polling(quick) for _ in range(count)]
    kept: list[Any] = [session.start_poll() for session in (*polling, *before)]
    kept += [wire.WebSocket(endpoint, wire.websocket_query(session.sid)) for session in before]
    kept += [wire.probe(session) for session in after]
    sids = {
        "polling": [session.sid for session in polling],
        "websocket": [websocket.sid for websocket in websockets],
        "before": [session.sid for session in before],
        "after": [session.sid for session in after],
    }
    print(json.dumps(sids), flush=True)
    with open(sys.argv[3], "w", buffering=1) as journal:
        for number in itertools.count():
            for websocket in websockets:
                websocket.send_text(f"4quiet-{number}")
            for session in polling:
                session.send(f"4quiet-{number}")
                print(session.sid, number, file=journal)


if __name__ == "__main__":
    main()
