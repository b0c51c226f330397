"""Servers whose clients die, whose cables are cut, whose clock jumps, whose disk is full, ...

Each server is started once.  After each fault it serves new clients, nothing of the others is left,
and each message that it accepted was either delivered, or its sender was told of the end.
"""

import contextlib
import email.utils
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

import rigs
import wire
from faults.faults import (
    HERE,
    HOUR,
    STOPPED,
    Cable,
    Clock,
    Talker,
    frozen,
    workers,
)

NAMES = (
    *("threading", "gevent", "eventlet", "gunicorn-eventlet"),
    *("gevent_uwsgi", "uvicorn"),
)
CROWD = 4  # clients of each kind
# gunicorn kills a worker that has stood still for longer than this; 30 s by default.
TIMEOUT = ("--timeout", "100")


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module", params=NAMES)
def running(request: pytest.FixtureRequest, clock: Clock) -> Iterator[rigs.Rig]:
    """A server, once for all tests."""
    arguments = TIMEOUT if request.param.startswith("gunicorn") else ()
    spec = rigs.SPECS[request.param]
    # Under uWSGI stderr keeps what it could not write, and logging's complaint about that.
    spec = replace(spec, log=(*spec.log, "--- Logging error ---"))
    rig = rigs.Rig(spec, arguments)
    try:
        with clock.applied():
            rig.start()
    except LookupError as error:
        pytest.skip(f"{request.param}: {error}")
    yield rig
    rig.stop()


@pytest.fixture
def target(running: rigs.Rig) -> Iterator[rigs.Rig]:
    """The server.  After each test: it serves new clients, and nothing is left of the old ones."""
    for name in ("engine.io", "beat", "drop", "drop_late", "upgrade_timeout"):
        running.server(name)  # so that what each keeps for good is no leak
    yield running
    serves(running)
    running.clean_up()


def serves(rig: rigs.Rig) -> None:
    """A new client is served, over both transports."""
    server = rig.server()
    session = server.polling()
    session.send("4hello")
    assert session.receive(1) == ["4hello"]
    websocket, _ = wire.upgrade(session)
    websocket.send_text("4again")
    assert websocket.receive() == "4again"
    websocket.send_text("1")
    server.assert_ended(session.sid, "client disconnect")


def echo(websocket: wire.WebSocket, *messages: str) -> None:
    """Messages come back, in order."""
    websocket.send_text(*("4" + message for message in messages))
    assert websocket.receive_text(len(messages)) == ["4" + message for message in messages]


def test_clients_are_killed(target: rigs.Rig, tmp_path: Path) -> None:
    """kill -9, while they send, wait, and upgrade.  What a POST was answered for has arrived."""
    bystander = target.server().websocket()
    servers = {
        name: target.server("drop_late" if name == "after" else "engine.io") for name in KINDS
    }
    journal = tmp_path / "journal"
    command = [sys.executable, str(HERE / "crowd.py"), str(target.address[1]), str(CROWD)]
    paths = {"PYTHONPATH": str(HERE.parent)}
    with subprocess.Popen(
        [*command, str(journal)], stdout=subprocess.PIPE, env={**os.environ, **paths}
    ) as crowd:
        try:
            assert crowd.stdout is not None
            sids = json.loads(crowd.stdout.readline())
            rigs.until(lambda: journal.exists() and journal.read_text().count("\n") > 5 * CROWD)
        finally:
            crowd.kill()
    accepted = [line.split() for line in journal.read_text().splitlines()]
    for kind in KINDS:
        for sid in sids[kind]:
            server = servers[kind]
            server.call("burst", sid=sid, count=3)  # whoever sends this learns of the end
            server.assert_ended(sid, *ENDS[kind])
            messages = server.messages(sid)
            assert messages == [f"quiet-{number}" for number in range(len(messages))]
            known = [int(number) for who, number in accepted if who == sid]
            assert len(messages) >= len(known)
            assert len(known) >= 5 or kind != "polling"
    echo(bystander, "not me")


KINDS = ("polling", "websocket", "before", "after")
ENDS = {
    "polling": ("transport error",),
    "websocket": ("transport close",),
    "before": ("transport error",),
    "after": ("ping timeout",),
}


