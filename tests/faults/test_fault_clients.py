"""Clients whose server dies, whose cable is cut, whose clock jumps, that stand still, ...

`Client` with threads and `AsyncClient`; each reports one end, with its reason, and connects again.
"""

import os
import resource
import signal
import time
from collections.abc import Iterator

import pytest

from client_rigs import CallError, ClientRig, RemoteClient, ServerRig
from faults.faults import HOUR, STOPPED, Cable, Clock

POLLING = ["polling"]
WEBSOCKET = ["websocket"]
UPGRADE = ["polling", "websocket"]
ALL = (POLLING, WEBSOCKET, UPGRADE)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def running_host() -> Iterator[ServerRig]:
    rig = ServerRig("ours-gevent")
    rig.start()
    yield rig
    rig.stop()


@pytest.fixture(scope="module", params=["threads", "asyncio"])
def running_clients(request: pytest.FixtureRequest, clock: Clock) -> Iterator[ClientRig]:
    rig = ClientRig(request.param)
    with clock.applied():
        rig.start()
    rig.warm_up()
    yield rig
    rig.stop()


@pytest.fixture
def clients(running_clients: ClientRig) -> Iterator[ClientRig]:
    """A process with clients.  After each test: nothing is left, nothing was written."""
    yield running_clients
    running_clients.clean_up()


@pytest.fixture
def host(running_host: ServerRig, clients: ClientRig) -> Iterator[ServerRig]:
    """A server.  After each test: no session is left there."""
    if not running_host.is_running:
        running_host.start()
    yield running_host
    clients.reset()
    running_host.clean_up()


def serves(client: RemoteClient, url: str, transports: list[str]) -> None:
    """The client connects, and messages come back."""
    client.connect(url, transports=transports)
    client.send("again")
    client.wait("message", "again")


def pid_of(clients: ClientRig) -> int:
    assert clients._process is not None
    return clients._process.pid


def test_the_server_is_killed(clients: ClientRig, host: ServerRig) -> None:
    """kill -9, while some are connected and others are about to be: each is told one way."""
    url = host.url()
    there = [clients.client() for _ in ALL]
    for client, transports in zip(there, ALL, strict=True):
        client.connect(url, transports=transports)
    coming = [clients.client() for _ in range(4 * len(ALL))]
    for number, client in enumerate(coming):
        client.start_connect(url, transports=ALL[number % len(ALL)])
    for client in there:
        client.burst("quiet", 100)
    host.kill()
    for client in there:
        # So whoever has sent something knows that it may not have arrived.
        assert client.ended()[:2] == ["transport error", "connected"]
    for client in coming:
        outcome = client.outcome()
        if outcome[0] == "result":
            assert client.ended()[:2] == ["transport error", "connected"]
        else:
            assert outcome[1] == "ConnectionError"
            assert client.status()[:2] == ["disconnected", None]
    host.start()
    url = host.url()
    for number, client in enumerate(there + coming):
        serves(client, url, ALL[number % len(ALL)])


def test_the_cable_is_cut(clients: ClientRig, host: ServerRig) -> None:
    """Both sides find out by themselves, for want of a ping; other clients are untouched."""
    server = host.server("drop_late")
    bystander = clients.client()
    bystander.connect(host.url("drop_late"), transports=UPGRADE)
    many = [clients.client(request_timeout=2) for _ in ALL]
    with Cable(host.address[1]) as cable:
        far = f"http://127.0.0.1:{cable.port}/drop_late/"
        for client, transports in zip(many, ALL, strict=True):
            client.connect(far, transports=transports)
        sids = [client.status()[1] for client in many]
        cable.cut()
        for client, sid in zip(many, sids, strict=True):
            client.burst("lost", 10)
            server.call("burst", sid=sid, count=10)
        for client, sid in zip(many, sids, strict=True):
            reason, state, _ = client.ended()
            # A POST that takes longer than request_timeout may be the first to know.
            assert reason in ("ping timeout", "transport error")
            assert state == "connected"
            assert client.messages() == []
            server.assert_ended(sid, "ping timeout")
            assert server.messages(sid) == []
        many[0].refused(far, transports=POLLING)
    bystander.send("not me")
    bystander.wait("message", "not me")
    assert bystander.events("disconnect") == []
    for client, transports in zip(many, ALL, strict=True):
        serves(client, host.url(), transports)


def test_the_clock_is_set(clients: ClientRig, host: ServerRig, clock: Clock) -> None:
    """An hour forth, two back: nobody takes that for silence, and silence is noticed after it."""
    many = [clients.client() for _ in ALL]
    for client, transports in zip(many, ALL, strict=True):
        client.connect(host.url("drop_late"), transports=transports)
    for number, seconds in enumerate((HOUR, -HOUR)):
        clock.move(seconds)
        time.sleep(0.5)  # two pings
        for client in many:
            client.send(f"{number}")
            client.wait("message", f"{number}")
            assert client.events("disconnect") == []
    host.send_signal(signal.SIGSTOP)
    try:
        clock.move(0)
        for client in many:
            assert client.ended()[:2] == ["ping timeout", "connected"]
    finally:
        host.send_signal(signal.SIGCONT)
    for client, transports in zip(many, ALL, strict=True):
        serves(client, host.url(), transports)


def test_the_client_stands_still(clients: ClientRig, host: ServerRig) -> None:
    """SIGSTOP and SIGCONT: who is still expected goes on, who is not is told and comes again."""
    patient, strict = host.server(), host.server("drop")
    kept, lost = [clients.client() for _ in ALL], [clients.client() for _ in ALL]
    for group, name in ((kept, "engine.io"), (lost, "drop")):
        for client, transports in zip(group, ALL, strict=True):
            client.connect(host.url(name), transports=transports)
    sids = [client.status()[1] for client in kept]
    lost_sids = [client.status()[1] for client in lost]
    os.kill(pid_of(clients), signal.SIGSTOP)
    try:
        for sid in sids:
            patient.call("burst", sid=sid, count=50)
        for sid in lost_sids:
            strict.assert_ended(sid, "ping timeout")
        time.sleep(0 if STOPPED < 10 else STOPPED)
    finally:
        os.kill(pid_of(clients), signal.SIGCONT)
    for client, sid in zip(kept, sids, strict=True):
        if STOPPED < 10:
            client.wait("message", count=50)
            assert client.messages() == [f"burst-{number}" for number in range(50)]
            assert client.status()[1] == sid
        else:  # longer than the server waits
            client.ended()
    for client, transports in zip(lost, ALL, strict=True):
        # Its server has closed the connection, or it has missed the pings itself.
        assert client.ended()[0] in ("transport error", "ping timeout", "server disconnect")
        serves(client, host.url(), transports)


def test_no_file_descriptors_are_left(clients: ClientRig, host: ServerRig) -> None:
    """EMFILE: to connect is a ConnectionError; an open WebSocket goes on."""
    url = host.url()
    client, other = clients.client(), clients.client()
    client.connect(url, transports=WEBSOCKET)
    pid = pid_of(clients)
    highest = max(int(number) for number in os.listdir(f"/proc/{pid}/fd"))
    _, hard = before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    try:
        for room in range(1, 8):  # wherever it gets to before it needs one more
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + room, hard))
            for transports in (POLLING, WEBSOCKET):
                kind = ""
                try:
                    other.connect(url, transports=transports)
                    other.disconnect()
                except CallError as error:
                    kind = error.kind
                assert kind in ("", "ConnectionError")
                assert other.status()[:2] == ["disconnected", None]
        client.send("still here")
        client.wait("message", "still here")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    serves(other, url, UPGRADE)
