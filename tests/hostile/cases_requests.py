"""Requests that no client sends: queries, headers, sids, methods, origins."""

import threading
import time
from collections.abc import Callable

import wire
from hostile.harness import BAD_ORIGIN, Outcome, Target, case, variants
from wire import polling_query, websocket_headers, websocket_query

OPEN = "EIO=4&transport=polling"
FOREIGN = "http://evil.example"
LONG = 3500  # characters: more than anybody needs, less than what any server takes
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


def refused_websocket(
    target: Target,
    query: wire.Query | str,
    code: int | None,
    message: str | None = None,
    headers: wire.Headers | None = None,
) -> None:
    """A WebSocket handshake gets a refusal, or none if the web server takes such a request for bad.

    Where that server has sent its 101 before anybody is asked, the WebSocket is closed at once.
    """
    # Without a query of its own, the endpoint's path is sent as it is.
    endpoint = wire.Endpoint(target.address, target.target(query))
    try:
        websocket = wire.WebSocket(endpoint, {}, headers)
    except wire.Refused as refused:
        is_ours = target.spec.refusal and refused.response.status == 400
        target.refused(refused.response, code if is_ours else None, message)
        return
    except (EOFError, ConnectionResetError):
        return
    assert not target.spec.refuses, "a WebSocket was opened"
    rest = websocket.read_to_eof()
    assert rest[:1] in (b"", b"\x88"), rest


# The query

NO_TRANSPORT = {
    "none": "",
    "separators": "&&&=&",
    "equals": "=" * 100,
    "no transport": "EIO=4",
    "empty": "EIO=4&transport=",
    "no value": "EIO=4&transport",
    "unknown": "EIO=4&transport=webtransport",
    "upper case": "EIO=4&transport=POLLING",
    "upper case name": "EIO=4&TRANSPORT=polling",
    "twice the same": "EIO=4&transport=polling&transport=polling",
    "two": "EIO=4&transport=polling&transport=websocket",
    "twice, quoted": "EIO=4&transport=polling&%74ransport=polling",
    "space": "EIO=4&transport=polling%20",
    "NUL": "EIO=4&transport=polling%00",
    "line feed": "EIO=4&transport=polling%0a",
    "not UTF-8": "EIO=4&transport=%ff%fe",
    "overlong UTF-8": "EIO=4&transport=%c0%af",
    "broken escapes": "EIO=4&transport=%&%zz=%1",
    "array": "EIO=4&transport[]=polling",
    "object": "EIO=4&transport[__proto__]=polling",
    "semicolons": "EIO=4;transport=polling",
    "long": "EIO=4&transport=" + "x" * LONG,
}


@variants("query", NO_TRANSPORT, floor=True)
def transport(target: Target, query: str) -> None:
    target.refused(target.request("GET", query), 0)
    target.refused(target.request("POST", query, None, b"4x"), 0)


BAD_VERSIONS = {
    "none": "",
    "empty": "EIO=&",
    "3": "EIO=3&",
    "5": "EIO=5&",
    "04": "EIO=04&",
    "4.0": "EIO=4.0&",
    "twice": "EIO=4&EIO=4&",
    "two": "EIO=4&EIO=3&",
    "Arabic digit": "EIO=%D9%A4&",
    "space": "EIO=%204&",
    "4 and NUL": "EIO=4%00&",
    "negative": "EIO=-4&",
    "long": "EIO=" + "4" * LONG + "&",
}


@variants("query", BAD_VERSIONS)
def version(target: Target, query: str) -> None:
    target.refused(target.request("GET", f"{query}transport=polling"), 5)


@variants("query", ["", "x", "-1", "1x", "0x1", "1.5", "%D9%A1", "9" * 21, "9" * LONG, "1&j=1"])
def jsonp_index(target: Target, index: str) -> None:
    target.refused(target.request("GET", f"{OPEN}&j={index}"), 3)


@case("query")
def jsonp_index_that_is_a_script(target: Target) -> None:
    response = target.request("GET", f"{OPEN}&j=1%5D%3Balert(1)%3B%2F%2F")
    target.refused(response, 3)
    assert b"alert" not in response.body


@case("query", floor=True)
def ten_thousand_parameters(target: Target) -> None:
    # Some servers take no line that long.
    query = "&".join(f"{number:x}" for number in range(10_000))
    response = target.answer(wire.request_bytes("GET", target.target(f"{query}&{OPEN}")))
    if response is not None and response.status >= 400:
        target.refused(response)


