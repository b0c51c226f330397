"""A folder that WSGIApp and ASGIApp serve in tests, and the paths that are Engine.IO's."""

import os
from pathlib import Path

import psutil

BINARY = bytes(range(250)) * 800  # no two of its chunks are alike

# engineio_path as it is given, as it reads, and paths that are its own or not.
ENGINEIO_PATHS = [
    (
        "engine.io",
        "/engine.io/",
        ["/engine.io", "/engine.io/", "/engine.io/x/y"],
        ["/engine.iox", "/", "", "/x/engine.io/", "/engine", "/Engine.IO/", "engine.io/"],
    ),
    ("/engine.io", "/engine.io/", ["/engine.io/"], ["/engine.iox/"]),
    ("engine.io/", "/engine.io/", ["/engine.io"], ["/engine.iox/"]),
    ("/a/b/", "/a/b/", ["/a/b", "/a/b/", "/a/b/c"], ["/a", "/a/", "/a/bc"]),
    ("", "/", ["/", "", "/anything", "*"], []),
    ("/", "/", ["/", "", "/anything"], []),
]


def fill(folder: Path) -> None:
    """Put the files there."""
    (folder / "index.html").write_bytes(b"<p>index")
    (folder / "größe.txt").write_bytes(b"umlaut")
    (folder / "empty.bin").touch()
    (folder / "200k.bin").write_bytes(BINARY)


def count_open_files(folder: str | Path) -> int:
    """How many files of a folder this process has open."""
    files = psutil.Process().open_files()
    return sum(os.path.dirname(file.path) == os.path.realpath(folder) for file in files)
