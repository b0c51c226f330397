"""What is measured besides this checkout, and what measures it: made once, kept in build/bench."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

BENCH = Path(__file__).resolve().parent
BUILD = BENCH.parent / "build" / "bench"
UPSTREAM = "python-engineio==4.15.1"
# The last gunicorn that has an eventlet worker of its own.
GUNICORN_WITH_EVENTLET = "25.3.0"
# What runs python-engineio, in the versions of the running environment.
HOSTS = (
    *("gevent", "eventlet", "pyuwsgi"),
    *("uvicorn", "uvloop", "httptools", "websockets"),
    *("hypercorn", "h11", "wsproto", "aiohttp"),
)
CLIENT_PACKAGES = ("requests", "websocket-client", "aiohttp")


class UnavailableError(Exception):
    """Something cannot be installed here; says what and why."""


def load_generator() -> Path:
    """Return the compiled load generator.  Raises `UnavailableError` without a C compiler."""
    source, binary = BENCH / "eioload.c", BUILD / "eioload"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        _run("gcc", "-O2", "-march=native", "-o", str(binary), str(source))
    return binary


def upstream(gunicorn: str | None = None) -> Path:
    """Return the python of an environment with python-engineio 4.15.1.

    Its servers have the versions of the running environment; `gunicorn` names another one.
    """
    requirements = [UPSTREAM, "simple-websocket", "packaging", f"gunicorn=={gunicorn}"]
    if gunicorn is None:
        requirements[-1] = f"gunicorn=={version('gunicorn')}"
    requirements += [f"{name}=={version(name)}" for name in HOSTS]
    return _environment(requirements)


def upstream_client() -> Path:
    """Return the python of an environment with python-engineio's clients.

    What they use has the versions of the running environment.
    """
    try:
        packages = [f"{name}=={version(name)}" for name in CLIENT_PACKAGES]
    except PackageNotFoundError as error:
        raise UnavailableError(f"{error.name} is not installed") from None
    return _environment([UPSTREAM, *packages])


def _environment(requirements: list[str]) -> Path:
    name = hashlib.sha256("\0".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    venv = BUILD / f"upstream-{name}"
    if not (venv / "complete").exists():
        shutil.rmtree(venv, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(venv))
        _run(str(venv / "bin" / "python"), "-m", "pip", "install", "-q", *requirements)
        (venv / "complete").touch()  # last: a half-made environment is made again
    return venv / "bin" / "python"


def javascript() -> Path:
    """Return the folder with the JavaScript server, its packages installed."""
    folder = BENCH / "javascript"
    lock, marker = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        _run("npm", "ci", "--silent", "--no-audit", "--no-fund", cwd=folder)
        marker.touch()
    return folder


def eiows() -> Path:
    """Return the folder of the C++ WebSocket engine for Node.

    It compiles against Node's own sources, which its installation clones from GitHub. Where that
    fails npm leaves it out; `BENCH_EIOWS` names a folder with one that was built otherwise.
    """
    folder = Path(os.environ.get("BENCH_EIOWS") or javascript() / "node_modules" / "eiows")
    if not folder.exists():
        raise UnavailableError("eiows did not install here (it builds from Node's sources)")
    return folder.resolve()


def _run(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UnavailableError(f"{command[0]} is not installed") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise UnavailableError(f"`{' '.join(command[:4])} ...` failed: {last}")
