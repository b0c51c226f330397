"""Status, headers and body of every answer."""

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engineio import response
from engineio.response import choose_encoding, cookie_header, cors_headers, finish
from engineio.settings import Settings

BIG = b"x" * 2000


@pytest.fixture
def options() -> Settings:
    return Settings()


def environ(method: str = "GET", **more: str) -> dict[str, Any]:
    same_site = {"HTTP_HOST": "example.com", "wsgi.url_scheme": "http"}
    return {"REQUEST_METHOD": method, **same_site, **more}


def fields(answer: response.Response) -> dict[str, str]:
    """The headers as a dict; none is there twice."""
    found = dict(answer["headers"])
    assert len(found) == len(answer["headers"])
    return found


# -- bodies


def test_text() -> None:
    assert response.text("ok") == {
        "status": "200 OK",
        "headers": [("Content-Type", "text/plain; charset=UTF-8")],
        "response": b"ok",
    }
    answer = response.text("é", "text/x", [("A", "b")])
    assert answer["response"] == b"\xc3\xa9"
    assert answer["headers"] == [("Content-Type", "text/x"), ("A", "b")]
    assert response.text(b"\x00")["response"] == b"\x00"


def test_error_is_byte_exact() -> None:
    assert response.error(400, 1, "Session ID unknown") == {
        "status": "400 BAD REQUEST",
        "headers": [("Content-Type", "application/json")],
        "response": b'{"code":1,"message":"Session ID unknown"}',
    }
    answer = response.error(405, 3, "Method not found")
    assert answer["status"] == "405 METHOD NOT FOUND"


def test_empty() -> None:
    assert response.empty(413) == {
        "status": "413 Content Too Large",
        "headers": [],
        "response": b"",
    }


@pytest.mark.parametrize(
    ("reason", "body"),
    [
        (None, b'"Unauthorized"'),
        (False, b'"Unauthorized"'),
        ("", b'"Unauthorized"'),
        ("go away", b'"go away"'),
        ({"why": [1, None]}, b'{"why": [1, null]}'),
        (5, b"5"),
    ],
)
def test_unauthorized(reason: Any, body: bytes) -> None:
    answer = response.unauthorized(reason)
    assert answer["status"] == "401 UNAUTHORIZED"
    assert answer["headers"] == [("Content-Type", "application/json")]
    assert answer["response"] == body


# -- finishing


def test_finish(options: Settings) -> None:
    answer = finish(response.text("ok"), environ(), options)
    assert answer["status"] == "200 OK"
    assert answer["response"] == b"ok"
    assert fields(answer) == {
        "Content-Type": "text/plain; charset=UTF-8",
        "Cache-Control": "no-store",
        "Vary": "Origin",
        "Access-Control-Allow-Credentials": "true",
        "Content-Length": "2",
    }


def test_finish_leaves_the_body_out_for_head(options: Settings) -> None:
    answer = finish(response.text("hello"), environ("HEAD"), options)
    assert answer["response"] == b""
    assert fields(answer)["Content-Length"] == "5"


def test_finish_leaves_the_first_answer_alone(options: Settings) -> None:
    answer = response.text(BIG)
    finish(answer, environ(HTTP_ACCEPT_ENCODING="gzip"), options)
    assert answer == response.text(BIG)


