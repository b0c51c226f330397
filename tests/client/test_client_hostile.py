"""Servers that do something wrong: the client says so in time, and keeps nothing.

After each test the fixture looks for threads, tasks and descriptors that are left, and for
anything on the client's standard error.
"""

import contextlib
import time

import pytest

import client_rigs
from client_rigs import CallError, ClientRig, RemoteClient
from hostile_server import CASES, LIVES, POLLING_LIVES, REFUSED, SILENT, Case, Hostile

LIMIT = 1_000_000  # bytes; the option max_http_buffer_size
# Bytes.  The kernel takes in 36 MB that nobody has asked for; a client that reads on after it has
# refused takes all the 400 MB that there are.
MOST_SENT = 150_000_000
MOST_MEMORY = 40_000_000  # bytes
PATIENCE = 15.0  # seconds; all of this is over in a fraction of one, unless the machine is busy


# What waits differs under gevent and eventlet, what reads does not: a third of the cases will do.
PAIRS = [
    (mode, case)
    for mode in client_rigs.modes()
    for case in (CASES[::3] if mode in client_rigs.PATCHES else CASES)
]


@pytest.mark.parametrize(
    ("clients", "case"),
    PAIRS,
    ids=[f"{mode}-{case.name}" for mode, case in PAIRS],
    indirect=["clients"],
)
def test_wrong_answers(clients: ClientRig, case: Case) -> None:
    with Hostile(case.steps) as server:
        client = clients.client(max_http_buffer_size=LIMIT)
        before = clients.call("peak_memory")
        start = time.monotonic()
        client.start_connect(server.url(), transports=case.transports)
        check(client, case, server)
        assert time.monotonic() - start < PATIENCE
        assert server.flooded < MOST_SENT
        assert clients.call("peak_memory") - before < MOST_MEMORY
        clients.reset()


def test_silence(clients: ClientRig) -> None:
    """All the cases at once, since each takes seconds."""
    running = []
    for case in SILENT:
        server = Hostile(case.steps)
        client = clients.client(request_timeout=2)
        client.start_connect(server.url(), transports=case.transports)
        running.append((case, client, server))
    start = time.monotonic()
    try:
        for case, client, server in running:
            check(client, case, server)
        assert time.monotonic() - start < PATIENCE
        clients.reset()
    finally:
        for _, _, server in running:
            server.stop()


def check(client: RemoteClient, case: Case, server: Hostile) -> None:
    outcome = client.outcome()
    if case.ends == (REFUSED,):
        assert outcome[:2] == ["error", "ConnectionError"], (case.name, outcome)
        assert client.status()[:2] == ["disconnected", None], case.name
        assert client.events() == [], case.name
        return
    assert outcome[0] == "result", (case.name, outcome)
    client.send("hello")
    if POLLING_LIVES in case.ends:
        assert client.status()[0] == "connected", case.name
        assert client.status()[2] == "polling", case.name
        if len(case.ends) > 1 and not server.received.wait(0.5):
            assert client.ended()[0] in case.ends, case.name
        else:
            assert server.received.wait(PATIENCE), case.name
        return
    if LIVES in case.ends:
        if len(case.ends) == 1:
            client.wait("message")
        time.sleep(0.05)
        if client.status()[0] == "connected":
            return
    reason, state, _ = client.ended()
    assert reason in case.ends, (case.name, reason)
    assert state == "connected", case.name


def test_the_client_can_connect_after_all_that(clients: ClientRig) -> None:
    """One client, several bad servers, then a good one."""
    client = clients.client(max_http_buffer_size=LIMIT)
    for case in CASES[::40]:
        with Hostile(case.steps) as server:
            with contextlib.suppress(CallError):
                client.connect(server.url(), transports=case.transports)
                client.send("hello")
                time.sleep(0.05)
            client.disconnect()
    with Hostile({}) as server:
        client.connect(server.url())
        assert client.status()[::2] == ["connected", "websocket"]
        client.disconnect()
