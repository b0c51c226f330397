"""Polling payloads: packets joined by the record separator, and their JSONP clothing.

A text that contains the separator itself (U+001E) does not survive polling, in this protocol and so
in every implementation: the receiver takes it for two packets.  JSON data is safe, since it escapes
the character.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from .exceptions import PacketError
from .packet import Packet, decode_frame

SEPARATOR = b"\x1e"

# JSON but for the two line ends that were not allowed in a JavaScript string before ES2019.
# Otherwise as JSON.stringify, so that the bytes are those of the JavaScript server.
_encode_string = json.JSONEncoder(ensure_ascii=False).encode

_malformed_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_escaped_line_feed = re.compile(rb"\\?\\n")


class Payload:
    """The packets of one polling request or response.

    :param packets: the packets to send; the list is kept, not copied.
    :param encoded_payload: decode this instead; see `decode`.
    """

    max_decode_packets: int | None = None
    """The most packets one payload may have.  None: as many as fit its size."""

    def __init__(
        self,
        packets: list[Packet] | None = None,
        encoded_payload: str | bytes | None = None,
    ) -> None:
        self.packets = packets or []
        if encoded_payload is not None:
            self.decode(encoded_payload)

    def encode(self, jsonp_index: int | str | None = None) -> str:
        """Return the payload as text; with a JSONP index, as the script that calls its callback.

        Raises PacketError for text that UTF-8 cannot express and for an index that is no number.
        """
        payload = join(self.packets)
        if jsonp_index is not None:
            payload = jsonp_wrap(payload, str(jsonp_index))
        return payload.decode()

    def decode(self, encoded_payload: str | bytes) -> None:
        """Hold the packets of a payload that was received, JSONP ("d=...") or not; "" has none.

        Raises PacketError, which is a ValueError too, and then holds no packets.
        """
        self.packets = []
        if isinstance(encoded_payload, str):
            try:
                body = encoded_payload.encode()
            except UnicodeEncodeError:
                raise PacketError("payload is not UTF-8") from None
        else:
            body = encoded_payload
        if not body:
            return
        if body.startswith(b"d="):
            body = jsonp_unwrap(body)
        self.packets = [Packet(*packet) for packet in _scan(body, self.max_decode_packets)]


def split(body: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the type and data of each packet of a payload, decoded when its turn comes.

    Raises PacketError where the payload is malformed (an empty payload is), after the packets
    before that; and at once for more than `Payload.max_decode_packets`.
    """
    return _scan(body, Payload.max_decode_packets)


def _scan(body: bytes, limit: int | None) -> Iterator[tuple[int, Any]]:
    if limit is not None and body.count(SEPARATOR) >= limit:
        raise PacketError("Too many packets in payload")
    start = 0
    # find() and not split(), which would build a million objects for a megabyte of separators.
    # The separator's byte is never part of another character in UTF-8.
    while (end := body.find(SEPARATOR, start)) >= 0:
        yield decode_frame(_text(body[start:end]))
        start = end + 1
    yield decode_frame(_text(body[start:]))


def _text(packet: bytes) -> str:
    try:
        return packet.decode()
    except UnicodeDecodeError as error:
        raise PacketError(f"packet is not UTF-8: {error.reason}") from None


def join(packets: Iterable[Packet]) -> bytes:
    """Return the payload that carries `packets`, b"" for none.  Raises what `wire` raises."""
    return SEPARATOR.join([packet.wire for packet in packets])


def jsonp_wrap(payload: bytes, index: str) -> bytes:
    """Return the script (text/javascript, UTF-8) that calls JSONP callback `index` with `payload`.

    Raises PacketError if `index` is anything but ASCII digits: it comes from the query and becomes
    part of a script.
    """
    if not (index.isascii() and index.isdigit()):
        raise PacketError("JSONP index is not a number")
    string = _encode_string(payload.decode())
    string = string.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"___eio[{index}]({string});".encode()


def jsonp_unwrap(body: bytes) -> bytes:
    r"""Return the payload in the body of a JSONP POST: one form field, "d=<urlencoded>".

    Browsers change the line ends in a form, so clients send a line feed as \n and a backslash
    before an n doubled.  Raises PacketError for any other form and for a malformed % escape.
    """
    if not body.startswith(b"d=") or b"&" in body or _malformed_escape(body):
        raise PacketError("malformed JSONP body")
    payload = unquote_to_bytes(body[2:].replace(b"+", b" "))
    if b"\\n" not in payload:
        return payload
    return _escaped_line_feed.sub(lambda match: b"\n" if len(match[0]) == 2 else b"\\n", payload)