@case("query")
def eight_hundred_parameters(target: Target) -> None:
    query = "&".join(f"{number:x}=" for number in range(800))
    assert target.request("GET", f"{query}&{OPEN}").status == 200


@variants("query", {"equal": "sid=x", "different": "sid={}"})
def sid_many_times(target: Target, part: str) -> None:
    query = "&".join(part.format(number) for number in range(400))
    target.refused(target.request("GET", f"{OPEN}&{query}"), 1)


@variants("query", {"8 kB": 8_000, "64 kB": 64_000, "1 MB": 1_000_000, "5 MB": 5_000_000})
def huge(target: Target, size: int) -> None:
    data = wire.request_bytes("GET", target.target(f"{OPEN}&x={'x' * size}"))
    response = target.answer(data)
    if response is not None and response.status != 200:
        target.refused(response)


@variants(
    "query",
    {
        "bytes": b"\xff\xfe",
        "UTF-8": "é€".encode(),
        "NUL": b"\0",
        "escape": b"\x1b[2J",
        "delete": b"\x7f",
        "tab": b"\t",
        "quote": b"\"'<>",
    },
    floor=True,
)
def unquoted(target: Target, data: bytes) -> None:
    path = target.endpoint.path.encode()
    head = b"GET %s?transport=%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % (path, data)
    response = target.answer(head)
    if response is not None:
        target.refused(response)


# Sids

SIDS = {
    "one letter": "x",
    "right length": "A" * 20,
    "long": "A" * LONG,
    "path": "../../../../etc/passwd",
    "NUL": "%00",
    "not UTF-8": "%ff%fe",
    "euro": "%E2%82%AC",
    "None": "None",
    "true": "true",
    "zero": "0",
    "attribute": "__class__",
    "format": "%25s%25n{0.__class__}",
    "line ends": "%0d%0aSet-Cookie:%20a=b",
    "escape": "%1b%5b2J",
    "right-to-left": "%E2%80%AE",
    "line separator": "%E2%80%A8",
    "script": "%3Cscript%3E",
    "JSON": "%22%7D",
    "SQL": "'%20or%201=1--",
    "all bytes": "".join(f"%{number:02x}" for number in range(256)),
}


@variants("sid", SIDS)
def unknown(target: Target, sid: str) -> None:
    for method in ("GET", "POST"):
        response = target.request(method, f"{OPEN}&sid={sid}", None, b"4x" * (method == "POST"))
        target.refused(response, 1)
        assert response.body == b'{"code":1,"message":"Session ID unknown"}'


@variants("sid", SIDS, websocket=True)
def unknown_on_a_websocket(target: Target, sid: str) -> None:
    query = f"EIO=4&transport=websocket&sid={sid}"
    refused_websocket(target, query, 1)


@case("sid")
def empty(target: Target) -> None:
    target.refused(target.request("GET", f"{OPEN}&sid="), 1)


@case("sid")
def given_twice(target: Target) -> None:
    session = target.polling()
    target.refused(target.request("GET", f"{OPEN}&sid={session.sid}&sid={session.sid}"), 1)
    target.refused(target.request("GET", f"{OPEN}&sid={session.sid}&sid=x"), 1)
    target.alive(session)


SPELLINGS = {
    "swapped case": str.swapcase,
    "space behind": "{}%20".format,
    "space before": "%20{}".format,
    "NUL behind": "{}%00".format,
    "line feed behind": "{}%0a".format,
    "cut": lambda sid: sid[:-1],
    "doubled": "{0}{0}".format,
    "dot": "{}.".format,
    "quoted": "%22{}%22".format,
    "full width": lambda sid: "".join(f"%EF%BC%{ord(c) + 0x60:02X}" for c in "ABC") + sid[3:],
}


@variants("sid", SPELLINGS)
def spelled_otherwise(target: Target, spell: Callable[[str], str]) -> None:
    session = target.polling()
    target.refused(target.request("GET", f"{OPEN}&sid={spell(session.sid)}"), 1)
    target.alive(session)


@case("sid")
def closed(target: Target) -> None:
    session = target.polling()
    session.send("1")
    for method in ("GET", "POST"):
        target.refused(session.request(method, None, b"4x" * (method == "POST")), 1)


