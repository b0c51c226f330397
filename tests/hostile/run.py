"""Hostile input on every server, and a page about it.

    make hostile ARGS="threading uvicorn --family query"

All cases on all servers of tests/rigs.py, or on those that are named, each family three times over
to see whether memory grows.  What a run finds is kept in build/hostile/, and docs/hostile.md is
written from all that is there once every server has been run.  With --floor the cases that
concern the web server are pointed at a plain echo under the same servers: what fails there as
well is the server's own.
"""

import argparse
import json
import sys
import time
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rigs
import wire
from hostile.all_cases import CASES, FAMILIES
from hostile.harness import (
    CRASH,
    HANG,
    LEAK,
    LOG,
    OTHERS,
    ROUNDS,
    WRONG,
    Result,
    Runner,
)
from hostile.known import KNOWN, Known, known, outdated

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "build" / "hostile"
PAGE = ROOT / "docs" / "hostile.md"
BEGIN, END = "<!-- make hostile writes this -->", "<!-- until here -->"
COLUMNS = {
    CRASH: "crashes",
    HANG: "hangs",
    LEAK: "leaks",
    OTHERS: "others disturbed",
    WRONG: "wrong answers",
    LOG: "log",
}


def play(name: str, families: list[str], floor: bool, rounds: int) -> list[Result]:
    """Play the families on one server, with a line for each failure and each family."""
    rig = rigs.Rig(rigs.SPECS[name])
    rig.start()
    results: list[Result] = []

    def tell(result: Result) -> None:
        if not result.passed:
            entry = None if floor else known(name, result)
            what = "known" if entry else result.kind
            print(f"  {what} {result.case}: {result.note[:300]}", flush=True)

    try:
        for family in families:
            start = time.monotonic()
            played = Runner(rig, floor, tell).play(FAMILIES[family], rounds)
            results += played
            if played:
                seconds = time.monotonic() - start
                print(f"{name}: {family}, {len(played)} cases, {seconds:.0f} s", flush=True)
    finally:
        wire.close_all()
        rig.stop()
    return results


def save(name: str, floor: bool, families: list[str], results: list[Result]) -> None:
    """Put results of families in the place of earlier ones."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = [each for each in read(name, floor) or () if each.case.partition(".")[0] not in families]
    file = RESULTS / f"{name}{'.floor' if floor else ''}.json"
    file.write_text(json.dumps([*kept, *results], indent=0))


def read(name: str, floor: bool = False) -> list[Result] | None:
    """What the last run of a server has found, of cases that are still there."""
    file = RESULTS / f"{name}{'.floor' if floor else ''}.json"
    if not file.exists():
        return None
    results = [Result(*line) for line in json.loads(file.read_text())]
    return [each for each in results if each.case in CASES or each.case.endswith(".memory")]


def row(name: str, results: list[Result] | None) -> str:
    """A line of the table: what is known of the web server is counted apart."""
    if results is None:
        return f"| {name} | not run{' |' * (len(COLUMNS) + 3)}"
    failed = [result for result in results if not result.passed]
    theirs = [result for result in failed if known(name, result)]
    kinds = Counter(result.kind for result in failed if result not in theirs)
    timed = [each for each in results if each.passed and each.case in CASES]
    slowest = max((each.seconds for each in timed if CASES[each.case].limit <= 1.0), default=0.0)
    cells = [str(len(timed) + len(failed)), *(str(kinds[kind]) for kind in COLUMNS)]
    return f"| {name} | {' | '.join(cells)} | {len(theirs)} | {slowest:.2f} s |"


def known_rows() -> list[str]:
    """What the servers do wrong by themselves."""
    lines = []
    for each in KNOWN:
        names = ", ".join(each.rigs)
        lines.append(
            f"| {names} | `{each.cases}` | {each.kind} | {each.why} | {without_us(each)} |"
        )
    return lines


def without_us(entry: Known) -> str:
    """What became of the cases of an entry on plain echoes."""
    played = [
        result
        for name in entry.rigs
        for result in read(name, floor=True) or ()
        if fnmatchcase(result.case, entry.cases)
    ]
    if any(result.kind == entry.kind for result in played):
        return "the same"
    return "passes" if played and entry.cases != "*" else "-"


def floor_rows() -> list[str]:
    """What fails on the servers without us."""
    lines = []
    for name in rigs.SPECS:
        results = read(name, floor=True)
        if results:
            failed = [each for each in results if not each.passed]
            kinds = Counter(each.kind for each in failed)
            said = ", ".join(f"{count} {COLUMNS[kind]}" for kind, count in kinds.items())
            lines.append(f"| {name} | {len(results)} | {said or '-'} |")
    return lines


def write_page() -> bool:
    """Write the tables.  False: some server has not been run yet."""
    found = {name: read(name) for name in rigs.SPECS}
    missing = [name for name, results in found.items() if results is None]
    if missing:
        print(f"Not run yet, so not in docs/hostile.md: {', '.join(missing)}")
    content = [
        *("", f"{len(CASES)} cases in {len(FAMILIES)} families.", ""),
        f"| | cases | {' | '.join(COLUMNS.values())} | the server's own | slowest answer |",
        "|---|" + "---|" * (len(COLUMNS) + 3),
        *(row(name, results) for name, results in found.items()),
        *("", "The families:", "", "| family | cases |", "|---|---|"),
        *(f"| {family} | {len(cases)} |" for family, cases in FAMILIES.items()),
        *("", "What web servers do wrong by themselves:", ""),
        "| server | cases | kind | what it is | without us |",
        "|---|---|---|---|---|",
        *known_rows(),
        *("", "Plain echoes under the same servers:", ""),
        *("| server | cases | failed |", "|---|---|---|", *floor_rows(), ""),
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n".join(["", *content]) + END + after)
    return not missing


def main() -> int:
    parser = argparse.ArgumentParser(description="Attack the servers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(rigs.SPECS))
    parser.add_argument("--family", action="append", choices=list(FAMILIES))
    parser.add_argument("--floor", action="store_true", help="attack plain echoes instead")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of a family, for its memory")
    parser.add_argument("--page", action="store_true", help="only write the page")
    given = parser.parse_args()
    if given.page:
        return 0 if write_page() else 1
    failures: list[str] = []
    families: list[str] = given.family or list(FAMILIES)
    for name in given.names or rigs.SPECS:
        results = play(name, families, given.floor, given.rounds)
        if not given.floor:
            unknown = [each for each in results if not each.passed and not known(name, each)]
            failures += [f"{name}: {each.kind} {each.case}: {each.note}" for each in unknown]
            failures += outdated(name, results)
        save(name, given.floor, families, results)
    print("\n".join(failures) or "All is as it should be.")
    write_page()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
