r"""Static files: from a URL path to a file, and from a request to the part of it that is sent.

Two steps, shared by WSGIApp and ASGIApp so that each rule is written once::

    get_static_file(path, static_files)             which file, if any
    open_file(filename)                             that file, open, with its stat result
    file_response(method, headers, stat, type)      status, headers, span of bytes

A mapping of URL paths to files has these forms::

    '/': 'index.html'                               one file
    '/': {'filename': 'index.html', 'content_type': 'text/plain'}
    '/static': './public'                           a folder and all below it, longest key wins
    '/static/(.*)': r'public/\1'                     a pattern: any key with a group, (...)
    '': 'home.html'                                 what a path ending in / serves, else index.html

A key equal to the path comes first, then patterns in their order, then folders.  File names are
relative to the current directory.

This module opens and stats files, and never reads, waits or logs.  A client's path cannot reach a
file outside the folder it is mapped to; someone who may write in that folder is trusted not to swap
links at the very moment of a request.
"""

import calendar
import email.utils
import io
import mimetypes
import os
import re
import stat
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Target: TypeAlias = str | Mapping[str, str]
StaticFiles: TypeAlias = Mapping[str, Target]

#: Content types by file name extension, for all files; applications may add to it.
content_types = {
    "css": "text/css",
    "gif": "image/gif",
    "html": "text/html",
    "jpg": "image/jpeg",
    "js": "application/javascript",
    "json": "application/json",
    "png": "image/png",
    "txt": "text/plain",
}

DEFAULT_CONTENT_TYPE = "application/octet-stream"

# What the `mimetypes` module of some supported Python versions does not know.
_NEWER_TYPES = {
    "avif": "image/avif",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "otf": "font/otf",
    "ttf": "font/ttf",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
}

# A compressed file is sent as what it is, since no Content-Encoding goes with it.
_COMPRESSED_TYPES = {
    "br": DEFAULT_CONTENT_TYPE,
    "bzip2": "application/x-bzip2",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}

_REFERENCE = re.compile(r"\\(?:g<(\w+)>|([1-9][0-9]?))")
_ENTITY_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)

# A directory, FIFO or device put in the place of a file must not block the open.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class _Match(NamedTuple):
    filename: str
    folder: str | None  # the file must be below it; None: the application named this very file
    content_type: str | None


@dataclass(frozen=True)
class FileResponse:
    """How to answer a request for a file.

    `length` bytes of the file from offset `start` on are the body; with `length` 0 it is empty.
    """

    status: str
    headers: tuple[tuple[str, str], ...]
    start: int = 0
    length: int = 0


def check_static_files(static_files: StaticFiles) -> None:
    """Raise ValueError for a mapping that can never work: call it when an application is made.

    That is a target of the wrong type or without `filename`, a content type that is no header
    value, an invalid pattern, and a reference to a group its pattern does not have.
    """
    for key, target in static_files.items():
        filename, content_type = _split_target(key, target)
        if content_type is not None and not (content_type.isascii() and content_type.isprintable()):
            raise ValueError(f"static file {key!r}: bad content type {content_type!r}")
        if _is_pattern(key):
            _check_pattern(key, filename)
        elif os.sep != "\\" and _REFERENCE.search(filename):
            raise ValueError(f"static file {key!r}: {filename!r} refers to a group, key has none")


def get_static_file(path: str, static_files: StaticFiles) -> dict[str, str] | None:
    """Return `{'filename': ..., 'content_type': ...}` for a URL path, or None.

    `path` is decoded: text, without %-escapes.  None means that the mapping has nothing for it, or
    that what is there must not be served: outside the mapped folder, a directory, a device.
    The file may not exist, as in python-engineio 4; `open_file` tells.
    """
    match = _find(path, static_files)
    if match is None:
        return None
    filename, folder, content_type = match
    if path.endswith("/") and not filename.endswith("/") and os.path.isdir(filename):
        filename += "/"
    if filename.endswith("/"):
        folder = filename if folder is None else folder
        default, default_type = _split_target("", static_files.get("", "index.html"))
        filename += default
        content_type = default_type or content_type
    if not _is_servable(filename, folder):
        return None
    return {"filename": filename, "content_type": content_type or guess_content_type(filename)}