def test_the_cable_is_cut(target: rigs.Rig) -> None:
    """Nothing comes any more, not even an end: the next ping shows it."""
    bystander = target.server().websocket()
    server = target.server("drop")
    with Cable(target.address[1]) as cable, contextlib.ExitStack() as open_until_then:
        far = wire.Endpoint(("127.0.0.1", cable.port), "/drop/")
        talker = open_until_then.enter_context(Talker(wire.EngineWebSocket(far)))
        talker.wait_pings(2)  # it answers, and so it lives
        polling, upgrading = wire.Polling(far), wire.Polling(far)
        poll = polling.start_poll()
        probe = wire.probe(upgrading)
        cable.cut()
        sids = [polling.sid, upgrading.sid, talker.sid]
        for sid in sids:
            server.call("burst", sid=sid, count=10)
        # Those who send were told: the reason is not that of a client that wanted to go.
        for sid in sids:
            server.assert_ended(sid, "ping timeout")
        assert talker.messages == []
        assert not poll.has_input() or poll.read_response().packets() == ["2"]
        assert not probe.has_input()
    echo(bystander, "not me")


def test_the_disk_is_full(target: rigs.Rig) -> None:
    """What cannot be logged is not, and that is all."""
    server = target.server()
    websocket, polling = server.websocket(), server.polling()
    size = len(target.log().encode())
    with limited(target, resource.RLIMIT_FSIZE, size):
        for number in range(3):
            websocket.send_text("4raise")  # a traceback for the log
            polling.send("4raise")
            echo(websocket, f"{number}")
            polling.send(f"4{number}")
            assert polling.receive(1) == [f"4{number}"]
            broken = server.polling()
            assert broken.post("garbage").status == 400
            server.assert_ended(broken.sid, "parse error")
            assert server.request("GET", wire.polling_query("nobody")).status == 400
            serves(target)
        assert len(target.log().encode()) == size
    websocket.send_text("4raise")
    rigs.until(lambda: "ContractError" in target.log()[size:])
    echo(websocket, "still here")


@contextlib.contextmanager
def limited(rig: rigs.Rig, what: int, limit: int) -> Iterator[None]:
    """Lower a resource limit of the processes that serve requests."""
    before = {process.pid: resource.prlimit(process.pid, what) for process in workers(rig)}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, what, (limit, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, what, limits)


def is_clock_moved(server: rigs.Server, seconds: float) -> bool:
    """Whether that is the time its server thinks it is, as far as it says so."""
    date = server.request("GET", wire.polling_query("nobody")).header("Date")
    if date is None:
        return server.spec.name.startswith("gevent_uwsgi")
    moved = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    return abs(moved - seconds) < 60


def test_the_clock_is_set(target: rigs.Rig, clock: Clock) -> None:
    """An hour forth, two back: heartbeats, time limits and sleeping handlers know another clock."""
    server, patient = target.server("beat"), target.server()
    polling = patient.polling()
    poll = polling.start_poll()
    with Talker(server.websocket()) as talker:
        for number, seconds in enumerate((HOUR, -HOUR)):
            talker.send(f"sleep:0.1:{number}")
            # An upgrade that says nothing is given half a second.
            silent = target.server("upgrade_timeout").polling()
            probe = wire.WebSocket(silent.endpoint, wire.websocket_query(silent.sid))
            pings = len(talker.pings)
            clock.move(seconds)
            rigs.until(partial(is_clock_moved, patient, seconds))
            talker.wait_pings(pings + 2)
            talker.wait(f"slept:0.1:{number}")
            probe.read_close()
            probe.close()
            silent.send("1")
            talker.echo(f"after {seconds}")
        clock.move(0)
    assert not poll.has_input()
    patient.send(polling.sid, "good morning")
    assert poll.read_response().packets() == ["4good morning"]


