"""Make docs/conformance.md's table and build/conformance/report.md of what `make conformance` left.

Run as `python conformance_report.py`; the exit status is 1 if a case failed or was not played.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rigs
from conformance.cases import CASES, FAMILIES
from conformance.play import FAIL, LAX, PASS
from conformance.targets import CLIENTS, OUR_CLIENTS, REFERENCES

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "build" / "conformance"
PAGE = ROOT / "docs" / "conformance.md"
BEGIN, END = "<!-- make conformance writes this -->", "<!-- until here -->"
THEIR_CLIENTS = tuple(name for name in CLIENTS if name not in OUR_CLIENTS)


class Line(NamedTuple):
    """One case, played in one way."""

    number: str
    way: str
    grade: str
    note: str

    @property
    def family(self) -> str:
        return self.number.partition(".")[0]


def read_results() -> dict[str, list[Line]]:
    """What was played against each target."""
    found: dict[str, list[Line]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        found.setdefault(content["name"], []).extend(Line(*line) for line in content["results"])
    return found


def table(names: Iterable[str], results: dict[str, list[Line]]) -> list[str]:
    """How often each passed, by family, and what else there was."""
    lines = [
        f"| | {' | '.join(FAMILIES)} | all | lax | failed |",
        "|---|" + "---|" * (len(FAMILIES) + 3),
    ]
    for name in names:
        played = Counter(line.family for line in results[name])
        grades = Counter(line.grade for line in results[name])
        cells = [str(played[family] or "-") for family in FAMILIES]
        lines.append(
            f"| {name} | {' | '.join(cells)} "
            f"| {sum(played.values())} | {grades[LAX]} | {grades[FAIL]} |"
        )
    return lines


def report(results: dict[str, list[Line]]) -> str:
    """Everything that was not a pass."""
    titles = {case.number: f"{case.title} ({case.clause})" for case in CASES}
    lines = ["# WebSocket conformance", ""]
    for name, played in results.items():
        others = [line for line in played if line.grade != PASS]
        lines += [
            f"## {name}",
            "",
            f"{len(played)} played, {len(played) - len(others)} passed.",
            "",
        ]
        for line in others:
            title = titles[line.number]
            lines.append(f"- {line.grade} {line.number} {title}, {line.way}: {line.note}")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    results = read_results()
    missing = {*rigs.MAIN, *CLIENTS, *REFERENCES} - results.keys()
    if missing:
        print(f"Not played: {', '.join(sorted(missing))}")
        return 1
    (RESULTS / "report.md").write_text(report(results))
    ours = [*rigs.MAIN, *OUR_CLIENTS]
    content = [
        *("", f"{len(CASES)} cases; a row counts those played, each in three ways.", ""),
        *table(ours, results),
        *("", "The references:", ""),
        *table([*REFERENCES, *THEIR_CLIENTS], results),
        "",
    ]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n".join(["", *content]) + END + after)
    failed = sum(line.grade == FAIL for played in results.values() for line in played)
    print(f"{sum(map(len, results.values()))} played, {failed} failed: {RESULTS / 'report.md'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
