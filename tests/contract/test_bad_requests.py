"""protocol.md, Answers to bad requests: each row of the table."""

import pytest

import rigs
import wire

ERRORS = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    5: "Unsupported protocol version",
}


def assert_error(response: wire.Response, code: int, message: str | None = None) -> None:
    assert response.status == 400, response
    assert response.json() == {"code": code, "message": message or ERRORS[code]}
    assert response.header("Content-Type") == "application/json"
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Content-Length") == str(len(response.body))


def refusal(
    server: rigs.Server, query: wire.Query, headers: wire.Headers | None = None
) -> wire.Response:
    """The HTTP answer to a WebSocket handshake; a 101 fails the test."""
    with pytest.raises(wire.Refused) as refused:
        wire.WebSocket(server.endpoint, query, headers)
    return refused.value.response


def raw(server: rigs.Server, method: str, query: str) -> wire.Response:
    """A request whose query string is sent as it is."""
    return wire.request(server.endpoint.address, method, f"{server.endpoint.path}?{query}")


@pytest.mark.parametrize(
    "query",
    [
        *("EIO=4", "EIO=4&transport=", "EIO=4&transport=webtransport", "EIO=4&transport=POLLING"),
        *("EIO=4&transport=polling&transport=polling", "EIO=4&transport=polling&transport=x"),
        *("", "&&&=&", "EIO=4&transport=%ff%00", "EIO=4&transport=polling%20"),
    ],
)
def test_transport_unknown(server: rigs.Server, query: str) -> None:
    assert_error(raw(server, "GET", query), 0)


def test_transport_not_enabled(rig: rigs.Rig) -> None:
    assert_error(rig.server("websocket_only").request("GET", wire.polling_query()), 0)
    assert_error(refusal(rig.server("polling_only"), wire.websocket_query()), 0)


@pytest.mark.parametrize(
    "sid",
    ["x", "A" * 20, "A" * 5000, "../../etc", "%00", "%ff%fe", "%E2%82%AC", "None", "__class__"],
)
def test_session_unknown(server: rigs.Server, sid: str) -> None:
    for method in ("GET", "POST"):
        assert_error(raw(server, method, f"EIO=4&transport=polling&sid={sid}"), 1)


def test_session_unknown_exact_bytes(server: rigs.Server) -> None:
    response = server.request("GET", wire.polling_query("unknown"))
    assert response.body == b'{"code":1,"message":"Session ID unknown"}'


def test_session_unknown_on_a_websocket(server: rigs.Server) -> None:
    assert_error(refusal(server, wire.websocket_query("unknown")), 1)


def test_session_closed(server: rigs.Server) -> None:
    session = server.polling()
    session.send("1")
    assert_error(session.request("GET"), 1)
    assert_error(session.post("4late"), 1)
    assert_error(refusal(server, wire.websocket_query(session.sid)), 1)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_handshake_method(server: rigs.Server, method: str) -> None:
    assert_error(server.request(method, wire.polling_query(), None, b"4x"), 2)


def test_handshake_method_head(server: rigs.Server) -> None:
    assert server.request("HEAD", wire.polling_query()).status == 400


def test_websocket_without_an_upgrade(server: rigs.Server) -> None:
    assert_error(server.request("GET", wire.websocket_query()), 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "c2hvcnQ="},
        {"Sec_WebSocket_Key": "!!!!!!!!!!!!!!!!!!!!!!=="},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Version": "12"},
        {"Sec_WebSocket_Version": "x"},
        {"Upgrade": "h2c"},
        {"Upgrade": None},
    ],
    ids=str,
)
def test_bad_websocket_handshake(server: rigs.Server, changes: dict[str, str | None]) -> None:
    headers = wire.websocket_headers(**changes)
    session = server.polling()
    for sid in (None, session.sid):
        response = refusal(server, wire.websocket_query(sid), headers)
        if server.spec.own_handshake or "Upgrade" in changes:
            assert_error(response, 3)
        else:
            assert response.status in (400, 426), response
    server.assert_alive(session)


@pytest.mark.rig("own_handshake")
@pytest.mark.parametrize(
    "framing", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}], ids=str
)
def test_websocket_request_with_a_body(server: rigs.Server, framing: dict[str, str]) -> None:
    connection = wire.HTTPConnection(server.endpoint.address)
    body = b"4body" if "Content-Length" in framing else wire.chunked(b"4body")
    headers = {**wire.websocket_headers(), **framing}
    target = server.endpoint.target(wire.websocket_query())
    response = connection.request("GET", target, headers, body)
    assert response.status in (400, 501), response  # 501: the server itself knows no chunks


