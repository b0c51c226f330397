"""No name, argument or default of python-engineio 4.15.1 is missing."""

import subprocess

import pytest

import compare_api
from dropin_servers import python
from environments import ROOT


@pytest.fixture(scope="module")
def both() -> tuple[compare_api.Api, compare_api.Api]:
    return compare_api.theirs(), compare_api.ours()


def test_nothing_is_missing(both: tuple[compare_api.Api, compare_api.Api]) -> None:
    old, new = both
    assert len(old) > 500  # it has been looked at
    assert list(compare_api.missing(old, new)) == []


def test_every_difference_that_is_meant_is_one(
    both: tuple[compare_api.Api, compare_api.Api],
) -> None:
    old, new = both
    meant, compare_api.MEANT = compare_api.MEANT, {}
    try:
        different = {name for name, _ in compare_api.missing(old, new)}
        for pattern in meant:
            compare_api.MEANT = {pattern: ""}
            assert any(compare_api.meant(name) is not None for name in different), pattern
    finally:
        compare_api.MEANT = meant


def test_the_page_is_up_to_date(both: tuple[compare_api.Api, compare_api.Api]) -> None:
    """`python tests/compare_api.py` renews it."""
    assert compare_api.PAGE.read_text() == compare_api.page_with(compare_api.tables(*both))


def test_differences_are_found(both: tuple[compare_api.Api, compare_api.Api]) -> None:
    old, new = both
    send, option = "engineio.Server.send", "engineio.Server()"
    other_default = [dict(item) for item in new[option]["parameters"]]
    other_default[2]["default"] = "26"
    changes = {
        "is missing": (send, None),
        "was a function and is a coroutine function": (send, {"kind": "coroutine function"}),
        "has no parameter data": (send, {"parameters": new[send]["parameters"][:2]}),
        "has data in another place": (send, {"parameters": new[send]["parameters"][::-1]}),
        "has ping_interval=26, not 25": (option, {"parameters": other_default}),
    }
    for wrong, (name, change) in changes.items():
        changed = {key: entry for key, entry in new.items() if key != name}
        if change is not None:
            changed[name] = {**new[name], **change}
        assert (name, wrong) in list(compare_api.missing(old, changed))


def test_pip_takes_this_for_python_engineio() -> None:
    """Installing python-socketio has not installed python-engineio over it."""
    script = "import engineio; print(engineio.__version__, engineio.__file__)"
    done = subprocess.run(
        [str(python()), "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.split() == ["5.0.0", str(ROOT / "engineio" / "__init__.py")]
    listed = subprocess.run(
        [str(python()), "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stdout


def test_servers_need_no_package_of_the_clients() -> None:
    """`import socketio` looks at engineio.Client and AsyncClient."""
    script = """
import sys
for name in ("requests", "websocket", "aiohttp"):
    sys.modules[name] = None
import socketio
server = socketio.Server(async_mode="threading")
assert socketio.Client.reason.SERVER_DISCONNECT == "server disconnect"
socketio.ASGIApp(socketio.AsyncServer(async_mode="asgi"))
"""
    done = subprocess.run(
        [str(python()), "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
