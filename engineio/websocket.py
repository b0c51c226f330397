"""WebSocket without I/O: the server's opening handshake, and bytes to messages and back.

The rules of RFC 6455 and of permessage-deflate (RFC 7692) are those of the `websockets` library.
What is here is a short way around it for what nearly every frame is: a data frame that is whole,
not fragmented and not compressed. Every other frame is handed to the library, one at a
time and as soon as its header is known, so that what follows a violation is never looked at,
however the bytes were cut into reads.

Nothing here waits, logs or knows the time.

    open --close()--> closing --close frame, violation or EOF--> closed
    open --close frame, violation or EOF--> closed
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.exceptions import ProtocolError as LibraryError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Close, Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import Protocol, Side
from websockets.utils import accept_key

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiled wheel for this platform
    from websockets.utils import apply_mask

from .exceptions import PacketError, ProtocolError
from .packet import Packet

MAX_FRAGMENTS = 16384
"""Frames one message may be split into; one more closes with 1008.

Empty fragments never reach a size limit, and tiny ones take fifty times their size in memory.
Senders that fragment use kilobytes per frame: at 1 KiB each, this still carries 16 MiB.
"""

# RFC 6455, 5.5: a control frame carries at most 125 bytes; two of a close frame are its code.
_MAX_REASON = 123

_DEFLATE_DEFAULTS: Mapping[str, Any] = {
    # 4 KiB windows and a small hash table: measured 50 KiB a connection, against 119 KiB (and
    # growing with use) with zlib's own defaults.
    "server_max_window_bits": 12,
    "client_max_window_bits": 12,
    "compress_settings": {"memLevel": 5},
}

# What may follow a final block of DEFLATE (RFC 7692, 7.2.3.4): the byte that ends the message, and
# what the receiver adds to each.
_BEHIND_FINAL_BLOCK = (b"", b"\x00", b"\x00\x00\xff\xff", b"\x00\x00\x00\xff\xff")

_TEXT = 0x81  # first byte of a final text frame, no reserved bits
_BINARY = 0x82
_CLOSE = 0x88
_PING = 0x89
_PONG = 0x8A
_DATA = (_TEXT, _BINARY)
_OPCODES = frozenset(Opcode)

_text_headers = [bytes((_TEXT, length)) for length in range(126)]
_binary_headers = [bytes((_BINARY, length)) for length in range(126)]
_medium_header = Struct("!BBH").pack
_large_header = Struct("!BBQ").pack
# What clients send: the bit that says "masked" is in the second byte.
_masked_text_headers = [bytes((_TEXT, 128 | length)) for length in range(126)]
_masked_binary_headers = [bytes((_BINARY, 128 | length)) for length in range(126)]
_small_head = Struct("!BB4s").unpack_from  # first byte, mask bit and length, mask
_medium_head = Struct("!H4s").unpack_from  # what follows them when the length is 126

_is_key = re.compile("[A-Za-z0-9+/]{22}==").fullmatch
_new_decoder = codecs.getincrementaldecoder("utf-8")

# Masks must not be predictable (RFC 6455, 5.3). Asking the system for each would take longer than
# everything else about a frame.
_MASKS = 512
_masks: list[bytes] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_masks.clear)

# The library logs a line per connection, and tracebacks. Whether and how a peer's fault is
# logged is for our shells to decide.
_silent = logging.Logger("engineio.websocket")
_silent.disabled = True


class Handshake(NamedTuple):
    """An accepted opening handshake."""

    headers: list[tuple[str, str]]
    """Response headers of the 101."""

    extensions: list[Extension]
    """What was negotiated, for `WebSocketProtocol`. Belongs to this one connection."""


def handshake(environ: Mapping[str, Any], deflate: bool | Mapping[str, Any] = False) -> Handshake:
    """Accept the WebSocket opening handshake of a WSGI request.

    `deflate` offers permessage-deflate: False (the default), True, or keyword arguments of
    `websockets.extensions.permessage_deflate.ServerPerMessageDeflateFactory` over the defaults.
    No subprotocol is selected. Raises `ProtocolError` (status 400) when the request is no valid
    handshake (RFC 6455, 4.2.1), or has a body.

    SERVER_PROTOCOL is not looked at: eventlet.wsgi puts HTTP/1.0 there for every request.
    """
    get = environ.get
    if get("REQUEST_METHOD") != "GET":
        raise ProtocolError(f"WebSocket handshake with method {get('REQUEST_METHOD')!r}")
    if not _has_token(get("HTTP_UPGRADE", ""), "websocket"):
        raise ProtocolError(f"Upgrade is {get('HTTP_UPGRADE')!r}, not websocket")
    # Connection is for one hop, and not every server passes it on to the application: without
    # it, Upgrade alone decides. When it is there and names no upgrade, a proxy in between
    # forwards the headers but will not forward the frames.
    connection = get("HTTP_CONNECTION")
    if connection is not None and not _has_token(connection, "upgrade"):
        raise ProtocolError(f"Connection is {connection!r}, not Upgrade")
    if get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        raise ProtocolError(
            f"Sec-WebSocket-Version is {get('HTTP_SEC_WEBSOCKET_VERSION')!r}, not 13"
        )
    key = get("HTTP_SEC_WEBSOCKET_KEY", "")
    if not _is_key(key):
        raise ProtocolError(f"Sec-WebSocket-Key {key!r} is not 16 bytes in base64")
    # A body would be read as frames, or frames as a body: request smuggling.
    if get("CONTENT_LENGTH") not in (None, "", "0") or get("HTTP_TRANSFER_ENCODING"):
        raise ProtocolError("WebSocket handshake with a body")

    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key)),
    ]
    extensions: list[Extension] = []
    offer = get("HTTP_SEC_WEBSOCKET_EXTENSIONS")
    if offer and deflate is not False:
        header, extensions = _negotiate(offer, {} if deflate is True else deflate)
        if header:
            headers.append(("Sec-WebSocket-Extensions", header))
    return Handshake(headers, extensions)


def _has_token(header: str, token: str) -> bool:
    header = header.lower()
    return header == token or token in [item.strip() for item in header.split(",")]


def _negotiate(offer: str, options: Mapping[str, Any]) -> tuple[str, list[Extension]]:
    """Take the first offer of permessage-deflate that can be met."""
    factory = ServerPerMessageDeflateFactory(**{**_DEFLATE_DEFAULTS, **options})
    try:
        offers = parse_extension(offer)
    except InvalidHeader as exc:
        raise ProtocolError(str(exc)) from None
    for name, parameters in offers:
        if name == factory.name:
            try:
                accepted, extension = factory.process_request_params(parameters, [])
            # ValueError: up to websockets 16 an offer of server_max_window_bits=8 is
            # accepted, and zlib then refuses to build the compressor.
            except (NegotiationError, ValueError):
                continue
            return build_extension([(name, accepted)]), [extension]
    return "", []


def encode_frame(data: str | bytes) -> bytes:
    """Encode one message: a final text or binary frame, not masked.

    Raises `PacketError` for text that UTF-8 cannot encode (lone surrogates).
    """
    if isinstance(data, str):
        try:
            data = data.encode()
        except UnicodeEncodeError as exc:
            raise PacketError(f"text is not Unicode: {exc.reason}") from None
        head = _TEXT
        headers = _text_headers
    else:
        head = _BINARY
        headers = _binary_headers
    length = len(data)
    if length < 126:
        return headers[length] + data
    if length < 65536:
        return _medium_header(head, 126, length) + data
    return _large_header(head, 127, length) + data


def encode_masked_frame(data: str | bytes) -> bytes:
    """Encode one message as a client must: as `encode_frame`, masked."""
    if isinstance(data, str):
        try:
            data = data.encode()
        except UnicodeEncodeError as exc:
            raise PacketError(f"text is not Unicode: {exc.reason}") from None
        head = _TEXT
        headers = _masked_text_headers
    else:
        head = _BINARY
        headers = _masked_binary_headers
    try:
        mask = _masks.pop()
    except IndexError:
        mask = _make_masks()
    length = len(data)
    if length < 126:
        return headers[length] + mask + apply_mask(data, mask)
    if length < 65536:
        return _medium_header(head, 254, length) + mask + apply_mask(data, mask)
    return b"".join((_large_header(head, 255, length), mask, apply_mask(data, mask)))


def _make_masks() -> bytes:
    random = os.urandom(4 * _MASKS)
    _masks.extend([random[n : n + 4] for n in range(4, len(random), 4)])
    return random[:4]


def packet_frame(packet: Packet, b64: bool = False) -> bytes:
    """Encode a packet as one frame, and remember it there: a broadcast encodes once.

    `b64` sends binary data as base64 text, for clients that asked for it with `b64=1`.
    Raises `PacketError` for text that UTF-8 cannot encode.
    """
    if b64 and packet.binary:
        frame = packet.frame_cache_b64
        if frame is None:
            frame = encode_frame(packet.encode(b64=True))
            packet.frame_cache_b64 = frame
        return frame
    frame = packet.frame_cache
    if frame is None:
        frame = encode_frame(packet.encode())
        packet.frame_cache = frame
    return frame


class _Library(Protocol):
    """The library's connection, and the fragmented message it is in the middle of."""

    def __init__(self, side: Side) -> None:
        super().__init__(side, logger=_silent)
        self.failure: tuple[int, str] | None = None
        self.parts: list[str] | list[bytes] = []
        self.decoder: codecs.IncrementalDecoder | None = None

    def set_limit(self, max_size: int) -> None:
        # The name changed from max_size to max_message_size with websockets 16.
        self.max_size = self.max_message_size = max_size

    def fail(self, code: int, reason: str = "") -> None:
        self.failure = (int(code), reason)
        super().fail(code, reason)


