"""Status, headers and body of every HTTP answer: CORS, cookies, caching, compression.

A response is a plain dictionary, as python-engineio's `_ok()` and its relatives return it and as
other packages read it.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from engineio.request import Environ, origin_allowed
from engineio.settings import Settings

Headers = list[tuple[str, str]]

# Where python-engineio had a spelling of its own it stays, since extensions compare it.
STATUS_LINES = {
    200: "200 OK",
    400: "400 BAD REQUEST",
    401: "401 UNAUTHORIZED",
    405: "405 METHOD NOT FOUND",
    408: "408 Request Timeout",
    413: "413 Content Too Large",
    429: "429 Too Many Requests",
    503: "503 Service Unavailable",
}

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"
JAVASCRIPT = "text/javascript; charset=UTF-8"

# Below level 6 the messages of a poll grow noticeably, above it only the time does (zlib manual).
_COMPRESSION_LEVEL = 6


class Response(TypedDict):
    """One answer: status line, headers, body."""

    status: str
    headers: Headers
    response: bytes


def text(body: str | bytes, content_type: str = TEXT, headers: Headers | None = None) -> Response:
    """Return a 200."""
    body = body.encode() if isinstance(body, str) else body
    return {
        "status": STATUS_LINES[200],
        "headers": [("Content-Type", content_type), *(headers or [])],
        "response": body,
    }


def error(status: int, code: int, message: str) -> Response:
    """Return an error as the JavaScript server words it."""
    body = json.dumps({"code": code, "message": message}, separators=(",", ":"))
    return {
        "status": STATUS_LINES[status],
        "headers": [("Content-Type", JSON)],
        "response": body.encode(),
    }


def empty(status: int, headers: Headers | None = None) -> Response:
    """Return an answer that says everything with its status."""
    return {"status": STATUS_LINES[status], "headers": headers or [], "response": b""}


def unauthorized(reason: Any) -> Response:
    """Return the 401 of a connect handler that rejected the client with `reason`."""
    body = json.dumps(reason or "Unauthorized", default=str)
    return {
        "status": STATUS_LINES[401],
        "headers": [("Content-Type", JSON)],
        "response": body.encode(),
    }


def finish(response: Response, environ: Environ, settings: Settings) -> Response:
    """Complete a response for a request: caching, CORS, compression, length."""
    body = response["response"]
    headers: Headers = [*response["headers"], ("Cache-Control", "no-store")]
    vary: list[str] = []
    if len(body) >= settings.compression_threshold and settings.http_compression:
        vary.append("Accept-Encoding")
        encoding = choose_encoding(environ.get("HTTP_ACCEPT_ENCODING", ""))
        if encoding is not None:
            body = _COMPRESS[encoding](body)
            headers.append(("Content-Encoding", encoding))
    cors = cors_headers(environ, settings)
    if settings.cors_allowed_origins != []:
        vary.append("Origin")
    if vary:
        headers.append(("Vary", ", ".join(vary)))
    headers += cors
    headers.append(("Content-Length", str(len(body))))
    if environ.get("REQUEST_METHOD") == "HEAD":
        body = b""  # gevent.pywsgi would send it: the start of the next response to the client
    return {"status": response["status"], "headers": headers, "response": body}


# -- CORS --------------------------------------------------------------------------------------


def cors_headers(environ: Environ, settings: Settings) -> Headers:
    """Return the CORS headers of an answer; none with `cors_allowed_origins=[]`."""
    if settings.cors_allowed_origins == []:
        return []
    headers: Headers = []
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin_allowed(environ, settings):
        headers.append(("Access-Control-Allow-Origin", origin))
    if environ["REQUEST_METHOD"] == "OPTIONS":
        headers.append(("Access-Control-Allow-Methods", "OPTIONS, GET, POST"))
    if (wanted := environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS")) and wanted.isprintable():
        headers.append(("Access-Control-Allow-Headers", wanted))
    if settings.cors_credentials:
        headers.append(("Access-Control-Allow-Credentials", "true"))
    return headers


# -- cookies -----------------------------------------------------------------------------------


def cookie_header(sid: str, cookie: str | Mapping[str, Any]) -> str:
    """Return the value of the Set-Cookie header that carries a sid."""
    if isinstance(cookie, str):
        return f"{cookie}={sid}; path=/; SameSite=Lax"
    parts = [f"{cookie['name']}={sid}"]
    for attribute, value in cookie.items():
        if attribute == "name":
            continue
        given = value() if callable(value) else value
        if given is True:
            parts.append(attribute)
        elif given is not False and given is not None:
            parts.append(f"{attribute}={given}")
    return "; ".join(parts)


# -- compression -------------------------------------------------------------------------------


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, _COMPRESSION_LEVEL, mtime=0)


def _deflate(body: bytes) -> bytes:
    # What HTTP calls deflate is the zlib format (RFC 9110, 8.4.1.2).
    return zlib.compress(body, _COMPRESSION_LEVEL)


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": _gzip, "deflate": _deflate}


def choose_encoding(accepted: str) -> str | None:
    """Choose a content coding by an Accept-Encoding header (RFC 9110, 12.5.3), or None."""
    weights: dict[str, float] = {}
    for item in accepted.split(","):
        coding, _, parameters = item.partition(";")
        coding = coding.strip().lower()
        if coding == "x-gzip":
            coding = "gzip"
        if coding:
            weights[coding] = _weight(parameters)
    rest = weights.get("*", 0.0)
    best, best_weight = None, 0.0
    for coding in _COMPRESS:  # in order of preference
        weight = weights.get(coding, rest)
        if weight > best_weight:
            best, best_weight = coding, weight
    if weights.get("identity", 0.0) > best_weight:
        return None
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
