"""WebSocketProtocol and its handshake, by values; the `websockets` library is the oracle."""

import logging
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol as LibraryClient
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from engineio.exceptions import PacketError, ProtocolError
from engineio.packet import MESSAGE, Packet
from engineio.websocket import (
    MAX_FRAGMENTS,
    ClientProtocol,
    WebSocketProtocol,
    encode_frame,
    encode_masked_frame,
    handshake,
    packet_frame,
)

MASK = b"\x12\x9a\x00\xff"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def client_frame(
    payload: bytes = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
    width: int | None = None,
) -> bytes:
    """Build a frame as a client sends it, or must not: `length` may lie, `width` is 1, 2 or 8."""
    length = len(payload) if length is None else length
    width = width or (1 if length < 126 else 2 if length < 65536 else 8)
    bit = 128 if masked else 0
    header = bytes([fin << 7 | rsv << 4 | opcode])
    if width == 1:
        header += bytes([bit | length])
    elif width == 2:
        header += struct.pack("!BH", bit | 126, length)
    else:
        header += struct.pack("!BQ", bit | 127, length)
    if not masked:
        return header + payload
    repeated = MASK * (len(payload) // 4 + 1)
    return header + MASK + bytes(a ^ b for a, b in zip(payload, repeated, strict=False))


def server_frame(data: bytes) -> tuple[int, bytes]:
    """Split one unmasked frame, and nothing after it, into its first byte and its payload."""
    size = {126: 2, 127: 8}.get(data[1], 0)
    length = int.from_bytes(data[2 : 2 + size], "big") if size else data[1]
    payload = data[2 + size :]
    assert len(payload) == length
    return data[0], payload


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


def failed_with(protocol: WebSocketProtocol, code: int) -> bool:
    """Whether the protocol closed for a violation, and said so in its close frame."""
    assert not protocol.is_open
    assert not protocol.is_closing
    assert not protocol.closed_by_peer
    assert protocol.has_output
    head, payload = server_frame(protocol.data_to_send())
    assert head == 0x88
    assert payload == close_payload(code, protocol.close_reason.encode())
    assert not protocol.has_output
    assert protocol.data_to_send() == b""
    assert protocol.receive(client_frame(b"later")) == []
    return protocol.close_code == code


def receive_bytewise(protocol: WebSocketProtocol, data: bytes) -> list[str | bytes]:
    messages = []
    for index in range(len(data)):
        messages += protocol.receive(data[index : index + 1])
    return messages


# Data frames


LENGTHS = [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 65535, 65536, 65537]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_lengths(length: int, opcode: int) -> None:
    payload = bytes(32 + n % 90 for n in range(length))
    expected: str | bytes = payload.decode() if opcode == TEXT else payload
    data = client_frame(payload, opcode)
    protocol = WebSocketProtocol(65537)
    assert protocol.receive(data) == [expected]
    assert protocol.receive(data + data + data) == [expected] * 3
    assert protocol.receive(bytearray(data)) == [expected]
    assert receive_bytewise(protocol, data) == [expected]
    for cut in {1, 2, 3, 5, 6, 7, 8, 9, 10, 13, 14, 15, len(data) - 1}:
        messages = protocol.receive(data[:cut])
        assert messages + protocol.receive(data[cut:] + data) == [expected] * 2
    assert protocol.is_open
    assert protocol.wants == 0
    assert not protocol.has_output


@pytest.mark.parametrize("length", [1, 124, 125, 126, 127, 65535, 65536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_max_size(length: int, opcode: int) -> None:
    protocol = WebSocketProtocol(length)
    fits = client_frame(b"x" * length, opcode)
    assert len(protocol.receive(fits + fits)) == 2
    too_long = client_frame(b"x" * (length + 1), opcode)
    assert len(protocol.receive(fits + too_long + fits)) == 1
    assert failed_with(protocol, 1009)


@pytest.mark.parametrize("length", [11, 126, 65536, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_declared_length_is_enough_to_refuse(length: int) -> None:
    header = client_frame(length=length)[: -len(MASK)]
    protocol = WebSocketProtocol(10)
    assert receive_bytewise(protocol, header[:-1]) == []
    assert protocol.close_code is None
    assert protocol.receive(header[-1:]) == []
    assert failed_with(protocol, 1009)


def test_max_size_may_change() -> None:
    protocol = WebSocketProtocol(10)
    start = client_frame(b"x" * 6, BINARY, fin=False)
    assert protocol.receive(start) == []
    protocol.max_size = 20
    assert protocol.receive(client_frame(b"y" * 14, CONT)) == [b"x" * 6 + b"y" * 14]
    protocol.max_size = 5
    assert protocol.receive(client_frame(b"12345") + client_frame(b"123456")) == ["12345"]
    assert failed_with(protocol, 1009)


@pytest.mark.parametrize(
    "data",
    [
        client_frame(b"x" * 10),
        client_frame(b"x" * 1000),
        client_frame(b"x" * 70_000, BINARY),
        client_frame(b"ping", PING),
        client_frame(b"x" * 300, BINARY, fin=False),
    ],
)
def test_wants_completes_the_frame(data: bytes) -> None:
    protocol = WebSocketProtocol(100_000)
    protocol.receive(data[:1])
    position = reads = 1
    while protocol.wants:
        taken = data[position : position + protocol.wants]
        assert len(taken) == protocol.wants  # never into the next frame
        protocol.receive(taken)
        position += len(taken)
        reads += 1
    assert position == len(data)
    assert reads <= 4  # first byte, second byte, longer length, the rest


def test_small_frames_of_every_mask_phase() -> None:
    protocol = WebSocketProtocol(100)
    payloads = [bytes(range(length)) for length in range(40)]
    data = b"".join(client_frame(payload, BINARY) for payload in payloads)
    assert protocol.receive(data) == payloads


# Fragments


def fragments(payload: bytes, opcode: int, size: int) -> list[bytes]:
    pieces = [payload[n : n + size] for n in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return [
        client_frame(piece, CONT if n else opcode, fin=n == last) for n, piece in enumerate(pieces)
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_fragments(size: int) -> None:
    text = "Grüße, 世界 🎉!"
    protocol = WebSocketProtocol(100)
    frames = fragments(text.encode(), TEXT, size)
    after = client_frame(b"after")
    assert protocol.receive(b"".join(frames) + after) == [text, "after"]
    assert receive_bytewise(protocol, b"".join(frames)) == [text]
    binary = b"".join(fragments(text.encode(), BINARY, size))
    assert protocol.receive(binary + after) == [text.encode(), "after"]


def test_empty_fragments() -> None:
    protocol = WebSocketProtocol(100)
    empty = client_frame(fin=False) + client_frame(opcode=CONT, fin=False) * 10
    assert protocol.receive(empty + client_frame(opcode=CONT)) == [""]
    binary = client_frame(opcode=BINARY, fin=False) + client_frame(opcode=CONT)
    assert protocol.receive(binary) == [b""]


def test_control_frames_between_fragments() -> None:
    protocol = WebSocketProtocol(100)
    frames = fragments(b"abcd", TEXT, 1)
    control = client_frame(b"p", PING) + client_frame(b"q", PONG)
    assert protocol.receive(control.join(frames)) == ["abcd"]
    assert server_frame(protocol.data_to_send()) == (0x8A, b"p")


def test_sum_of_fragments_is_limited() -> None:
    protocol = WebSocketProtocol(10)
    assert protocol.receive(b"".join(fragments(b"0123456789", TEXT, 3))) == ["0123456789"]
    frames = fragments(b"0123456789a", BINARY, 3)
    assert protocol.receive(b"".join(frames[:-1])) == []
    assert protocol.is_open
    assert protocol.receive(frames[-1]) == []
    assert failed_with(protocol, 1009)


@pytest.mark.parametrize("payload", [b"", b"x"])
def test_number_of_fragments_is_limited(payload: bytes) -> None:
    protocol = WebSocketProtocol(10**6)
    start = client_frame(payload, fin=False)
    middle = client_frame(payload, CONT, fin=False)
    data = start + middle * (MAX_FRAGMENTS - 2) + client_frame(payload, CONT)
    assert protocol.receive(data) == [payload.decode() * MAX_FRAGMENTS]
    data = start + middle * (MAX_FRAGMENTS - 1)
    assert protocol.receive(data) == []
    assert protocol.is_open
    assert protocol.receive(client_frame(payload, CONT)) == []
    assert failed_with(protocol, 1008)


@pytest.mark.parametrize(
    "data",
    [
        client_frame(b"x", CONT),
        client_frame(b"x", CONT, fin=False),
        client_frame(b"x", fin=False) + client_frame(b"y"),
        client_frame(b"x", fin=False) + client_frame(b"y", BINARY, fin=False),
        client_frame(b"x", fin=False) + client_frame(close_payload(1000), CLOSE),
    ],
)
def test_fragments_out_of_place(data: bytes) -> None:
    for receive in (WebSocketProtocol.receive, receive_bytewise):
        protocol = WebSocketProtocol(100)
        assert receive(protocol, client_frame(b"fine") + data) == ["fine"]
        assert failed_with(protocol, 1002)


# Violations


VIOLATIONS = [
    *(client_frame(b"x", opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *(client_frame(b"x", TEXT, rsv=rsv) for rsv in range(1, 8)),
    *(client_frame(b"x", PING, rsv=rsv) for rsv in range(1, 8)),
    *(client_frame(b"x", opcode, masked=False) for opcode in (TEXT, BINARY, PING, CLOSE)),
    client_frame(masked=False),
    client_frame(b"x" * 126, masked=False),
    *(client_frame(b"x" * 126, opcode) for opcode in (CLOSE, PING, PONG)),
    *(client_frame(b"x", opcode, fin=False) for opcode in (CLOSE, PING, PONG)),
]


@pytest.mark.parametrize("data", VIOLATIONS)
def test_violations(data: bytes) -> None:
    for receive in (WebSocketProtocol.receive, receive_bytewise):
        protocol = WebSocketProtocol(1000)
        stream = client_frame(b"before") + data + client_frame(b"after")
        assert receive(protocol, stream) == ["before"]
        assert failed_with(protocol, 1002)


BAD_UTF8 = [
    b"\x80",  # a continuation byte alone
    b"\xff",
    b"\xc3",  # cut off, by the end of the message
    b"\xe4\xb8",
    b"\xf0\x9f\x8e",
    b"\xc0\xaf",  # overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xed\xa0\x80",  # a surrogate
    b"\xed\xb0\x80",
    b"\xed\xa0\xbd\xed\xb2\xa9",  # a pair of them (CESU-8)
    b"\xf4\x90\x80\x80",  # above U+10FFFF
    b"\xf8\x88\x80\x80\x80",
]


@pytest.mark.parametrize("bad", BAD_UTF8)
@pytest.mark.parametrize("before", [0, 1, 100, 126, 65536])
def test_bad_utf8(bad: bytes, before: int) -> None:
    data = client_frame(b"x" * before + bad)
    cuts = [len(data), 1, 65536, len(data) - 1]
    for cut in cuts:
        protocol = WebSocketProtocol(100_000)
        messages = protocol.receive(client_frame(b"fine") + data[:cut])
        messages += protocol.receive(data[cut:] + client_frame(b"after"))
        assert messages == ["fine"]
        assert failed_with(protocol, 1007)
        assert f"position {before}" in protocol.close_reason
    assert WebSocketProtocol(100).receive(client_frame(bad, BINARY)) == [bad]


@pytest.mark.parametrize("bad", BAD_UTF8)
def test_bad_utf8_in_fragments(bad: bytes) -> None:
    for size in (1, 2, 3):
        protocol = WebSocketProtocol(100)
        assert protocol.receive(b"".join(fragments(b"ok" + bad, TEXT, size))) == []
        assert failed_with(protocol, 1007)


def test_bad_utf8_is_found_before_the_message_ends() -> None:
    protocol = WebSocketProtocol(100)
    assert protocol.receive(client_frame(b"x", fin=False)) == []
    assert protocol.receive(client_frame(b"\xc3", CONT, fin=False)) == []
    assert protocol.is_open
    assert protocol.receive(client_frame(b"x", CONT, fin=False)) == []
    assert failed_with(protocol, 1007)


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for data in [*VIOLATIONS, client_frame(opcode=CLOSE), client_frame(b"\xff")]:
        protocol = WebSocketProtocol(10)
        protocol.receive(client_frame(b"ping", PING) + data)
        protocol.receive_eof()
    assert caplog.records == []


# Ping, pong, close


@pytest.mark.parametrize("payload", [b"", b"x", b"\xff" * 125])
def test_ping(payload: bytes) -> None:
    protocol = WebSocketProtocol(10_000)
    assert not protocol.has_output
    data = client_frame(b"1") + client_frame(payload, PING) + client_frame(b"2")
    assert protocol.receive(data) == ["1", "2"]
    assert protocol.has_output
    assert server_frame(protocol.data_to_send()) == (0x8A, payload)
    assert not protocol.has_output
    assert protocol.data_to_send() == b""


def test_ping_flood_leaves_one_pong() -> None:
    protocol = WebSocketProtocol(10_000)
    for number in range(50):
        pings = [client_frame(b"%d %d" % (number, ping), PING) for ping in range(20)]
        assert protocol.receive(b"".join(pings)) == []
    assert server_frame(protocol.data_to_send()) == (0x8A, b"49 19")


def test_pongs_are_ignored() -> None:
    protocol = WebSocketProtocol(10_000)
    pongs = client_frame(opcode=PONG) + client_frame(b"x" * 125, PONG)
    assert protocol.receive(pongs * 3 + client_frame(b"x")) == ["x"]
    assert protocol.is_open
    assert not protocol.has_output


def test_violation_after_a_ping_answers_both() -> None:
    protocol = WebSocketProtocol(10)
    protocol.receive(client_frame(b"p", PING) + client_frame(b"x" * 11))
    output = protocol.data_to_send()
    assert output.startswith(b"\x8a\x01p\x88")
    assert server_frame(output[3:])[1].startswith(close_payload(1009))


VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID_CODES)
def test_close_from_the_peer(code: int) -> None:
    protocol = WebSocketProtocol(1000)
    payload = close_payload(code, "Tschüß".encode())
    data = client_frame(b"1") + client_frame(payload, CLOSE) + client_frame(b"2")
    assert protocol.receive(data) == ["1"]
    assert (protocol.close_code, protocol.close_reason) == (code, "Tschüß")
    assert protocol.closed_by_peer
    assert not protocol.is_open
    assert server_frame(protocol.data_to_send()) == (0x88, payload)
    assert protocol.close() == b""
    assert protocol.receive(client_frame(b"3") + client_frame(opcode=PING)) == []
    protocol.receive_eof()
    assert protocol.close_code == code
    assert not protocol.has_output


def test_close_without_code() -> None:
    protocol = WebSocketProtocol(1000)
    assert protocol.receive(client_frame(opcode=CLOSE)) == []
    assert (protocol.close_code, protocol.close_reason) == (1005, "")
    assert protocol.closed_by_peer
    assert protocol.data_to_send() == b"\x88\x00"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        *((close_payload(code), 1002) for code in INVALID_CODES),
        (b"\x03", 1002),
        (close_payload(1000, b"\xff"), 1007),
        (close_payload(1000, b"\xed\xa0\x80"), 1007),
    ],
)
def test_bad_close_from_the_peer(payload: bytes, code: int) -> None:
    protocol = WebSocketProtocol(1000)
    assert protocol.receive(client_frame(payload, CLOSE)) == []
    assert failed_with(protocol, code)


@pytest.mark.parametrize("code", VALID_CODES)
def test_close(code: int) -> None:
    protocol = WebSocketProtocol(1000)
    assert protocol.receive(client_frame(b"1")) == ["1"]
    frame = protocol.close(code, "bye")
    assert server_frame(frame) == (0x88, close_payload(code, b"bye"))
    assert not protocol.is_open
    assert protocol.is_closing
    assert protocol.close_code is None
    assert protocol.close() == b""
    assert protocol.receive(client_frame(b"2") + client_frame(b"\xff")) == []
    assert protocol.close_code is None
    assert protocol.receive(client_frame(close_payload(code), CLOSE)) == []
    assert protocol.close_code == code
    assert protocol.closed_by_peer
    assert not protocol.is_closing
    assert not protocol.has_output


@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        (client_frame(b"x" * 1000)[:500], client_frame(b"x" * 1000)[500:]),
        (client_frame(b"x")[:1], client_frame(b"x")[1:]),
        (client_frame(b"x", fin=False), client_frame(b"y", CONT)),
        (client_frame(b"ping", PONG)[:3], client_frame(b"ping", PONG)[3:]),
    ],
)
def test_close_in_the_middle_of_what_arrives(begun: bytes, rest: bytes) -> None:
    protocol = WebSocketProtocol(1000)
    assert protocol.receive(begun) == []
    assert protocol.close()
    assert protocol.receive(rest + client_frame(b"dropped") + client_frame(opcode=PONG)) == []
    assert protocol.is_closing
    assert protocol.receive(client_frame(close_payload(1000), CLOSE)) == []
    assert protocol.close_code == 1000
    assert protocol.closed_by_peer
    assert not protocol.has_output


def test_peer_gives_up_a_message_to_answer_our_close() -> None:
    protocol = WebSocketProtocol(1000)
    assert protocol.receive(client_frame(b"x", fin=False)) == []
    assert protocol.close()
    assert protocol.receive(client_frame(close_payload(1000), CLOSE)) == []
    assert protocol.close_code == 1000
    assert protocol.closed_by_peer
    assert not protocol.has_output


def test_ping_while_closing_is_answered() -> None:
    protocol = WebSocketProtocol(1000)
    protocol.close()
    assert protocol.receive(client_frame(b"p", PING)) == []
    assert server_frame(protocol.data_to_send()) == (0x8A, b"p")


def test_violation_while_closing_sends_no_second_close() -> None:
    protocol = WebSocketProtocol(10)
    protocol.close()
    assert protocol.receive(client_frame(b"x" * 11)) == []
    assert protocol.close_code == 1009
    assert not protocol.closed_by_peer
    assert not protocol.is_closing
    assert not protocol.has_output


@pytest.mark.parametrize("code", INVALID_CODES)
def test_close_code_that_must_not_be_sent(code: int) -> None:
    protocol = WebSocketProtocol(10)
    with pytest.raises(ValueError, match=str(code)):
        protocol.close(code)
    assert protocol.is_open
    assert protocol.close(1000) == b"\x88\x02\x03\xe8"


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, b"x" * 123),
        ("x" * 124, b"x" * 123),
        ("x" * 122 + "ü", b"x" * 122),
        ("\ud800", b"?"),
    ],
)
def test_close_reason_is_made_to_fit(reason: str, sent: bytes) -> None:
    frame = WebSocketProtocol(10).close(1000, reason)
    assert server_frame(frame) == (0x88, close_payload(1000, sent))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        client_frame(b"done"),
        client_frame(b"x" * 10)[:1],
        client_frame(b"x" * 10)[:5],
        client_frame(b"x" * 10)[:-1],
        client_frame(b"x", fin=False),
        client_frame(b"ping", PING)[:-1],
    ],
)
def test_eof(data: bytes) -> None:
    protocol = WebSocketProtocol(1000)
    protocol.receive(data)
    protocol.receive_eof()
    protocol.receive_eof()
    assert protocol.close_code == 1006
    assert not protocol.closed_by_peer
    assert not protocol.is_open
    assert protocol.wants == 0
    assert not protocol.has_output
    assert protocol.receive(client_frame(b"x")) == []
    assert protocol.close() == b""