class WebSocketProtocol:
    """One WebSocket connection, from the end of its handshake, on the server's side.

    `max_size` limits a message, in bytes before decoding of text and after decompression; it may
    be set at any time and holds from the next frame on. `extensions` are those of the handshake;
    with them, messages of at least `threshold` bytes are compressed.

    Calls must not overlap, with one exception: `encode` without extensions keeps no state. With
    extensions, frames must leave in the order in which they were encoded.
    """

    __slots__ = (
        "_buffer",
        "_extensions",
        "_library",
        "_output",
        "_plain",
        "_threshold",
        "close_code",
        "close_reason",
        "closed_by_peer",
        "has_output",
        "is_closing",
        "is_open",
        "max_size",
        "wants",
    )

    _side = Side.SERVER
    _masks_output = False

    max_size: int
    is_open: bool
    """No close frame was sent or received, no violation, no EOF: messages may be sent."""
    is_closing: bool
    """`close` was called, and the peer has not answered yet."""
    close_code: int | None
    """Why it is closed: the peer's code (1005 if it gave none), the code of its violation, or
    1006 after an EOF without a close frame. None while open or closing."""
    close_reason: str
    closed_by_peer: bool
    """A close frame arrived from the peer."""
    has_output: bool
    """`data_to_send` has something."""
    wants: int
    """Bytes that complete the frame (or its header) being received, 0 between frames."""

    def __init__(
        self, max_size: int, extensions: Sequence[Extension] = (), threshold: int = 0
    ) -> None:
        self.max_size = max_size
        self.is_open = True
        self.is_closing = False
        self.close_code = None
        self.close_reason = ""
        self.closed_by_peer = False
        self.has_output = False
        self.wants = 0
        self._extensions = extensions
        self._threshold = threshold
        self._output = b""
        # The start of a frame for the fast path, or of a header. None if the library has it.
        self._buffer: bytearray | None = None
        # Few connections ever need one, and it is ten times the size of this object.
        self._library: _Library | None = None
        # Data frames may take the fast path: open, and no fragmented message under way.
        self._plain = True

    def receive(self, data: bytes | bytearray) -> list[str | bytes]:
        """Take bytes from the peer; return the messages they complete, in order.

        Text comes as str, binary as bytes. Never raises: a violation sets `close_code` and
        `close_reason`, returns the messages before it, and every later call returns []. Look at
        `has_output` and `close_code` afterwards. After `close`, messages are dropped.
        """
        messages: list[str | bytes] = []
        position = 0
        if self.wants:
            data, position = self._resume(data, messages)
        size = len(data)
        while position < size:
            if self._plain:
                limit = self.max_size
                while size - position >= 6:
                    head, length, mask = _small_head(data, position)
                    start = position + 6
                    length -= 128  # the mask bit; without it this is negative
                    if not 0 <= length < 126:
                        if length != 126 or size - position < 8:
                            break
                        length, mask = _medium_head(data, position + 2)
                        start += 2
                    end = start + length
                    if end > size or length > limit:
                        break
                    if head == _TEXT:
                        try:
                            messages.append(apply_mask(data[start:end], mask).decode())
                        except UnicodeDecodeError as exc:
                            self._fail(1007, _describe(exc))
                            return messages
                    elif head == _BINARY:
                        messages.append(apply_mask(data[start:end], mask))
                    else:
                        break
                    position = end
                if position == size:
                    break
            position = self._receive_frame(data, position, messages)
        return messages

    def receive_eof(self) -> None:
        """Note that the peer will send nothing more. Closes with 1006 unless closed already."""
        if self.close_code is None:
            self._end(1006, "")

    def data_to_send(self) -> bytes:
        """Return, once, what the protocol itself must send now: a pong, a close frame, or b''.

        Of several unanswered pings only the last is answered (RFC 6455, 5.5.3), so this stays
        small whoever floods.
        """
        output = self._output
        self._output = b""
        self.has_output = False
        return output

    def encode(self, data: str | bytes) -> bytes:
        """Encode one message for this connection, compressed if that was negotiated and it is long.

        For use while `is_open`, and for answers that leave before the close frame of a violation.
        Raises `PacketError` for text that UTF-8 cannot encode.
        """
        if not self._extensions:
            return self._encode_plain(data)
        opcode = Opcode.BINARY
        if isinstance(data, str):
            opcode = Opcode.TEXT
            try:
                data = data.encode()
            except UnicodeEncodeError as exc:
                raise PacketError(f"text is not Unicode: {exc.reason}") from None
        extensions = self._extensions if len(data) >= self._threshold else ()
        return Frame(opcode, data).serialize(mask=self._masks_output, extensions=extensions)

    def _encode_plain(self, data: str | bytes) -> bytes:
        return encode_frame(data)

    def close(self, code: int = 1000, reason: str = "") -> bytes:
        """Start the closing handshake: return the close frame to send, b'' if there was one.

        Go on with `receive` until `close_code` is set, for as long as you care to wait. A reason
        is cut to the 123 bytes a frame has for it. Raises `ValueError` for a code that must not
        be sent (RFC 6455, 7.4).
        """
        if not self.is_open:
            return b""
        fitting = reason.encode(errors="replace")[:_MAX_REASON].decode(errors="ignore")
        try:
            payload = Close(code, fitting).serialize()
        except LibraryError as exc:
            raise ValueError(f"close code {code!r}: {exc}") from None
        self.is_open = False
        self.is_closing = True
        self._plain = False
        if self._library is not None:
            self._tell_closing(self._library)
        return Frame(Opcode.CLOSE, payload).serialize(mask=self._masks_output)

    # Receiving, beside the fast path.

    def _resume(
        self, data: bytes | bytearray, messages: list[str | bytes]
    ) -> tuple[bytes | bytearray, int]:
        """Continue a frame. Returns the bytes to parse, and where in them the next one begins."""
        # Until the frame is complete this only counts and appends: a message may come in
        # millions of reads, and looking at what is there each time would be quadratic.
        wants = self.wants
        if len(data) < wants:
            self.wants = wants - len(data)
            if self._buffer is None:
                self._feed(data, messages)
            else:
                self._buffer += data
            return b"", 0
        self.wants = 0
        if self._buffer is None:
            self._feed(data[:wants], messages)
            return data, wants
        whole = self._buffer
        self._buffer = None
        whole += data
        return whole, 0

    def _receive_frame(
        self, data: bytes | bytearray, position: int, messages: list[str | bytes]
    ) -> int:
        """Take one frame that is large, incomplete or unusual. Returns where the next begins."""
        size = len(data)
        if self.close_code is not None:
            return size
        available = size - position
        if available < 2:
            return self._keep(data, position, 2)
        head = data[position]
        length = data[position + 1] - 128
        mask = 4  # bytes
        if self._masks_output:  # then nothing that comes may be masked
            length = data[position + 1] if length < 0 else -1
            mask = 0
        if length < 0 or head & 0x0F not in _OPCODES:
            # Masked or not when it should not be, or nothing we know: the library refuses it by
            # its first two bytes.
            self._feed(data[position:], messages)
            return size
        start = position + 2 + mask
        if length >= 126:
            extra = 2 if length == 126 else 8
            if available < 2 + extra:
                return self._keep(data, position, 2 + extra)
            length = int.from_bytes(data[position + 2 : position + 2 + extra], "big")
            start += extra
        end = start + length

        if self._plain and head in _DATA and length <= self.max_size:
            if end > size:
                return self._keep(data, position, end - position)
            payload = self._payload(data, start, end)
            try:
                messages.append(payload.decode() if head == _TEXT else payload)
            except UnicodeDecodeError as exc:
                self._fail(1007, _describe(exc))
            return end

        # Not by the library, which takes ten times as long: this is what floods are made of.
        is_short = end <= size and start == position + 2 + mask and length <= 125
        if head in (_PING, _PONG) and is_short and self.is_open:
            if head == _PING:
                self._output = self._control_frame(_PONG, self._payload(data, start, end))
                self.has_output = True
            return end

        is_close = head == _CLOSE and length <= 125 and end <= size and self._library is None
        if is_close and self._take_close(self._payload(data, start, end)):
            return size
        self._feed(data[position:end], messages)
        if end > size and self.close_code is None:
            self.wants = end - size
        return end

    def _payload(self, data: bytes | bytearray, start: int, end: int) -> bytes:
        # Of a view, as this may be megabytes.
        return apply_mask(memoryview(data)[start:end], bytes(data[start - 4 : start]))

    def _keep(self, data: bytes | bytearray, position: int, needed: int) -> int:
        """Keep the start of a frame until there are `needed` bytes of it."""
        size = len(data)
        self._buffer = bytearray(data[position:])
        self.wants = needed - (size - position)
        return size

    # The library's part.

    def _start_library(self) -> _Library:
        library = self._library = _Library(self._side)
        library.extensions = list(self._extensions)
        if self.is_closing:
            self._tell_closing(library)
        return library

    def _tell_closing(self, library: _Library) -> None:
        """Let the library know of a close frame that was sent without it."""
        library.send_close(1000)
        library.data_to_send()
        library.parts = []

    def _feed(self, data: bytes | bytearray, messages: list[str | bytes]) -> None:
        """Give the library a frame, or a part of one."""
        library = self._library or self._start_library()
        library.set_limit(self.max_size)
        library.receive_data(data)
        for frame in library.events_received():
            if isinstance(frame, Frame):
                self._take(library, frame, messages)
        if library.failure is None:
            return
        close = library.close_rcvd
        if close is not None and self.is_closing:
            # To the library, a close frame between two fragments is a violation. As the answer
            # to ours it is not: that made the peer give up the message.
            self._closed_by_peer(close)
            return
        self._output += b"".join(library.data_to_send())
        self._end(*library.failure)

    def _take(self, library: _Library, frame: Frame, messages: list[str | bytes]) -> None:
        """Act on a frame that the library found valid."""
        opcode = frame.opcode
        if opcode is Opcode.PING:
            self._output = b"".join(library.data_to_send())
            self.has_output = True
        elif opcode is Opcode.CLOSE:
            self._output += b"".join(library.data_to_send())
            self._closed_by_peer(Close.parse(frame.data))
        elif opcode is not Opcode.PONG and not self.is_closing:
            if self._extensions and not self._renew_decoder():
                self._fail(1002, "data behind a final block")
                return
            if opcode is not Opcode.CONT:
                library.decoder = _new_decoder() if opcode is Opcode.TEXT else None
                library.parts = []
            self._take_fragment(library, frame, messages)

    def _renew_decoder(self) -> bool:
        """Decompress anew behind a final block.  Returns False if there is more data behind it.

        Senders may end their stream with any message.  The library's decoder reads nothing after
        that, and every later message would be empty.
        """
        for extension in self._extensions:
            if not isinstance(extension, PerMessageDeflate):
                continue
            decoder = getattr(extension, "decoder", None)  # deleted when it is not used again
            if decoder is not None and decoder.eof:
                if decoder.unused_data not in _BEHIND_FINAL_BLOCK:
                    return False
                bits = extension.remote_max_window_bits
                extension.decoder = zlib.decompressobj(wbits=-bits)
        return True

    def _take_fragment(self, library: _Library, frame: Frame, messages: list[str | bytes]) -> None:
        parts: list[Any] = library.parts
        if len(parts) >= MAX_FRAGMENTS:
            self._fail(1008, "too many fragments")
            return
        data = bytes(frame.data)
        if library.decoder is None:
            parts.append(data)
        else:
            try:
                parts.append(library.decoder.decode(data, frame.fin))
            except UnicodeDecodeError as exc:
                self._fail(1007, _describe(exc))
                return
        if frame.fin:
            messages.append((b"" if library.decoder is None else "").join(parts))
            library.parts = []
        self._plain = frame.fin

    # Closing.

    def _take_close(self, payload: bytes) -> bool:
        """Take a close frame. Returns False for one that breaks a rule: the library says which."""
        # Every connection ends with one, and for most it would be all that the library does.
        try:
            close = Close.parse(payload)
        except (LibraryError, UnicodeDecodeError):
            return False
        if self.is_open:
            self._output += self._control_frame(_CLOSE, payload)
        self._closed_by_peer(close)
        return True

    def _closed_by_peer(self, close: Close) -> None:
        self.closed_by_peer = True
        self._end(int(close.code), close.reason)

    def _fail(self, code: int, reason: str) -> None:
        """Close for a violation that the library did not see."""
        # Only ever while open: once closing, messages are not looked into.
        self._output += self._control_frame(_CLOSE, Close(code, reason).serialize())
        self._end(code, reason)

    def _control_frame(self, head: int, payload: bytes) -> bytes:
        if self._masks_output:
            return Frame(Opcode(head & 0x0F), payload).serialize(mask=True)
        return bytes((head, len(payload))) + payload

    def _end(self, code: int, reason: str) -> None:
        self.close_code = code
        self.close_reason = reason
        self.is_open = self.is_closing = self._plain = False
        self.has_output = bool(self._output)
        self.wants = 0
        self._buffer = None
        self._library = None


