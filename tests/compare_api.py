"""What python-engineio 4.15.1 offers and this project offers, side by side.

`python tests/compare_api.py` prints what is missing and renews the tables of docs/migration.md.

Both packages are looked at by `describe_api.py`, each in a process of its own.
"""

import fnmatch
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engineio.settings import NEW_OPTIONS, Settings
from environments import ROOT, packages

UPSTREAM = "python-engineio==4.15.1"
PAGE = ROOT / "docs" / "migration.md"
BEGIN = "<!-- made by tests/compare_api.py; edit that -->\n"
END = "<!-- end of what is made -->\n"

Entry = dict[str, Any]
Api = dict[str, Entry]

# Differences that are meant, by name, each with what docs/migration.md says about it.
MEANT = {
    "*._trigger_event": "same, `run_async` by name",
    "engineio.json.loads": "same, the first argument has a name",
    "engineio.payload.Payload.max_decode_packets": "`None`: no limit but the size; a number is one",
    "*Socket.last_ping": "`None` until the first PING is sent",
    "engineio.async_drivers.asgi.WebSocket.*": "same, what they return is awaited",
    "engineio.async_drivers.asgi.translate_request": "a function",
    "engineio.async_drivers.tornado.make_response": "a coroutine function",
    "engineio.async_drivers.gevent.Thread()": "same, with defaults that are not changed by mistake",
    "engineio.async_drivers.eventlet.EventletThread*": "it is `_async['thread']`",
    "engineio.async_drivers.eventlet.WebSocketWSGI*": "it is `_async['websocket']`",
    "engineio.async_drivers.gevent.WebSocketWSGI*": "it is `_async['websocket']`",
    "engineio.async_drivers.gevent.SimpleWebSocketWSGI": "not needed",
    "*.task_reference_holder": "not needed",
    "*.async_signal_handler_set": "not needed",
    "import engineio: engineio.async_drivers": "`import engineio` loads no driver",
}

# What the tables say besides, of what has the same signature.
REMARKS = {"engineio.socket.Socket.queue": "a copy"}

# The classes that the tables show, with the twin for asyncio, and what they have that is new and
# for everybody; the rest of what is new is for this package itself.
CLASSES: list[tuple[str, str | None, list[str]]] = [
    (
        "Server",
        "AsyncServer",
        [
            *("broadcast", "sids", "stats", *NEW_OPTIONS),
            *("reason.PARSE_ERROR", "reason.SEND_BUFFER_FULL", "reason.SERVER_SHUTDOWN"),
        ],
    ),
    (
        "Client",
        "AsyncClient",
        [
            *("max_http_buffer_size", "max_send_buffer"),
            *("reason.PARSE_ERROR", "reason.PING_TIMEOUT", "reason.SEND_BUFFER_FULL"),
        ],
    ),
    ("socket.Socket", "async_socket.AsyncSocket", []),
    ("WSGIApp", None, []),
    ("ASGIApp", None, []),
    ("packet.Packet", None, []),
    ("payload.Payload", None, []),
]
# Options of servers that come through `**kwargs`.
MORE_OPTIONS = [*NEW_OPTIONS, "client_manager"]


def theirs() -> Api:
    """What python-engineio offers."""
    return _describe(packages("python-engineio-4.15.1", UPSTREAM))


def ours() -> Api:
    """What this project offers."""
    return _describe(None)


