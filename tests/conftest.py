"""Fixtures of the contract suite: `rig` is one of the main servers, `any_rig` any server."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

import rigs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rig",
        action="append",
        metavar="NAME",
        help="run the contract suite on this server only (can be repeated): "
        + ", ".join(rigs.SPECS),
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rig(feature): only on servers that have it, see rigs.Spec")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a server cannot do; a skipped test would say that something is missing."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (kept if _is_possible(item) else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """What runs in one process when there are several: all tests of a server, or of a file."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        if path.startswith(("tests/contract/", "tests/hostile/")):
            parameters = name.partition("[")[2].removesuffix("]") + "-"
            for rig in rigs.SPECS:
                if parameters.startswith(f"{rig}-"):
                    return rig
        return path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Distribute tests so that a server is started once."""
    return Scheduling(config, log)


def _is_possible(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    spec = rigs.SPECS.get(str(parameters.get("rig") or parameters.get("any_rig")))
    if spec is None:
        return True
    features = [marker.args[0] for marker in item.iter_markers("rig")]
    if "upgradable" in getattr(item, "fixturenames", ()):
        features.append("websocket")
    tolerated = parameters.get("name") in spec.tolerates
    return not tolerated and all(getattr(spec, feature) for feature in features)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, names in (("rig", rigs.MAIN), ("any_rig", tuple(rigs.SPECS))):
        if fixture in metafunc.fixturenames:
            wanted = metafunc.config.getoption("--rig") or names
            chosen = [name for name in names if name in wanted]
            metafunc.parametrize(fixture, chosen, indirect=True, scope="session")


class Pool:
    """The rig that runs.  Tests are sorted by rig, so one is kept at a time."""

    def __init__(self) -> None:
        self._current: rigs.Rig | None = None
        self._failed: dict[str, str] = {}

    def get(self, name: str) -> rigs.Rig:
        if self._current and self._current.spec.name == name:
            return self._current
        self.stop()
        if name in self._failed:
            pytest.fail(self._failed[name], pytrace=False)
        rig = rigs.Rig(rigs.SPECS[name])
        try:
            rig.start()
        except LookupError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"{name}: {error}")
        except RuntimeError as error:
            self._failed[name] = f"{name} did not start, see the first failure"
            pytest.fail(str(error), pytrace=False)
        self._current = rig
        return rig

    def stop(self) -> None:
        if self._current:
            rig, self._current = self._current, None
            rig.stop()


@pytest.fixture(scope="session")
def _pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.stop()


@pytest.fixture(scope="session")
def rig(request: pytest.FixtureRequest, _pool: Pool) -> rigs.Rig:
    """A running server, one of the main ones."""
    return _pool.get(request.param)


@pytest.fixture(scope="session")
def any_rig(request: pytest.FixtureRequest, _pool: Pool) -> rigs.Rig:
    """A running server, any of them."""
    return _pool.get(request.param)


@pytest.fixture
def server(rig: rigs.Rig) -> rigs.Server:
    """The Engine.IO server with default options on `rig`."""
    return rig.server()


@pytest.fixture(autouse=True)
def _leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test on a rig: nothing leaked, nothing unexpected in the server's log."""
    names = {"rig", "any_rig"} & set(request.fixturenames)
    if not names:
        yield
        return
    running: rigs.Rig = request.getfixturevalue(names.pop())
    if not running.is_running:
        running.start()
    yield
    try:
        running.clean_up()
    except (OSError, EOFError):
        # It is gone or hangs: the next test gets a new one.
        log = running.log()
        running.stop()
        pytest.fail(f"the server does not answer any more; its log:\n{log[-5000:]}")
