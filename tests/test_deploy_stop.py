"""What SIGTERM and Ctrl-C do to a server with 50 polls and 50 WebSockets open.

Every session is told, every disconnect handler runs, what was sent before arrives, and the process
ends by itself, long before the grace its server would give to open connections.
"""

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import compatibility
import rigs
import wire

CLIENTS = 25  # of each of four kinds
GRACE = 40  # seconds that gunicorn would wait for open connections
PATIENCE = 20.0  # seconds; less than GRACE and than a ping interval, which ends waiting polls
LONG_GRACE = ("--graceful-timeout", str(GRACE))

NAMES = (
    *("threading", "eventlet", "gevent", "gevent-websocket", "gevent_uwsgi", "wsgiref"),
    *("gevent_uwsgi-http", "uwsgi-source"),
    *("gunicorn-eventlet", "gunicorn-gevent", "gunicorn-gthread", "gunicorn-gevent_pywsgi"),
    *("gunicorn-geventwebsocket", "gunicorn-25-eventlet", "gunicorn-25-our-eventlet"),
    *("gunicorn-25-gthread", "uvicorn", "aiohttp", "sanic", "tornado", "hypercorn"),
    "gunicorn-asgi",
)
# uvicorn closes WebSockets itself, with the code "service restart" and before it tells anybody, so
# a quick client is gone before the session knows why.  In the end it sends itself the signal again.
CLOSES_FIRST = ("uvicorn",)
# uWSGI kills its own HTTP router first, and with it every connection.
CUT_OFF = ("gevent_uwsgi-http", "uwsgi-source")
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def running(request: pytest.FixtureRequest, journal: Path) -> Iterator[rigs.Rig]:
    arguments = LONG_GRACE if request.param.startswith("gunicorn") else ()
    rig = rigs.Rig(rigs.SPECS[request.param], arguments, {"journal": str(journal)})
    rig.start()
    try:
        yield rig
    finally:
        wire.close_all()
        rig.stop()


@pytest.mark.parametrize("number", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("running", NAMES, indirect=True)
def test_a_stop_tells_everybody(running: rigs.Rig, number: signal.Signals, journal: Path) -> None:
    server = running.server()
    journal.unlink()  # of the client that warmed the server up
    sessions = []
    for query in [{"told": "1"}, {}] * CLIENTS:
        session = server.polling(None, **query)
        sessions.append((session.sid, session.start_poll(), query))
    websockets = [
        (server.websocket(None, **query), query) for query in [{"told": "1"}, {}] * CLIENTS
    ]
    # Green servers raise an exception in whatever runs when the signal comes, here in the handler.
    interrupted = server.websocket()
    rigs.until(lambda: server.call("waiting_polls") == 2 * CLIENTS)

    # systemd tells the main process, a terminal the whole group.
    process = running.pid if number is signal.SIGTERM else -running.pid
    start = time.monotonic()
    interrupted.send_text(f"4stop:{process}:{int(number)}")
    if running.spec.name in CUT_OFF:
        check_that_they_end(
            [poll for _, poll, _ in sessions] + [websocket for websocket, _ in websockets]
        )
    else:
        for _, poll, query in sessions:
            first, *more = poll.read_response().packets()
            assert (first, more) in ((("4last", []), ("4last", ["1"])) if query else (("1", []),))
            poll.close()
        for websocket, query in websockets:
            read_to_the_close(websocket, ["4last"] if query else [], running.spec.name)
        while interrupted.read_frame().opcode != wire.CLOSE:
            pass
        interrupted.close()

    status = running.wait(PATIENCE)
    print(f"ended after {time.monotonic() - start:.1f} s")
    log = running.log()
    again = (-number,) if running.spec.name in CLOSES_FIRST else ()
    assert status in (0, *again), log
    assert not re.search("Traceback|Error|Exception", log), log
    sids = [
        *(sid for sid, _, _ in sessions),
        *(websocket.sid for websocket, _ in websockets),
        interrupted.sid,
    ]
    ends = [line.split(" ", 1) for line in journal.read_text().splitlines()]
    assert sorted(sid for sid, _ in ends) == sorted(sids)
    reasons = {reason for _, reason in ends}
    if running.spec.name in CUT_OFF + CLOSES_FIRST:
        reasons -= {"transport close", "transport error"}
    assert reasons == {"server shutdown"}
    told = "handlers" if running.spec.name in CUT_OFF else "told"
    compatibility.check(running.spec.name, "stop", told)


def read_to_the_close(websocket: wire.WebSocket, messages: list[str], name: str) -> None:
    """What was sent before, the CLOSE packet and the close frame come."""
    assert websocket.receive_text(len(messages)) == messages
    if name in CLOSES_FIRST:
        assert websocket.read_close() == 1012
    else:
        assert websocket.receive() == "1"
        assert websocket.read_close() == 1000
    websocket.send(wire.close_frame(1000))
    websocket.close()


def check_that_they_end(connections: list[wire.HTTPConnection]) -> None:
    """They are cut off, seldom with a part of the goodbye on its way."""
    goodbye = re.compile(rb"(HTTP/1\.1 200 .*|\x81\x054last.*|\x81\x011.*)?", re.DOTALL)
    for connection in connections:
        with contextlib.suppress(ConnectionResetError):
            said = connection.read_to_eof()
            assert goodbye.fullmatch(said), said