@case("sid", websocket=True)
def closed_on_a_websocket(target: Target) -> None:
    session = target.polling()
    session.send("1")
    refused_websocket(target, websocket_query(session.sid), 1)


@case("sid", limit=2.0)
def before_its_connect_handler_ended(target: Target) -> None:
    token = f"hostile-{time.monotonic_ns()}"
    # Its handler waits for half a second.
    opener = threading.Thread(target=lambda: target.polling(slow="0.5", token=token))
    opener.start()
    try:
        sid = target.server.call("token", token=token, timeout=5)
        for method in ("GET", "POST"):
            body = b"4x" * (method == "POST")
            target.refused(target.request(method, polling_query(sid), None, body), 1)
    finally:
        opener.join()
    assert target.server.messages(sid) == []


@case("sid", websocket=True)
def of_a_websocket(target: Target) -> None:
    websocket = target.websocket()
    for method in ("GET", "POST"):
        body = b"4x" * (method == "POST")
        target.refused(target.request(method, polling_query(websocket.sid), None, body), 3)
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"


@case("sid", websocket=True)
def of_a_websocket_on_a_second_one(target: Target) -> None:
    websocket = target.websocket()
    refused_websocket(target, websocket_query(websocket.sid), 3)
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"


@case("sid")
def as_a_websocket_without_an_upgrade(target: Target) -> None:
    session = target.polling()
    target.refused(target.request("GET", websocket_query(session.sid)), 3)
    target.alive(session)


@case("sid", server="cors_any")
def of_another_server(target: Target) -> None:
    session = target.server.rig.server().polling()
    target.refused(target.request("GET", polling_query(session.sid)), 1)
    target.server.rig.server().assert_alive(session)


@case("sid", limit=2.0)
def guessed_a_hundred_times(target: Target) -> None:
    session = target.polling()
    sid = session.sid
    for number in range(100):
        guess = f"{sid[:15]}{number:05}"
        target.refused(target.request("GET", polling_query(guess)), 1)
    target.alive(session)


# Methods

METHODS = ("PUT", "DELETE", "PATCH", "HEAD", "TRACE", "PROPFIND", "FOO", "get", "X" * 100)


@variants("method", METHODS, floor=True)
def without_a_sid(target: Target, method: str) -> None:
    answer = _answer(target, method, OPEN)
    if answer is not None:
        target.refused(answer)


@variants("method", METHODS)
def with_a_sid(target: Target, method: str) -> None:
    session = target.polling()
    answer = _answer(target, method, f"{OPEN}&sid={session.sid}")
    if answer is not None:
        target.refused(answer)
    target.alive(session)


def _answer(target: Target, method: str, query: str) -> wire.Response | None:
    """Of a server that may not know such a method; HEAD's answer has no body."""
    connection = target.connect()
    connection.send_request(method, target.target(query), {"Connection": "close"})
    try:
        return connection.read_response(method)
    except (EOFError, ConnectionResetError):
        return None
    finally:
        connection.close()


@case("method")
def handshake_by_post(target: Target) -> None:
    target.refused(target.request("POST", OPEN, None, b"4x"), 2)


@case("method", needs=("keep_alive",))
def head_is_answered_without_a_body(target: Target) -> None:
    """Whoever asks next on the connection would take the body for its own answer."""
    connection = target.connect()
    head = wire.request_bytes("HEAD", target.target(OPEN))
    connection.send(head + wire.request_bytes("GET", target.target(OPEN)))
    assert connection.read_response("HEAD").status == 400
    # Some servers end the connection with a bad request.
    if connection.has_input(0.4):
        try:
            assert connection.read_response().status == 200
        except EOFError as error:
            assert "after b''" in str(error), error  # noqa: PT017 - what came before the end


@case("method")
def options_allocates_nothing(target: Target) -> None:
    before = target.server.rig.control("sids")
    assert target.request("OPTIONS", OPEN).status == 200
    assert target.server.rig.control("sids") == before


