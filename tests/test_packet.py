import binascii
import copy
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engineio import json, packet
from engineio.exceptions import PacketError, ProtocolError
from engineio.packet import CLOSE, MESSAGE, NOOP, OPEN, PING, PONG, UPGRADE, Packet, decode_frame

TOO_LONG = "9" * 101


@pytest.fixture
def restored_json() -> Iterator[None]:
    before = Packet.json
    yield
    Packet.json = before


def test_constants() -> None:
    numbers = (OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP)
    assert numbers == (0, 1, 2, 3, 4, 5, 6)
    assert packet.packet_names[MESSAGE] == "MESSAGE"
    assert packet.packet_names == ["OPEN", "CLOSE", "PING", "PONG", "MESSAGE", "UPGRADE", "NOOP"]
    assert packet.binary_types == (bytes, bytearray)


# ---- encoding


def test_a_packet_without_arguments_is_a_noop() -> None:
    pkt = Packet()
    assert (pkt.packet_type, pkt.data, pkt.binary, pkt.encode_cache) == (NOOP, None, False, None)
    assert pkt.encode() == "6"


class Unusual:
    def __str__(self) -> str:
        return "unusual"


@pytest.mark.parametrize(
    ("packet_type", "data", "encoded"),
    [
        (PING, None, "2"),
        (PONG, "probe", "3probe"),
        (MESSAGE, None, "4"),
        (MESSAGE, "", "4"),
        (MESSAGE, "text \u20ac\x1e", "4text \u20ac\x1e"),
        (MESSAGE, "[1, 2]", "4[1, 2]"),
        (MESSAGE, {}, "4{}"),
        (MESSAGE, [], "4[]"),
        (MESSAGE, {"a": [1, None, "\u20ac"]}, '4{"a":[1,null,"\\u20ac"]}'),
        (OPEN, {"sid": "x", "upgrades": []}, '0{"sid":"x","upgrades":[]}'),
        (MESSAGE, 0, "40"),
        (MESSAGE, 1.5, "41.5"),
        (MESSAGE, True, "4True"),
        (MESSAGE, (1, 2), "4(1, 2)"),
        (MESSAGE, Unusual(), "4unusual"),
    ],
)
def test_encode_text(packet_type: int, data: object, encoded: str) -> None:
    pkt = Packet(packet_type, data)
    assert not pkt.binary
    assert pkt.data is data
    for _ in range(2):
        assert pkt.encode() == encoded
        assert pkt.encode(b64=True) == encoded
        assert pkt.wire == encoded.encode()
    assert pkt.encode_cache == encoded


@pytest.mark.parametrize(
    ("data", "base64"),
    [(b"", "b"), (b"\x01\x02\x03", "bAQID"), (b"\xff", "b/w=="), (b"\xfb\xef", "b++8=")],
)
@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("order", list(itertools.permutations(["plain", "base64", "wire"])))
def test_encode_binary_in_any_order(
    data: bytes, base64: str, form: Callable[[bytes], Any], order: tuple[str, ...]
) -> None:
    pkt = Packet(MESSAGE, form(data))
    assert pkt.binary
    for which in order * 2:
        if which == "plain":
            assert pkt.encode() == data
            assert isinstance(pkt.encode(), bytes)
            assert pkt.encode_cache == data
        elif which == "base64":
            assert pkt.encode(b64=True) == base64
        else:
            assert pkt.wire == base64.encode()


def test_changing_a_bytearray_changes_nothing_on_the_wire() -> None:
    data = bytearray(b"abc")
    pkt, view = Packet(MESSAGE, data), Packet(MESSAGE, memoryview(data))
    data[:] = b"xyz"
    assert pkt.encode() == view.encode() == b"abc"
    assert pkt.encode(b64=True) == "bYWJj"


def test_a_memoryview_with_a_step_is_sent_as_its_bytes() -> None:
    assert Packet(MESSAGE, memoryview(b"abcdef")[::2]).encode() == b"ace"


@pytest.mark.parametrize("packet_type", [OPEN, CLOSE, PING, PONG, UPGRADE, NOOP])
@pytest.mark.parametrize("data", [b"x", bytearray(b""), memoryview(b"x")])
def test_only_a_message_is_binary(packet_type: int, data: object) -> None:
    with pytest.raises(ValueError, match=r"^Binary packets can only be of type MESSAGE$"):
        Packet(packet_type, data)


