"""A pytest plugin: with CI=true in the environment, a test that is skipped fails.

Otherwise whatever is not installed there would go untested, and nobody would notice.  A skip is
right where it names a platform that CI is not.
The Makefile loads this with `-p strict_skips`.
"""

import os
import re
from collections.abc import Generator

import pytest

# How such reasons begin.  "needs ..." and "... is not installed" are never right.
RIGHT = re.compile(r"(Skipped: )?(on |needs )?(Windows|macOS|BSD|PyPy|free-threaded|Python \d)")


def is_strict() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure, unless its reason is right or the test is expected to fail."""
    if not is_strict() or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    where, reason = "", str(report.longrepr)
    if isinstance(report.longrepr, tuple):
        where, line, reason = report.longrepr
        where = f"{where}:{line}: "
    if not RIGHT.match(reason):
        report.outcome = "failed"
        report.longrepr = f"{where}{reason} - a skip is a failure in CI"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    judge(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    judge(report)
    return report
