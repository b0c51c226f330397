from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engineio.exceptions import PacketError
from engineio.packet import CLOSE, MESSAGE, NOOP, OPEN, PING, Packet
from engineio.payload import Payload, join, jsonp_unwrap, jsonp_wrap, split

PACKETS = st.one_of(
    # A text that is JSON itself arrives decoded: test_packet.py.  U+001E: see the module.
    st.builds(
        Packet,
        st.integers(0, 6),
        st.text(st.characters(codec="utf-8", exclude_characters="\x1e")).map("_".__add__),
    ),
    st.builds(Packet, st.just(MESSAGE), st.binary()),
    st.builds(
        Packet, st.just(MESSAGE), st.lists(st.integers() | st.text("a\x1e\u20ac\n")).filter(bool)
    ),
)


@pytest.fixture(params=[1, 3, 16])
def limit(request: pytest.FixtureRequest) -> Iterator[int]:
    Payload.max_decode_packets = request.param
    yield request.param
    Payload.max_decode_packets = None


def taken(body: bytes) -> tuple[list[tuple[int, Any]], PacketError | None]:
    """The packets of a body before the malformed one, and the error."""
    packets = []
    try:
        for packet in split(body):
            packets.append(packet)
    except PacketError as error:
        return packets, error
    return packets, None


@given(st.lists(PACKETS, min_size=1))
def test_round_trip(packets: list[Packet]) -> None:
    sent = [(packet.packet_type, packet.data) for packet in packets]
    assert list(split(join(packets))) == sent
    assert list(split(join(iter(packets)))) == sent
    payload = Payload(encoded_payload=Payload(packets).encode())
    assert [(packet.packet_type, packet.data) for packet in payload.packets] == sent


def test_join() -> None:
    packets = [Packet(PING, "probe"), Packet(MESSAGE, "\u20ac"), Packet(MESSAGE, b"\x01\x02\x03")]
    assert join(packets) == b"2probe\x1e4\xe2\x82\xac\x1ebAQID"
    assert join(packets[:1]) == b"2probe"
    assert join([]) == b""
    with pytest.raises(PacketError):
        join([Packet(MESSAGE, "fine"), Packet(MESSAGE, "\udfff")])


def test_a_packet_can_be_in_a_payload_and_in_a_frame() -> None:
    shared = Packet(MESSAGE, b"abc")
    assert join([shared, shared]) == b"bYWJj\x1ebYWJj"
    assert shared.encode() == b"abc"
    assert join([shared]) == b"bYWJj"


@pytest.mark.parametrize(
    ("body", "packets"),
    [
        (b"", []),
        (b"\x1e", []),
        (b"4a\x1e", [(MESSAGE, "a")]),
        (b"\x1e4a", []),
        (b"4a\x1e\x1e4b", [(MESSAGE, "a")]),
        (b"4a\x1e9\x1e4b", [(MESSAGE, "a")]),
        (b"4a\x1e\xd9\xa4b", [(MESSAGE, "a")]),
        (b"4a\x1e4\xff\x1e4b", [(MESSAGE, "a")]),
        (b"4a\x1e4\xed\xa0\x80", [(MESSAGE, "a")]),
        (b"4a\x1e4\xc0\x80", [(MESSAGE, "a")]),
        (b"4a\x1e4\xe2\x1e\x82\xac", [(MESSAGE, "a")]),
        (b"1\x1e4a\x1ebAAA", [(CLOSE, ""), (MESSAGE, "a")]),
        (b"4a\n4b\x1ex", [(MESSAGE, "a\n4b")]),
        (b"\xef\xbb\xbf4a", []),
    ],
)
def test_malformed_after_good_packets(body: bytes, packets: list[tuple[int, Any]]) -> None:
    assert taken(body)[0] == packets
    assert isinstance(taken(body)[1], PacketError)