def test_text_that_utf8_cannot_express_has_no_wire_form() -> None:
    pkt = Packet(MESSAGE, "a\ud800b")
    assert pkt.encode() == "4a\ud800b"
    for _ in range(2):
        with pytest.raises(PacketError, match="surrogates not allowed"):
            pkt.wire  # noqa: B018 - reading it raises


def test_frames_belong_to_the_websocket_layer() -> None:
    pkt = Packet(MESSAGE, "x")
    assert pkt.frame_cache is None
    assert pkt.frame_cache_b64 is None
    pkt.frame_cache = b"\x81\x024x"
    pkt.frame_cache_b64 = b"\x81\x024x"
    assert pkt.encode() == "4x"
    pkt.decode("4y")
    forgotten: list[bytes | None] = [pkt.frame_cache, pkt.frame_cache_b64]
    assert forgotten == [None, None]


# ---- decoding


@pytest.mark.parametrize(
    ("encoded", "packet_type", "data"),
    [
        # as python-engineio 4.15.1 decodes them
        ("0", OPEN, ""),
        ("1", CLOSE, ""),
        ("2", PING, ""),
        ("2probe", PING, "probe"),
        ("3probe", PONG, "probe"),
        ("4", MESSAGE, ""),
        ("5", UPGRADE, ""),
        ("6", NOOP, ""),
        ('0{"sid":1}', OPEN, {"sid": 1}),
        ("4[]", MESSAGE, []),
        ('4{"a":"b"}', MESSAGE, {"a": "b"}),
        ("4 [1]", MESSAGE, [1]),
        ("4\t[1]", MESSAGE, [1]),
        ("4\n[1]", MESSAGE, [1]),
        ("4\r[1] ", MESSAGE, [1]),
        ("4true", MESSAGE, True),
        ("4 true", MESSAGE, True),
        ("4false ", MESSAGE, False),
        ("4null", MESSAGE, None),
        ('4"x"', MESSAGE, "x"),
        ('4"\\ud800"', MESSAGE, "\ud800"),
        ("4-1", MESSAGE, -1),
        ("4-1.5e3", MESSAGE, -1500.0),
        ("4-" + "9" * 100, MESSAGE, -(10**100) + 1),
        ("4 12", MESSAGE, 12),
        # stays text
        ("4hello", MESSAGE, "hello"),
        ("412", MESSAGE, "12"),
        ("40", MESSAGE, "0"),
        ('42["event",{"a":1}]', MESSAGE, '2["event",{"a":1}]'),
        ("4\u0661", MESSAGE, "\u0661"),
        ("4\u00b2[1]", MESSAGE, "\u00b2[1]"),
        ("4\xa0[1]", MESSAGE, "\xa0[1]"),
        ("4\x0b[1]", MESSAGE, "\x0b[1]"),
        ("4\ufeff[1]", MESSAGE, "\ufeff[1]"),
        ("4truex", MESSAGE, "truex"),
        ("4t", MESSAGE, "t"),
        ("4nothing", MESSAGE, "nothing"),
        ("4fals", MESSAGE, "fals"),
        ("4True", MESSAGE, "True"),
        ('4"x', MESSAGE, '"x'),
        ("4'x'", MESSAGE, "'x'"),
        ("4[1", MESSAGE, "[1"),
        ("4{1:2}", MESSAGE, "{1:2}"),
        ("4-", MESSAGE, "-"),
        ("4-x", MESSAGE, "-x"),
        ("4 ", MESSAGE, " "),
        ("4b", MESSAGE, "b"),
        ("4[\ud800]", MESSAGE, "[\ud800]"),
        (f"4-{TOO_LONG}", MESSAGE, f"-{TOO_LONG}"),
        (f"4[{TOO_LONG}]", MESSAGE, f"[{TOO_LONG}]"),
        # stays text, unlike there: not JSON
        ("4NaN", MESSAGE, "NaN"),
        ("4Infinity", MESSAGE, "Infinity"),
        ("4-Infinity", MESSAGE, "-Infinity"),
        ("4[NaN]", MESSAGE, "[NaN]"),
        ('4{"a":-Infinity}', MESSAGE, '{"a":-Infinity}'),
        # stays text, unlike there: a PONG returns what the PING brought
        ("2true", PING, "true"),
        ('3{"a": 1}', PONG, '{"a": 1}'),
        ("6[]", NOOP, "[]"),
        # binary
        ("b", MESSAGE, b""),
        ("bAQID", MESSAGE, b"\x01\x02\x03"),
        ("b/w==", MESSAGE, b"\xff"),
        ("b++8=", MESSAGE, b"\xfb\xef"),
        (b"", MESSAGE, b""),
        (b"4x", MESSAGE, b"4x"),
        (bytearray(b"\x00\xff"), MESSAGE, b"\x00\xff"),
        (memoryview(b"abc"), MESSAGE, b"abc"),
    ],
)
def test_decode(
    encoded: str | bytes | bytearray | memoryview, packet_type: int, data: object
) -> None:
    pkt = Packet(encoded_packet=encoded)
    decoded = decode_frame(encoded)
    assert decoded == (packet_type, data)
    assert type(decoded[1]) is type(data)  # 1 == 1.0 == True
    assert (pkt.packet_type, pkt.data) == decoded
    assert pkt.binary is isinstance(data, bytes)


