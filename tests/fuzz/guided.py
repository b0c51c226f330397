"""One fuzzer under atheris: python guided.py NAME and options of libFuzzer; see run_fuzzers.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["engineio"]):
    from fuzz.fuzzers import FUZZERS


def main() -> None:
    name = sys.argv.pop(1)
    test = FUZZERS[name].test(1)
    atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
