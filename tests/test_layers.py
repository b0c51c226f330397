"""Who imports whom: each module only what stands above it, so that it can be read on its own."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import engineio

PACKAGE = Path(engineio.__file__).parent
DRIVERS = PACKAGE.parent / "async_drivers"
if not DRIVERS.is_dir():  # an installed package
    DRIVERS = PACKAGE / "async_drivers"

# From the top down. A module may import what stands before it in this list.
ORDER = [
    # Layer 0: pure.
    *("exceptions", "json", "packet", "payload", "settings", "session", "heartbeat"),
    *("request", "admission", "response", "static_files", "websocket", "inbox"),
    # Layer 1: shared by sync and async, never waits.
    *("driver", "manager", "events", "bodies"),
    *("base_app", "base_server", "base_socket", "base_client"),
    # Layer 2: shells.
    *("reader", "socket", "server", "middleware"),
    *("async_reader", "async_socket", "async_server", "asgi"),
    *("dial", "client", "async_dial", "async_client"),
    # The package itself, and what is only ever loaded by name.
    *("__init__", "gunicorn", "__main__"),
]
# The command, which uses the package as everybody does; `plot` is loaded by name.
COMMAND_ORDER = ["output", "verbatim", "session", "ping", "connect", "bench", "plot", "serve"]
COMMAND_ORDER += ["commands", "__init__"]
# Drivers see the core through these; the shells give them everything else.
FOR_DRIVERS = {"exceptions", "packet", "request", "websocket", "driver"}
# What is also found where python-engineio has it.
ALSO_THERE = {"asgi": {"asgi"}}

SOURCES = {path.stem: path for path in PACKAGE.glob("*.py")}
DRIVER_SOURCES = {path.stem: path for path in DRIVERS.glob("*.py")}
COMMAND_SOURCES = {path.stem: path for path in (PACKAGE / "cli").glob("*.py")}
ALL_SOURCES = {
    **SOURCES,
    **{f"async_drivers.{name}": at for name, at in DRIVER_SOURCES.items()},
    **{f"cli.{name}": at for name, at in COMMAND_SOURCES.items()},
}
# Modules that import others by name, when they are asked for them.
LOADERS = {"driver", "cli.commands"}


def is_for_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements that run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and is_for_typing(child):
            for other in child.orelse:
                yield from imports(ast.Module([other], []))
        else:
            yield from imports(child)


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules of this package that a module imports."""
    here = "engineio.async_drivers" if path.parent == DRIVERS else "engineio"
    for node in imports(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        assert node.level <= 1, f"{path}: import from further up"
        source = f"{here}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
        if source in ("engineio", "engineio.async_drivers"):
            yield from (f"{source}.{alias.name}" for alias in node.names)
        else:
            yield source


def own(path: Path) -> set[str]:
    """The names, without `engineio.`, of the modules of this package that a module imports."""
    prefix = "engineio."
    return {name.removeprefix(prefix) for name in imported(path) if name.startswith(prefix)}


def test_every_module_has_its_place() -> None:
    assert set(SOURCES) == set(ORDER)
    assert set(COMMAND_SOURCES) == set(COMMAND_ORDER)


@pytest.mark.parametrize("name", [name for name in ORDER if name not in ("__init__", "__main__")])
def test_a_module_imports_from_above_only(name: str) -> None:
    above = set(ORDER[: ORDER.index(name)]) - {"__init__"}
    assert own(SOURCES[name]) <= above


@pytest.mark.parametrize("name", sorted(DRIVER_SOURCES))
def test_drivers_import_the_contract_and_each_other(name: str) -> None:
    shared = {f"async_drivers.{other}" for other in DRIVER_SOURCES}
    assert own(DRIVER_SOURCES[name]) <= FOR_DRIVERS | shared | ALSO_THERE.get(name, set())


def test_the_package_imports_no_leaf() -> None:
    drivers = {f"async_drivers.{name}" for name in DRIVER_SOURCES}
    commands = {"cli", "__main__", *(f"cli.{name}" for name in COMMAND_SOURCES)}
    assert not own(SOURCES["__init__"]) & {"gunicorn", *drivers, *commands}


@pytest.mark.parametrize("name", COMMAND_ORDER)
def test_the_command_imports_what_applications_do(name: str) -> None:
    above = {f"cli.{other}" for other in COMMAND_ORDER[: COMMAND_ORDER.index(name)]}
    assert own(COMMAND_SOURCES[name]) <= {"json", "cli"} | above - {"cli.plot"}
    assert own(SOURCES["__main__"]) == {"cli.commands"}


@pytest.mark.parametrize("name", sorted(ALL_SOURCES))
def test_nothing_is_imported_inside_a_function(name: str) -> None:
    tree = ast.parse(ALL_SOURCES[name].read_text())
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            assert not list(imports(function)), f"line {function.lineno}"
    if name not in LOADERS:
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not calls & {"import_module", "importlib.import_module", "__import__"}


PURE = ORDER[: ORDER.index("driver")]


@pytest.mark.parametrize("name", [name for name in PURE if name != "static_files"])
def test_the_pure_layer_has_no_clock_and_no_threads(name: str) -> None:
    waiting = {"time", "threading", "socket", "select", "selectors", "asyncio", "queue"}
    assert not waiting & set(imported(SOURCES[name]))


def test_importing_the_package_loads_no_driver() -> None:
    script = """
import sys
import engineio
heavy = ("gevent", "eventlet", "gunicorn", "werkzeug", "greenlet", "geventwebsocket")
heavy += ("aiohttp", "sanic", "tornado", "uvicorn", "starlette")
loaded = [name for name in sys.modules if name.partition(".")[0] in heavy]
loaded += [name for name in sys.modules if name.startswith("engineio.async_drivers")]
print(*loaded)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_what_other_packages_reach_through_the_package() -> None:
    script = """
import engineio
engineio.exceptions.ConnectionError, engineio.packet.Packet, engineio.payload.Payload
engineio.json.dumps, engineio.Server.reason, engineio.WSGIApp, engineio.Middleware, engineio.ASGIApp
engineio.socket.Socket
"""
    subprocess.run([sys.executable, "-c", script], check=True)