@pytest.mark.parametrize(
    "encoded",
    [
        *("", "7", "9", "x", " 4", "+4", "-1", "B", "\x00"),
        *("\u0664", "\uff14", "\u00b2", "\u2463", "\ud800"),  # digits of other scripts, a surrogate
        *("bA", "bAA", "bAAA", "bA===", "b====", "bAAAA====", "bAA==AAAA", "bAA=A", "b=AAA"),
        *("bA A=", "bAAAA\n", "b!!!!", "bAAA!AAAA", "bAAAA AAA", "b-_-_", "bAAA\u00e9"),
        "b\ud800\ud800==",
    ],
)
def test_malformed(encoded: str) -> None:
    pkt = Packet(PONG, "before")
    with pytest.raises(PacketError) as caught:
        pkt.decode(encoded)
    assert isinstance(caught.value, ProtocolError)
    assert isinstance(caught.value, ValueError)  # what python-engineio raised
    assert (pkt.packet_type, pkt.data, pkt.encode()) == (PONG, "before", "3before")
    with pytest.raises(PacketError):
        decode_frame(encoded)
    with pytest.raises(PacketError):
        Packet(encoded_packet=encoded)


def test_errors_do_not_repeat_what_a_peer_sent_at_length() -> None:
    with pytest.raises(PacketError) as caught:
        decode_frame("x" * 10_000)
    assert str(caught.value) == "unknown packet type 'x'"


@pytest.mark.parametrize("value", [4, None, 1.5, ["4"]])
def test_what_is_neither_text_nor_bytes_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        decode_frame(value)


def test_strict_base64_is_exactly_the_grammar() -> None:
    grammar = re.compile(r"(?:[A-Z]{4})*(?:[A-Z]{2}==|[A-Z]{3}=)?")
    for length in range(9):
        for characters in itertools.product("A=!", repeat=length):
            text = "".join(characters)
            try:
                decoded = decode_frame("b" + text)
            except PacketError:
                assert not grammar.fullmatch(text), text
            else:
                assert grammar.fullmatch(text), text
                assert decoded == (MESSAGE, binascii.a2b_base64(text))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_deep_nesting_stays_text(text: str) -> None:
    assert decode_frame("4" + text) == (MESSAGE, text)


def test_decode_forgets_what_was_encoded() -> None:
    pkt = Packet(MESSAGE, b"abc")
    assert (pkt.encode(), pkt.encode(b64=True), pkt.wire) == (b"abc", "bYWJj", b"bYWJj")
    pkt.decode("2probe")
    assert not pkt.binary
    assert pkt.encode_cache is None
    assert (pkt.encode(), pkt.encode(b64=True), pkt.wire) == ("2probe", "2probe", b"2probe")


@given(st.integers(0, 6), st.text())
def test_text_round_trip(packet_type: int, text: str) -> None:
    encoded = Packet(packet_type, text).encode()
    decoded_type, data = decode_frame(encoded)
    assert decoded_type == packet_type
    if not isinstance(data, str) or data != text:
        assert json.loads(text) == data
        assert packet_type in (OPEN, MESSAGE)
        assert not text[0].isdigit()


