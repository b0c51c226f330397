"""Print what the `engineio` that is found first offers to other packages, as JSON.

It runs by itself, in a process that has either this project or python-engineio; see
`compare_api.py`.
"""

import importlib
import inspect
import json
import logging
import pkgutil
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# Names with an underscore that other packages use all the same: python-socketio and its admin
# instrumentation, and what they or applications do with `eio._...`.
USED = {
    *("_ok", "_bad_request", "_method_not_found", "_unauthorized", "_get_socket", "_async"),
    *("_cors_headers", "_upgrades", "_trigger_event", "_log_error_once"),
    *("_websocket_handler", "_send_ping"),
}
PLAIN = (bool, int, float, str, bytes, tuple, list, dict, set, type(None))
# Drivers that are loaded only where their package is there, and uWSGI's nowhere else.
OPTIONAL = {"gevent_uwsgi"}


def is_listed(name: str) -> bool:
    return not name.startswith("_") or name in USED


def text(value: Any) -> str:
    """A value as it may be compared and printed: nothing in it differs from run to run."""
    if isinstance(value, set):
        return repr(value) if not value else "{" + ", ".join(sorted(map(repr, value))) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(text, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, float) and value > time.time() - 3600:
        return "a time"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: ..." for key in sorted(value)) + "}"
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, ModuleType):
        return f"the module {value.__name__}"
    if isinstance(value, logging.Logger):
        return f"the logger {value.name!r}"
    return f"a {type(value).__name__}"


def callable_entry(function: Any) -> dict[str, Any]:
    """Whether a function is a coroutine function, and its parameters with their defaults."""
    function = inspect.unwrap(function)
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        has_default = parameter.default is not parameter.empty
        parameters.append(
            {
                "name": parameter.name,
                "kind": parameter.kind.name,
                "default": text(parameter.default) if has_default else None,
            }
        )
    kind = "coroutine function" if inspect.iscoroutinefunction(function) else "function"
    return {"kind": kind, "parameters": parameters}


def entry(value: Any) -> dict[str, Any]:
    if isinstance(value, type):
        return {"kind": "class", "bases": [base.__name__ for base in value.__mro__[1:]]}
    if inspect.isroutine(value):
        return callable_entry(value)
    return {"kind": "value", "value": text(value)}


def class_members(kind: type) -> Iterator[tuple[str, dict[str, Any]]]:
    if issubclass(kind, BaseException):
        return
    yield "()", callable_entry(kind.__init__)
    for name in dir(kind):
        if not is_listed(name) or is_foreign(kind, name):
            continue
        member = inspect.getattr_static(kind, name)
        if isinstance(member, (staticmethod, classmethod)):
            member = member.__func__
        if isinstance(member, property):
            yield f".{name}", {"kind": "attribute", "value": None}
        elif isinstance(member, type):
            values = {key: text(value) for key, value in vars(member).items() if key[:1] != "_"}
            for key, value in values.items():
                yield f".{name}.{key}", {"kind": "value", "value": value}
        else:
            yield f".{name}", entry(member)


def is_foreign(kind: type, name: str) -> bool:
    """Whether a class has a name from a base of the standard library."""
    owner = next(base for base in kind.__mro__ if name in vars(base))
    return not owner.__module__.startswith("engineio")


def module_members(module: ModuleType) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in sorted({*dir(module), *getattr(module, "__all__", ())}):
        value = getattr(module, name)
        if name == "__version__" or not is_listed(name) or isinstance(value, ModuleType):
            continue
        where = getattr(value, "__module__", None)
        if isinstance(value, type) or inspect.isroutine(value):
            if not (where or "").startswith("engineio"):
                continue
            # What a module has from another one is not its own to offer.
            borrowed = where != module.__name__ and module.__name__ != "engineio"
            yield f".{name}", {**entry(value), "borrowed": borrowed}
            if isinstance(value, type):
                for rest, member in class_members(value):
                    yield f".{name}{rest}", {**member, "borrowed": borrowed}
        elif isinstance(value, (*PLAIN, logging.Logger)):
            yield f".{name}", entry(value)


def modules() -> Iterator[ModuleType]:
    yield importlib.import_module("engineio")
    for parent in ("engineio", "engineio.async_drivers"):
        package = importlib.import_module(parent)
        yield package
        for found in pkgutil.iter_modules(package.__path__):
            if not found.name.startswith("_") and found.name not in OPTIONAL | {"gunicorn"}:
                yield importlib.import_module(f"{parent}.{found.name}")


def instances() -> Iterator[tuple[str, Any]]:
    engineio = importlib.import_module("engineio")
    server = engineio.Server(async_mode="threading")
    yield "Server", server
    yield "WSGIApp", engineio.WSGIApp(server)
    yield "socket.Socket", importlib.import_module("engineio.socket").Socket(server, "sid")
    server = engineio.AsyncServer(async_mode="asgi")
    yield "AsyncServer", server
    yield "ASGIApp", engineio.ASGIApp(server)
    async_socket = importlib.import_module("engineio.async_socket")
    yield "async_socket.AsyncSocket", async_socket.AsyncSocket(server, "sid")
    yield "Client", engineio.Client(handle_sigint=False)
    yield "AsyncClient", engineio.AsyncClient(handle_sigint=False)
    yield "packet.Packet", importlib.import_module("engineio.packet").Packet()
    yield "payload.Payload", importlib.import_module("engineio.payload").Payload()


def describe() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    engineio = importlib.import_module("engineio")
    for module in pkgutil.iter_modules(engineio.__path__):
        if module.name[0] != "_" and hasattr(engineio, module.name):
            found[f"import engineio: engineio.{module.name}"] = {"kind": "module"}
    for loaded in modules():
        found[loaded.__name__] = {"kind": "module"}
        for name, member in module_members(loaded):
            found[loaded.__name__ + name] = member
    for owner, instance in instances():
        for name in dir(instance):
            full = f"engineio.{owner}.{name}"
            known = found.get(full, {"kind": "attribute"})
            if is_listed(name) and known["kind"] in ("attribute", "value"):
                value = text(getattr(instance, name))
                found[full] = {"kind": "attribute", "value": value}
    return found


if __name__ == "__main__":
    json.dump(describe(), sys.stdout)