def test_eof_while_closing() -> None:
    protocol = WebSocketProtocol(1000)
    protocol.close()
    protocol.receive_eof()
    assert protocol.close_code == 1006
    assert not protocol.is_closing


# However it is cut, and whatever it is: the same as the library


def oracle(
    data: bytes, max_size: int, is_client: bool = False
) -> tuple[list[str | bytes], int | None, bool]:
    """Messages, close code and closed_by_peer, from the library and a decoder."""
    library: Protocol = ServerProtocol(state=State.OPEN, max_size=max_size)
    if is_client:
        uri = parse_uri("ws://server/")
        library = LibraryClient(uri, state=State.OPEN, max_size=max_size)
    library.receive_data(data)
    messages: list[str | bytes] = []
    parts: list[bytes] = []
    is_text = False
    for frame in library.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            continue
        if frame.opcode is not Opcode.CONT:
            parts = []
            is_text = frame.opcode is Opcode.TEXT
        parts.append(bytes(frame.data))
        payload = b"".join(parts)
        if is_text:
            try:
                text = payload.decode()
            except UnicodeDecodeError as exc:
                if frame.fin or exc.reason != "unexpected end of data":
                    return messages, 1007, False
        if frame.fin:
            messages.append(text if is_text else payload)
    if library.parser_exc is not None:
        assert library.close_sent is not None
        return messages, library.close_sent.code, False
    if library.close_rcvd is not None:
        return messages, library.close_rcvd.code, True
    return messages, None, False