def test_transport_of_the_session_is_another(server: rigs.Server) -> None:
    session = server.polling()
    assert_error(server.request("GET", wire.websocket_query(session.sid)), 3)
    server.assert_alive(session)
    websocket = server.websocket()
    assert_error(server.request("GET", wire.polling_query(websocket.sid)), 3)
    assert_error(server.request("POST", wire.polling_query(websocket.sid), None, b"4x"), 3)
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"
    assert server.messages(websocket.sid) == ["hello"]


def test_http_after_the_upgrade(server: rigs.Server) -> None:
    session = server.polling()
    websocket, _ = wire.upgrade(session)
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"
    assert_error(session.request("GET"), 3)
    assert_error(session.post("4x"), 3)
    websocket.send_text("4again")
    assert websocket.receive() == "4again"
    assert server.messages(session.sid) == ["hello", "again"]


def test_second_websocket(server: rigs.Server) -> None:
    first = server.websocket()
    assert_error(refusal(server, wire.websocket_query(first.sid)), 3)
    session = server.polling()
    second, _ = wire.upgrade(session)
    second.send_text("4hello")
    assert second.receive() == "4hello"
    assert_error(refusal(server, wire.websocket_query(session.sid)), 3)
    for websocket in (first, second):
        websocket.send_text("4hello")
        assert websocket.receive() == "4hello"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