def _describe(folder: Path | None) -> Api:
    variables = {**os.environ, "EVENTLET_TESTS": "1"}  # eventlet prints no notice then
    variables["PYTHONPATH"] = "" if folder is None else str(folder)
    script = Path(__file__).with_name("describe_api.py")
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(
        command, cwd=script.parent, env=variables, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    api: Api = json.loads(done.stdout)
    return api


def missing(old: Api, new: Api) -> Iterator[tuple[str, str]]:
    """Every name of `old` that `new` does not have, or has otherwise; and what is wrong with it."""
    for name, was in old.items():
        now = new.get(name)
        if was.get("borrowed") or meant(name):
            continue
        if now is None:
            yield name, "is missing"
        elif (kinds := (was["kind"], now["kind"])) not in SAME and kinds[0] != kinds[1]:
            yield name, f"was a {kinds[0]} and is a {kinds[1]}"
        elif "parameters" in was:
            yield from ((name, wrong) for wrong in _wrong_parameters(was, now))
        elif lost := set(was.get("bases", ())) - set(now.get("bases", ())):
            yield name, f"is no {', '.join(sorted(lost))}"
        elif was.get("value") != now.get("value"):
            yield name, f"was {was.get('value')} and is {now.get('value')}"


def meant(name: str) -> str | None:
    """What is said about a difference, if it is meant."""
    found = [MEANT[pattern] for pattern in MEANT if fnmatch.fnmatchcase(name, pattern)]
    return found[0] if found else None


SAME = {("value", "attribute"), ("attribute", "value")}


def _wrong_parameters(was: Entry, now: Entry) -> Iterator[str]:
    known = {parameter["name"]: parameter for parameter in now["parameters"]}
    places = list(known)
    for place, parameter in enumerate(was["parameters"]):
        name = parameter["name"]
        if name not in known:
            yield f"has no parameter {name}"
        elif parameter["default"] != known[name]["default"]:
            yield f"has {name}={known[name]['default']}, not {parameter['default']}"
        elif parameter["kind"] != known[name]["kind"]:
            yield f"has {name} as {known[name]['kind']}"
        elif parameter["kind"] == "POSITIONAL_OR_KEYWORD" and places.index(name) != place:
            yield f"has {name} in another place"
    before = {parameter["name"] for parameter in was["parameters"]}
    for name in known.keys() - before:
        if known[name]["default"] is None and not known[name]["kind"].startswith("VAR"):
            yield f"has a parameter {name} that must be given"


# -- the tables


def tables(old: Api, new: Api) -> str:
    """The tables of docs/migration.md."""
    parts = [_options(old, new, "Server", MORE_OPTIONS), _options(old, new, "Client", [])]
    parts += [_class_table(old, new, *shown) for shown in CLASSES]
    return "\n".join(parts)


def _options(old: Api, new: Api, owner: str, more: Iterable[str]) -> str:
    before = {item["name"]: item for item in old[f"engineio.{owner}()"]["parameters"]}
    after = {item["name"]: item for item in new[f"engineio.{owner}()"]["parameters"]}
    lines = [
        f"### Options of `{owner}` and `Async{owner}`\n",
        "| option | default in 4.15.1 | default here |",
        "|---|---|---|",
    ]
    for name in [*after, *more]:
        if name in ("self", "kwargs"):
            continue
        was = before[name]["default"] if name in before else "-"
        now = after[name]["default"] if name in after else repr(getattr(Settings, name, None))
        result = "same" if was == now else f"new: {_code(now)}" if was == "-" else _code(now)
        lines.append(f"| `{name}` | {_code(was)} | {result} |")
    return "\n".join(lines) + "\n"


def _class_table(old: Api, new: Api, sync: str, twin: str | None, more: list[str]) -> str:
    title = f"`{sync}` and `{twin}`" if twin else f"`{sync}`"
    lines = [
        f"### Methods and attributes of {title}\n",
        "| name | 4.15.1 | here |",
        "|---|---|---|",
    ]
    prefixes = [f"engineio.{kind}." for kind in (sync, twin) if kind]
    members = {
        name.removeprefix(prefix)
        for prefix in prefixes
        for name in old
        if name.startswith(prefix) and name.removeprefix(prefix) != "reason"
    }
    for member in [*sorted(members), *more]:
        names = [prefix + member for prefix in prefixes]
        was = next((old[name] for name in names if name in old), None)
        now = next(new[name] for name in names if name in new)
        kinds = [new[name]["kind"] for name in names if name in new]
        star = " \\*" if "coroutine function" in kinds else ""
        if remark := meant(names[0]) or REMARKS.get(names[0]):
            result = remark
        elif was is None:
            result = f"new: {_shown(now)}{star}"
        else:
            result = "same" if _shown(was) == _shown(now) else _shown(now)
        lines.append(f"| `{member}` | {_shown(was) + star if was else '-'} | {result} |")
    return "\n".join(lines) + "\n"


def _shown(entry: Entry) -> str:
    if "parameters" in entry:
        return _code(f"({', '.join(_parameters(entry))})")
    value = entry.get("value")
    return "attribute" if value is None else _code(value)


def _parameters(entry: Entry) -> Iterator[str]:
    stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}
    for item in entry["parameters"]:
        if item["name"] != "self":
            default = "" if item["default"] is None else f"={item['default']}"
            yield stars.get(item["kind"], "") + item["name"] + default


def _code(value: str) -> str:
    return value if value == "-" else "`" + value.replace("|", "\\|") + "`"


def page_with(made: str) -> str:
    """docs/migration.md with these tables in it."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + made + END + rest.partition(END)[2]


if __name__ == "__main__":
    old, new = theirs(), ours()
    for name, wrong in missing(old, new):
        print(name, wrong)
    if PAGE.exists():
        PAGE.write_text(page_with(tables(old, new)))
