"""What web servers do wrong by themselves, and why it is not ours to mend.

Each entry must stay true: `make hostile` fails when none of its cases fails that way any more.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from hostile.harness import LOG, WRONG, Result


class Known(NamedTuple):
    """One failure that is a server's own."""

    rigs: tuple[str, ...]
    cases: str  # a pattern for names of cases, as of files
    kind: str
    note: str  # a regular expression that is found in what the harness says
    why: str

    def covers(self, rig: str, result: Result) -> bool:
        """Whether a result of a rig is this failure."""
        return (
            rig in self.rigs
            and result.kind == self.kind
            and fnmatchcase(result.case, self.cases)
            and re.search(self.note, result.note) is not None
        )


KNOWN: tuple[Known, ...] = ()


def known(rig: str, result: Result) -> Known | None:
    """The entry that covers a failure."""
    return next((each for each in KNOWN if each.covers(rig, result)), None)


def outdated(rig: str, played: Iterable[Result]) -> list[str]:
    """Entries of which nothing is left, although their cases were played."""
    results = list(played)
    found = []
    for each in KNOWN:
        if rig not in each.rigs or not any(fnmatchcase(r.case, each.cases) for r in results):
            continue
        if not any(each.covers(rig, result) for result in results):
            found.append(f"{each.cases} ({each.why}) does not fail on {rig} any more")
    return found


__all__ = ["KNOWN", "LOG", "WRONG", "Known", "known", "outdated"]
