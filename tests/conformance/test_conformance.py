"""The cases of cases.py against our servers and clients, and the references that prove the cases.

`make test` plays each case once: cut in one of the ways, and without the heavy ones.
`make conformance` (CONFORMANCE=full) plays each in every way, and against all references too;
conformance_report.py makes a report of what it leaves in build/conformance/.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

import rigs
from conformance.cases import CASES, FAMILIES, Case
from conformance.play import FAIL, WAYS, Result
from conformance.targets import (
    CLIENTS,
    OUR_CLIENTS,
    REFERENCES,
    ClientTarget,
    OurServer,
    Reference,
    Target,
)

IS_FULL = os.environ.get("CONFORMANCE") == "full"
ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "build" / "conformance"
COMPRESSION = ("10", "11")
LONG = 5000  # bytes; to send them one by one takes long


def chosen(target: Target) -> list[tuple[Case, str]]:
    """What is played, and how it is cut."""
    cases = [case for case in CASES if target.applies(case)]
    if IS_FULL:
        return [(case, way) for way in WAYS for case in cases]
    # What somebody else is known to fail takes long: it waits for what never comes.
    light = [case for case in cases if not case.heavy and target.name not in case.explained]
    ways = list(WAYS)
    picked = [(case, ways[number % len(ways)]) for number, case in enumerate(light)]
    return [
        (case, "chopped" if way == "bytewise" and case.size > LONG else way) for case, way in picked
    ]


def check(target: Target, families: Iterable[str] = FAMILIES) -> None:
    """Play the cases that say something about the target; none may fail."""
    results = []
    for case, way in chosen(target):
        if case.family in families:
            results.append((case, way, target.try_case(case, way)))
    assert results, f"{target.name}: no case says anything about it"
    failed = [
        f"{case.number} {case.title} ({case.clause}), {way}: {result.note}"
        for case, way, result in results
        if result.grade == FAIL
    ]
    if IS_FULL:
        save(target, results)
        reasons = {case.explained.get(target.name) for case, _, _ in results} - {None}
        unused = reasons - {result.note for _, _, result in results}
        failed += [f"an explanation that explains nothing: {reason}" for reason in unused]
    assert not failed, f"{target.name}: {len(failed)} of {len(results)}\n" + "\n".join(failed)


def save(target: Target, results: list[tuple[Case, str, Result]]) -> None:
    """Leave the results for conformance_report.py."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    first = results[0][0].number  # uvicorn's results are in two files
    content = {
        "name": target.name,
        "results": [[case.number, way, result.grade, result.note] for case, way, result in results],
    }
    (RESULTS / f"{target.name} from {first}.json").write_text(json.dumps(content))


@pytest.mark.timeout(900)
def test_server(rig: rigs.Rig) -> None:
    check(OurServer(rig, compresses=rig.spec.own_deflate))


@pytest.mark.timeout(900)
def test_server_that_compresses_if_its_command_says_so() -> None:
    rig = rigs.Rig(rigs.SPECS["uvicorn"], arguments=("--ws-per-message-deflate", "true"))
    rig.start()
    try:
        check(OurServer(rig, compresses=True), COMPRESSION)
        rig.clean_up()
    finally:
        rig.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CLIENTS if IS_FULL else OUR_CLIENTS)
def test_client(name: str) -> None:
    with contextlib.closing(ClientTarget(name)) as client:
        check(client)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", REFERENCES if IS_FULL else ("ws",))
def test_reference(name: str) -> None:
    """A case that these fail is wrong, or explained."""
    with contextlib.closing(Reference(name)) as reference:
        check(reference)


def test_the_page_is_up_to_date() -> None:
    if IS_FULL:
        return  # it is about to be written
    page = (ROOT / "docs" / "conformance.md").read_text()
    assert f"{len(CASES)} cases" in page, "run: make conformance"
    for name in (*rigs.MAIN, *CLIENTS, *REFERENCES):
        assert f"| {name} |" in page, "run: make conformance"