def test_method_not_allowed(server: rigs.Server, method: str) -> None:
    session = server.polling()
    assert session.request(method, None, None if method == "HEAD" else b"4x").status == 405
    server.assert_alive(session)
    assert server.messages(session.sid) == ["still here"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_origin_not_allowed(server: rigs.Server, method: str, origin: str) -> None:
    headers = {"Origin": origin}
    session = server.polling()
    before = server.rig.control("sids")
    body = None if method == "GET" else b"4x"
    for sid in (None, session.sid):
        response = server.request(method, wire.polling_query(sid), headers, body)
        assert_error(response, 3, "Not an accepted origin")
        assert response.header("Access-Control-Allow-Origin") is None
    assert server.rig.control("sids") == before
    server.assert_alive(session)


def test_origin_not_allowed_on_a_websocket(server: rigs.Server) -> None:
    headers = {**wire.websocket_headers(), "Origin": "http://evil.example"}
    session = server.polling()
    for sid in (None, session.sid):
        response = refusal(server, wire.websocket_query(sid), headers)
        assert_error(response, 3, "Not an accepted origin")
    server.assert_alive(session)


@pytest.mark.parametrize("version", ["", "EIO=&", "EIO=3&", "EIO=44&", "EIO=04&", "EIO=4&EIO=4&"])
def test_protocol_version(server: rigs.Server, version: str) -> None:
    assert_error(raw(server, "GET", f"{version}transport=polling"), 5)
    endpoint = wire.Endpoint(server.endpoint.address, server.endpoint.path + "?" + version)
    target = f"{endpoint.path}transport=websocket"
    connection = wire.HTTPConnection(endpoint.address)
    assert_error(connection.request("GET", target, wire.websocket_headers()), 5)


def test_arabic_digit_is_no_version(server: rigs.Server) -> None:
    assert_error(raw(server, "GET", "EIO=%D9%A4&transport=polling"), 5)


def test_post_of_the_largest_size(rig: rigs.Rig) -> None:
    session = rig.server("small").polling()
    text = "x" * 999
    session.send("4" + text)
    assert session.poll() == ["4" + text]


def test_post_too_long(rig: rigs.Rig) -> None:
    server = rig.server("small")
    session = server.polling()
    target = server.endpoint.target(wire.polling_query(session.sid))
    for length in ("1001", "100000000", "9" * 30):
        connection = wire.HTTPConnection(server.endpoint.address)
        connection.send_request("POST", target, {"Content-Length": length, "Connection": "close"})
        # The body never comes: the answer must not wait for it.
        response = connection.read_response()
        if length != "9" * 30:  # some servers refuse that number themselves
            assert (response.status, response.body) == (413, b"")
        assert 400 <= response.status < 500
        connection.close()
    server.assert_alive(session)


@pytest.mark.rig("chunked")
def test_chunked_post_too_long(rig: rigs.Rig) -> None:
    server = rig.server("small")
    session = server.polling()
    body = wire.chunked(b"4" + b"x" * 500, b"y" * 500, b"z" * 500)
    response = session.request("POST", {"Transfer-Encoding": "chunked"}, body)
    assert (response.status, response.body) == (413, b"")
    server.assert_alive(session)


@pytest.mark.parametrize("length", ["", "-1", "abc", "1_0", "+2", "0x2", "2.0", "\u00b2"])
def test_content_length_malformed(server: rigs.Server, length: str) -> None:
    session = server.polling()
    connection = wire.HTTPConnection(server.endpoint.address)
    target = server.endpoint.target(wire.polling_query(session.sid))
    headers = {"Connection": "close", "Content-Length": length}
    connection.send_request("POST", target, headers, b"4x")
    # Many servers refuse it before we see it, and one simply ends the connection.
    try:
        response = connection.read_response()
    except (EOFError, ConnectionResetError):
        pass
    else:
        assert response.status == 400, response
    server.assert_alive(session)
    assert server.messages(session.sid) == ["still here"]


def test_octet_stream(server: rigs.Server) -> None:
    session = server.polling()
    response = session.request("POST", {"Content-Type": "application/octet-stream"}, b"4x")
    assert response.status == 400
    server.assert_ended(session.sid, "transport error")
    assert server.messages(session.sid) == []


MALFORMED = [
    *(b"", b"\x1e", b"4a\x1e", b"\x1e4a", b"4a\x1e\x1e4b"),
    *(b"7", b"9x", b"x", b" 4x", b"a4x", "٤x".encode(), b"-1", b"B"),
    *(b"b!!!!", b"bAAA", b"bAA=A", b"bAAAA====", b"b AAAA", b"bAA-_"),
    *(b"4\xff", b"4\xc0\x80", b"4\xed\xa0\x80", b"4\xe2\x82", b"\xff"),
]
WRONG_DIRECTION = [b"0", b"0{}", b"2", b"2probe", b"6"]


@pytest.mark.parametrize("body", [*MALFORMED, *WRONG_DIRECTION], ids=repr)
def test_malformed_payload(server: rigs.Server, body: bytes) -> None:
    session = server.polling()
    response = session.request("POST", {"Content-Type": "text/plain; charset=UTF-8"}, body)
    assert response.status == 400, response
    server.assert_ended(session.sid, "parse error")
    assert server.messages(session.sid) in ([], ["a"])


@pytest.mark.parametrize("bad", [b"", b"9", b"2", b"4\xff", b"b!"], ids=repr)
def test_packets_before_the_malformed_one_are_delivered(server: rigs.Server, bad: bytes) -> None:
    session = server.polling()
    body = b"\x1e".join([b"4quiet-1", b"4quiet-2", bad, b"4quiet-3"])
    assert session.request("POST", None, body).status == 400
    server.assert_ended(session.sid, "parse error")
    assert server.messages(session.sid) == ["quiet-1", "quiet-2"]


def test_upgrade_packet_when_not_upgrading(server: rigs.Server) -> None:
    session = server.polling()
    session.send("5", "4quiet:after")
    server.assert_alive(session)
    websocket = server.websocket()
    websocket.send_text("5", "4after")
    assert websocket.receive() == "4after"


def test_unasked_pong(server: rigs.Server) -> None:
    session = server.polling()
    session.send("3", "3probe")
    server.assert_alive(session)
    websocket = server.websocket()
    websocket.send_text("3", "3x", "4after")
    assert websocket.receive() == "4after"


def test_overlapping_polls(server: rigs.Server) -> None:
    session = server.polling()
    first = session.start_poll()
    assert not first.has_input(0.2)  # the server has it and waits
    second = session.request("GET")
    assert second.status == 400
    response = first.read_response()
    assert (response.status, response.body) == (200, b"1")
    server.assert_ended(session.sid, "transport error")


def test_overlapping_posts(server: rigs.Server) -> None:
    session = server.polling()
    first = session.start_post(100)
    first.send(b"4incomplete")
    assert not first.has_input(0.2)
    assert session.post("4second").status == 400
    server.assert_ended(session.sid, "transport error")
    assert server.messages(session.sid) == []


@pytest.mark.rig("sees_socket")
def test_aborted_poll(server: rigs.Server) -> None:
    session = server.polling()
    poll = session.start_poll()
    assert not poll.has_input(0.2)
    poll.close()
    server.assert_ended(session.sid, "transport error")


def test_aborted_post(server: rigs.Server) -> None:
    session = server.polling()
    post = session.start_post(100)
    post.send(b"4whole packet\x1e4incomplete")
    assert not post.has_input(0.2)
    post.close()
    server.assert_ended(session.sid, "transport error")
    assert server.messages(session.sid) == []
