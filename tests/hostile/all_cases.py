"""Import this, and harness.CASES has every case: those of each file cases_*.py."""

import importlib
from pathlib import Path

from hostile.harness import CASES, Case, families

for path in sorted(Path(__file__).parent.glob("cases_*.py")):
    importlib.import_module(f"hostile.{path.stem}")

FAMILIES: dict[str, list[Case]] = families()

__all__ = ["CASES", "FAMILIES"]
