"""What is published: built as for PyPI, installed outside this checkout, and used there."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import engineio
import rigs
import wire
from engineio.driver import ASYNC_MODES

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = ("build", "dist", "*.egg-info", "__pycache__", "node_modules", ".*")
DRIVERS = sorted(
    path.stem for path in (ROOT / "async_drivers").glob("*.py") if not path.stem.startswith("_")
)

PROGRAM = """\
from typing import Any

import engineio

eio = engineio.Server(async_mode="threading", ping_interval=10)
app = engineio.WSGIApp(eio, static_files={"/": "index.html"})


@eio.on("connect")
def connect(sid: str, environ: dict[str, Any]) -> bool:
    eio.send(sid, {"hello": sid})
    return "HTTP_ORIGIN" in environ


@eio.on("message")
def message(sid: str, data: Any) -> None:
    with eio.session(sid) as session:
        session["last"] = data
    eio.start_background_task(eio.disconnect, sid)
"""

IMPORT_DRIVER = """
from importlib import import_module
from engineio.exceptions import DriverError
import sys
try:
    module = import_module("engineio.async_drivers." + sys.argv[1])
except DriverError as error:
    print("DriverError", error)
else:
    print(module.__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run to the end: what it printed.  Fails unless its exit status is 0."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        # Without what would show it this checkout.
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist, and the wheel built from that sdist."""
    # From a copy: a build writes to the tree, and old files in build/ would end up in the wheel.
    source = tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", target, source, cwd=target)
    return target


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    [wheel] = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of an environment with the wheel and what it requires."""
    venv = tmp_path_factory.mktemp("bare") / "venv"
    run(sys.executable, "-m", "venv", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel, cwd=venv)
    return python


@pytest.fixture(scope="module")
def full(bare: Path, wheel: Path) -> Path:
    """The same with the optional packages.  Takes `bare` away: such tests come last."""
    run(
        *(bare, "-m", "pip", "install", "-q"),
        f"python-engineio[eventlet,gevent,gunicorn] @ {wheel.as_uri()}",
        *("aiohttp", "sanic", "tornado"),
        cwd=bare.parent,
    )
    return bare


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return BytesParser().parsebytes(archive.read(name))


def test_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {f"engineio/{path.name}" for path in (ROOT / "engineio").glob("*.py")}
    command = {f"engineio/cli/{path.name}" for path in (ROOT / "engineio" / "cli").glob("*.py")}
    drivers = {
        f"engineio/async_drivers/{path.name}" for path in (ROOT / "async_drivers").glob("*.py")
    }
    data = {"engineio/py.typed", "engineio/cli/page.html"}
    data |= {"_engineio_gunicorn.py", "python-engineio-gunicorn.pth"}
    assert names == package | command | drivers | data
    assert wheel.name == f"python_engineio-{engineio.__version__}-py3-none-any.whl"


def test_sdist_has_source_licence_and_tests_to_build_from(dist: Path) -> None:
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= names
    assert {"engineio/server.py", "engineio/py.typed", "async_drivers/threading.py"} <= names
    assert not [name for name in names if "node_modules" in name or name.endswith(".pyc")]


def test_metadata(wheel: Path) -> None:
    fields = metadata(wheel)
    assert fields["Name"] == "python-engineio"
    assert fields["Version"] == engineio.__version__
    assert fields["Requires-Python"] == ">=3.10"
    assert fields["License-File"] == "LICENSE"
    assert fields["Description-Content-Type"] == "text/markdown"
    required = [str(each) for each in fields.get_all("Requires-Dist", [])]
    assert [each for each in required if "extra ==" not in each] == ["websockets>=16.1"]


def test_import_needs_no_optional_package(bare: Path) -> None:
    program = "import engineio; print(engineio.__version__, engineio.__file__)"
    version, file = run(bare, "-W", "error", "-c", program, cwd=bare.parent).split()
    assert version == engineio.__version__
    assert file.startswith(str(bare.parent.parent))
    run(bare, "-m", "pip", "check", cwd=bare.parent)


def test_the_command_says_what_to_install(bare: Path) -> None:
    # The first as in a shell, the second as `python -m`.
    commands: list[list[Path | str]]
    commands = [[bare.with_name("engineio")], [bare, "-W", "error", "-m", "engineio"]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, cwd=bare.parent, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "pip install 'python-engineio[cli]'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_missing_package_is_named(bare: Path, driver: str) -> None:
    program = (
        "import sys, engineio\n"
        "try: getattr(engineio, sys.argv[2])(async_mode=sys.argv[1])\n"
        "except engineio.exceptions.DriverError as error: print(error)"
    )
    server = "AsyncServer" if driver in ASYNC_MODES else "Server"
    said = run(bare, "-c", program, driver, server, cwd=bare.parent)
    if driver in ("threading", "asgi"):
        assert said == ""
    else:
        assert driver in said
        assert "pip install" in said or "uWSGI" in said


def test_a_typed_program_passes_mypy(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = ("-m", "mypy", "--strict", "--python-executable", bare, "program.py")
    assert run(sys.executable, *command, cwd=tmp_path).startswith("Success")


@pytest.mark.parametrize("driver", DRIVERS)
def test_drivers_are_importable(full: Path, driver: str) -> None:
    said = run(full, "-W", "ignore", "-c", IMPORT_DRIVER, driver, cwd=full.parent)
    if driver == "gevent_uwsgi":
        assert said.startswith("DriverError")
        assert "uWSGI" in said
    else:
        assert said.endswith(f"engineio/async_drivers/{driver}.py\n")


def test_gunicorn_finds_the_worker(full: Path) -> None:
    program = (
        "import gunicorn.util as util; "
        "print(util.load_class('egg:python-engineio#eventlet').__module__, "
        "util.load_class('engineio.gunicorn.EventletWorker').__name__)"
    )
    said = run(full, "-W", "ignore", "-c", program, cwd=full.parent)
    assert said == "engineio.gunicorn EventletWorker\n"
    run(full, "-m", "pip", "check", cwd=full.parent)


def test_gunicorn_knows_eventlet_by_name(full: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import engineio\napp = engineio.WSGIApp(engineio.Server())\n")
    port = rigs.free_port()
    log = tmp_path / "log"
    with log.open("w") as output:
        options = ("-k", "eventlet", "-w", "1", "-b", f"127.0.0.1:{port}", "--no-control-socket")
        process = subprocess.Popen(
            [full.with_name("gunicorn"), *options, "app:app"],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=output,
            stderr=output,
        )
    try:
        rigs.until(lambda: "Booting worker" in log.read_text() or process.poll() is not None)
        session = wire.Polling(wire.Endpoint(("127.0.0.1", port)))
        websocket, _ = wire.upgrade(session)
        websocket.send_text("1")
        websocket.read_close()
    finally:
        process.terminate()
        process.wait(30)
        wire.close_all()
    said = log.read_text()
    assert "Using worker: eventlet" in said
    assert not [line for line in said.splitlines() if "INFO" not in line], said


def test_other_processes_are_left_alone(full: Path, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text("import sys; print(*sys.modules)")
    modules = run(full, script, "gunicorn.conf.py", "about gunicorn", cwd=tmp_path).split()
    assert "site" in modules
    assert not [name for name in modules if "gunicorn" in name or "engineio" in name]