MAX_SIZE = 300

payloads = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.binary(max_size=12),
    st.sampled_from([0, 124, 125, 126, 127, 299, 300, 301]).map(lambda length: b"x" * length),
)
good_frames = st.builds(
    client_frame, payloads, st.sampled_from([TEXT, TEXT, BINARY, PING, PONG, CONT])
)
any_frames = st.builds(
    client_frame,
    payloads,
    st.sampled_from([TEXT, BINARY, CONT, PING, PONG, CLOSE, 3, 11]),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 4]),
    masked=st.sampled_from([True] * 7 + [False]),
    width=st.sampled_from([None, None, None, 2, 8]),
)
closes = st.builds(
    lambda code, reason: client_frame(close_payload(code, reason), CLOSE),
    st.sampled_from(VALID_CODES + INVALID_CODES),
    st.sampled_from([b"", b"bye", b"\xff"]),
)
messages_in_fragments = st.builds(
    lambda payload, opcode, size: b"".join(fragments(payload, opcode, size)),
    payloads,
    st.sampled_from([TEXT, BINARY]),
    st.integers(1, 150),
)
streams = st.lists(
    st.one_of(good_frames, good_frames, messages_in_fragments, any_frames, closes, st.binary()),
    max_size=8,
).map(b"".join)


def receive_cut(protocol: WebSocketProtocol, data: bytes, cuts: Iterable[int]) -> list[str | bytes]:
    messages: list[str | bytes] = []
    last = 0
    for cut in sorted(cut % (len(data) + 1) for cut in cuts):
        messages += protocol.receive(data[last:cut])
        last = cut
    return messages + protocol.receive(data[last:])


