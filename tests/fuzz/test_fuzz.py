"""Each fuzzer for a moment, with everything that it once found; `make fuzz` runs them for long."""

import pytest

from fuzz.fuzzers import FUZZERS

EXAMPLES = 100


@pytest.mark.parametrize("name", FUZZERS)
def test_fuzzer(name: str) -> None:
    FUZZERS[name].test(EXAMPLES)()
