"""Virtual environments for tests that need other versions than the one pytest runs in has."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = ROOT / "build" / "venvs"


def environment(name: str, *requirements: str) -> Path:
    """Return the python of a virtual environment under `build/venvs/<name>`.

    `requirements` are installed in it, and this checkout, editable.  It is made with the running
    Python and kept for the next run; other requirements, another Python and another setup.cfg
    have one each.  Processes that ask at the same time take turns, whatever the names, because
    each installation writes to this checkout's egg-info.  Raises CalledProcessError, with pip's
    output printed, if the installation fails.
    """
    venv = VENVS / name / _digest(requirements)
    python = venv / "bin" / "python"
    stamp = venv / "complete"
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (VENVS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not stamp.exists():
            shutil.rmtree(venv, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(venv))
            _run(str(python), "-m", "pip", "install", "-q", "-e", str(ROOT), *requirements)
            stamp.touch()  # last: a half-made environment is made again
    return python


def packages(name: str, *requirements: str) -> Path:
    """Return a folder, `build/venvs/<name>`, that has packages but not this checkout.

    First in PYTHONPATH it goes before whatever the running Python has: that is how the real
    python-engineio is reached.  Kept for the next run.  Raises CalledProcessError as
    `environment` does.
    """
    folder = VENVS / name / _digest(requirements, with_us=False)
    stamp = folder / "complete"
    VENVS.mkdir(parents=True, exist_ok=True)
    with (VENVS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(
                *(sys.executable, "-m", "pip", "install", "-q", "--target", str(folder)),
                *requirements,
            )
            stamp.touch()
    return folder


def _digest(requirements: tuple[str, ...], with_us: bool = True) -> str:
    ours = (ROOT / "setup.cfg").read_text() if with_us else ""
    parts = (sys.version, ours, *sorted(requirements))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
        done.check_returncode()