def test_packets_are_decoded_when_their_turn_comes() -> None:
    packets = split(b"4a\x1ebroken")
    assert next(packets) == (MESSAGE, "a")
    with pytest.raises(PacketError, match="base64"):
        next(packets)


@given(st.binary() | st.text("0123456b7A=[\x1e\u20ac").map(str.encode))
@example(b"\x1e" * 1_000_000)
def test_any_bytes_are_packets_or_a_packet_error(body: bytes) -> None:
    packets, error = taken(body)
    if error is None:
        assert len(packets) == body.count(b"\x1e") + 1
    else:
        assert len(packets) <= body.count(b"\x1e")


def test_a_burst_arrives_whole() -> None:
    packets = [Packet(MESSAGE, f"message {number}") for number in range(1000)]
    assert [data for _, data in split(join(packets))] == [packet.data for packet in packets]
    assert len(Payload(encoded_payload=Payload(packets).encode()).packets) == 1000


def test_a_limit_that_an_application_sets_holds(limit: int) -> None:
    fits = join([Packet(NOOP)] * limit)
    assert list(split(fits)) == [(NOOP, "")] * limit
    assert len(Payload(encoded_payload=fits).packets) == limit
    for too_many in (fits + b"\x1e6", fits + b"\x1e", fits + b"\x1e6" * 1000):
        assert taken(too_many)[0] == []
        assert str(taken(too_many)[1]) == "Too many packets in payload"
        with pytest.raises(ValueError, match=r"^Too many packets in payload$"):
            Payload(encoded_payload=too_many.decode())


def test_the_limit_of_a_subclass_is_its_own() -> None:
    class Short(Payload):
        max_decode_packets = 2

    assert len(Short(encoded_payload="6\x1e6").packets) == 2
    with pytest.raises(PacketError):
        Short(encoded_payload="6\x1e6\x1e6")
    assert len(Payload(encoded_payload="6\x1e6\x1e6").packets) == 3


# ---- class Payload


def test_an_empty_payload_has_no_packets() -> None:
    assert Payload().packets == []
    assert Payload().encode() == ""
    assert Payload(encoded_payload="").packets == []
    assert Payload([Packet()], encoded_payload="").packets == []


def test_payload_keeps_the_list_it_is_given() -> None:
    packets = [Packet(MESSAGE, "a")]
    payload = Payload(packets)
    packets.append(Packet(MESSAGE, {"a": "\u20ac"}))
    assert payload.encode() == '4a\x1e4{"a":"\\u20ac"}'


@pytest.mark.parametrize("form", [str, str.encode])
def test_payload_decodes_text_and_bytes(form: Any) -> None:
    payload = Payload(encoded_payload=form('0{"sid":"a"}\x1e4\u20ac\x1ebAQID'))
    assert [(p.packet_type, p.data, p.binary) for p in payload.packets] == [
        (OPEN, {"sid": "a"}, False),
        (MESSAGE, "\u20ac", False),
        (MESSAGE, b"\x01\x02\x03", True),
    ]


def test_payload_decodes_jsonp() -> None:
    assert Payload(encoded_payload="d=4a%1E4b").packets[1].data == "b"
    with pytest.raises(PacketError):
        Payload(encoded_payload="d=")


@pytest.mark.parametrize("encoded", ["4a\x1e", "x", "4\ud800", "4a\x1eb!", "d", "d=%zz"])
def test_a_malformed_payload_has_no_packets(encoded: str) -> None:
    payload = Payload([Packet()])
    with pytest.raises(PacketError):
        payload.decode(encoded)
    assert payload.packets == []


@given(st.text() | st.text("d=%26b4\x1e\ud800&+"))
def test_any_text_is_a_payload_or_a_packet_error(text: str) -> None:
    try:
        payload = Payload(encoded_payload=text)
    except PacketError:
        assert text
    else:
        assert bool(payload.packets) == bool(text)


