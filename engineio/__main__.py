"""The command `engineio`, also `python -m engineio`; without its packages, what to install."""

import sys
from collections.abc import Callable

PACKAGES = ("aiohttp", "click", "rich")

run: Callable[[], int] | None = None
missing: str | None = None
try:
    from engineio.cli.commands import main as run
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in PACKAGES:
        raise


def main() -> int:
    """Run the command line.  Returns the exit status; 1 if a package is missing."""
    if run is not None:
        return run()
    sys.stderr.write(
        f"The command engineio needs {missing}, which is not installed.\n"
        "Install it with: pip install 'python-engineio[cli]'\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
