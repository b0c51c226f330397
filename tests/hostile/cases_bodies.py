"""Bodies of POSTs: lies about their length, no end, too much of everything."""

import base64
import gzip
import json
import time
import zlib

import wire
from hostile.harness import Outcome, Target, case, variants
from wire import chunked, polling_query

TEXT = {"Content-Type": "text/plain; charset=UTF-8"}
SLICE = 0.05  # seconds between the bytes of somebody slow
PARSE, TRANSPORT = "parse error", "transport error"


def start(
    target: Target, sid: str, headers: wire.Headers, body: bytes = b""
) -> wire.HTTPConnection:
    """Send a POST as it is, and wait for nothing."""
    connection = target.connect()
    fields = {"Connection": "close", **TEXT, **headers}
    head = wire.request_bytes("POST", target.target(polling_query(sid)), fields)
    connection.send(head + body)
    return connection


def read(connection: wire.HTTPConnection) -> wire.Response | None:
    """The answer; None: the connection ended without one."""
    try:
        return connection.read_response("POST")
    except (EOFError, ConnectionResetError):
        return None
    finally:
        connection.close()


# The length

LENGTHS = {
    "empty": "",
    "negative": "-1",
    "words": "abc",
    "underscore": "1_0",
    "plus": "+2",
    "hexadecimal": "0x2",
    "fraction": "2.0",
    "exponent": "1e1",
    "superscript": "\u00b2",
    "two numbers": "2, 2",
    "two different": "2, 3",
    "space inside": "2 2",
    "NUL": "2\0",
    "minus zero": "-0",
    "a thousand digits": "9" * 1000,
    "2^64": str(2**64),
    "2^63": str(2**63),
}


@variants("length", LENGTHS, floor=True)
def malformed(target: Target, length: str) -> None:
    session = target.polling()
    response = read(start(target, session.sid, {"Content-Length": length}, b"4x"))
    # One that is two equal numbers is one number to some (RFC 9110, 8.6).
    if response is not None and not (length in ("2, 2", "-0", "") and response.status == 200):
        target.refused(response)
    target.alive(session)


@case("length", floor=True)
def two_headers_that_differ(target: Target) -> None:
    session = target.polling()
    head = wire.request_bytes("POST", target.target(polling_query(session.sid)), TEXT)[:-2]
    lines = b"Content-Length: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\n4xy"
    response = target.answer(head + lines)
    if response is not None:
        assert response.status >= 400, response
    target.alive(session)


@case("length", floor=True)
def length_and_chunks(target: Target) -> None:
    """A request that two servers in a row could take for two (RFC 9112, 6.1)."""
    session = target.polling()
    body = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    fields = {"Content-Length": str(len(body)), "Transfer-Encoding": "chunked"}
    connection = start(target, session.sid, fields, body)
    answers = connection.read_to_eof()
    assert answers.count(b"HTTP/1.") <= 1, answers[:500]


@variants("length", [1_000_001, 2_000_000, 10**9, 10**15], needs=("streams_bodies",))
def too_long(target: Target, length: int) -> None:
    """Refused at its declared length: the body never comes."""
    session = target.polling()
    response = read(start(target, session.sid, {"Content-Length": str(length)}))
    assert response is not None
    assert response.status == 413, response
    target.alive(session)


@case("length", limit=3.0)
def too_long_and_all_of_it(target: Target) -> None:
    session = target.polling()
    connection = target.connect()
    head = {"Content-Length": "20000000", **TEXT, "Connection": "close"}
    connection.send_request("POST", target.target(polling_query(session.sid)), head)
    connection.pour(b"x" * 65536, 1.0)
    response = read(connection)
    assert response is None or response.status == 413, response
    target.alive(session)


@case("length", floor=True)
def less_than_declared(target: Target) -> None:
    session = target.polling()
    connection = start(target, session.sid, {"Content-Length": "100"}, b"4quiet")
    assert not connection.has_input(0.1)
    connection.close()
    if target.spec.streams_bodies:  # else the application never hears of it
        target.reason(session.sid, TRANSPORT)
    if not target.is_floor:
        assert target.server.messages(session.sid) == []


@case("length", floor=True)
def less_than_declared_and_a_reset(target: Target) -> None:
    session = target.polling()
    connection = start(target, session.sid, {"Content-Length": "100"}, b"4quiet")
    assert not connection.has_input(0.1)
    connection.reset()
    if target.spec.streams_bodies:
        target.reason(session.sid, TRANSPORT)