@pytest.mark.parametrize("index", [233, "233"])
def test_payload_encodes_jsonp(index: int | str) -> None:
    packets = [Packet(MESSAGE, {"a": 1}), Packet(MESSAGE, b"\xff")]
    assert Payload(packets).encode(index) == '___eio[233]("4{\\"a\\":1}\\u001eb/w==");'
    assert Payload(packets).encode(jsonp_index=0).startswith("___eio[0](")


# ---- JSONP


@pytest.mark.parametrize(
    ("payload", "script"),
    [
        # the bytes of engine.io 6.6.9 for the same payload
        ("", '___eio[7]("");'),
        ("4hello", '___eio[7]("4hello");'),
        ('0{"sid":"a"}', '___eio[7]("0{\\"sid\\":\\"a\\"}");'),
        ("4a\x1e4b", '___eio[7]("4a\\u001e4b");'),
        ("4\\n\n\r\t\b\f\x00", '___eio[7]("4\\\\n\\n\\r\\t\\b\\f\\u0000");'),
        ("4\u2028\u2029", '___eio[7]("4\\u2028\\u2029");'),
        ("4\u20ac\U0001f600\x7f</script>", '___eio[7]("4\u20ac\U0001f600\x7f</script>");'),
    ],
)
def test_jsonp_wrap(payload: str, script: str) -> None:
    assert jsonp_wrap(payload.encode(), "7") == script.encode()


@pytest.mark.parametrize("index", ["", "a", "1a", "-1", " 1", "1)", "\u0661", "\u00b2", "1\n"])
def test_a_jsonp_index_is_digits(index: str) -> None:
    with pytest.raises(PacketError):
        jsonp_wrap(b"6", index)


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"d=", b""),
        (b"d=4a", b"4a"),
        (b"d=4a+b%2Bc%20d", b"4a b+c d"),
        (b"d=4%E2%82%AC%1e4b", b"4\xe2\x82\xac\x1e4b"),
        (b"d=4%FF", b"4\xff"),
        (b"d=4=%26=", b"4=&="),
        (b"d=4\\n", b"4\n"),
        (b"d=4%5Cn", b"4\n"),
        (b"d=4\\\\n", b"4\\n"),
        (b"d=4\\\\\\n", b"4\\\\n"),
        (b"d=4\\\\\\\\n", b"4\\\\\\n"),
        (b"d=4\\n\\\\n\\t\\", b"4\n\\n\\t\\"),
    ],
)
def test_jsonp_unwrap(body: bytes, payload: bytes) -> None:
    assert jsonp_unwrap(body) == payload


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"d",
        b"4a",
        b"D=4a",
        b"x=4a",
        b"d=4a&d=4b",
        b"d=4a&",
        b"&d=4a",
        b"d=%",
        b"d=%4",
        b"d=%zz",
    ],
)
def test_a_malformed_jsonp_body(body: bytes) -> None:
    with pytest.raises(PacketError):
        jsonp_unwrap(body)


@given(st.text("ab\\n\n% &+=\u20ac\x1e") | st.text(st.characters(codec="utf-8")), st.booleans())
def test_jsonp_carries_what_a_client_escapes(text: str, plus: bool) -> None:
    # A client doubles the backslash before an n and sends a line feed as \n.
    escaped = text.replace("\\n", "\\\\n").replace("\n", "\\n")
    # A backslash before a line feed looks like an escaped \n: so it does to the JavaScript server.
    expected = text.replace("\\\n", "\\n")
    body = b"d=" + (quote_plus if plus else quote)(escaped).encode()
    assert jsonp_unwrap(body) == expected.encode()


@given(st.binary())
def test_any_jsonp_body_unwraps_or_is_a_packet_error(body: bytes) -> None:
    for form in (body, b"d=" + body):
        try:
            unwrapped = jsonp_unwrap(form)
        except PacketError:
            continue
        assert len(unwrapped) <= len(form) - 2
