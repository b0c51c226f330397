"""Run the fuzzers for minutes: python run_fuzzers.py [--minutes 2] [--guided] [NAME ...].

With --guided, atheris chooses by the lines that were reached; it is installed in an environment of
its own, if it has a wheel for this Python.  What breaks something is printed as short as it can be,
is kept in build/fuzz/, and is tried first the next time.  The exit status is 1 then.
"""

import argparse
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hypothesis.database import DirectoryBasedExampleDatabase

from environments import ROOT, environment
from fuzz.fuzzers import FUZZERS

KEPT = ROOT / "build" / "fuzz"
ROUND = 500  # examples; then it looks at the clock


def run(name: str, seconds: float) -> bool:
    """Let Hypothesis try one fuzzer; returns whether nothing broke."""
    database = DirectoryBasedExampleDatabase(KEPT / "examples" / name)
    end = time.monotonic() + seconds
    rounds = 0
    while True:
        try:
            FUZZERS[name].test(ROUND, database)()
        except Exception:
            traceback.print_exc()
            print(f"{name}: BROKEN", flush=True)
            return False
        rounds += 1
        if time.monotonic() > end:
            print(f"{name}: {rounds * ROUND:,} examples", flush=True)
            return True


def run_guided(name: str, seconds: float) -> bool:
    """Let atheris try one fuzzer, in a process of its own; returns whether nothing broke."""
    python = environment("atheris", "atheris", "hypothesis")
    corpus = KEPT / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    program = Path(__file__).with_name("guided.py")
    options = [f"-max_total_time={int(seconds) + 1}", f"-artifact_prefix={KEPT}/{name}-"]
    limits = ["-timeout=20", "-rss_limit_mb=1000", "-verbosity=0"]
    command = [str(python), str(program), name, str(corpus), *options, *limits]
    done = subprocess.run(command, cwd=ROOT, check=False)
    print(f"{name}: {'BROKEN' if done.returncode else 'nothing broke'}", flush=True)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2, help="for all of them together")
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FUZZERS))
    arguments = parser.parse_args()
    names = arguments.names or list(FUZZERS)
    seconds = arguments.minutes * 60 / len(names)
    one = run_guided if arguments.guided else run
    good = [one(name, seconds) for name in names]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
