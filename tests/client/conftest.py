"""Fixtures: `clients` is a process with one kind of clients, `host` a server for them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import client_rigs
from client_rigs import ClientRig, ServerRig

NODE = shutil.which("node")
SERVER_FROM_NPM = Path(client_rigs.__file__).parent / "javascript" / "node_modules" / "engine.io"


@pytest.fixture(scope="session")
def _running_clients() -> Iterator[dict[str, ClientRig]]:
    running: dict[str, ClientRig] = {}
    yield running
    for rig in running.values():
        rig.stop()


@pytest.fixture(scope="session")
def _running_hosts() -> Iterator[dict[str, ServerRig]]:
    running: dict[str, ServerRig] = {}
    yield running
    for rig in running.values():
        rig.stop()


@pytest.fixture(params=client_rigs.modes())
def clients(
    request: pytest.FixtureRequest, _running_clients: dict[str, ClientRig]
) -> Iterator[ClientRig]:
    """A process with clients.  After each test: nothing left open there, nothing written."""
    name = request.param
    rig = _running_clients.setdefault(name, ClientRig(name))
    if not rig.is_running:
        rig.start()
        rig.warm_up()
    yield rig
    rig.clean_up()


@pytest.fixture(params=client_rigs.SERVERS)
def host(
    request: pytest.FixtureRequest, clients: ClientRig, _running_hosts: dict[str, ServerRig]
) -> Iterator[ServerRig]:
    """Each of the servers.  After each test: no session left there, nothing in its log."""
    yield from _host(request.param, clients, _running_hosts)


@pytest.fixture(params=["ours-uvicorn"])
def our_host(
    request: pytest.FixtureRequest, clients: ClientRig, _running_hosts: dict[str, ServerRig]
) -> Iterator[ServerRig]:
    """One of our servers, for what does not depend on the server."""
    yield from _host(request.param, clients, _running_hosts)


def _host(name: str, clients: ClientRig, running: dict[str, ServerRig]) -> Iterator[ServerRig]:
    if name == "javascript" and not (NODE and SERVER_FROM_NPM.is_dir()):
        pytest.skip("needs Node.js and `npm ci` in tests/javascript")
    rig = running.setdefault(name, ServerRig(name))
    if not rig.is_running:
        rig.start()
    yield rig
    clients.reset()  # or the server's sessions would be found open
    if rig.is_running and clients.is_ours:  # what it leaks otherwise is not ours
        rig.clean_up()
