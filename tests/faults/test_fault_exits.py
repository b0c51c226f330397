"""Processes that end, or fork, with live clients; tests/test_client.py forks one with a client."""

import contextlib
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import client_rigs
import rigs
import wire
from faults.faults import HERE, Talker, workers
from faults.leave import STATUS

PATIENCE = 20.0  # seconds that a process may take that ends at once
TRANSPORTS = ("polling", "websocket")
MODES = ("threading", "gevent", "eventlet")
ENDS = {"polling": ("transport error",), "websocket": ("transport close",)}


@pytest.fixture(scope="module")
def host() -> Iterator[rigs.Server]:
    """A server for clients."""
    rig = rigs.Rig(rigs.SPECS["gevent"])
    rig.start()
    yield rig.server()
    rig.clean_up()
    rig.stop()


class Program:
    """One of the programs of leave.py, patched for a library."""

    def __init__(self, library: str, *arguments: str) -> None:
        patch = client_rigs.PATCHES.get(library, "")
        code = f"{patch}import runpy; runpy.run_path({str(HERE / 'leave.py')!r}, None, '__main__')"
        self.process = subprocess.Popen(
            [sys.executable, "-W", client_rigs.QUIET, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": client_rigs.python_path(upstream=False),
                "EVENTLET_TESTS": "1",
            },
        )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> list[str]:
        """The words of the next line that it prints."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], "it says nothing"
        line: str = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return line.split()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, log: str = "") -> str:
        """See it end with its exit status and no more than that logged; what else it printed."""
        out, err = self.process.communicate(timeout=PATIENCE)
        assert re.fullmatch(log, err), err
        assert self.process.returncode == STATUS
        return str(out)


def url(host: rigs.Server) -> str:
    return f"http://127.0.0.1:{host.rig.address[1]}/"


@pytest.mark.parametrize(
    ("library", "transport"),
    [
        *(("threads", transport) for transport in TRANSPORTS),
        *(("asyncio", transport) for transport in TRANSPORTS),
        *(("gevent", "polling"), ("eventlet", "websocket")),
    ],
)
def test_a_program_ends_with_a_client(host: rigs.Server, library: str, transport: str) -> None:
    """With its own exit status, and its server knows at once; what it had sent has arrived."""
    what = "async_client" if library == "asyncio" else "client"
    with Program(library, what, url(host), transport) as program:
        (sid,) = program.line()
        program.end()
    host.assert_ended(sid, *ENDS[transport])
    assert host.messages(sid) == ["quiet-last"]


@pytest.mark.parametrize("mode", MODES)
def test_a_program_ends_with_a_server(mode: str) -> None:
    """The clients are told, and the handlers run."""
    with Program(mode, "server", mode) as program:
        pid, port = program.line()
        endpoint = wire.Endpoint(("127.0.0.1", int(port)))
        websocket, session = wire.EngineWebSocket(endpoint), wire.Polling(endpoint)
        poll = session.start_poll()
        program.go_on()
        said = program.end().splitlines()
        assert sorted(said) == sorted(
            f"disconnect {pid} {sid} server shutdown" for sid in (websocket.sid, session.sid)
        )
        packets = [websocket.receive()]
        while packets[-1] == "2":
            packets.append(websocket.receive())
        assert packets[-1] == "1"
        assert websocket.read_close() == 1000
        # Its thread may not get to its answer any more; to be cut off says the same.
        with contextlib.suppress(EOFError, ConnectionResetError):
            assert poll.read_response().packets()[-1] in ("1", "2")
    wire.close_all()


@pytest.mark.parametrize("mode", MODES)
def test_a_server_is_forked(mode: str) -> None:
    """The parent's clients stay the parent's, and notice nothing; the child has its own."""
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(Program(mode, "forked_server", mode))
        parent, port = program.line()
        endpoint = wire.Endpoint(("127.0.0.1", int(port)))
        old = stack.enter_context(Talker(wire.EngineWebSocket(endpoint)))
        session = wire.Polling(endpoint)
        old.wait_pings(2)
        program.go_on()
        child, port = program.line()
        assert child != parent
        newer = wire.Endpoint(("127.0.0.1", int(port)))
        new = stack.enter_context(Talker(wire.EngineWebSocket(newer)))
        assert newer.request("GET", wire.polling_query(session.sid)).status == 400
        pings, started = len(old.pings), time.monotonic()
        for number in range(10):
            for talker, pid in ((old, parent), (new, child)):
                talker.send(f"{number}")
                talker.wait(f"{pid}:{number}")
            time.sleep(0.05)
        new.wait_pings(3)
        # One heartbeat, not the child's besides.
        assert len(old.pings) - pings <= (time.monotonic() - started) / 0.2 + 2
        program.go_on()
        assert program.line() == ["disconnect", child, new.sid, "server", "shutdown"]
        assert program.line() == ["child", "ended"]
        check_parent(program, old, session, parent)
    wire.close_all()


def check_parent(program: Program, old: Talker, session: wire.Polling, pid: str) -> None:
    """Its clients are served as before."""
    old.send("still here")
    old.wait(f"{pid}:still here")
    session.send("4here too")
    while f"4{pid}:here too" not in session.poll():
        pass
    assert not old.is_over
    program.go_on()
    ends = [f"disconnect {pid} {sid} server shutdown" for sid in (old.sid, session.sid)]
    unknown = r"(Session ID unknown: .*\n)?"  # of the client that the child does not have
    assert sorted(program.end(unknown).splitlines()) == sorted(ends)


@pytest.mark.parametrize("mode", ["threading", "gevent"])
def test_a_server_is_forked_by_multiprocessing(mode: str) -> None:
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(Program(mode, "multiprocessing_server", mode))
        pid, port = program.line()
        endpoint = wire.Endpoint(("127.0.0.1", int(port)))
        old = stack.enter_context(Talker(wire.EngineWebSocket(endpoint)))
        session = wire.Polling(endpoint)
        program.go_on()
        assert program.line() == ["child", "ended"]
        check_parent(program, old, session, pid)
    wire.close_all()


def test_a_server_of_asyncio_is_forked() -> None:
    """Nothing that the child sends goes out over the parent's connections."""
    with contextlib.ExitStack() as stack:
        program = stack.enter_context(Program("", "forked_async_server"))
        pid, port = program.line()
        endpoint = wire.Endpoint(("127.0.0.1", int(port)))
        old = stack.enter_context(Talker(wire.EngineWebSocket(endpoint)))
        old.wait_pings(1)
        program.go_on()
        assert program.line() == ["child", "ended", str(STATUS)]
        old.wait_pings(len(old.pings) + 2)
        old.send("still here")
        old.wait(f"{pid}:still here")
        assert len(old.messages) == 1
        program.go_on()
        program.end()
    wire.close_all()


@pytest.mark.parametrize("name", ["gunicorn-gthread", "gunicorn-eventlet"])
def test_a_worker_of_a_preloaded_application_is_killed(name: str) -> None:
    """The Server is made before gunicorn forks; the next worker has one that nobody has used."""
    rig = rigs.Rig(rigs.SPECS[name], ("--preload",))
    rig.start()
    try:
        server = rig.server("beat")
        with Talker(server.websocket()) as talker:
            talker.wait_pings(2)
            talker.echo("before")
            session = server.polling()
            poll = session.start_poll()
            rigs.until(lambda: server.call("waiting_polls") == 1)
            workers(rig)[0].kill()
            rigs.until(lambda: talker.is_over)
            with contextlib.suppress(ConnectionResetError):
                assert poll.read_to_eof() == b""

        def is_back() -> bool:
            try:
                return not rig.control("sids")
            except (OSError, EOFError):
                return False

        rigs.until(is_back, rigs.START_TIMEOUT)
        with Talker(server.websocket()) as talker:
            talker.wait_pings(2)
            talker.echo("after")
            assert server.request("GET", wire.polling_query(session.sid)).status == 400
    finally:
        wire.close_all()
        rig.stop()
