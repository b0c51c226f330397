"""protocol.md, Polling; also the packets of its payloads."""

import gzip
import json
import re
import zlib
from urllib.parse import quote

import pytest

import rigs
import wire

ORIGIN = "http://a.example"


def test_poll_response(server: rigs.Server) -> None:
    session = server.polling()
    session.send("4hello")
    response = session.request("GET")
    assert (response.status, response.body) == (200, b"4hello")
    assert response.header("Content-Type") == "text/plain; charset=UTF-8"
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Content-Length") == "6"
    assert response.header("Transfer-Encoding") is None


def test_post_response(server: rigs.Server) -> None:
    response = server.polling().post("4hello")
    assert (response.status, response.body) == (200, b"ok")
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Content-Length") == "2"


def test_poll_takes_everything_at_once(server: rigs.Server) -> None:
    session = server.polling()
    session.send(*(f"4m{number}" for number in range(50)))
    server.wait(session.sid, "message", count=50)
    server.send(session.sid, b"\x00\xff")
    assert session.poll() == [*(f"4m{number}" for number in range(50)), "bAP8="]


def test_poll_waits(server: rigs.Server) -> None:
    session = server.polling()
    poll = session.start_poll()
    assert not poll.has_input(0.2)
    server.send(session.sid, "later")
    assert poll.read_response().body == b"4later"


@pytest.mark.rig("keep_alive")
def test_keep_alive(server: rigs.Server) -> None:
    connection = wire.HTTPConnection(server.endpoint.address)
    session = server.polling()
    target = server.endpoint.target(wire.polling_query(session.sid))
    for number in range(3):
        body = f"4m{number}".encode()
        assert connection.request("POST", target, None, body).body == b"ok"
        assert connection.request("GET", target).body == body


@pytest.mark.rig("keep_alive")
def test_keep_alive_after_a_large_post(server: rigs.Server) -> None:
    connection = wire.HTTPConnection(server.endpoint.address)
    session = server.polling()
    target = server.endpoint.target(wire.polling_query(session.sid))
    for size in (65536, 2**18 - 1, 2**18, 2**18 + 1, 300_000):  # 2**18: Tornado pauses there
        body = b"4quiet" + b"x" * (size - 6)
        assert connection.request("POST", target, None, body).body == b"ok"