def guess_content_type(filename: str) -> str:
    """Return the content type for a file name; `application/octet-stream` if unknown.

    `content_types` comes first, then the standard library's `mimetypes`.
    """
    name = os.path.basename(filename)
    extension = os.path.splitext(name)[1][1:].lower()
    if extension in content_types:
        return content_types[extension]
    # With the slash, no name looks like a URL with a scheme of its own.
    guessed, encoding = mimetypes.guess_type("/" + name)
    if encoding is not None:
        return _COMPRESSED_TYPES.get(encoding, DEFAULT_CONTENT_TYPE)
    return guessed or _NEWER_TYPES.get(extension, DEFAULT_CONTENT_TYPE)


def open_file(filename: str) -> tuple[io.FileIO, os.stat_result] | None:
    """Open a regular file for reading; None if there is none or it cannot be read.

    The stat result is of the open file.  Never blocks on a FIFO or device.
    """
    try:
        # Looked at before, as opening a device may do something; and after, as it may have changed.
        if not stat.S_ISREG(os.stat(filename).st_mode):
            return None
        fd = os.open(filename, _OPEN_FLAGS)
    except (OSError, ValueError):
        return None
    # Not os.fdopen: eventlet's would want to poll the file.
    try:
        file = io.FileIO(fd)
    except OSError:  # a directory
        os.close(fd)
        return None
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        file.close()
        return None
    return file, info


def file_response(
    method: str, headers: Mapping[str, str], info: os.stat_result, content_type: str
) -> FileResponse:
    """Return how to answer a request for a file (RFC 9110, sections 13 and 14).

    `headers` are the request's, with lower-case names; used are `if-none-match`,
    `if-modified-since`, `if-range` and `range`.  Several ranges are answered with the whole file.
    """
    if method not in ("GET", "HEAD"):
        return _empty("405 Method Not Allowed", ("Allow", "GET, HEAD"))
    size = info.st_size
    etag = f'"{info.st_mtime_ns:x}-{size:x}"'
    common = [("ETag", etag), ("X-Content-Type-Options", "nosniff")]
    last_modified = _format_date(info)
    if last_modified is not None:
        common.append(("Last-Modified", last_modified))
    if _is_not_modified(headers, etag, info):
        return FileResponse("304 Not Modified", tuple(common))

    common += [("Content-Type", content_type), ("Accept-Ranges", "bytes")]
    # Range is for GET only (14.2).
    if method == "GET" and "range" in headers and _is_range_current(headers, etag, info):
        span = _parse_range(headers["range"], size)
        if span is not None:
            start, stop = span
            if start >= stop:
                return _empty("416 Range Not Satisfiable", ("Content-Range", f"bytes */{size}"))
            common.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
            common.append(("Content-Length", str(stop - start)))
            return FileResponse("206 Partial Content", tuple(common), start, stop - start)
    common.append(("Content-Length", str(size)))
    return FileResponse("200 OK", tuple(common), 0, size if method == "GET" else 0)


def _empty(status: str, header: tuple[str, str]) -> FileResponse:
    # wsgiref.validate wants a Content-Type on every response but 204 and 304.
    return FileResponse(status, (header, ("Content-Type", "text/plain"), ("Content-Length", "0")))


# Which file


def _split_target(key: str, target: Target) -> tuple[str, str | None]:
    filename: object = target
    content_type: object = None
    if isinstance(target, Mapping):
        filename = target.get("filename")
        content_type = target.get("content_type")
    if not isinstance(filename, str) or not isinstance(content_type, str | None):
        raise ValueError(
            f"static file {key!r}: not a file name or dict with 'filename': {target!r}"
        )
    return filename, content_type


def _is_pattern(key: str) -> bool:
    # A dot or a plus is common in names; a group says that a regular expression is meant.
    return "(" in key


def _check_pattern(key: str, filename: str) -> None:
    try:
        pattern = re.compile(key)
    except re.error as error:
        raise ValueError(f"static file {key!r}: invalid pattern: {error}") from error
    for reference in _REFERENCE.finditer(filename):
        name = reference[1] or reference[2]
        known = int(name) <= pattern.groups if name.isdecimal() else name in pattern.groupindex
        if not known:
            raise ValueError(
                f"static file {key!r}: {filename!r} refers to missing group {reference[0]!r}"
            )
    if os.sep != "\\" and "\\" in _REFERENCE.sub("", filename):
        raise ValueError(f"static file {key!r}: bad group reference in {filename!r}")


def _find(path: str, static_files: StaticFiles) -> _Match | None:
    if not _is_text(path):
        return None
    if path in static_files:
        filename, content_type = _split_target(path, static_files[path])
        return _Match(filename, None, content_type)
    if not path.startswith("/") or not all(map(_is_plain, path.split("/"))):
        return None
    return _find_pattern(path, static_files) or _find_folder(path, static_files)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # surrogates: bytes that were not UTF-8
        return False
    return "\0" not in path


