"""A JSON module that lets text messages through as they came.

A client hands `{"a": 1}` to its handler as a dictionary, and `"a"` as the text between the quotes.
A command that prints or sends back what it got must not change it, so this module, given as the
option `json`, decodes objects only, since the first packet of a session is one, and remembers what
they were made of.
"""

from typing import Any

from engineio import json


class Object(dict[str, Any]):
    """A decoded JSON object with the text it came from."""

    text = ""


def loads(s: str) -> Object:
    """Return the object of a JSON text.  Raises ValueError for every other one: it stays text."""
    value = json.loads(s)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    found = Object(value)
    found.text = s
    return found


dumps = json.dumps


def as_received(data: Any) -> str | bytes:
    """Return what a `message` handler was given as it was on the wire."""
    if isinstance(data, Object):
        return data.text
    return data if isinstance(data, bytes) else str(data)
