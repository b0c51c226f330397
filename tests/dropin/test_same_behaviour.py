"""The same calls, made to python-engineio and to this package, return and raise the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import compare_api
from dropin_servers import APPS
from environments import packages

# What differs on purpose, and why.
DIFFERENT = {
    "Packet(4, bytearray(b'ab')).encode(False)": "bytes, which do not change after they were sent",
    "Packet(encoded_packet='')": "another text",
    "payload 'd=4%1e'": "another text",
    "json.loads 11111111111111111111 101": "another text",
    "static /nothing": "'/' is a file and no folder",
    "handshake": "the order of the JavaScript server",
    "no session afterwards": "the end does not wait for the client",
}


def behaviour(folder: Path | None) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, str(APPS / "behaviour.py")],
        cwd="/",
        env={**os.environ, "PYTHONPATH": "" if folder is None else str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_same_behaviour() -> None:
    theirs = behaviour(packages("python-engineio-4.15.1", compare_api.UPSTREAM))
    ours = behaviour(None)
    assert len(theirs) > 350
    different = {
        label: (was, ours.get(label)) for label, was in theirs.items() if was != ours.get(label)
    }
    unexpected = {label: both for label, both in different.items() if label not in DIFFERENT}
    assert unexpected == {}
    assert set(different) == set(DIFFERENT)