@case("length", floor=True)
def more_than_declared(target: Target) -> None:
    """What is too much is no message."""
    session = target.polling()
    connection = start(target, session.sid, {"Content-Length": "7"}, b"4quiet1" + b"4quiet2" * 9)
    response = read(connection)
    # Some servers refuse what they take for a bad request behind it, and this one with it.
    assert response is None or response.status in (200, 400), response
    target.alive(session)
    if not target.is_floor:
        assert target.server.messages(session.sid) in (
            ["quiet1", "still here"],
            ["still here"],
        )


@case("length", floor=True)
def a_request_in_the_body_of_another(target: Target) -> None:
    session = target.polling()
    inner = f"GET {target.target(polling_query(session.sid))} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    response = read(start(target, session.sid, {"Content-Length": str(len(inner))}, inner))
    if not target.is_floor:
        assert response is not None
        assert response.status == 400, response
        target.reason(session.sid, PARSE)


@case("length")
def body_of_a_get(target: Target) -> None:
    session = target.polling()
    session.send("4hello")
    response = session.request("GET", None, b"4quiet")
    assert response.status in (200, 400), response
    assert target.server.messages(session.sid) == ["hello"]


@case("length", statuses=(200, 400, 411, 413, 501))
def none_declared(target: Target) -> None:
    session = target.polling()
    line = f"POST {target.target(polling_query(session.sid))} HTTP/1.1\r\n"
    response = target.answer(f"{line}Host: a\r\nConnection: close\r\n\r\n4x".encode())
    assert response is not None
    assert response.status != 200, response
    assert target.server.messages(session.sid) == []


@case("length")
def expect_100_continue(target: Target) -> None:
    session = target.polling()
    fields = {"Content-Length": "7", "Expect": "100-continue"}
    connection = start(target, session.sid, fields, b"4quiet1")
    response = read(connection)
    assert response is not None
    assert response.status == 200, response
    target.server.wait(session.sid, "message", "quiet1")


@case("length", floor=True, needs=("streams_bodies",))
def expect_100_continue_too_long(target: Target) -> None:
    session = target.polling()
    fields = {"Content-Length": str(10**9), "Expect": "100-continue"}
    connection = start(target, session.sid, fields)
    if not target.is_floor:
        response = read(connection)
        assert response is not None
        assert response.status == 413, response
    target.alive(session)


# Chunks

BAD_CHUNKS = {
    "no hexadecimal": b"xyz\r\n4x\r\n0\r\n\r\n",
    "negative": b"-2\r\n4x\r\n0\r\n\r\n",
    "0x": b"0x2\r\n4x\r\n0\r\n\r\n",
    "underscore": b"0_2\r\n4x\r\n0\r\n\r\n",
    "empty size": b"\r\n4x\r\n0\r\n\r\n",
    "huge size": b"f" * 16 + b"\r\n4x\r\n0\r\n\r\n",
    "endless size": b"1" * 100_000 + b"\r\n",
    "longer than said": b"1\r\n4xyz\r\n0\r\n\r\n",
    "shorter than said": b"5\r\n4x\r\n0\r\n\r\n",
    "NUL": b"2\0\r\n4x\r\n0\r\n\r\n",
    "line feeds only": b"2\n4x\n0\n\n",
    "extension of 1 MB": b"2;" + b"x" * 1_000_000 + b"\r\n4x\r\n0\r\n\r\n",
    "trailer": b"7\r\n4quiet1\r\n0\r\nContent-Length: 5\r\nHost: evil.example\r\n\r\n",
    "trailer of 1 MB": b"7\r\n4quiet1\r\n0\r\nA: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "ten thousand trailers": b"7\r\n4quiet1\r\n0\r\n" + b"A: x\r\n" * 10_000 + b"\r\n",
}


@variants("chunks", BAD_CHUNKS, needs=("chunked",), floor=True)
def broken(target: Target, body: bytes) -> None:
    """Wrong or suspicious: an answer below 500, or an end, and nothing wrong delivered."""
    session = target.polling()
    connection = target.connect()
    fields = {"Connection": "close", **TEXT, "Transfer-Encoding": "chunked"}
    head = wire.request_bytes("POST", target.target(polling_query(session.sid)), fields)
    try:
        connection.send(head + body)
        connection.shut_write()
    except OSError:
        pass  # it has answered before it had everything
    response = read(connection)
    assert response is None or response.status < 500 or response.status == 501, response
    if not target.is_floor:
        # Where the server forgives, a message may arrive; never a part of what was not one.
        messages = target.server.messages(session.sid)
        assert messages in ([], ["x"], ["quiet1"]), messages


@variants("chunks", ["gzip, chunked", "chunked, chunked", "identity", "xchunked", "\x0bchunked"])
def other_codings(target: Target, coding: str) -> None:
    session = target.polling()
    fields = {"Transfer-Encoding": coding}
    connection = start(target, session.sid, fields, chunked(b"4quiet"))
    response = read(connection)
    if response is not None and not coding.endswith(" chunked"):
        assert response.status != 200 or target.spec.chunked, response
    assert target.server.messages(session.sid) in ([], ["quiet"])


