"""Hostile input on every server: the cases of cases_*.py, with all the checks of harness.py.

`make test` plays all of them on the servers of `WHOLE`, and a tenth on each other; with
HOSTILE=full in the environment all are played on all.  `make hostile` does that too, watches memory
besides, and writes docs/hostile.md.
"""

import os
import zlib
from pathlib import Path

import pytest

import rigs
from hostile.all_cases import CASES, FAMILIES
from hostile.harness import Case, Runner
from hostile.known import known

IS_FULL = os.environ.get("HOSTILE") == "full"
WHOLE = ("threading", "gevent", "gunicorn-eventlet", "uvicorn")
SHARE = 10
PATIENCE = 8.0
ROOT = Path(__file__).resolve().parent.parent.parent


def number_of(case: Case) -> int:
    """Some number that is always the same."""
    return zlib.crc32(case.key.encode())


def chosen(rig: rigs.Rig, family: str) -> list[Case]:
    """What is played on a server; long cases on one of the servers of `WHOLE` that can."""
    name = rig.spec.name
    cases = [each for each in FAMILIES[family] if each.applies(rig.spec)]
    if IS_FULL:
        return cases
    short = [each for each in cases if not each.is_long]
    if name not in WHOLE:
        tenth = [each for each in short if number_of(each) % SHARE == 0]
        return tenth or short[:1]
    able = {each.key: [n for n in WHOLE if each.applies(rigs.SPECS[n])] for each in cases}
    here = [each for each in cases if able[each.key][number_of(each) % len(able[each.key])] == name]
    return [each for each in cases if not each.is_long or each in here]


def check(rig: rigs.Rig, cases: list[Case]) -> None:
    results = Runner(rig, patience=1.0 if IS_FULL else PATIENCE).play(cases, rounds=1)
    failed = [
        f"{result.case}: {result.kind}: {result.note}"
        for result in results
        if not result.passed and not known(rig.spec.name, result)
    ]
    assert results
    assert not failed, f"{len(failed)} of {len(results)}\n" + "\n".join(failed)


@pytest.mark.timeout(900)
def test_families(any_rig: rigs.Rig) -> None:
    check(any_rig, [each for family in FAMILIES for each in chosen(any_rig, family)])


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "hostile.md").read_text()
    assert f"{len(CASES)} cases" in page, "run: make hostile"
    for name in (*rigs.SPECS, *FAMILIES):
        assert f"| {name} |" in page, "run: make hostile"