@settings(max_examples=600, deadline=None)
@given(streams, st.lists(st.integers(0, 5000), max_size=12), st.integers(0, 20))
@example(client_frame(b"\xff") + client_frame(opcode=CLOSE), [], 0)
@example(client_frame(b"\xc3", fin=False) + client_frame(b"x", CONT, fin=False), [3], 0)
def test_same_as_the_library_however_it_is_cut(data: bytes, cuts: list[int], less: int) -> None:
    data = data[: len(data) - less]
    results = []
    for chosen in ([], cuts, range(len(data))):
        protocol = WebSocketProtocol(MAX_SIZE)
        messages = receive_cut(protocol, data, chosen)
        results.append((messages, protocol.close_code, protocol.closed_by_peer))
        assert protocol.is_open is (protocol.close_code is None)
        assert (protocol.wants == 0) or protocol.is_open
        output = protocol.data_to_send()
        results[-1] += (output, protocol.close_reason)  # type: ignore[assignment]
    assert results[0] == results[1] == results[2]
    assert results[0][:3] == oracle(data, MAX_SIZE)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_garbage(data: bytes, cuts: list[int]) -> None:
    protocol = WebSocketProtocol(MAX_SIZE)
    messages = receive_cut(protocol, data, cuts)
    assert (messages, protocol.close_code, protocol.closed_by_peer) == oracle(data, MAX_SIZE)