class ClientProtocol(WebSocketProtocol):
    """One WebSocket connection, from the end of its handshake, on the client's side.

    As `WebSocketProtocol`, but what is sent is masked and what is received must not be.
    """

    __slots__ = ()

    _side = Side.CLIENT
    _masks_output = True

    def receive(self, data: bytes | bytearray) -> list[str | bytes]:
        """Take bytes from the peer; return the messages they complete, in order.

        As `WebSocketProtocol.receive`.
        """
        messages: list[str | bytes] = []
        position = 0
        if self.wants:
            data, position = self._resume(data, messages)
        size = len(data)
        while position < size:
            if self._plain:
                limit = self.max_size
                while size - position >= 2:
                    head = data[position]
                    length = data[position + 1]
                    start = position + 2
                    if length >= 126:
                        if length != 126 or size - position < 4:
                            break
                        length = data[position + 2] << 8 | data[position + 3]
                        start += 2
                    end = start + length
                    if end > size or length > limit:
                        break
                    if head == _TEXT:
                        try:
                            messages.append(data[start:end].decode())
                        except UnicodeDecodeError as exc:
                            self._fail(1007, _describe(exc))
                            return messages
                    elif head == _BINARY:
                        messages.append(bytes(data[start:end]))
                    else:
                        break
                    position = end
                if position == size:
                    break
            position = self._receive_frame(data, position, messages)
        return messages

    def _encode_plain(self, data: str | bytes) -> bytes:
        return encode_masked_frame(data)

    def _payload(self, data: bytes | bytearray, start: int, end: int) -> bytes:
        return bytes(memoryview(data)[start:end])


def _describe(exc: UnicodeDecodeError) -> str:
    return f"{exc.reason} at position {exc.start}"