@given(st.binary())
def test_binary_round_trip(data: bytes) -> None:
    pkt = Packet(MESSAGE, data)
    assert decode_frame(pkt.encode()) == decode_frame(pkt.encode(b64=True)) == (MESSAGE, data)


@given(
    st.lists(st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text())
    | st.dictionaries(st.text(), st.integers())
)
def test_json_round_trip(data: object) -> None:
    pkt = Packet(MESSAGE, data)
    assert decode_frame(pkt.encode()) == (MESSAGE, data)
    assert pkt.wire.isascii()


@given(st.text(st.characters(), max_size=30) | st.text('0123456789b[]{}"-tnfAQ= \ud800\u0664NI'))
def test_any_text_decodes_or_is_a_packet_error(text: str) -> None:
    try:
        packet_type, data = decode_frame(text)
    except PacketError:
        assert not text or text[0] not in "0123456"
    else:
        assert packet_type == (MESSAGE if text[0] == "b" else int(text[0]))
        assert isinstance(data, bytes) == (text[0] == "b")


@given(st.binary())
def test_any_bytes_are_a_message(data: bytes) -> None:
    assert decode_frame(data) == (MESSAGE, data)


# ---- the JSON module


class Tagged:
    @staticmethod
    def dumps(obj: Any, /, *, separators: tuple[str, str]) -> str:
        return f"[{separators[0]}{separators[1]}{len(obj)}]"

    @staticmethod
    def loads(s: str, /) -> Any:
        return ["decoded", s]


class Broken:
    """A module whose errors are no ValueErrors."""

    @staticmethod
    def dumps(obj: Any, /, *, separators: tuple[str, str]) -> str:
        raise LookupError("cannot")

    @staticmethod
    def loads(s: str, /) -> Any:
        raise LookupError("cannot")


def test_the_default_json_is_guarded() -> None:
    assert Packet.json is json


@pytest.mark.usefixtures("restored_json")
def test_another_json_module_takes_over_at_once() -> None:
    early = Packet(MESSAGE, {"a": 1})
    Packet.json = Tagged
    assert early.json is Tagged
    assert early.encode() == "4[,:1]"
    assert decode_frame("4[1]") == (MESSAGE, ["decoded", "[1]"])
    assert decode_frame("4true") == (MESSAGE, ["decoded", "true"])
    assert decode_frame("41") == (MESSAGE, "1")
    assert decode_frame("4NaN") == (MESSAGE, "NaN")


@pytest.mark.usefixtures("restored_json")
def test_any_error_of_another_json_module_leaves_text() -> None:
    Packet.json = Broken
    assert decode_frame("4[1]") == (MESSAGE, "[1]")
    with pytest.raises(LookupError):
        Packet(MESSAGE, []).encode()


def test_data_that_json_cannot_express_raises_when_encoded() -> None:
    with pytest.raises(TypeError):
        Packet(MESSAGE, [object()]).encode()


# ---- repr


@pytest.mark.parametrize(
    ("pkt", "shown"),
    [
        (Packet(), "Packet(NOOP)"),
        (Packet(MESSAGE, "hi"), "Packet(MESSAGE, 'hi')"),
        (Packet(MESSAGE, b"hi"), "Packet(MESSAGE, b'hi')"),
        (Packet(OPEN, {"sid": "a"}), "Packet(OPEN, {'sid': 'a'})"),
        (Packet(9), "Packet(9)"),
        (Packet(-1), "Packet(-1)"),
    ],
)
def test_repr(pkt: Packet, shown: str) -> None:
    assert repr(pkt) == shown


@pytest.mark.parametrize("data", ["x" * 10**6, b"\0" * 10**6, list(range(10**5))])
def test_repr_is_short(data: object) -> None:
    assert len(repr(Packet(MESSAGE, data))) < 250


def test_packets_can_be_copied() -> None:
    pkt = Packet(MESSAGE, b"abc")
    twin = copy.deepcopy(pkt)
    assert (twin.encode(), twin.wire) == (pkt.encode(), pkt.wire)