# The client's side


def from_server(payload: bytes = b"", opcode: int = TEXT, **more: Any) -> bytes:
    return client_frame(payload, opcode, masked=False, **more)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_client_lengths(length: int, opcode: int) -> None:
    payload = bytes(32 + n % 90 for n in range(length))
    expected: str | bytes = payload.decode() if opcode == TEXT else payload
    data = from_server(payload, opcode)
    protocol = ClientProtocol(65537)
    assert protocol.receive(data) == [expected]
    assert protocol.receive(bytearray(data + data)) == [expected] * 2
    assert all(type(message) is type(expected) for message in protocol.receive(bytearray(data)))
    assert receive_bytewise(protocol, data) == [expected]
    for cut in {1, 2, 3, 4, 9, 10, len(data) - 1}:
        messages = protocol.receive(data[:cut])
        assert messages + protocol.receive(data[cut:] + data) == [expected] * 2
    assert protocol.is_open
    assert not protocol.has_output


@pytest.mark.parametrize("length", LENGTHS)
def test_what_a_client_sends_is_masked(length: int) -> None:
    payload = bytes(32 + n % 90 for n in range(length))
    server = WebSocketProtocol(65537)
    for data in (payload, payload.decode()):
        frame = encode_masked_frame(data)
        assert frame[1] & 128
        assert server.receive(frame + ClientProtocol(10).encode(data)) == [data, data]
    assert server.receive(encode_masked_frame("ü")) == ["ü"]
    with pytest.raises(PacketError, match="surrogates"):
        encode_masked_frame("\ud800")


def test_masks_are_never_the_same() -> None:
    masks = {encode_masked_frame("")[2:] for _ in range(3000)}
    assert len(masks) > 2995  # of 32 bits, so two may meet


def test_a_forked_process_has_masks_of_its_own() -> None:
    script = """
import os
from engineio.websocket import encode_masked_frame
encode_masked_frame("")
if os.fork():
    os.wait()
print(encode_masked_frame("").hex(), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    child, parent = done.stdout.split()
    assert child != parent


def control_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Opcodes and payloads of the frames that a client sent, which must be masked."""
    library = ServerProtocol(state=State.OPEN)
    library.receive_data(data)
    assert library.parser_exc is None
    return [(frame.opcode, bytes(frame.data)) for frame in cast(Any, library.events_received())]


def test_a_client_answers_pings_and_the_close() -> None:
    protocol = ClientProtocol(100)
    assert protocol.receive(from_server(b"a", PING) + from_server(b"m")) == ["m"]
    assert control_frames(protocol.data_to_send()) == [(PONG, b"a")]
    assert protocol.receive(from_server(close_payload(1001, b"bye"), CLOSE)) == []
    assert (protocol.close_code, protocol.close_reason) == (1001, "bye")
    assert protocol.closed_by_peer
    assert control_frames(protocol.data_to_send()) == [(CLOSE, close_payload(1001, b"bye"))]


def test_a_client_closes() -> None:
    protocol = ClientProtocol(100)
    assert control_frames(protocol.close(1000)) == [(CLOSE, close_payload(1000))]
    protocol.receive(from_server(b"dropped") + from_server(close_payload(1000), CLOSE))
    assert (protocol.close_code, protocol.closed_by_peer) == (1000, True)
    assert protocol.data_to_send() == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(b"x"), 1002),
        (client_frame(), 1002),
        (client_frame(b"x" * 126), 1002),
        (client_frame(opcode=PING), 1002),
        (from_server(b"x", 3), 1002),
        (from_server(b"x", rsv=4), 1002),
        (from_server(b"x", CONT), 1002),
        (from_server(b"\xff"), 1007),
        (from_server(b"x" * 101), 1009),
        (from_server(b"x" * 126, width=8), 1009),
        (from_server(length=2**63, width=8), 1009),
    ],
)
def test_what_a_server_must_not_send(data: bytes, code: int) -> None:
    for receive in (ClientProtocol.receive, receive_bytewise):
        protocol = ClientProtocol(100)
        assert receive(protocol, from_server(b"before") + data) == ["before"]
        assert protocol.close_code == code
        [(opcode, payload)] = control_frames(protocol.data_to_send())
        assert (opcode, payload[:2]) == (CLOSE, close_payload(code))
        assert protocol.receive(from_server(b"later")) == []


