"""What python-engineio 4.15.1 offers and this project offers, side by side.

    python tests/compare_api.py    prints what is missing, and renews the tables of docs/migration.md

Both packages are looked at by `describe_api.py`, each in a process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engineio.settings import Settings
from environments import ROOT, packages

UPSTREAM = "python-engineio==4.15.1"
PAGE = ROOT / "docs" / "migration.md"
BEGIN = "<!-- made by tests/compare_api.py; edit that -->\n"
END = "<!-- end of what is made -->\n"

Entry = dict[str, Any]
Api = dict[str, Entry]

# Differences that are meant, by name, each with what docs/migration.md says about it.
MEANT: dict[str, str] = {}

# What classes are shown in the tables, with the twin for asyncio.
CLASSES = [
    ("Server", "AsyncServer"),
    ("Client", "AsyncClient"),
    ("socket.Socket", "async_socket.AsyncSocket"),
    ("WSGIApp", None),
    ("ASGIApp", None),
    ("packet.Packet", None),
    ("payload.Payload", None),
]


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
        if now is None:
            yield name, "is missing"
        elif (kinds := (was["kind"], now["kind"])) not in SAME and kinds[0] != kinds[1]:
            yield name, f"was a {kinds[0]} and is a {kinds[1]}"
        elif "parameters" in was:
            yield from ((name, wrong) for wrong in _wrong_parameters(was, now))
        elif was.get("value") != now.get("value"):
            yield name, f"was {was.get('value')} and is {now.get('value')}"


SAME = {("value", "attribute"), ("attribute", "value")}


def _wrong_parameters(was: Entry, now: Entry) -> Iterator[str]:
    known = {parameter["name"]: parameter for parameter in now["parameters"]}
    order = [name for name in known if name in {item["name"] for item in was["parameters"]}]
    if order != [parameter["name"] for parameter in was["parameters"] if parameter["name"] in known]:
        yield f"has its parameters in another order: {', '.join(known)}"
    takes_all = {parameter["kind"] for parameter in now["parameters"]}
    for parameter in was["parameters"]:
        name = parameter["name"]
        if name not in known:
            if not takes_all >= {"VAR_POSITIONAL", "VAR_KEYWORD"}:
                yield f"has no parameter {name}"
        elif parameter["default"] != known[name]["default"]:
            yield f"has {name}={known[name]['default']}, not {parameter['default']}"
        elif parameter["kind"] != known[name]["kind"]:
            yield f"has {name} as {known[name]['kind']}"
    for name, parameter in known.items():
        is_new = name not in {item["name"] for item in was["parameters"]}
        if is_new and parameter["default"] is None and not parameter["kind"].startswith("VAR"):
            yield f"has a parameter {name} that must be given"


# -- the tables


def tables(old: Api, new: Api) -> str:
    """The tables of docs/migration.md."""
    parts = [_options(old, new, "Server", settings()), _options(old, new, "Client", [])]
    for sync, twin in CLASSES:
        parts.append(_class_table(old, new, sync, twin))
    return "\n".join(parts)


def settings() -> list[str]:
    """The options of servers that only this project has; they come through `**kwargs`."""
    return ["max_send_buffer", "upgrade_timeout", "per_message_deflate", "client_manager"]


def _options(old: Api, new: Api, owner: str, more: Iterable[str]) -> str:
    before = {item["name"]: item for item in old[f"engineio.{owner}()"]["parameters"]}
    after = {item["name"]: item for item in new[f"engineio.{owner}()"]["parameters"]}
    lines = [
        f"### Options of `{owner}` and `Async{owner}`\n",
        "| option | default in 4.15.1 | default here | |",
        "|---|---|---|---|",
    ]
    for name in [*after, *more]:
        if name in ("self", "kwargs"):
            continue
        was = before[name]["default"] if name in before else "-"
        now = after[name]["default"] if name in after else repr(getattr(Settings, name, None))
        remark = MEANT.get(f"{owner}({name})", "" if name in before else "new")
        lines.append(f"| `{name}` | {_code(was)} | {_code(now)} | {remark} |")
    return "\n".join(lines) + "\n"


def _class_table(old: Api, new: Api, sync: str, twin: str | None) -> str:
    names = [f"`{sync}`"] + ([f"`{twin}`"] if twin else [])
    lines = [
        f"### Methods and attributes of {' and '.join(names)}\n",
        "| name | 4.15.1 | here |",
        "|---|---|---|",
    ]
    prefix = f"engineio.{sync}."
    all_names = {name for name in {*old, *new} if name.startswith(prefix)}
    for name in sorted(all_names, key=lambda name: (name not in old, name)):
        member = name.removeprefix(prefix)
        was, now = old.get(name), new.get(name)
        async_now = new.get(f"engineio.{twin}.{member}", {}) if twin else {}
        shown = _shown(was) if was else "-"
        if name in MEANT:
            result = MEANT[name]
        elif was is None:
            result = "new: " + _shown(now)
        elif _shown(was) == _shown(now):
            result = "same"
        else:
            result = _shown(now)
        if async_now.get("kind") == "coroutine function" and now["kind"] == "function":
            shown += " \\*" if was else ""
        lines.append(f"| `{member}` | {shown} | {result} |")
    return "\n".join(lines) + "\n"


def _shown(entry: Entry | None) -> str:
    if entry is None:
        return "missing"
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
        if name not in MEANT:
            print(name, wrong)
    if PAGE.exists():
        PAGE.write_text(page_with(tables(old, new)))