@pytest.mark.parametrize(
    ("sent", "data"),
    [
        ("4", None),
        ("4hello", "hello"),
        ("4€ \U0001f600 \x00\x7f", "€ \U0001f600 \x00\x7f"),
        ('4{"a":[1,null]}', {"a": [1, None]}),
        ("4[1,2]", [1, 2]),
        ("4true", True),
        ("4false", False),
        ('4"quoted"', "quoted"),
        ("4-5", -5),
        ("45", "5"),
        ("442[1]", "42[1]"),
        ("4{broken", "{broken"),
        ("4NaN", "NaN"),
        ("4Infinity", "Infinity"),
        ("4-Infinity", "-Infinity"),
        ("4[NaN]", "[NaN]"),
        ("4[" + "1" * 101 + "]", "[" + "1" * 101 + "]"),
        ("bAP8=", wire.summary(b"\x00\xff")),
        ("b", wire.summary(b"")),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_data_the_application_sees(server: rigs.Server, sent: str, data: object) -> None:
    session = server.polling()
    session.send(sent)
    server.wait(session.sid, "message")
    [got] = server.messages(session.sid)
    assert got == data or (data is None and got == "")
    assert type(got) is type(data) or data is None


def test_null(server: rigs.Server) -> None:
    session = server.polling()
    session.send("4null")
    server.wait(session.sid, "message")
    assert server.messages(session.sid) == [None]


def test_deep_nesting_does_not_crash(server: rigs.Server) -> None:
    session = server.polling()
    text = "[" * 100_000
    session.send("4" + text)
    server.wait(session.sid, "message")
    assert server.messages(session.sid) == [wire.summary(text)]
    assert session.poll() == ["4" + text]


def test_no_limit_on_the_number_of_packets(server: rigs.Server) -> None:
    session = server.polling()
    session.send(*["4quiet"] * 20_000)
    server.wait(session.sid, "message", count=20_000)


@pytest.mark.parametrize("agent", ["python-requests/2.34.2", "Python/3.11 aiohttp/3.14.5"])
def test_python_engineio_as_a_client_gets_16_at_a_time(server: rigs.Server, agent: str) -> None:
    session = server.polling({"User-Agent": agent})
    session.send(*(f"4m{number}" for number in range(40)))
    server.wait(session.sid, "message", count=40)
    packets: list[str] = []
    while len(packets) < 40:
        got = session.poll()
        assert len(got) <= 16
        packets += got
    assert packets == [f"4m{number}" for number in range(40)]


def test_one_packet_object_in_every_form(server: rigs.Server) -> None:
    polling, websocket = server.polling(), server.websocket()
    base64 = server.websocket(b64="1")
    sids = [polling.sid, websocket.sid, base64.sid]
    for order in (sids, sids[::-1]):
        for binary in (False, True):
            server.rig.control("broadcast", server=server.name, sids=order, count=1, binary=binary)
    assert polling.receive(4) == ["4cast-0", "bY2FzdC0w"] * 2
    assert [websocket.receive() for _ in range(4)] == ["4cast-0", b"cast-0"] * 2
    assert [base64.receive() for _ in range(4)] == ["4cast-0", "bY2FzdC0w"] * 2


# Closing


def test_close_from_the_client(server: rigs.Server) -> None:
    session = server.polling()
    poll = session.start_poll()
    assert not poll.has_input(0.2)
    session.send("4quiet-before", "1", "4quiet-after")
    assert poll.read_response().body == b"6"
    server.assert_ended(session.sid, "client disconnect")
    assert server.messages(session.sid) == ["quiet-before"]


def test_malformed_after_close_is_dropped_too(server: rigs.Server) -> None:
    session = server.polling()
    session.send("1", "9")
    server.assert_ended(session.sid, "client disconnect")


def test_server_disconnect_while_a_poll_waits(server: rigs.Server) -> None:
    session = server.polling()
    poll = session.start_poll()
    assert not poll.has_input(0.2)
    server.call("disconnect", sid=session.sid)
    assert poll.read_response().body == b"1"
    server.assert_ended(session.sid, "server disconnect")


def test_server_disconnect_while_no_poll_waits(server: rigs.Server) -> None:
    session = server.polling()
    server.send(session.sid, "last words")
    assert server.call("disconnect", sid=session.sid) < 2
    server.wait(session.sid, "disconnect", "server disconnect")
    assert session.post("4late").status == 400
    assert session.poll() == ["4last words", "1"]
    server.assert_ended(session.sid, "server disconnect")


def test_disconnect_from_the_handler(server: rigs.Server) -> None:
    session = server.polling()
    poll = session.start_poll()
    assert not poll.has_input(0.2)
    session.send("4close", "4quiet-after")
    assert poll.read_response().body == b"1"
    server.assert_ended(session.sid, "server disconnect")


# Bodies


@pytest.mark.rig("chunked")
def test_chunked_request_body(server: rigs.Server) -> None:
    session = server.polling()
    body = wire.chunked(b"4hel", b"lo\x1e4", b"world")
    response = session.request("POST", {"Transfer-Encoding": "chunked"}, body)
    assert (response.status, response.body) == (200, b"ok")
    assert session.receive(2) == ["4hello", "4world"]


def test_body_in_small_pieces(server: rigs.Server) -> None:
    session = server.polling()
    body = "4€uro\x1e4two".encode()
    post = session.start_post(len(body))
    for at in range(len(body)):
        post.send(body[at : at + 1])
    assert post.read_response().body == b"ok"
    assert session.receive(2) == ["4€uro", "4two"]


# Compression


def decoded(response: wire.Response) -> bytes:
    match response.header("Content-Encoding"):
        case "gzip":
            return gzip.decompress(response.body)
        case "deflate":
            return zlib.decompress(response.body)
        case encoding:
            assert encoding is None
            return response.body


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("br;q=1.0, GZIP;q=0.8", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip;q=0", None),
        ("gzip; q=0.000, deflate;q=0.0", None),
        ("*", "gzip"),
        ("*;q=0.1", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("*;q=0", None),
        ("*;q=0, deflate", "deflate"),
        ("identity", None),
        ("br", None),
        ("", None),
        ("gzip;q=x", None),
        (None, None),
    ],
)
def test_accept_encoding(server: rigs.Server, accept: str | None, encoding: str | None) -> None:
    session = server.polling()
    session.send("4size:2000")
    server.wait(session.sid, "message")
    response = session.request("GET", {} if accept is None else {"Accept-Encoding": accept})
    if accept != "gzip;q=x":  # nobody says what a broken weight means
        assert response.header("Content-Encoding") == encoding
    assert decoded(response) == b"4" + b"x" * 2000
    assert "accept-encoding" in (response.header("Vary") or "").lower()
    assert response.header("Content-Length") == str(len(response.body))


@pytest.mark.parametrize(("size", "encoding"), [(98, None), (99, "gzip"), (100, "gzip")])
def test_compression_threshold(rig: rigs.Rig, size: int, encoding: str | None) -> None:
    server = rig.server("low_threshold")
    session = server.polling()
    session.send(f"4size:{size}")
    server.wait(session.sid, "message")
    response = session.request("GET", {"Accept-Encoding": "gzip"})
    assert response.header("Content-Encoding") == encoding
    assert decoded(response) == b"4" + b"x" * size


def test_no_compression(rig: rigs.Rig) -> None:
    session = rig.server("no_compression").polling()
    session.send("4size:5000")
    response = session.request("GET", {"Accept-Encoding": "gzip"})
    assert response.header("Content-Encoding") is None
    assert response.body == b"4" + b"x" * 5000


# CORS


def cors(response: wire.Response) -> dict[str, str | None]:
    names = ("Origin", "Credentials", "Methods", "Headers")
    return {name: response.header(f"Access-Control-Allow-{name}") for name in names}


@pytest.mark.parametrize(
    ("name", "origin", "headers"),
    [
        ("engine.io", "http://host.example", {"Host": "host.example"}),
        ("engine.io", "http://host.example:81", {"Host": "host.example:81"}),
        (
            "engine.io",
            "https://front.example",
            {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "front.example, other"},
        ),
        ("cors_any", "http://anyone.example", {}),
        ("cors_list", "http://b.example", {}),
        ("cors_function", ORIGIN, {}),
    ],
)
def test_origin_allowed(rig: rigs.Rig, name: str, origin: str, headers: dict[str, str]) -> None:
    session = rig.server(name).polling({"Origin": origin, **headers})
    expected = {"Origin": origin, "Credentials": "true", "Methods": None, "Headers": None}
    assert cors(session.handshake) == expected
    assert "origin" in (session.handshake.header("Vary") or "").lower()
    assert cors(session.post("4hello")) == expected
    assert cors(session.request("GET")) == expected
    wrong = session.request("PUT", None, b"")
    assert (wrong.status, cors(wrong)["Origin"]) == (405, origin)


@pytest.mark.parametrize("name", ["cors_list", "cors_function", "cors_plain"])
def test_origin_not_in_the_list(rig: rigs.Rig, name: str) -> None:
    response = rig.server(name).request("GET", wire.polling_query(), {"Origin": "http://c.example"})
    assert response.json() == {"code": 3, "message": "Not an accepted origin"}
    assert response.status == 400


def test_without_credentials(rig: rigs.Rig) -> None:
    response = rig.server("cors_plain").polling({"Origin": ORIGIN}).handshake
    assert cors(response)["Origin"] == ORIGIN
    assert cors(response)["Credentials"] is None


def test_cors_switched_off(rig: rigs.Rig) -> None:
    response = rig.server("cors_off").polling({"Origin": "http://anyone.example"}).handshake
    assert cors(response) == dict.fromkeys(cors(response))


def test_no_origin_no_header(rig: rigs.Rig) -> None:
    # All of them first: a server warms up when it is first asked for, alone.
    for server in [rig.server(name) for name in ("engine.io", "cors_any", "cors_list")]:
        assert cors(server.polling().handshake)["Origin"] is None


def test_errors_carry_cors_headers(rig: rigs.Rig) -> None:
    server = rig.server("cors_list")
    for query in (wire.polling_query("unknown"), {"EIO": "3", "transport": "polling"}, {}):
        response = server.request("GET", query, {"Origin": ORIGIN})
        assert response.status == 400
        assert cors(response)["Origin"] == ORIGIN


def test_preflight(rig: rigs.Rig) -> None:
    server = rig.server("cors_list")
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-custom, content-type",
    }
    session = server.polling()
    for sid in (None, session.sid):
        response = server.request("OPTIONS", wire.polling_query(sid), headers)
        assert response.status == 200
        assert cors(response)["Origin"] == ORIGIN
        assert cors(response)["Credentials"] == "true"
        assert cors(response)["Headers"] == "x-custom, content-type"
        assert {"GET", "POST"} <= set(re.split(", *", cors(response)["Methods"] or ""))
    server.assert_alive(session)


# JSONP


def jsonp(response: wire.Response, index: str = "0") -> list[str]:
    assert response.status == 200, response
    assert (response.header("Content-Type") or "").startswith("text/javascript")
    match = re.fullmatch(r"___eio\[(\d+)\]\((.*)\);", response.body.decode())
    assert match, response.body
    assert match[1] == index
    assert not re.search("[\u2028\u2029]", match[2])
    return wire.unescape_js(match[2]).split("\x1e")


def jsonp_session(server: rigs.Server, index: str = "0") -> wire.Query:
    response = server.request("GET", wire.polling_query(j=index))
    sid = json.loads(jsonp(response, index)[0][1:])["sid"]
    return wire.polling_query(sid, j=index)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("index", ["0", "7", "1234567"])
def test_jsonp(server: rigs.Server, index: str) -> None:
    query = jsonp_session(server, index)
    text = "\u2028 \u2029 \"quotes\" \\ </script> € \x01 'x'"
    body = b"d=" + quote(f"4{text}\x1ebAP8=").encode()
    response = server.request("POST", query, FORM, body)
    assert (response.status, response.body) == (200, b"ok")
    server.wait(query["sid"], "message", count=2)
    assert server.messages(query["sid"]) == [text, wire.summary(b"\x00\xff")]
    assert jsonp(server.request("GET", query), index) == [f"4{text}", "bAP8="]


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (r"a\nb", "a\nb"),
        (r"a\\nb", r"a\nb"),
        ("a+b c", "a+b c"),
        ("a\nb", "a\nb"),
        (r"a\tb\\c", r"a\tb\\c"),
    ],
)
def test_jsonp_newlines(server: rigs.Server, sent: str, received: str) -> None:
    query = jsonp_session(server)
    body = b"d=" + quote("4" + sent).encode()
    assert server.request("POST", query, FORM, body).body == b"ok"
    server.wait(query["sid"], "message")
    assert server.messages(query["sid"]) == [received]


