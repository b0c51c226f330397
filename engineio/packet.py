"""One Engine.IO packet: its type, its data, and its forms on the wire::

    WebSocket          text frame   "4hello"        binary frame  the bytes alone
    polling payload    text         "4hello"        base64        "bAQID"

A WebSocket whose query says b64=1 carries the base64 form in text frames.  A packet is encoded once
per form, whatever the number of clients it goes to; it must not be changed after that.

Decoding is strict, and PacketError is all that a peer's bytes can raise.
"""

import binascii
import reprlib
from base64 import b64encode
from typing import Any, ClassVar, Literal, Protocol, overload

from . import json as _json
from .exceptions import PacketError

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = range(7)
packet_names = ["OPEN", "CLOSE", "PING", "PONG", "MESSAGE", "UPGRADE", "NOOP"]
binary_types = (bytes, bytearray)

# A table and not int(), which takes digits of every script.
_TYPES = {str(number): number for number in range(7)}

# What a JSON text begins with, by its first character.  Digits are missing on purpose: in Socket.IO
# the data begins with a packet type of its own (42["event"]), which must stay text.  Most text is
# not JSON, and a failing parser takes ten times as long as this look.
_JSON_START: dict[str, str | tuple[str, ...]] = {
    **dict(zip('{[" \t\r\n', '{[" \t\r\n', strict=True)),
    "t": "true",
    "f": "false",
    "n": "null",
    "-": tuple(f"-{digit}" for digit in range(10)),
}

# Not PING: its data goes back in the PONG as it came, and true would go back as True.
_JSON_TYPES = (MESSAGE, OPEN)

_SHOWN = 40  # characters of the data in a repr


class JSON(Protocol):
    """What a module must offer to take the place of json."""

    def dumps(self, obj: Any, /, *, separators: tuple[str, str]) -> str:
        """Return the JSON text of `obj`."""

    def loads(self, s: str, /) -> Any:
        """Return the value of a JSON text; any Exception means that it is none."""