# What a client gets looks like what a server gets, without masks.
@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.builds(from_server, payloads, st.sampled_from([TEXT, BINARY, PING, PONG, CONT])),
            st.builds(
                client_frame,
                payloads,
                st.sampled_from([TEXT, BINARY, CONT, PING, PONG, CLOSE, 3, 11]),
                fin=st.booleans(),
                rsv=st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 4]),
                masked=st.sampled_from([False] * 7 + [True]),
                width=st.sampled_from([None, None, None, 2, 8]),
            ),
            st.binary(),
        ),
        max_size=8,
    ).map(b"".join),
    st.lists(st.integers(0, 5000), max_size=12),
    st.integers(0, 20),
)
def test_a_client_does_as_the_library(data: bytes, cuts: list[int], less: int) -> None:
    data = data[: len(data) - less]
    results = []
    for chosen in ([], cuts, range(len(data))):
        protocol = ClientProtocol(MAX_SIZE)
        messages = receive_cut(protocol, data, chosen)
        results.append((messages, protocol.close_code, protocol.closed_by_peer))
    assert results[0] == results[1] == results[2]
    assert results[0] == oracle(data, MAX_SIZE, is_client=True)


# Sending


@pytest.mark.parametrize("length", LENGTHS)
def test_encode_frame(length: int) -> None:
    payload = b"x" * length
    expected = Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert encode_frame(payload.decode()) == expected
    assert WebSocketProtocol(10).encode(payload.decode()) == expected
    expected = Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert encode_frame(payload) == expected
    assert WebSocketProtocol(10).encode(payload) == expected


def test_encode_counts_bytes_not_characters() -> None:
    assert server_frame(encode_frame("ü" * 63)) == (0x81, "ü".encode() * 63)


@pytest.mark.parametrize("deflate", [False, True])
def test_text_with_surrogates_is_refused(deflate: bool) -> None:
    protocol = WebSocketProtocol(10, deflated()[0] if deflate else ())
    with pytest.raises(PacketError, match="surrogates"):
        encode_frame("\ud800")
    with pytest.raises(PacketError, match="surrogates"):
        protocol.encode("\ud800")
    with pytest.raises(PacketError):
        packet_frame(Packet(MESSAGE, "\ud800"))


def test_packet_frame_is_encoded_once_per_form() -> None:
    packet = Packet(MESSAGE, b"\x01\x02\x03")
    frame = packet_frame(packet)
    assert server_frame(frame) == (0x82, b"\x01\x02\x03")
    frame_b64 = packet_frame(packet, b64=True)
    assert server_frame(frame_b64) == (0x81, b"bAQID")
    assert packet_frame(packet) is frame
    assert packet_frame(packet, True) is frame_b64
    assert server_frame(packet_frame(Packet(MESSAGE, "hi"), True)) == (0x81, b"4hi")


# Handshake


ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_handshake() -> None:
    # The key and its answer are those of RFC 6455, 1.3.
    assert handshake(ENVIRON) == (
        [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ],
        [],
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"HTTP_UPGRADE": "WebSocket"},
        {"HTTP_UPGRADE": "h2c , WEBSOCKET"},
        {"HTTP_CONNECTION": "keep-alive, upgrade"},
        {"HTTP_CONNECTION": None},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "0"},
        {"SERVER_PROTOCOL": "HTTP/1.0"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat"},
        {"HTTP_SEC_WEBSOCKET_EXTENSIONS": ";;"},  # not parsed: none is on offer
    ],
)
def test_handshake_accepted(changed: dict[str, str | None]) -> None:
    environ = {key: value for key, value in (ENVIRON | changed).items() if value is not None}
    assert len(handshake(environ).headers) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"REQUEST_METHOD": "POST"},
        {"HTTP_UPGRADE": None},
        {"HTTP_UPGRADE": ""},
        {"HTTP_UPGRADE": "h2c"},
        {"HTTP_UPGRADE": "websockets"},
        {"HTTP_CONNECTION": "close"},
        {"HTTP_CONNECTION": ""},
        {"HTTP_SEC_WEBSOCKET_VERSION": None},
        {"HTTP_SEC_WEBSOCKET_VERSION": "8"},
        {"HTTP_SEC_WEBSOCKET_VERSION": "13, 8"},
        {"HTTP_SEC_WEBSOCKET_KEY": None},
        {"HTTP_SEC_WEBSOCKET_KEY": ""},
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ="},
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25j"},
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==\n"},
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZ\xe9=="},
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ==,dGhlIHNhbXBsZSBub25jZQ=="},
        {"CONTENT_LENGTH": "1"},
        {"CONTENT_LENGTH": "00"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
    ],
)
def test_handshake_refused(changed: dict[str, str | None]) -> None:
    environ = {key: value for key, value in (ENVIRON | changed).items() if value is not None}
    with pytest.raises(ProtocolError) as caught:
        handshake(environ)
    assert caught.value.status == 400


# permessage-deflate


