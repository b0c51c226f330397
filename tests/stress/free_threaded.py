"""Only without the GIL: that it stays off. `make free-threaded` names this file."""

import subprocess
import sys

import pytest

import rigs

# What a threaded server may have, and a client.
MODULES = (
    "engineio.async_drivers.threading",
    "engineio.client",
    "websockets.frames",
    "werkzeug.serving",
    "gunicorn.workers.gthread",
    "requests",
    "websocket",
)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_switches_it_on(module: str) -> None:
    program = f"import sys, {module}; sys.exit(sys._is_gil_enabled())"
    # -E: PYTHON_GIL=0, with which this may run, would keep it off whatever is imported.
    subprocess.run([sys.executable, "-E", "-c", program], check=True, timeout=60)


def test_a_server_has_none(any_rig: rigs.Rig) -> None:
    assert any_rig.server().polling().sid
    assert any_rig.control("has_gil") is False
