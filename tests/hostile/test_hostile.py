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
ROOT = Path(__file__).resolve().parent.parent.parent


def chosen(spec: rigs.Spec, family: str) -> list[Case]:
    """What is played on a server: always the same."""
    cases = [each for each in FAMILIES[family] if each.applies(spec)]
    if IS_FULL or spec.name in WHOLE:
        return cases
    tenth = [each for each in cases if zlib.crc32(each.key.encode()) % SHARE == 0]
    return tenth or cases[:1]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", FAMILIES)
def test_family(any_rig: rigs.Rig, family: str) -> None:
    results = Runner(any_rig).play(chosen(any_rig.spec, family), rounds=1)
    failed = [
        f"{result.case}: {result.kind}: {result.note}"
        for result in results
        if not result.passed and not known(any_rig.spec.name, result)
    ]
    assert not failed, f"{len(failed)} of {len(results)}\n" + "\n".join(failed)


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "hostile.md").read_text()
    assert f"{len(CASES)} cases" in page, "run: make hostile"
    for name in (*rigs.SPECS, *FAMILIES):
        assert f"| {name} |" in page, "run: make hostile"