def _is_plain(segment: str) -> bool:
    """Whether a segment of a path can only name something in its own folder, on any system.

    One more %-decoding is tried, for servers that hand on the path as it came.
    """
    for text in (segment, urllib.parse.unquote(segment)):
        if text == ".." or "/" in text or "\\" in text or "\0" in text:
            return False
    return os.name != "nt" or ":" not in segment


def _find_pattern(path: str, static_files: StaticFiles) -> _Match | None:
    for key, target in static_files.items():
        if not _is_pattern(key):
            continue
        filename, content_type = _split_target(key, target)
        try:
            found = re.fullmatch(key, path)
            if found is None:
                continue
            expanded = _expand(found, filename)
        except (re.error, IndexError):
            continue  # put into the mapping after it was checked
        reference = _REFERENCE.search(filename)
        folder = os.path.dirname(filename[: reference.start()]) if reference else None
        return _Match(expanded, folder, content_type)
    return None


def _expand(found: re.Match[str], template: str) -> str:
    # Not Match.expand, which would also read \t or \n out of a file name.
    def value(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        return found[int(name) if name.isdecimal() else name] or ""

    return _REFERENCE.sub(value, template)


def _find_folder(path: str, static_files: StaticFiles) -> _Match | None:
    end = len(path)
    while (end := path.rfind("/", 0, end)) >= 0:
        # At the root, '/' goes before '', which is first of all the key of the default file.
        keys = (path[:end], path[: end + 1]) if end else ("/", "")
        for key in keys:
            if key in static_files:
                folder, content_type = _split_target(key, static_files[key])
                rest = path[end + 1 :] if folder.endswith("/") else path[end:]
                return _Match(folder + rest, folder, content_type)
    return None


def _is_servable(filename: str, folder: str | None) -> bool:
    """Whether a file is inside its folder and, if it exists, a regular file."""
    try:
        real = os.path.realpath(filename)
        if folder is not None:
            inside = os.path.join(os.path.realpath(folder), "")
            if not real.startswith(inside):
                return False
        return stat.S_ISREG(os.stat(real).st_mode)
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


# Conditions and ranges


def _is_not_modified(headers: Mapping[str, str], etag: str, info: os.stat_result) -> bool:
    if "if-none-match" in headers:
        # It overrides If-Modified-Since, and compares without W/ (13.1.2, 13.1.3).
        tags = headers["if-none-match"]
        return tags.strip() == "*" or any(tag == etag for _, tag in _ENTITY_TAG.findall(tags))
    since = _parse_date(headers.get("if-modified-since", ""))
    return since is not None and info.st_mtime_ns // 10**9 <= since


def _is_range_current(headers: Mapping[str, str], etag: str, info: os.stat_result) -> bool:
    if "if-range" not in headers:
        return True
    condition = headers["if-range"].strip()
    # A weak tag never equals ours: parts of two versions must not be put together (13.1.5).
    return condition == etag or _parse_date(condition) == info.st_mtime_ns // 10**9


def _parse_range(value: str, size: int) -> tuple[int, int] | None:
    """Return (start, stop) of the range asked for; None to ignore it, empty if unsatisfiable."""
    match = _RANGE.fullmatch(value.strip(" \t"))
    if match is None:
        return None
    first, last = match.groups()
    if first:
        if last and _number(last) < _number(first):
            return None
        return _number(first), min(_number(last) + 1, size) if last else size
    if not last or (size == 0 and _number(last)):
        # A part of an empty file would be satisfiable, yet no Content-Range can say so.
        return None
    return max(size - _number(last), 0), size


def _number(digits: str) -> int:
    # More digits than any file size has: int() refuses very many of them.
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 18 else 10**18


def _format_date(info: os.stat_result) -> str | None:
    try:
        return email.utils.formatdate(info.st_mtime_ns // 10**9, usegmt=True)
    except (OSError, OverflowError, ValueError):  # a year beyond 9999
        return None


def _parse_date(value: str) -> int | None:
    """Return seconds since the epoch for one of the three forms of an HTTP date (5.6.7)."""
    if len(value) > 40:  # the longest form has 33 characters
        return None
    try:
        fields = email.utils.parsedate_tz(value)
        if fields is None:
            return None
        return calendar.timegm(fields[:6]) - (fields[9] or 0)
    except (IndexError, OverflowError, TypeError, ValueError):
        return None