@pytest.mark.parametrize(
    ("encoding", "decode"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
def test_compression(options: Settings, encoding: str, decode: Any) -> None:
    answer = finish(response.text(BIG), environ(HTTP_ACCEPT_ENCODING=encoding), options)
    assert decode(answer["response"]) == BIG
    found = fields(answer)
    assert found["Content-Encoding"] == encoding
    assert found["Content-Length"] == str(len(answer["response"]))
    assert found["Vary"] == "Accept-Encoding, Origin"


def test_compression_is_the_same_every_time(options: Settings) -> None:
    first = finish(response.text(BIG), environ(HTTP_ACCEPT_ENCODING="gzip"), options)
    assert first["response"][4:8] == bytes(4)  # no time of day in it


def test_compression_begins_at_the_threshold(options: Settings) -> None:
    accepts = environ(HTTP_ACCEPT_ENCODING="gzip")
    options.compression_threshold = 100
    below = fields(finish(response.text("x" * 99), accepts, options))
    assert "Content-Encoding" not in below
    assert below["Vary"] == "Origin"
    assert "Content-Encoding" in fields(finish(response.text("x" * 100), accepts, options))
    options.http_compression = False
    off = fields(finish(response.text("x" * 100), accepts, options))
    assert "Content-Encoding" not in off
    assert off["Vary"] == "Origin"


def test_an_uncompressed_answer_varies_too(options: Settings) -> None:
    # A cache must not hand it to a client that would get it compressed, nor the other way round.
    found = fields(finish(response.text(BIG), environ(), options))
    assert "Content-Encoding" not in found
    assert found["Vary"] == "Accept-Encoding, Origin"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("br", None),
        ("br, gzip", "gzip"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0", None),
        ("gzip;q=0, *", "deflate"),
        ("gzip;q=0.0, deflate;q=0.1", "deflate"),
        ("gzip;q=0.5, deflate;q=0.9", "deflate"),
        ("gzip ; q=0.5 , deflate ; Q=0.9", "deflate"),
        ("deflate;q=0.5, *;q=0.6", "gzip"),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0", None),
        ("gzip;q=2", None),
        ("gzip;q=-1", None),
        ("gzip;q=nan", None),
        ("gzip;q=inf", None),
        ("gzip;q=", None),
        ("gzip;q=x, deflate", "deflate"),
        (",,;q=1,", None),
    ],
)
def test_choose_encoding(accepted: str, encoding: str | None) -> None:
    assert choose_encoding(accepted) == encoding


@given(st.text(st.characters(codec="latin-1")))
def test_choose_encoding_of_anything(accepted: str) -> None:
    assert choose_encoding(accepted) in ("gzip", "deflate", None)


# -- CORS


ORIGIN = "https://a.example"


def test_cors_of_an_allowed_origin(options: Settings) -> None:
    options.cors_allowed_origins = ORIGIN
    assert cors_headers(environ(HTTP_ORIGIN=ORIGIN), options) == [
        ("Access-Control-Allow-Origin", ORIGIN),
        ("Access-Control-Allow-Credentials", "true"),
    ]


def test_cors_echoes_the_origin_for_everybody_too(options: Settings) -> None:
    # "*" would not go together with credentials.
    options.cors_allowed_origins = "*"
    assert ("Access-Control-Allow-Origin", ORIGIN) in cors_headers(
        environ(HTTP_ORIGIN=ORIGIN), options
    )


def test_cors_of_another_origin(options: Settings) -> None:
    names = [name for name, _ in cors_headers(environ(HTTP_ORIGIN=ORIGIN), options)]
    assert "Access-Control-Allow-Origin" not in names


def test_cors_without_credentials(options: Settings) -> None:
    options.cors_credentials = False
    assert cors_headers(environ(), options) == []


def test_cors_preflight(options: Settings) -> None:
    options.cors_allowed_origins = ORIGIN
    asked = environ("OPTIONS", HTTP_ORIGIN=ORIGIN, HTTP_ACCESS_CONTROL_REQUEST_HEADERS="X-A, X-B")
    assert cors_headers(asked, options) == [
        ("Access-Control-Allow-Origin", ORIGIN),
        ("Access-Control-Allow-Methods", "OPTIONS, GET, POST"),
        ("Access-Control-Allow-Headers", "X-A, X-B"),
        ("Access-Control-Allow-Credentials", "true"),
    ]


def test_cors_does_not_echo_control_characters(options: Settings) -> None:
    asked = environ("OPTIONS", HTTP_ACCESS_CONTROL_REQUEST_HEADERS="X-A\r\nSet-Cookie: a=b")
    names = [name for name, _ in cors_headers(asked, options)]
    assert "Access-Control-Allow-Headers" not in names


def test_no_cors(options: Settings) -> None:
    options.cors_allowed_origins = []
    asked = environ("OPTIONS", HTTP_ORIGIN=ORIGIN, HTTP_ACCESS_CONTROL_REQUEST_HEADERS="X-A")
    assert cors_headers(asked, options) == []
    found = fields(finish(response.text("ok"), asked, options))
    assert "Vary" not in found
    found = fields(finish(response.text(BIG), asked, options))
    assert found["Vary"] == "Accept-Encoding"


# -- cookies


def test_cookie() -> None:
    assert cookie_header("abc", "io") == "io=abc; path=/; SameSite=Lax"


def test_cookie_with_attributes() -> None:
    cookie = {
        "name": "io",
        "path": "/chat",
        "Secure": True,
        "HttpOnly": False,
        "Domain": None,
        "Max-Age": 60,
        "Expires": lambda: "Thu, 01 Jan 2026",
        "Partitioned": lambda: True,
        "Priority": lambda: None,
    }
    assert cookie_header("abc", cookie) == (
        "io=abc; path=/chat; Secure; Max-Age=60; Expires=Thu, 01 Jan 2026; Partitioned"
    )