@case("chunks", needs=("chunks_undecoded",))
def refused_where_nobody_decodes_them(target: Target) -> None:
    session = target.polling()
    response = read(start(target, session.sid, {"Transfer-Encoding": "chunked"}, chunked(b"4x")))
    if response is not None:
        target.refused(response)
    target.alive(session)


@case("chunks", limit=3.0, needs=("chunked", "streams_bodies"))
def without_end(target: Target) -> Outcome:
    """Refused as soon as there are more bytes than a body may have."""
    session = target.polling()
    connection = start(target, session.sid, {"Transfer-Encoding": "chunked"})
    began = time.monotonic()
    chunk = b"%x\r\n%s\r\n" % (65536, b"x" * 65536)
    connection.pour(chunk, 1.5)
    response = read(connection)
    assert response is None or response.status == 413, response
    target.alive(session)
    return Outcome(max(0.0, time.monotonic() - began - 1.5))


@case("chunks", limit=4.0, needs=("chunked",))
def of_one_byte(target: Target) -> None:
    """A body of 50,000 chunks arrives."""
    session = target.polling()
    text = b"4quiet" + b"x" * 50_000
    body = chunked(*(text[at : at + 1] for at in range(len(text))))
    response = read(start(target, session.sid, {"Transfer-Encoding": "chunked"}, body))
    assert response is not None
    assert response.status in (200, 413), response
    if response.status == 200:
        target.server.wait(session.sid, "message", wire.summary(text.decode()[1:]))


# Slow ones


@case("slow", limit=3.0, floor=True)
def byte_by_byte(target: Target) -> Outcome:
    """It arrives, and nobody waits for it meanwhile."""
    session = target.polling()
    connection = start(target, session.sid, {"Content-Length": "12"})
    slowest = 0.0
    for byte in b"4quiet slow!":
        connection.send(bytes([byte]))
        began = time.monotonic()
        assert target.request("GET", polling_query()).status == 200
        slowest = max(slowest, time.monotonic() - began)
    response = read(connection)
    assert response is not None
    assert response.status == 200, response
    return Outcome(slowest)


@case("slow", limit=2.0, floor=True, lines=2, requests=30)
def thirty_at_once_that_do_not_come(target: Target) -> Outcome:
    sessions = [target.polling() for _ in range(30)]
    posts = [start(target, each.sid, {"Content-Length": "100"}, b"4") for each in sessions]
    began = time.monotonic()
    assert target.request("GET", polling_query()).status == 200
    took = time.monotonic() - began
    for post in posts:
        post.reset()
    return Outcome(took)


# What is in them

MALFORMED = {
    "nothing": b"",
    "one separator": b"\x1e",
    "a million separators": b"\x1e" * 1_000_000,
    "ten thousand empty messages before": b"4\x1e" * 10_000,
    "ends with a separator": b"4quiet\x1e",
    "unknown type": b"7",
    "no type": b"x",
    "NULs": b"\0" * 1000,
    "Arabic digit": "٤x".encode(),
    "open": b"0{}",
    "ping": b"2",
    "noop": b"6",
    "not UTF-8": b"4\xff",
    "surrogate": b"4\xed\xa0\x80",
    "cut UTF-8": b"4\xe2\x82",
    "UTF-16": "4x".encode("utf-16"),
    "bad base64": b"b!!!!",
    "base64 without padding": b"bAAA",
    "megabyte of bad base64": b"b" + b"=" * 900_000,
    "megabyte of bad UTF-8": b"4" + b"\xff" * 900_000,
    "gzip": gzip.compress(b"4quiet"),
    "two fields of JSONP": b"d=4quiet&e=1",
    "bad escape of JSONP": b"d=%zz",
    "JSONP without a payload": b"d=",
    "multipart": b'--x\r\nContent-Disposition: form-data; name="d"\r\n\r\n4quiet\r\n--x--\r\n',
}


@variants("packets", MALFORMED, limit=2.0)
def rejected(target: Target, body: bytes) -> None:
    session = target.polling()
    query = polling_query(session.sid, **({"j": "1"} if body.startswith(b"d=") else {}))
    response = target.request("POST", query, TEXT, body)
    assert response.status == 400, response
    target.reason(session.sid, PARSE)