LINES = {
    "no version": b"GET /%b/\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /%b/?x HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/2 in HTTP/1": b"GET /%b/?x HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/9.9": b"GET /%b/?x HTTP/9.9\r\nHost: a\r\nConnection: close\r\n\r\n",
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": b" /%b/?x HTTP/1.1\r\nHost: a\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "words": b"this is not a request at all\r\n\r\n",
    "tabs": b"GET\t/%b/?x\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "NULs": b"\0" * 20 + b"\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\r\n\r\n" * 2,
    "whole URL": b"GET http://evil.example/%b/?x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "escaped path": b"GET /%%2e%%2e/%b/?x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
}


@variants("method", LINES, floor=True)
def request_line(target: Target, data: bytes) -> None:
    """Whatever comes, comes before the connection ends, which it does when ours has."""
    connection = target.connect()
    name = target.endpoint.path.strip("/").encode()
    connection.send(data.replace(b"%b", name).replace(b"%%", b"%"))
    connection.has_input(0.2)
    try:
        connection.shut_write()
        rest = connection.read_to_eof()
    except OSError:  # a reset
        return
    assert b" 500 " not in rest[:40], rest[:200]


# Headers

HEADERS = {
    "no colon": b"broken\r\n",
    "no name": b": x\r\n",
    "space before the colon": b"A : x\r\n",
    "folded": b"A: x\r\n y\r\n",
    "first line folded": b" A: x\r\n",
    "NUL": b"A: x\0y\r\n",
    "escape": b"A: \x1b[2J\r\n",
    "bare CR": b"A: x\ry\r\n",
    "not ASCII": b"A: \xff\xfe\r\n",
    "name not ASCII": b"\xe9: x\r\n",
    "two hosts": b"Host: b\r\n",
    "bad host": b"Host: \xff\x00]]\r\n",
    "ten thousand": b"A: x\r\n" * 10_000,
    "a megabyte": b"A: " + b"x" * 1_000_000 + b"\r\n",
    "name of 64 kB": b"a" * 65_000 + b": x\r\n",
    "Connection of 8 kB": b"Connection: " + b"close, " * 1000 + b"close\r\n",
    "Upgrade: h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
    "Upgrade: x": b"Connection: Upgrade\r\nUpgrade: " + b"\xff" * 50 + b"\r\n",
    "Expect: x": b"Expect: the Spanish Inquisition\r\n",
    "Accept-Encoding": b"Accept-Encoding: " + b"gzip;q=" * 500 + b"\r\n",
    "quality 1e999": b"Accept-Encoding: gzip;q=1e999, deflate;q=nan, *;q=-1\r\n",
    "forwarded": b"X-Forwarded-For: " + b"1.2.3.4, " * 500 + b"\xff\r\n",
    "forwarded protocol": b"X-Forwarded-Proto: " + b"https, " * 500 + b"javascript\r\n",
    "agent": b"User-Agent: python-requests/" + b"9" * 5000 + b"\r\n",
    "proxy": b"Proxy: http://evil.example\r\n",
    "underscores": b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n",
}


@variants("headers", HEADERS, floor=True)
def header(target: Target, lines: bytes) -> None:
    """A handshake with headers that are wrong, or too much."""
    line = f"GET {target.target(OPEN)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    answer = target.answer(line.encode() + lines + b"\r\n")
    if answer is not None and answer.status not in (101, 200):
        target.refused(answer)


@case("headers", floor=True)
def none_at_all(target: Target) -> None:
    answer = target.answer(f"GET {target.target(OPEN)} HTTP/1.0\r\n\r\n".encode())
    assert answer is not None
    assert answer.status in (200, 400), answer


@case("headers", floor=True, requests=12)
def end_within_the_head(target: Target) -> None:
    head = f"GET {target.target(OPEN)} HTTP/1.1\r\nHost: a\r\nCookie: x".encode()
    for at in range(0, len(head), 7):
        connection = target.connect()
        connection.send(head[:at])
        connection.close()


@case("headers", floor=True, requests=12)
def reset_within_the_head(target: Target) -> None:
    head = f"POST {target.target(OPEN)} HTTP/1.1\r\nHost: a\r\nContent-Length: 10".encode()
    for at in range(0, len(head), 7):
        connection = target.connect()
        connection.send(head[:at])
        connection.reset()


@case("headers", floor=True)
def thirty_connections_that_say_nothing(target: Target) -> Outcome:
    connections = [target.connect() for _ in range(30)]
    start = time.monotonic()
    assert target.request("GET", OPEN).status == 200
    took = time.monotonic() - start
    for connection in connections:
        connection.close()
    return Outcome(took)


