"""protocol.md, WebSocket; also the packets in its frames."""

import contextlib
import re
import zlib

import pytest

import rigs
import wire
from wire import BINARY, CLOSE, PING, PONG, TEXT, frame


@pytest.mark.parametrize("size", wire.EACH_LENGTH)
def test_echo_of_each_length(server: rigs.Server, size: int) -> None:
    websocket = server.websocket()
    text, data = "4" + "x" * size, bytes(range(256)) * (size // 256 + 1)
    websocket.send_text(text)
    assert websocket.receive() == text
    websocket.send_binary(data[:size])
    assert websocket.receive() == data[:size]


def test_what_the_application_sees(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text('4{"a":1}', "4€", "45", "4[broken", "bAP8=")
    websocket.send_binary(b"\x00\xff")
    got = [websocket.receive() for _ in range(6)]
    assert got == ['4{"a":1}', "4€", "45", "4[broken", b"\x00\xff", b"\x00\xff"]
    binary = wire.summary(b"\x00\xff")
    assert server.messages(websocket.sid) == [{"a": 1}, "€", "5", "[broken", binary, binary]


def test_base64_when_asked_for(server: rigs.Server) -> None:
    websocket = server.websocket(b64="1")
    websocket.send_binary(b"\x00\xff")
    assert websocket.receive() == "bAP8="
    server.send(websocket.sid, b"abc")
    assert websocket.receive() == "bYWJj"
    websocket.send_text("4text")
    assert websocket.receive() == "4text"


def test_many_frames_in_one_segment(server: rigs.Server) -> None:
    websocket = server.websocket()
    packets = [f"4m{number}" for number in range(500)]
    websocket.send_text(*packets)
    assert websocket.receive_text(500) == packets


def test_frame_byte_by_byte(server: rigs.Server) -> None:
    websocket = server.websocket()
    for data in (wire.text_frame("4hello"), frame(BINARY, b"x" * 200)):
        for at in range(len(data)):
            websocket.send(data[at : at + 1])
    assert websocket.receive() == "4hello"
    assert websocket.receive() == b"x" * 200


def test_fragments(server: rigs.Server) -> None:
    websocket = server.websocket()
    euro = "€".encode()
    websocket.send(frame(TEXT, b"4a" + euro[:1], fin=False))
    websocket.send(frame(0, euro[1:2], fin=False) + frame(PING, b"between"))
    websocket.send(frame(0, b"", fin=False) + frame(0, euro[2:] + b"b"))
    assert websocket.read_frame() == wire.Frame(PONG, b"between")
    assert websocket.receive() == "4a€b"
    websocket.send(frame(BINARY, b"\x00", fin=False) + frame(0, b"\xff"))
    assert websocket.receive() == b"\x00\xff"


def test_websocket_ping(server: rigs.Server) -> None:
    websocket = server.websocket()
    for payload in (b"", b"hello", b"\xff" * 125):
        websocket.send(frame(PING, payload))
        assert websocket.read_frame() == wire.Frame(PONG, payload)
    websocket.send(frame(PONG, b"unasked") + wire.text_frame("4on"))
    assert websocket.receive() == "4on"


def test_ping_flood(server: rigs.Server) -> None:
    websocket = server.websocket()
    for _ in range(20):
        websocket.send(frame(PING, b"x" * 125) * 500)
    websocket.send(frame(PING, b"last") + wire.text_frame("4alive"))
    pongs = 0
    while (got := websocket.read_frame()).payload != b"last":
        assert got == wire.Frame(PONG, b"x" * 125)
        pongs += 1
    assert pongs <= 10_000
    assert websocket.receive() == "4alive"


# The end


def test_close_packet(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text("4quiet-before", "1", "4quiet-after")
    websocket.answer_close()
    server.assert_ended(websocket.sid, "client disconnect")
    assert server.messages(websocket.sid) == ["quiet-before"]


def test_no_data_after_the_close_frame(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text("4hello", "1")
    got = websocket.read_frame()
    if got.opcode != CLOSE:
        assert got.payload == b"4hello"
        websocket.read_close()
    websocket.send(wire.close_frame(1000))
    websocket.finish()
    server.assert_ended(websocket.sid, "client disconnect")


def test_server_disconnect(server: rigs.Server) -> None:
    websocket = server.websocket()
    server.send(websocket.sid, "last words")
    assert server.call("disconnect", sid=websocket.sid) < 2
    assert websocket.receive_text(2) == ["4last words", "1"]
    assert websocket.read_close() == 1000
    websocket.send(wire.close_frame(1000))
    websocket.finish()
    server.assert_ended(websocket.sid, "server disconnect")


def test_server_disconnect_of_a_silent_peer(server: rigs.Server) -> None:
    """The server waits only a few seconds for the answer to its close frame."""
    websocket = server.websocket()
    server.call("disconnect", sid=websocket.sid)
    assert websocket.receive() == "1"
    assert websocket.read_close() == 1000
    with contextlib.suppress(ConnectionResetError):
        assert websocket.read_to_eof() == b""
    server.assert_ended(websocket.sid, "server disconnect")


def test_disconnect_from_the_handler(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send_text("4close")
    assert websocket.receive() == "1"
    assert websocket.answer_close() == 1000
    server.assert_ended(websocket.sid, "server disconnect")


@pytest.mark.parametrize("code", [None, 1000, 1001, 1003, 1007, 1011, 3000, 4999])
def test_close_frame(server: rigs.Server, code: int | None) -> None:
    websocket = server.websocket()
    websocket.send(wire.close_frame(code))
    assert websocket.read_close() == code
    websocket.finish()
    reasons = ["transport close"]
    if not server.spec.own_frames and code in (1003, 1007, 1011):
        reasons.append("transport error")  # who has sent the code cannot be told there
    server.assert_ended(websocket.sid, *reasons)


def test_nothing_is_read_as_http_after_the_end(server: rigs.Server) -> None:
    request = wire.request_bytes("GET", server.endpoint.target(wire.polling_query()))
    websocket = server.websocket()
    websocket.send(wire.close_frame(1000) + request)
    assert websocket.read_close() == 1000
    with contextlib.suppress(ConnectionResetError):  # the server left the request unread
        websocket.finish()
    server.assert_ended(websocket.sid, "transport close")


def test_nothing_is_read_as_http_after_the_handshake(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send(wire.request_bytes("GET", server.endpoint.target(wire.polling_query())))
    assert websocket.read_close() == 1002
    with contextlib.suppress(ConnectionResetError):
        websocket.finish()
    server.assert_ended(websocket.sid, "transport error")


# Violations: bytes, close code


VIOLATIONS = {
    "unmasked": (frame(TEXT, b"4x", mask=None), 1002),
    "rsv1": (frame(TEXT, b"4x", rsv=4), 1002),
    "rsv2": (frame(TEXT, b"4x", rsv=2), 1002),
    "rsv3": (frame(BINARY, b"4x", rsv=1), 1002),
    "opcode 3": (frame(3, b"4x"), 1002),
    "opcode 11": (frame(11, b"4x"), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "long close": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "continuation of nothing": (frame(0, b"4x"), 1002),
    "message inside a message": (frame(TEXT, b"4x", fin=False) + frame(TEXT, b"4y"), 1002),
    "64-bit length": (frame(BINARY, b"", length=1 << 63, form=127), None),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "bad UTF-8": (frame(TEXT, b"4\xff"), 1007),
    "bad UTF-8 first": (frame(TEXT, b"\xff"), 1007),
    "overlong UTF-8": (frame(TEXT, b"4\xc0\x80"), 1007),
    "surrogate": (frame(TEXT, b"4\xed\xa0\x80"), 1007),
    "cut UTF-8": (frame(TEXT, b"4\xe2\x82"), 1007),
    "bad UTF-8 in a fragment": (frame(TEXT, b"4", fin=False) + frame(0, b"\xff"), 1007),
    **{
        f"close code {code}": (wire.close_frame(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)
    },
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violation(server: rigs.Server, name: str) -> None:
    data, code = VIOLATIONS[name]
    websocket = server.websocket()
    websocket.send_text("4before")
    assert websocket.receive() == "4before"
    websocket.send(data + wire.text_frame("4quiet-after"))
    server.assert_failed(websocket, *([code] if code else [1002, 1009]))
    assert server.messages(websocket.sid) == ["before"]


def test_bad_utf8_in_a_close_reason(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send(frame(CLOSE, b"\x03\xe8\xff"))
    server.assert_failed(websocket, 1002, 1007)


@pytest.mark.parametrize(
    "packet", ["", "7", "9x", "x", " 4", "٤", "b!", "bAAA", "0", "0{}", "2", "2probe", "6"]
)
def test_malformed_packet(server: rigs.Server, packet: str) -> None:
    websocket = server.websocket()
    websocket.send_text("4before")
    assert websocket.receive() == "4before"
    websocket.send_text("4quiet-before", packet, "4quiet-after")
    assert websocket.answer_close() == 1002
    server.assert_ended(websocket.sid, "parse error")
    assert server.messages(websocket.sid) == ["before", "quiet-before"]


# Sizes


def test_largest_message(rig: rigs.Rig) -> None:
    websocket = rig.server("small").websocket()
    websocket.send_text("4" + "x" * 999)
    assert websocket.receive() == "4" + "x" * 999
    websocket.send(frame(BINARY, b"x" * 400, fin=False) + frame(0, b"y" * 600))
    assert websocket.receive() == b"x" * 400 + b"y" * 600


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"", length=1001, form=126),
        frame(BINARY, b"", length=1 << 40, form=127),
        frame(TEXT, b"4" * 600, fin=False) + frame(0, b"", length=401, form=126),
        frame(BINARY, b"x", fin=False) + frame(0, b"", length=1000, form=126),
    ],
    ids=["declared", "huge", "sum of fragments", "second fragment"],
)
@pytest.mark.rig("own_limit")
def test_too_long_is_refused_by_its_declared_length(rig: rigs.Rig, data: bytes) -> None:
    server = rig.server("small")
    websocket = server.websocket()
    websocket.send(data)  # none of the payload that makes it too long ever comes
    server.assert_failed(websocket, 1009)
    assert server.messages(websocket.sid) == []


@pytest.mark.parametrize(
    "data",
    [
        wire.text_frame("4" + "x" * 1000),
        frame(BINARY, b"x" * 1001),
        frame(BINARY, b"x" * 1000, fin=False) + frame(0, b"y"),
    ],
    ids=["text", "binary", "fragments"],
)
def test_too_long(rig: rigs.Rig, data: bytes) -> None:
    server = rig.server("small")
    websocket = server.websocket()
    websocket.send(data)
    assert websocket.answer_close() == 1009
    server.assert_ended(websocket.sid, "transport error")
    assert server.messages(websocket.sid) == []


@pytest.mark.rig("own_frames")
def test_flood_of_tiny_fragments(server: rigs.Server) -> None:
    websocket = server.websocket()
    with contextlib.suppress(ConnectionError):
        websocket.send(frame(TEXT, b"4", fin=False))
        for _ in range(200):
            websocket.send(frame(0, b"", fin=False) * 1000)
    server.wait(websocket.sid, "disconnect", "transport error")
    assert server.messages(websocket.sid) == []


# Compression of messages


OFFER = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}


def test_deflate_is_off_by_default(server: rigs.Server) -> None:
    websocket = server.websocket(wire.websocket_headers(**OFFER))
    assert websocket.handshake.header("Sec-WebSocket-Extensions") is None
    websocket.send_text("4" + "x" * 5000)
    assert websocket.receive() == "4" + "x" * 5000


@pytest.mark.rig("own_deflate")
def test_deflate_not_offered(rig: rigs.Rig) -> None:
    websocket = rig.server("deflate").websocket()
    assert websocket.handshake.header("Sec-WebSocket-Extensions") is None
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"


def deflate_websocket(server: rigs.Server) -> wire.WebSocket:
    headers = wire.websocket_headers(**OFFER)
    websocket = wire.WebSocket(server.endpoint, wire.websocket_query(token="deflate"), headers)
    extensions = websocket.handshake.header("Sec-WebSocket-Extensions") or ""
    assert re.split(" *; *", extensions)[0] == "permessage-deflate"
    return websocket


def inflate(decompressor: "zlib._Decompress", got: wire.Frame) -> bytes:
    assert got.fin
    assert got.rsv in (0, 4)
    return decompressor.decompress(got.payload + b"\0\0\xff\xff") if got.rsv else got.payload


@pytest.mark.rig("own_deflate")
def test_deflate(rig: rigs.Rig) -> None:
    server = rig.server("deflate")
    websocket = deflate_websocket(server)
    decompressor = zlib.decompressobj(wbits=-15)
    assert inflate(decompressor, websocket.read_frame())[:1] == b"0"
    text = b"4" + b"hello " * 1000
    for _ in range(2):  # the second one with what was learned from the first
        websocket.send(frame(TEXT, wire.deflated(text), rsv=4))
        answer = websocket.read_frame()
        assert answer.rsv == 4
        assert inflate(decompressor, answer) == text
        websocket.send(wire.text_frame("4plain"))
        assert websocket.read_frame() == wire.Frame(TEXT, b"4plain")  # below the threshold


@pytest.mark.rig("own_deflate")
def test_much_that_is_little_when_compressed(rig: rigs.Rig) -> None:
    """The server takes it in parts, and comes to all of them when nothing more is sent."""
    websocket = deflate_websocket(rig.server("deflate"))
    decompressor = zlib.decompressobj(wbits=-15)
    inflate(decompressor, websocket.read_frame())
    text = b"4" + b"x" * 200_000
    websocket.send(frame(TEXT, wire.deflated(text), rsv=4) * 40)
    for _ in range(40):
        assert inflate(decompressor, websocket.read_frame()) == text


@pytest.mark.rig("own_deflate")
def test_deflate_bomb(rig: rigs.Rig) -> None:
    server = rig.server("deflate")
    websocket = deflate_websocket(server)
    websocket.read_frame()
    websocket.send(frame(BINARY, wire.deflated(bytes(50_000_000)), rsv=4))
    assert websocket.answer_close() == 1009
    sid = server.call("token", token="deflate", timeout=rigs.WAIT)
    server.assert_ended(sid, "transport error")


@pytest.mark.rig("own_deflate")
def test_deflate_of_rubbish(rig: rigs.Rig) -> None:
    server = rig.server("deflate")
    websocket = deflate_websocket(server)
    websocket.read_frame()
    websocket.send(frame(TEXT, b"\xff\xff\xff\xff rubbish", rsv=4))
    assert websocket.answer_close() in (1002, 1007, 1009)
    sid = server.call("token", token="deflate", timeout=rigs.WAIT)
    server.assert_ended(sid, "transport error")


# The connection under it


@pytest.mark.rig("early_frame")
def test_frame_behind_the_handshake_in_one_segment(server: rigs.Server) -> None:
    websocket = wire.EngineWebSocket(
        server.endpoint, extra=wire.text_frame("4early") + wire.text_frame("4bird")
    )
    assert websocket.receive_text(2) == ["4early", "4bird"]


def test_reset(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.reset()
    server.assert_ended(websocket.sid, "transport close")


def test_end_of_stream(server: rigs.Server) -> None:
    websocket = server.websocket()
    websocket.send(frame(TEXT, b"", length=100))
    websocket.shut_write()
    with contextlib.suppress(ConnectionResetError):
        websocket.read_to_eof()
    server.assert_ended(websocket.sid, "transport close")


def test_handshake_names_are_case_insensitive(server: rigs.Server) -> None:
    headers = wire.websocket_headers(Upgrade="WebSocket", Connection="keep-alive, UPGRADE")
    websocket = server.websocket(headers)
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"


def test_no_subprotocol_is_chosen(server: rigs.Server) -> None:
    websocket = server.websocket(wire.websocket_headers(Sec_WebSocket_Protocol="chat, soap"))
    assert websocket.handshake.header("Sec-WebSocket-Protocol") is None