def deflated(
    offer: str = "permessage-deflate; client_max_window_bits",
    deflate: bool | dict[str, Any] = True,
) -> tuple[list[Extension], PerMessageDeflate]:
    """Negotiate; return the server's extensions and the client's."""
    headers, extensions = handshake(
        ENVIRON | {"HTTP_SEC_WEBSOCKET_EXTENSIONS": offer}, deflate=deflate
    )
    [(_, parameters)] = parse_extension(dict(headers)["Sec-WebSocket-Extensions"])
    client = ClientPerMessageDeflateFactory().process_response_params(parameters, [])
    return extensions, client


def compressed(client: PerMessageDeflate, payload: bytes, opcode: int = TEXT) -> bytes:
    return Frame(Opcode(opcode), payload).serialize(mask=True, extensions=[client])


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        (
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
            (
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; "
                "client_max_window_bits=9"
            ),
        ),
        (
            "x-other; a=b, permessage-deflate; bad=1, permessage-deflate, permessage-deflate",
            "permessage-deflate; server_max_window_bits=12",
        ),
        ("permessage-deflate; server_max_window_bits=8", None),  # zlib cannot
        ("permessage-deflate; server_max_window_bits=99", None),
        ("x-webkit-deflate-frame", None),
        ("", None),
    ],
)
def test_negotiation(offer: str, answer: str | None) -> None:
    environ = ENVIRON | {"HTTP_SEC_WEBSOCKET_EXTENSIONS": offer}
    headers, extensions = handshake(environ, deflate=True)
    assert dict(headers).get("Sec-WebSocket-Extensions") == answer
    assert len(extensions) == (answer is not None)
    headers, extensions = handshake(environ)
    assert len(headers) == 3
    assert extensions == []


def test_negotiation_options() -> None:
    options = {"server_no_context_takeover": True, "server_max_window_bits": 10}
    environ = ENVIRON | {"HTTP_SEC_WEBSOCKET_EXTENSIONS": "permessage-deflate"}
    assert dict(handshake(environ, options).headers)["Sec-WebSocket-Extensions"] == (
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=10"
    )
    assert len(handshake(environ, {}).extensions) == 1


def test_malformed_offer() -> None:
    environ = ENVIRON | {"HTTP_SEC_WEBSOCKET_EXTENSIONS": "permessage-deflate; ="}
    with pytest.raises(ProtocolError, match="Sec-WebSocket-Extensions"):
        handshake(environ, deflate=True)


def test_short_messages_are_not_compressed() -> None:
    extensions, client = deflated()
    protocol = WebSocketProtocol(10_000, extensions, threshold=100)
    for size, is_compressed in ((99, False), (100, True), (99, False), (5000, True)):
        for message in ("x" * size, b"x" * size, "\N{POUND SIGN}" * (size // 2) + "x" * (size % 2)):
            data = message.encode() if isinstance(message, str) else message
            head, payload = server_frame(protocol.encode(message))
            assert bool(head & 0x40) is is_compressed
            frame = Frame(Opcode(head & 15), payload, rsv1=is_compressed)
            assert bytes(client.decode(frame).data) == data


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
    ],
)
def test_deflate_round_trip(offer: str) -> None:
    extensions, client = deflated(offer)
    protocol = WebSocketProtocol(10_000, extensions)
    texts = ["", "x", "Grüße " * 100, "y" * 10_000]
    for text in texts + texts:
        frame = protocol.encode(text)
        assert frame[0] == 0xC1
        assert len(frame) < max(len(text), 20)
        sent = Frame(Opcode.TEXT, server_frame(frame)[1], rsv1=True)
        assert bytes(client.decode(sent).data) == text.encode()

        data = compressed(client, text.encode())
        assert data[0] == 0xC1
        assert protocol.receive(data) == [text]
        assert receive_bytewise(protocol, compressed(client, text.encode(), BINARY)) == [
            text.encode()
        ]
        # Not every message must be compressed, and control frames never are.
        plain = client_frame(b"plain") + client_frame(b"p", PING)
        assert protocol.receive(plain + compressed(client, b"again")) == ["plain", "again"]
        assert server_frame(protocol.data_to_send()) == (0x8A, b"p")
    assert protocol.encode(b"binary")[0] == 0xC2


def test_deflate_fragments() -> None:
    extensions, client = deflated()
    protocol = WebSocketProtocol(1000, extensions)
    text = "Grüße, 世界 " * 20
    whole = text.encode()
    frames = [
        Frame(Opcode.TEXT, whole[:100], fin=False).serialize(mask=True, extensions=[client]),
        client_frame(b"p", PING),
        Frame(Opcode.CONT, whole[100:]).serialize(mask=True, extensions=[client]),
    ]
    assert protocol.receive(b"".join(frames) + client_frame(b"after")) == [text, "after"]


def test_messages_behind_a_final_block_of_deflate() -> None:
    """RFC 7692, 7.2.3.4: with BFINAL set, as a sender may do that has no other flush."""
    protocol = WebSocketProtocol(1000, deflated()[0])
    final = bytes.fromhex("f348cdc9c9070000")
    frame = client_frame(final, BINARY, rsv=4)
    halves = client_frame(final[:-1], BINARY, fin=False, rsv=4) + client_frame(final[-1:], CONT)
    assert protocol.receive(frame + frame + halves + frame) == [b"Hello"] * 4
    plain = client_frame(bytes.fromhex("f248cdc9c90700"), BINARY, rsv=4)
    assert protocol.receive(plain) == [b"Hello"]
    more = client_frame(final + final, BINARY, rsv=4)
    assert protocol.receive(frame + more + frame) == [b"Hello"]
    assert failed_with(protocol, 1002)


