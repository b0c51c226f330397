"""What a request asks for and what it gets, decided from environs."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engineio.manager import Manager
from engineio.packet import Packet
from engineio.request import (
    BAD_HANDSHAKE_METHOD,
    BAD_ORIGIN,
    BAD_REQUEST,
    UNKNOWN_SID,
    UNKNOWN_TRANSPORT,
    UNSUPPORTED_VERSION,
    Connect,
    Poll,
    Post,
    Preflight,
    Reject,
    Request,
    Upgrade,
    _parse_query,
    content_length,
    origin_allowed,
    own_origins,
    positional_arguments,
    route,
)
from engineio.session import Life, Session
from engineio.settings import Settings

HANDSHAKE = "EIO=4&transport=polling"
WEBSOCKET = {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"}


class Client(Session):
    """A session for the table of sessions."""

    def push(self, pkt: Packet) -> bool:
        with self.lock:
            self.enqueue(pkt)
        return True


@pytest.fixture
def options() -> Settings:
    return Settings()


@pytest.fixture
def table(options: Settings) -> Manager[Client]:
    """Clients in every state; each sid says which."""
    table: Manager[Client] = Manager()

    def add(sid: str) -> Client:
        client = Client(sid, options, nullcontext())
        table.add(client)
        return client

    add("connecting")
    add("polling").open()
    upgrading = add("upgrading")
    upgrading.open()
    upgrading.start_upgrade()
    websocket = add("websocket")
    websocket.open()
    websocket.finish_upgrade()
    closing = add("closing")
    closing.open()
    closing.start_close("ping timeout")
    closed = add("closed")
    closed.life = Life.CLOSED
    leaving = add("leaving")
    leaving.life = Life.CLOSED
    table.leave(leaving)
    table.remove("leaving")
    return table


def environ(query: str = "", method: str = "GET", **more: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": method, "QUERY_STRING": query, "wsgi.url_scheme": "http", **more}


class Ask:
    """Calls `route` and says in short what it decided."""

    def __init__(self, options: Settings, table: Manager[Client]) -> None:
        self.options = options
        self.table = table

    def __call__(self, query: str, method: str = "GET", **more: str) -> Any:
        request = Request.parse(environ(query, method, **more))
        decision = route(request, self.options, self.table)
        if isinstance(decision, Reject):
            return (decision.status, decision.error)
        if isinstance(decision, (Poll, Post, Upgrade)):
            return (type(decision).__name__, decision.session.sid)
        return decision


@pytest.fixture
def ask(options: Settings, table: Manager[Client]) -> Ask:
    return Ask(options, table)


# -- handshakes


def test_handshake(ask: Ask) -> None:
    assert ask("EIO=4&transport=polling") == Connect("polling")
    assert ask("EIO=4&transport=polling&t=abc&x=") == Connect("polling")
    assert ask("EIO=4&transport=websocket", **WEBSOCKET) == Connect("websocket")
    assert ask("EIO=4&transport=websocket", HTTP_UPGRADE="WebSocket") == Connect("websocket")


@pytest.mark.parametrize("sid", ["", "&sid=polling", "&sid=unknown"])
@pytest.mark.parametrize(
    "query",
    [
        "EIO=4",
        "EIO=4&transport=",
        "EIO=4&transport=flash",
        "EIO=4&transport=Polling",
        "EIO=4&transport=polling&transport=polling",
        "EIO=4&transport=polling&transport=websocket",
        "EIO=4&transport=webtransport",
    ],
)
def test_unknown_transport(ask: Ask, query: str, sid: str) -> None:
    assert ask(query + sid) == (400, UNKNOWN_TRANSPORT)


@pytest.mark.parametrize("sid", ["", "&sid=polling"])
def test_transport_that_is_not_offered(ask: Ask, sid: str) -> None:
    ask.options.transports = ["polling"]
    query = "EIO=4&transport=websocket" + sid
    assert ask(query, **WEBSOCKET) == (400, UNKNOWN_TRANSPORT)
    ask.options.transports = ["websocket"]
    assert ask(HANDSHAKE + sid) == (400, UNKNOWN_TRANSPORT)


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "get"])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_handshake_method(ask: Ask, method: str, transport: str) -> None:
    assert ask(f"EIO=4&transport={transport}", method) == (400, BAD_HANDSHAKE_METHOD)


@pytest.mark.parametrize(
    "version", ["", "EIO=", "EIO=3", "EIO=5", "EIO=04", "EIO=4.0", "EIO=%D9%A4", "EIO=4&EIO=4"]
)
def test_version(ask: Ask, version: str) -> None:
    assert ask(f"transport=polling&{version}") == (400, UNSUPPORTED_VERSION)
    assert ask(f"transport=websocket&{version}", **WEBSOCKET) == (400, UNSUPPORTED_VERSION)


def test_version_of_a_session_is_not_looked_at(ask: Ask) -> None:
    assert ask("transport=polling&sid=polling") == ("Poll", "polling")


def test_handshake_with_and_without_an_upgrade(ask: Ask) -> None:
    assert ask("EIO=4&transport=websocket") == (400, BAD_REQUEST)
    assert ask("EIO=4&transport=websocket", HTTP_UPGRADE="h2c") == (400, BAD_REQUEST)
    assert ask("EIO=4&transport=polling", **WEBSOCKET) == (400, BAD_REQUEST)


def test_nginx_says_upgrade_on_every_request(ask: Ask) -> None:
    # proxy_set_header Connection "Upgrade", as its documentation has it, without an Upgrade.
    assert ask(HANDSHAKE, HTTP_CONNECTION="Upgrade") == Connect("polling")
    assert ask(HANDSHAKE + "&sid=polling", HTTP_CONNECTION="Upgrade") == ("Poll", "polling")


# -- sessions


@pytest.mark.parametrize("sid", ["unknown", "connecting", "closing", "closed", "", "%00", "x" * 99])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
def test_unknown_sid(ask: Ask, sid: str, method: str) -> None:
    assert ask(f"{HANDSHAKE}&sid={sid}", method) == (400, UNKNOWN_SID)
    query = f"EIO=4&transport=websocket&sid={sid}"
    assert ask(query, method, **WEBSOCKET) == (400, UNKNOWN_SID)


def test_sid_twice(ask: Ask) -> None:
    assert ask(f"{HANDSHAKE}&sid=polling&sid=polling") == (400, UNKNOWN_SID)


def test_poll_and_post(ask: Ask) -> None:
    assert ask(f"{HANDSHAKE}&sid=polling") == ("Poll", "polling")
    assert ask(f"{HANDSHAKE}&sid=polling", "POST") == ("Post", "polling")
    assert ask(f"{HANDSHAKE}&sid=upgrading") == ("Poll", "upgrading")
    assert ask(f"{HANDSHAKE}&sid=upgrading", "POST") == ("Post", "upgrading")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "PATCH", "get"])
def test_method_of_a_session(ask: Ask, method: str) -> None:
    assert ask(f"{HANDSHAKE}&sid=polling", method) == (405, BAD_REQUEST)


def test_upgrade(ask: Ask) -> None:
    query = "EIO=4&transport=websocket&sid="
    assert ask(query + "polling", **WEBSOCKET) == ("Upgrade", "polling")
    assert ask(query + "polling") == (400, BAD_REQUEST)
    assert ask(query + "polling", "POST", **WEBSOCKET) == (400, BAD_REQUEST)
    assert ask(HANDSHAKE + "&sid=polling", **WEBSOCKET) == (400, BAD_REQUEST)


def test_upgrades_that_are_not_allowed(ask: Ask) -> None:
    ask.options.allow_upgrades = False
    query = "EIO=4&transport=websocket&sid=polling"
    assert ask(query, **WEBSOCKET) == (400, BAD_REQUEST)


def test_requests_after_the_upgrade(ask: Ask) -> None:
    assert ask(f"{HANDSHAKE}&sid=websocket") == (400, BAD_REQUEST)
    assert ask(f"{HANDSHAKE}&sid=websocket", "POST") == (400, BAD_REQUEST)
    query = "EIO=4&transport=websocket&sid=websocket"
    assert ask(query, **WEBSOCKET) == (400, BAD_REQUEST)
    assert ask(query) == (400, BAD_REQUEST)


def test_a_closed_session_may_be_polled_for_its_last_packets(ask: Ask) -> None:
    assert ask(f"{HANDSHAKE}&sid=leaving") == ("Poll", "leaving")
    assert ask(f"{HANDSHAKE}&sid=leaving", "POST") == (400, UNKNOWN_SID)
    query = "EIO=4&transport=websocket&sid=leaving"
    assert ask(query, **WEBSOCKET) == (400, UNKNOWN_SID)


def test_preflight(ask: Ask) -> None:
    assert ask(HANDSHAKE, "OPTIONS") == Preflight()
    assert ask("", "OPTIONS") == Preflight()


def test_the_origin_comes_first(ask: Ask) -> None:
    evil = {"HTTP_ORIGIN": "https://evil.example"}
    for query in ("", HANDSHAKE, HANDSHAKE + "&sid=polling", "transport=websocket"):
        for method in ("GET", "POST", "OPTIONS", "PUT"):
            assert ask(query, method, **evil) == (400, BAD_ORIGIN)
    assert ask("EIO=4&transport=websocket", **WEBSOCKET, **evil) == (400, BAD_ORIGIN)


def test_every_refusal_has_a_log_key(ask: Ask) -> None:
    keys = set()
    for query, method in [
        ("", "GET"),
        (HANDSHAKE, "POST"),
        ("transport=polling", "GET"),
        (HANDSHAKE + "&sid=x", "GET"),
        (HANDSHAKE + "&j=x", "GET"),
        ("EIO=4&transport=websocket", "GET"),
        (HANDSHAKE + "&sid=websocket", "GET"),
    ]:
        decision = route(Request.parse(environ(query, method)), ask.options, ask.table)
        assert isinstance(decision, Reject)
        keys.add(decision.log_key)
    assert keys >= {
        "bad-transport",
        "bad-version",
        "bad-sid",
        "bad-jsonp-index",
        "bad-upgrade",
        "unexpected-http",
    }
    assert len(keys) == 7


# -- parsing


def test_parse() -> None:
    request = Request.parse(environ("EIO=4&transport=polling&sid=a%20b&j=0&b64=1", "POST"))
    assert (request.version, request.transport, request.sid) == ("4", "polling", "a b")
    assert (request.method, request.jsonp_index, request.base64) == ("POST", "0", True)
    assert not request.wants_websocket


def test_parse_nothing() -> None:
    request = Request.parse({"REQUEST_METHOD": "GET"})
    assert (request.version, request.transport, request.sid) == (None, None, None)
    assert request.jsonp_index is None
    assert not request.base64


def test_parse_once() -> None:
    first = Request.parse(environ(HANDSHAKE))
    first.environ["engineio.request"] = first
    assert Request.parse(first.environ) is first


@given(st.text(st.sampled_from("ab=&%+;")) | st.text(st.characters(codec="latin-1")))
def test_a_query_is_read_as_the_standard_library_does(query: str) -> None:
    lists = parse_qs(query, keep_blank_values=True)
    expected = {name: values[0] if len(values) == 1 else "" for name, values in lists.items()}
    parsed = _parse_query(query)
    parsed.pop("", None)  # a part without anything, which it leaves out
    expected.pop("", None)
    assert parsed == expected


@given(st.text(st.characters(codec="latin-1")), st.sampled_from(["GET", "POST", "OPTIONS", "X"]))
def test_any_query(query: str, method: str) -> None:
    route(Request.parse(environ(query, method)), Settings(), Manager[Client]())


@pytest.mark.parametrize(
    ("agent", "limit"),
    [
        (None, None),
        ("", None),
        ("Mozilla/5.0 python-requests/2.31.0", None),
        ("python-requests/2.31.0", 16),
        ("Python/3.11 aiohttp/3.9.1", 16),
        ("node-XMLHttpRequest", None),
    ],
)
def test_packet_limit(agent: str | None, limit: int | None) -> None:
    more = {} if agent is None else {"HTTP_USER_AGENT": agent}
    assert Request.parse(environ(HANDSHAKE, **more)).packet_limit == limit


# -- JSONP


@pytest.mark.parametrize("index", ["0", "12", "9" * 20])
def test_jsonp(ask: Ask, index: str) -> None:
    assert ask(f"{HANDSHAKE}&j={index}") == Connect("polling")
    assert ask(f"{HANDSHAKE}&sid=polling&j={index}", "POST") == ("Post", "polling")


@pytest.mark.parametrize("index", ["", "x", "-1", "+1", "1.0", "%D9%A1", "1%0A", "0]", "1&j=1"])
def test_jsonp_index_that_is_no_number(ask: Ask, index: str) -> None:
    assert ask(f"{HANDSHAKE}&j={index}") == (400, BAD_REQUEST)
    assert ask(f"{HANDSHAKE}&sid=polling&j={index}") == (400, BAD_REQUEST)


@pytest.mark.parametrize(
    ("allowed", "decision"),
    [
        (None, (400, BAD_ORIGIN)),
        ("https://a.example", (400, BAD_ORIGIN)),
        (["https://a.example"], (400, BAD_ORIGIN)),
        (lambda origin: True, (400, BAD_ORIGIN)),
        ("*", Connect("polling")),
        (["https://a.example", "*"], Connect("polling")),
        ([], Connect("polling")),
    ],
)
def test_scripts_of_other_sites(ask: Ask, allowed: Any, decision: Any) -> None:
    # A page of another site may load any URL as a script, with cookies and without an Origin.
    ask.options.cors_allowed_origins = allowed
    cross_site = {"HTTP_SEC_FETCH_SITE": "cross-site"}
    assert ask(HANDSHAKE + "&j=0", **cross_site) == decision
    assert ask(HANDSHAKE, **cross_site) == Connect("polling")
    assert ask(HANDSHAKE + "&j=0", HTTP_SEC_FETCH_SITE="same-origin") == Connect("polling")


def test_scripts_of_an_allowed_origin(ask: Ask) -> None:
    ask.options.cors_allowed_origins = "https://a.example"
    more = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_ORIGIN": "https://a.example"}
    assert ask(HANDSHAKE + "&j=0", **more) == Connect("polling")


# -- Content-Length


@pytest.mark.parametrize(("declared", "length"), [("0", 0), ("5", 5), ("007", 7), ("9" * 19, None)])
def test_content_length(declared: str, length: int | None) -> None:
    expected = int(declared) if length is None else length
    assert content_length({"CONTENT_LENGTH": declared}) == expected


def test_content_length_that_is_not_declared() -> None:
    assert content_length({}) is None
    assert content_length({"HTTP_TRANSFER_ENCODING": "chunked"}) is None
    assert content_length({"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}) is None


@pytest.mark.parametrize(
    "declared",
    [
        "",
        " ",
        "-1",
        "+5",
        "5 ",
        " 5",
        "5,5",
        "5, 5",
        "0x10",
        "1_000",
        "1e3",
        "5.0",
        "٣",
        "²",
        "5\n",
    ],
)
def test_content_length_that_is_none(declared: str) -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        content_length({"CONTENT_LENGTH": declared})


# -- origins


def origin(
    origin: str, host: str | None = "example.com", scheme: str = "http", **more: str
) -> dict[str, Any]:
    headers = {} if host is None else {"HTTP_HOST": host}
    return {"wsgi.url_scheme": scheme, "HTTP_ORIGIN": origin, **headers, **more}


@pytest.mark.parametrize(
    "request_environ",
    [
        origin("http://example.com"),
        origin("http://example.com", "EXAMPLE.com"),
        origin("http://Example.com"),
        origin("http://example.com", "example.com:80"),
        origin("https://example.com", "example.com:443", "https"),
        origin("https://example.com", "example.com", "HTTPS"),
        origin("http://example.com:8080", "example.com:8080"),
        origin("http://example.com:443", "example.com:443"),
        origin("http://[::1]:5000", "[::1]:5000"),
        origin("http://[::1]", "[::1]:80"),
        # Behind a proxy that says so; the first item is what the outermost proxy saw.
        origin("https://example.com", HTTP_X_FORWARDED_PROTO="https"),
        origin("https://example.com", HTTP_X_FORWARDED_PROTO="https, http"),
        origin("https://example.com", HTTP_X_FORWARDED_PROTO="HTTPS"),
        origin("http://a.example", "internal", HTTP_X_FORWARDED_HOST="a.example"),
        origin("http://a.example", "internal", HTTP_X_FORWARDED_HOST="a.example, b.example"),
        origin(
            "https://a.example",
            "internal:8000",
            HTTP_X_FORWARDED_HOST="a.example:443 , b",
            HTTP_X_FORWARDED_PROTO="https,http",
        ),
        # The URL the server itself knows stays good, whatever a proxy says.
        origin("http://example.com", HTTP_X_FORWARDED_HOST="a.example"),
        origin("http://example.com", HTTP_X_FORWARDED_PROTO=""),
    ],
)
def test_same_origin(request_environ: dict[str, Any], options: Settings) -> None:
    assert origin_allowed(request_environ, options)


@pytest.mark.parametrize(
    "request_environ",
    [
        origin("null"),
        origin(""),
        origin("http://example.com", None),
        origin("http://example.com", ""),
        origin("https://example.com"),
        origin("http://example.com", scheme="https"),
        origin("http://example.com:8080"),
        origin("http://example.com", "example.com:443"),
        origin("http://example.com.evil.example"),
        origin("http://evil.example/example.com"),
        origin("http://evilexample.com"),
        origin("http://user@example.com"),
        origin("http://b.example", "internal", HTTP_X_FORWARDED_HOST="a.example, b.example"),
        origin("http://example.com, http://evil.example"),
        origin("http://example.co", "example.co:8080"),
    ],
)
def test_another_origin(request_environ: dict[str, Any], options: Settings) -> None:
    assert not origin_allowed(request_environ, options)


@pytest.mark.parametrize(("forwarded", "page"), [("ws", "http"), ("wss", "https")])
def test_a_proxy_that_names_the_websocket_scheme(
    forwarded: str, page: str, options: Settings
) -> None:
    # Traefik does; an Origin is always that of a page.
    asked = origin(f"{page}://example.com", "example.com", "http", HTTP_X_FORWARDED_PROTO=forwarded)
    assert origin_allowed(asked, options)


def test_own_origins() -> None:
    assert own_origins(origin("http://x", "Example.com:80")) == ["http://example.com"]
    proxied = origin("http://x", "internal:80", HTTP_X_FORWARDED_PROTO="https")
    assert own_origins(proxied) == ["http://internal", "https://internal:80"]
    assert own_origins({}) == []


def test_no_origin_is_no_other_site(options: Settings) -> None:
    for allowed in (None, "https://a.example", ["https://a.example"], [], lambda origin: False):
        options.cors_allowed_origins = allowed
        assert origin_allowed({"HTTP_HOST": "example.com"}, options)


@pytest.mark.parametrize(
    ("allowed", "good", "bad"),
    [
        ("https://a.example", ["https://a.example"], ["https://b.example", "null", "*"]),
        (
            ["https://a.example", "null"],
            ["https://a.example", "null"],
            ["https://b.example", "https://a.example.evil", "http://example.com"],
        ),
        ("*", ["https://a.example", "null"], []),
        (["https://a.example", "*"], ["https://b.example", "null"], []),
        ([], ["https://b.example", "null"], []),
        (lambda origin: origin.endswith(".a.example"), ["https://x.a.example"], ["null"]),
        (
            lambda origin, environ: origin.endswith(environ["HTTP_HOST"]),
            ["https://x.example.com"],
            ["https://a.example"],
        ),
        (lambda origin, environ=None: environ is not None, ["https://a.example"], []),
        (lambda *arguments: len(arguments) == 2, ["https://a.example"], []),
        (lambda origin: None, [], ["https://a.example"]),
    ],
)
def test_allowed_origins(allowed: Any, good: list[str], bad: list[str], options: Settings) -> None:
    options.cors_allowed_origins = allowed
    for each in good:
        assert origin_allowed(origin(each), options)
    for each in bad:
        assert not origin_allowed(origin(each), options)


def test_a_type_error_in_the_function_is_its_own(options: Settings) -> None:
    calls = []

    def allowed(origin: str, environ: Any) -> bool:
        calls.append(origin)
        raise TypeError("a bug in here")

    options.cors_allowed_origins = allowed
    with pytest.raises(TypeError, match="a bug in here"):
        origin_allowed(origin("https://a.example"), options)
    assert calls == ["https://a.example"]


class Methods:
    def one(self, first: Any) -> None: ...

    @staticmethod
    def two(first: Any, second: Any = None) -> None: ...

    def __call__(self, first: Any, second: Any, /, third: Any) -> None: ...


def any_number(*arguments: Any) -> None: ...


def keywords(first: Any, *, second: Any = None, **more: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: None, 0),
        (Methods().one, 1),
        (Methods.two, 2),
        (Methods(), 3),
        (keywords, 1),
        (any_number, 99),
        (dict.fromkeys, 2),
        (type, 99),
    ],
)
def test_positional_arguments(function: Callable[..., Any], expected: int) -> None:
    assert positional_arguments(function) == expected
