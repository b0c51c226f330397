"""Stress mode for as long as you like: `make stress ARGS='--minutes 10'`, default 2.

Half of the time goes to tests/stress/exerciser.py, one mode after the other, the rest to tests of
sessions out of the contract suite, again and again, while their servers are in stress mode. Each
round has a seed of its own, which is printed; `--seed N` begins with that one. Stops at the first
failure.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
MODES = ("threading", "threading-in-order", "gevent", "eventlet")
RIGS = ("threading", "gevent", "eventlet")
TESTS = ("handlers", "bursts", "polling", "upgrade", "disconnect")


def exercise(mode: str, seed: int, seconds: float) -> bool:
    command = [sys.executable, str(FOLDER / "exerciser.py"), mode]
    options = ["--seconds", f"{seconds:.0f}", "--seed", str(seed)]
    print(f"== {mode}", flush=True)
    return subprocess.run([*command, *options], check=False).returncode == 0


def test(rig: str, seed: int) -> bool:
    print(f"== tests of sessions, {rig}, seed {seed}", flush=True)
    files = [f"tests/contract/test_{name}.py" for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rig", rig, *files]
    variables = {**os.environ, "STRESS": str(seed)}
    return subprocess.run(command, check=False, cwd=ROOT, env=variables).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--threads", action="store_true", help="only the modes with threads")
    arguments = parser.parse_args()
    modes = [mode for mode in MODES if "threading" in mode or not arguments.threads]
    seconds = arguments.minutes * 60
    deadline = time.monotonic() + seconds
    seed = arguments.seed
    for mode in modes:
        if not exercise(mode, seed, seconds / 2 / len(modes)):
            return 1
    while time.monotonic() < deadline:
        for rig in RIGS:
            if rig in modes and not test(rig, seed):
                return 1
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