def test_deflate_limits_what_comes_out() -> None:
    for length, opcode in [(1000, TEXT), (1000, BINARY), (65536, TEXT)]:
        extensions, client = deflated()
        protocol = WebSocketProtocol(length, extensions)
        assert len(protocol.receive(compressed(client, b"x" * length, opcode))) == 1
        assert protocol.receive(compressed(client, b"x" * (length + 1), opcode)) == []
        assert failed_with(protocol, 1009)


def test_deflate_bomb() -> None:
    extensions, client = deflated()
    protocol = WebSocketProtocol(100_000, extensions)
    bomb = compressed(client, bytes(20_000_000))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        assert protocol.receive(bomb) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failed_with(protocol, 1009)
    assert peak < 1_000_000


def test_deflate_bomb_in_fragments() -> None:
    extensions, client = deflated()
    protocol = WebSocketProtocol(1000, extensions)
    frames = [
        Frame(Opcode.CONT if n else Opcode.BINARY, bytes(400), fin=False).serialize(
            mask=True, extensions=[client]
        )
        for n in range(3)
    ]
    assert protocol.receive(frames[0] + frames[1]) == []
    assert protocol.is_open
    assert protocol.receive(frames[2]) == []
    assert failed_with(protocol, 1009)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(b"\xff\xff\xff", TEXT, rsv=4), 1002),  # no deflate stream
        (client_frame(b"x", TEXT, rsv=2), 1002),
        (client_frame(b"x", PING, rsv=4), 1002),
        (client_frame(b"x", fin=False) + client_frame(b"x", CONT, rsv=4), 1002),
    ],
)
def test_deflate_violations(data: bytes, code: int) -> None:
    protocol = WebSocketProtocol(1000, deflated()[0])
    assert protocol.receive(data) == []
    assert failed_with(protocol, code)


def test_deflated_bad_utf8() -> None:
    extensions, client = deflated()
    protocol = WebSocketProtocol(1000, extensions)
    assert protocol.receive(compressed(client, b"ok\xff")) == []
    assert failed_with(protocol, 1007)


# Large messages


def held(protocol: WebSocketProtocol) -> int:
    """Bytes that the protocol and its parts occupy."""
    library = cast(Any, protocol._library)
    objects = [protocol, protocol._buffer, protocol._output]
    if library is not None:
        objects += [library.reader.buffer, library.events, library.writes]
        objects += [library.parts, *library.parts]
    return sum(map(sys.getsizeof, objects))


@pytest.mark.parametrize("pieces", [1, 4])
def test_a_large_message_leaves_nothing_behind(pieces: int) -> None:
    size = 2_000_000
    payload = b"x" * size
    data = b"".join(fragments(payload, BINARY, size // pieces))
    protocol = WebSocketProtocol(size)
    messages = []
    for position in range(0, len(data), 65536):
        messages += protocol.receive(data[position : position + 65536])
    assert messages == [payload]
    assert held(protocol) < 1000
    assert protocol.receive(client_frame(b"next")) == ["next"]


def test_what_is_half_there_goes_with_the_connection() -> None:
    half_a_frame = client_frame(b"x" * 100_000, BINARY)[:-1]
    half_a_message = client_frame(b"x" * 100_000, BINARY, fin=False)
    for data in (half_a_frame, half_a_message, half_a_message + half_a_frame):
        protocol = WebSocketProtocol(200_000)
        protocol.receive(data)
        assert held(protocol) > 100_000
        protocol.receive_eof()
        assert held(protocol) < 1000
        assert protocol._library is None
    protocol = WebSocketProtocol(200_000)
    protocol.receive(half_a_message)
    protocol.close()
    assert held(protocol) < 1000


def test_the_library_is_started_for_unusual_frames_only() -> None:
    protocol = WebSocketProtocol(200_000)
    data = client_frame(b"x") + client_frame(b"x" * 1000) + client_frame(b"x" * 100_000)
    assert len(receive_cut(protocol, data, range(0, len(data), 1000))) == 3
    protocol.receive(client_frame(opcode=PING) + client_frame(opcode=PONG))
    assert protocol._library is None
    protocol.receive(client_frame(b"x", fin=False))
    library = cast(Any, protocol._library)
    assert not library.logger.isEnabledFor(logging.CRITICAL)


def test_a_large_message_in_small_reads_is_only_counted() -> None:
    # Each read must cost what it brings: 300,000 reads of a byte take under a second, or minutes.
    payload = b"x" * 300_000
    data = client_frame(payload)
    protocol = WebSocketProtocol(len(payload))
    assert receive_bytewise(protocol, data[:-1]) == []
    assert protocol.wants == 1
    assert protocol.receive(data[-1:]) == [payload.decode()]


def test_memory_follows_what_arrived_not_what_is_declared() -> None:
    protocol = WebSocketProtocol(10**8)
    tracemalloc.start()
    try:
        assert protocol.receive(client_frame(length=10**8, width=8)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert protocol.wants == 10**8
    assert peak < 100_000


def test_without_the_compiled_extension() -> None:
    script = """
import sys
sys.modules["websockets.speedups"] = None
from engineio.websocket import WebSocketProtocol, apply_mask
assert apply_mask.__module__ == "websockets.utils", apply_mask
for length in (0, 1, 5, 126, 70000):
    payload = b"x" * length
    header = bytes([130, 255]) + length.to_bytes(8, "big") + b"1234"
    data = header + apply_mask(payload, b"1234")
    protocol = WebSocketProtocol(100000)
    messages = protocol.receive(data[:3]) + protocol.receive(data[3:] + data)
    assert messages == [payload] * 2, length
small = bytes([130, 129]) + b"1234" + apply_mask(b"x", b"1234")
assert protocol.receive(small) == [b"x"]
"""
    subprocess.run([sys.executable, "-c", script], check=True)
