"""A few seconds of stress mode in every mode; `make stress` does more of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXERCISER = Path(__file__).parent / "exerciser.py"
SECONDS = 5


@pytest.mark.parametrize("mode", ["threading", "threading-in-order", "gevent", "eventlet"])
def test_everything_at_once(mode: str) -> None:
    pytest.importorskip(mode.partition("-")[0])
    done = subprocess.run(
        [sys.executable, EXERCISER, mode, "--seconds", str(SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    counts = json.loads(done.stdout.splitlines()[-1])
    assert min(counts[kind] for kind in ("polling", "websocket", "upgrade")) > 0, done.stdout