FULL = 1_000_000
HARMLESS = {
    "deep arrays": b"4quiet" + b"[" * 900_000,
    "deep JSON": b"4" + b"[" * 500_000,
    "deep JSON that ends": b"4" + b"[" * 400_000 + b"]" * 400_000,
    "deep objects": b"4" + b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
    "huge integer": b"4[" + b"9" * 900_000 + b"]",
    "huge negative integer": b'4{"a":-' + b"1" * 900_000 + b"}",
    "many huge integers": b"4[" + b",".join([b"9" * 4000] * 200) + b"]",
    "huge exponent": b"4[1e999999999]",
    "long fraction": b"4[0." + b"1" * 900_000 + b"]",
    "NaN": b"4[NaN]",
    "many keys": b"4{" + b",".join(b'"%d":0' % number for number in range(60_000)) + b"}",
    "one key often": b"4{" + b",".join([b'"a":0'] * 100_000) + b"}",
    "prototype": b'4{"__proto__":{"x":1}}',
    "lone surrogates": b'4["\\ud800"]',
    "NUL in a string": b'4["\\u0000"]',
    "binary": b"b" + base64.b64encode(b"\0" * 700_000),
}


@variants("packets", HARMLESS, limit=2.0)
def taken(target: Target, body: bytes) -> None:
    """Taken: as JSON where it is some, else as text; the session goes on."""
    session = target.polling()
    response = target.request("POST", polling_query(session.sid), TEXT, body)
    assert (response.status, response.body) == (200, b"ok"), response
    target.server.wait(session.sid, "message")
    target.request("POST", polling_query(session.sid), TEXT, b"4quiet:on")
    target.server.wait(session.sid, "message", "quiet:on")


@case("packets", limit=2.5)
def as_many_as_there_can_be(target: Target) -> Outcome:
    """Two hundred thousand messages; what is measured is how long another client has to wait."""
    session = target.polling()
    body = b"\x1e".join([b"4"] * 200_000)
    connection = start(target, session.sid, {"Content-Length": str(len(body))}, body)
    slowest = 0.0
    deadline = time.monotonic() + 20.0
    is_alive = True
    # They are echoed, and not fetched: that is too much after a while.
    while is_alive and time.monotonic() < deadline:
        began = time.monotonic()
        is_alive = target.server.is_alive(session.sid)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.1)
    response = read(connection)
    assert response is not None
    assert response.status in (200, 400), response
    target.reason(session.sid, "send buffer full")
    return Outcome(slowest)


@case("packets")
def as_long_as_there_can_be(target: Target) -> None:
    session = target.polling()
    text = "quiet" + "x" * (FULL - 6)
    assert (
        target.request("POST", polling_query(session.sid), TEXT, b"4" + text.encode()).body == b"ok"
    )
    target.server.wait(session.sid, "message", wire.summary(text))


@case("packets", statuses=(413,))
def one_byte_too_long(target: Target) -> None:
    session = target.polling()
    target.request("POST", polling_query(session.sid), TEXT, b"4" + b"x" * FULL)


# 50 MB of nothing.
ZEROS = zlib.compress(bytes(50_000_000))
GZIP = gzip.compress(bytes(50_000_000), 1)
BOMBS = {
    "gzip": ("gzip", GZIP),
    "deflate": ("deflate", ZEROS),
    "gzip, gzip": ("gzip, gzip", gzip.compress(GZIP, 1)),
    "unknown": ("zstd, br, \xff", b"\x28\xb5\x2f\xfd" + bytes(100)),
}


@variants("packets", BOMBS)
def bomb(target: Target, of: tuple[str, bytes]) -> None:
    """Nobody inflates it: it is no payload."""
    session = target.polling()
    coding, body = of
    fields = {**TEXT, "Content-Encoding": coding}
    response = target.request("POST", polling_query(session.sid), fields, body)
    target.refused(response)


TYPES = {
    "octets": "application/octet-stream",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data; boundary=x",
    "JSON": "application/json",
    "UTF-7": "text/plain; charset=utf-7",
    "long": "text/plain; " + "x" * 6000,
    "nonsense": "\xff/\xfe;;;",
    "empty": "",
}


@variants("packets", TYPES)
def type_of(target: Target, content_type: str) -> None:
    """Taken by its bytes, whatever it is called, but for octets."""
    session = target.polling()
    fields = {"Content-Type": content_type}
    response = target.request("POST", polling_query(session.sid), fields, b"4quiet")
    if content_type.startswith("application/octet"):
        assert response.status == 400, response
        target.reason(session.sid, TRANSPORT)
    elif response.status != 200:
        target.refused(response)


@case("packets")
def nothing_of_them_is_reflected(target: Target) -> None:
    session = target.polling()
    marker = "<script>alert(1)</script>"
    response = target.request("POST", polling_query(session.sid), TEXT, f"9{marker}".encode())
    assert response.status == 400, response
    assert marker.encode() not in response.body
    assert json.loads(response.body)["code"] == 3
