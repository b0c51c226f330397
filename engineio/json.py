"""The standard library's json, safe to point at a stranger's text.

Use it in place of `json`: the same names, and `loads` and `load` differ in two ways.

- An integer of more than 100 digits is a ValueError.  Converting one takes time quadratic in its
  length.
- `NaN`, `Infinity` and `-Infinity` are a ValueError.  They are not JSON, and JavaScript refuses
  them.

Deep nesting is a RecursionError, as in the standard library: catch that too for a stranger's text.
"""

import functools
import json as _stdlib
import re
from collections.abc import Callable, Iterable
from json import JSONDecodeError, JSONDecoder, JSONEncoder, dump
from json import encoder as _encoder
from typing import Any, NoReturn, Protocol

__all__ = ["JSONDecodeError", "JSONDecoder", "JSONEncoder", "dump", "dumps", "load", "loads"]

MAX_DIGITS = 100  # python-engineio's limit


class _Reader(Protocol):
    def read(self) -> str | bytes: ...


def _guarded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS and len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"integer of more than {MAX_DIGITS} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Making a decoder or an encoder costs as much as using it on a small message.
_decode = JSONDecoder(parse_constant=_refuse_constant).decode
_decode_guarded = JSONDecoder(parse_constant=_refuse_constant, parse_int=_guarded_int).decode
_compact = JSONEncoder(separators=(",", ":"))
try:
    # JSONEncoder makes one for each text, which takes longer than a small text. None: no table of
    # what was seen, which only finds circles.
    _compact_parts: Callable[[Any, int], Iterable[str]] | None = _encoder.c_make_encoder(  # type: ignore[attr-defined]
        None, _compact.default, _encoder.encode_basestring_ascii, None, ":", ",", False, False, True
    )
except (AttributeError, TypeError):  # another implementation of Python, or a later one
    _compact_parts = None


def _encode_compact(obj: Any) -> str:
    if _compact_parts is not None:
        try:
            return "".join(_compact_parts(obj, 0))
        except RecursionError:
            pass  # too deep, or a circle, for which there is a better error
    return _compact.encode(obj)


# A parse_int in Python makes a text full of integers two to three times slower to read, and a
# search for 101 digits in a row takes longer than reading does.  But 101 characters in a row hold
# seven of every 13th character (7 * 13 <= 101).  Seven digits there are cheap to look for, and a
# false alarm is only slower; with 13, a list of short integers does not give one.
_STRIDE = 13
_may_have_long_integer = re.compile(r"[0-9]{7}").search


@functools.wraps(_stdlib.dumps, assigned=("__annotations__",))  # for its signature
def dumps(obj: Any, **options: Any) -> str:
    """Return the JSON text of `obj`; arguments and errors are those of `json.dumps`."""
    # What every JSON message is encoded with; the stock function makes an encoder each time.
    if options == {"separators": (",", ":")}:
        return _encode_compact(obj)
    return _stdlib.dumps(obj, **options)


def loads(s: str | bytes | bytearray, **options: Any) -> Any:
    """Return the value of the JSON text `s`, guarded as the module says.

    `options` are those of `json.loads`.  A `parse_int` or `parse_constant` of your own replaces
    the guard.  Raises ValueError (mostly JSONDecodeError) or RecursionError.
    """
    if options or not isinstance(s, str):
        if options.get("parse_int") is None:
            options["parse_int"] = _guarded_int
        if options.get("parse_constant") is None:
            options["parse_constant"] = _refuse_constant
        return _stdlib.loads(s, **options)
    if len(s) > MAX_DIGITS and _may_have_long_integer(s[::_STRIDE]):
        return _decode_guarded(s)
    return _decode(s)


def load(fp: _Reader, **options: Any) -> Any:
    """Return the value of the JSON text in the file object `fp`; see `loads`."""
    return loads(fp.read(), **options)