@case("headers", floor=True)
def who_does_not_hang_up(target: Target) -> Outcome:
    """A client that keeps a connection which the server has closed holds up nobody."""
    connection = target.connect()
    connection.send_request("GET", target.target(OPEN), {"Connection": "close"})
    assert connection.read_response().status == 200
    began = time.monotonic()
    assert target.request("GET", OPEN).status == 200
    return Outcome(time.monotonic() - began)


# Origins


def _origin(target: Target, form: str) -> str:
    host, port = target.address
    return form.format(host=host, port=port)


ORIGINS = {
    "foreign": FOREIGN,
    "null": "null",
    "empty": "",
    "no scheme": "{host}",
    "other port": "http://{host}:1",
    "other scheme": "https://{host}",
    "file": "file://",
    "extension": "chrome-extension://abcdef",
    "prefix": "http://{host}.evil.example",
    "suffix": "http://evil{host}",
    "user": "http://{host}@evil.example",
    "fragment": "http://evil.example#{host}",
    "path": "http://{host}/",
    "query": "http://{host}?",
    "two": "http://{host}, http://evil.example",
    "two with a space": "http://{host} http://evil.example",
    "trailing dot": "http://{host}.",
    "space inside": "http:// {host}",
    "backslash": "http://{host}\\@evil.example",
    "escaped": "http://%31%32%37.0.0.1",
    "number": "http://2130706433",
    "short": "http://127.1",
    "IPv6": "http://[::ffff:127.0.0.1]",
    "full width": "http://\uff11\uff12\uff17.0.0.1".encode().decode("latin-1"),
    "star": "*",
    "long": "http://" + "a" * LONG,
    "control characters": "http://\x1b[2J",
}


@variants("origin", ORIGINS)
def foreign(target: Target, form: str) -> None:
    headers = {"Origin": _origin(target, form), "Connection": "close"}
    before = target.server.rig.control("sids")
    for method in ("GET", "OPTIONS"):
        data = wire.request_bytes(method, target.target(OPEN), headers)
        response = target.answer(data)
        if response is None or (response.status == 400 and b"code" not in response.body):
            continue  # such a header is refused by the web server
        target.refused(response, 3, BAD_ORIGIN)
        assert response.header("Access-Control-Allow-Origin") is None
    assert target.server.rig.control("sids") == before


@variants("origin", ORIGINS, websocket=True)
def foreign_on_a_websocket(target: Target, form: str) -> None:
    headers = {**websocket_headers(), "Origin": _origin(target, form)}
    before = target.server.rig.control("sids")
    refused_websocket(target, websocket_query(), None, headers=headers)
    assert target.server.rig.control("sids") == before


@case("origin")
def foreign_with_a_sid(target: Target) -> None:
    session = target.polling()
    for method in ("GET", "POST", "PUT"):
        body = None if method == "GET" else b"4x"
        response = session.request(method, {"Origin": FOREIGN}, body)
        target.refused(response, 3, BAD_ORIGIN)
    target.alive(session)
    assert target.server.messages(session.sid) == ["still here"]


@case("origin")
def the_same_in_other_words(target: Target) -> None:
    for origin in ("HTTP://127.0.0.1", "http://127.0.0.1:80"):
        assert target.request("GET", OPEN, {"Origin": origin}).status == 200


@case("origin")
def several_headers(target: Target) -> None:
    lines = f"GET {target.target(OPEN)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    lines += f"Origin: http://127.0.0.1\r\nOrigin: {FOREIGN}\r\n\r\n"
    response = target.answer(lines.encode())
    if response is not None and response.status == 200:
        # The server hands on one of them, and answers for that one.
        assert response.header("Access-Control-Allow-Origin") in (None, "http://127.0.0.1")


@case("origin", server="cors_list")
def almost_in_the_list(target: Target) -> None:
    for origin in ("http://a.example:80", "http://a.example.", "http://A.example", "a.example"):
        target.refused(target.request("GET", OPEN, {"Origin": origin}), 3, BAD_ORIGIN)


@case("origin", server="cors_any")
def reflected_without_being_read(target: Target) -> None:
    """Whatever the origin is, it does not become a second header of the answer."""
    response = target.request("GET", OPEN, {"Origin": "http://a.example\tSet-Cookie: a=b"})
    assert response.header("Set-Cookie") is None