def test_the_server_stands_still(target: rigs.Rig) -> None:
    """SIGSTOP and SIGCONT: who has gone meanwhile is gone, the others go on, what came counts."""
    server, patient = target.server("drop_late"), target.server()
    mute = target.server("drop").websocket()
    gone = [patient.websocket(), patient.websocket()]
    poll = patient.polling()
    gone_poll = poll.start_poll()
    with Talker(server.websocket()) as talker:
        talker.wait_pings(1)
        with frozen(target.pid):
            for number in range(100):
                talker.send(f"{number}")
            gone[0].reset()
            gone[1].close()
            gone_poll.close()
            newcomer = wire.HTTPConnection(target.address)
            newcomer.send_request("GET", patient.endpoint.target(wire.polling_query()))
            time.sleep(STOPPED)
            assert not newcomer.has_input()
            pings = len(talker.pings)
        woken = time.monotonic()
        rigs.until(lambda: len(talker.messages) == 100)
        assert talker.messages == [f"{number}" for number in range(100)]
        opening = newcomer.read_response()
        assert opening.status == 200
        for websocket in gone:
            patient.assert_ended(websocket.sid, "transport close")
        patient.assert_ended(poll.sid, "transport error")
        target.server("drop").assert_ended(mute.sid, "ping timeout")
        talker.wait_pings(pings + 3)
        # One at each interval, not all those that were missed.
        intervals = (time.monotonic() - woken) / 0.2
        assert len(talker.pings) - pings <= intervals + 2
        talker.echo("still here")


# Where the WSGI server tries to accept() again and again: socketserver and uWSGI.
SPINS = ("threading", "gevent_uwsgi")


# eventlet.wsgi.server() ends with what accept() raises; gunicorn's worker does not.
@pytest.mark.not_on("eventlet")
def test_no_file_descriptors_are_left(target: rigs.Rig) -> None:
    """EMFILE: those who are there are served, and when some go, others come in."""
    server = target.server()
    websocket = server.websocket()
    process = workers(target)[0]
    highest = max(int(number) for number in os.listdir(f"/proc/{process.pid}/fd"))
    logged = len(target.log())
    handshake = wire.request_bytes(
        "GET", server.endpoint.target(wire.websocket_query()), wire.websocket_headers()
    )
    with limited(target, resource.RLIMIT_NOFILE, highest + 1 + ROOM):
        crowd = [wire.HTTPConnection(target.address) for _ in range(2 * ROOM)]
        for connection in crowd:
            connection.send(handshake)
        rigs.until(lambda: process.num_fds() >= highest + ROOM // 2)
        spent, started = cpu_time(process), time.monotonic()
        while time.monotonic() < started + 0.6:
            echo(websocket, *(f"{number}" for number in range(5)))
            time.sleep(0.05)
        busy = (cpu_time(process) - spent) / (time.monotonic() - started)
        assert busy < 0.5 or target.spec.name in SPINS
        # Whoever has been let in makes room for who waits; who has not been is told so, or waits.
        statuses = []
        for connection in crowd:
            with contextlib.suppress(EOFError, ConnectionResetError):
                statuses.append(connection.read_head()[0])
            connection.close()
        assert statuses.count(101) >= ROOM // 2
        assert set(statuses) <= {101, 500, 503}
        echo(websocket, "still here")
    serves(target)
    ours = [line for line in target.log()[logged:].splitlines() if "engineio" in line]
    assert len(ours) < 5
    target.skip_log()  # what the server itself has to say about that


ROOM = 16  # file descriptors


def cpu_time(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def test_threads_that_wait_for_tls_need_no_file_descriptor() -> None:
    spec = rigs.over_tls("threading")
    assert spec is not None
    rig = rigs.Rig(spec)
    rig.start()
    try:
        websocket = rig.server().websocket()
        process = workers(rig)[0]
        highest = max(int(number) for number in os.listdir(f"/proc/{process.pid}/fd"))
        with limited(rig, resource.RLIMIT_NOFILE, highest + 1):
            crowd = [socket.create_connection(rig.address[:2]) for _ in range(8)]
            rigs.until(lambda: process.num_fds() == highest + 1)
            for number in range(5):
                echo(websocket, f"{number}")
                time.sleep(0.05)
            for sock in crowd:
                sock.close()
        serves(rig)
    finally:
        wire.close_all()
        rig.stop()