class Packet:
    """A packet to send, or one that was received.

    :param packet_type: OPEN (0) to NOOP (6), the default.
    :param data: str; None, the default; bytes, bytearray or memoryview (binary, only in a MESSAGE;
        copied, so that a later change does not reach the wire); dict or list (sent as compact
        ASCII JSON); anything else is sent as its ``str()``.
    :param encoded_packet: decode this instead; see `decode`.

    Raises ValueError for binary data in a packet that is no MESSAGE.

    Attributes: `packet_type`, `data`, `binary` (bool), and `encode_cache` (what `encode` returned,
    or None).
    """

    json: ClassVar[JSON] = _json
    """The JSON module of all packets.  Set it on this class; it is read at every use."""

    __slots__ = (
        "_base64",
        "_wire",
        "binary",
        "data",
        "encode_cache",
        "frame_cache",
        "frame_cache_b64",
        "packet_type",
    )

    def __init__(
        self,
        packet_type: int = NOOP,
        data: Any = None,
        encoded_packet: str | bytes | bytearray | memoryview | None = None,
    ) -> None:
        if encoded_packet is not None:
            self.decode(encoded_packet)
            return
        self.packet_type = packet_type
        self.data = data
        self.binary = False
        self._forget()
        if not isinstance(data, str) and isinstance(data, (bytes, bytearray, memoryview)):
            if packet_type != MESSAGE:
                raise ValueError("Binary packets can only be of type MESSAGE")
            self.data = bytes(data)
            self.binary = True

    def _forget(self) -> None:
        # The forms are remembered apart: a broadcast puts the same packet on polling and WebSocket
        # sessions.  The two frames are filled in and used by websocket.py.
        self.encode_cache: str | bytes | None = None
        self._base64: str | None = None
        self._wire: bytes | None = None
        self.frame_cache: bytes | None = None
        self.frame_cache_b64: bytes | None = None

    @overload
    def encode(self, b64: Literal[True]) -> str: ...
    @overload
    def encode(self, b64: bool = False) -> str | bytes: ...
    def encode(self, b64: bool = False) -> str | bytes:
        """Return the packet as it is sent: str, or bytes for binary data unless `b64`.

        The first answer is remembered for each form.  Raises what `Packet.json.dumps` raises:
        TypeError, ValueError or RecursionError for data that JSON cannot express.
        """
        if b64 and self.binary:
            if self._base64 is None:
                self._base64 = "b" + b64encode(self.data).decode("ascii")
            return self._base64
        encoded = self.encode_cache
        if encoded is None:
            data = self.data
            if isinstance(data, str):
                encoded = f"{self.packet_type}{data}"
            elif self.binary:
                encoded = data
            elif data is None:
                encoded = str(self.packet_type)
            elif isinstance(data, (dict, list)):
                text = Packet.json.dumps(data, separators=(",", ":"))
                encoded = f"{self.packet_type}{text}"
            else:
                encoded = f"{self.packet_type}{data!s}"
            self.encode_cache = encoded
        return encoded

    @property
    def wire(self) -> bytes:
        """The packet in a polling payload: `encode(b64=True)` in UTF-8, remembered.

        Raises PacketError for text that UTF-8 cannot express (a lone surrogate), and what `encode`
        raises.
        """
        wire = self._wire
        if wire is None:
            try:
                wire = self._wire = self.encode(b64=True).encode()
            except UnicodeEncodeError as error:
                raise PacketError(f"text that is not UTF-8: {error.reason}") from None
        return wire

    def decode(self, encoded_packet: str | bytes | bytearray | memoryview) -> None:
        """Become the packet that was received: str, or the bytes of a binary message.

        Raises PacketError, and then changes nothing.
        """
        self.packet_type, self.data = decode_frame(encoded_packet)
        self.binary = isinstance(self.data, bytes)
        self._forget()

    def __repr__(self) -> str:
        known = 0 <= self.packet_type < len(packet_names)
        name = packet_names[self.packet_type] if known else repr(self.packet_type)
        data = self.data
        if data is None:
            return f"Packet({name})"
        if isinstance(data, (str, bytes)) and len(data) > _SHOWN:
            return f"Packet({name}, {data[:_SHOWN]!r}... of {len(data)})"
        return f"Packet({name}, {reprlib.repr(data)})"


def decode_frame(encoded: str | bytes | bytearray | memoryview) -> tuple[int, Any]:
    """Return the type and data of a received packet, without making a Packet.

    Bytes are a binary message.  Text is a type digit and data, or "b" and a binary message in
    base64.  The data of OPEN and MESSAGE packets is decoded if it is a JSON object, array, string,
    true, false, null or a number whose first character is no digit; all other text stays as it is,
    also what `Packet.json` refuses.  Without data it is "".

    Raises PacketError for an empty text, an unknown type and malformed base64, and TypeError for
    what is neither text nor bytes.
    """
    if not isinstance(encoded, str):
        if not isinstance(encoded, (bytes, bytearray, memoryview)):
            raise TypeError(f"a packet is str or bytes, not {type(encoded).__name__}")
        return MESSAGE, bytes(encoded)
    packet_type = _TYPES.get(encoded[:1])
    if packet_type is None:
        if encoded[:1] == "b":
            return MESSAGE, _decode_base64(encoded[1:])
        raise PacketError(f"unknown packet type {encoded[:1]!r}" if encoded else "empty packet")
    data = encoded[1:]
    start = _JSON_START.get(data[:1])
    if start is not None and data.startswith(start) and packet_type in _JSON_TYPES:
        loads = Packet.json.loads
        try:
            return packet_type, loads(data)
        except Exception:  # noqa: S110 - of a module we do not know, or RecursionError
            pass
    return packet_type, data


def _decode_base64(text: str) -> bytes:
    try:
        data = binascii.a2b_base64(text)
    except ValueError:
        raise PacketError("malformed base64") from None
    # a2b_base64 skips what is not in the alphabet and stops at padding.  Either leaves less data
    # than the length of the text promises.  (Its strict_mode needs Python 3.11.)
    if len(text) % 4 or len(data) != len(text) // 4 * 3 - text[-2:].count("="):
        raise PacketError("malformed base64")
    return data