@pytest.mark.parametrize("index", ["", "x", "-1", "1.5", "0;alert(1)", "%D9%A4", "1%0a", "%201"])
def test_jsonp_index(server: rigs.Server, index: str) -> None:
    target = f"{server.endpoint.path}?EIO=4&transport=polling&j={index}"
    assert wire.request(server.endpoint.address, "GET", target).status == 400


@pytest.mark.parametrize("body", [b"", b"x=4a", b"4a", b"d=", b"d=9"])
def test_jsonp_malformed_post(server: rigs.Server, body: bytes) -> None:
    query = jsonp_session(server)
    assert server.request("POST", query, FORM, body).status == 400
    server.assert_ended(query["sid"], "parse error")


def test_jsonp_cross_site(rig: rigs.Rig) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    server = rig.server("cors_list")
    assert server.request("GET", wire.polling_query(j="0"), headers).status == 400
    same = server.request("GET", wire.polling_query(j="0"), {"Sec-Fetch-Site": "same-origin"})
    assert jsonp(same)[0].startswith("0")
    allowed = server.request("GET", wire.polling_query(j="0"), {**headers, "Origin": ORIGIN})
    assert jsonp(allowed)[0].startswith("0")


# Cookie


def test_cookie(rig: rigs.Rig) -> None:
    server = rig.server("cookie")
    session = server.polling()
    assert session.handshake.header("Set-Cookie") == f"io={session.sid}; path=/; SameSite=Lax"
    assert session.post("4hello").header("Set-Cookie") is None
    assert session.request("GET").header("Set-Cookie") is None
    assert server.websocket().handshake.header("Set-Cookie") is None


def test_cookie_attributes(rig: rigs.Rig) -> None:
    session = rig.server("cookie_dict").polling()
    name, *attributes = (session.handshake.header("Set-Cookie") or "").split("; ")
    assert name == f"who={session.sid}"
    assert sorted(attributes) == ["HttpOnly", "SameSite=Strict", "path=/x"]
