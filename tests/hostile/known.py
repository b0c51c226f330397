"""What web servers do wrong by themselves, and why it is not ours to mend.

Each entry must stay true: `make hostile` fails when none of its cases fails that way any more.
"""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from hostile.harness import CRASH, HANG, LEAK, LOG, WRONG, Result


class Known(NamedTuple):
    """One failure that is a server's own."""

    rigs: tuple[str, ...]
    cases: str  # a pattern for names of cases, as of files
    kind: str
    note: str  # a regular expression that is found in what the harness says
    why: str

    def covers(self, rig: str, result: Result) -> bool:
        """Whether a result of a rig is this failure."""
        return (
            rig in self.rigs
            and result.kind == self.kind
            and fnmatchcase(result.case, self.cases)
            and re.search(self.note, result.note) is not None
        )


PYWSGI = ("gevent", "gunicorn-gevent_pywsgi", "gunicorn-geventwebsocket", "gevent-websocket")

UWSGI = ("gevent_uwsgi", "gevent_uwsgi-http", "uwsgi-source")
GEVENT_WEBSOCKET = ("gevent-websocket", "gunicorn-geventwebsocket")
OLD_GUNICORNS = ("gunicorn-25-eventlet", "gunicorn-25-our-eventlet", "gunicorn-25-gthread")
GUNICORNS = ("gunicorn-gthread", "gunicorn-gevent", "gunicorn-eventlet", *OLD_GUNICORNS)
DEVELOPMENT = ("wsgiref", "django")
UVICORN = ("uvicorn", "sanic-asgi")
WSPROTO = ("uvicorn-wsproto", "hypercorn")
EVENTLET = ("eventlet",)

KNOWN: tuple[Known, ...] = (
    Known(
        (*DEVELOPMENT, "cheroot"),
        "*",
        HANG,
        "took|timed out",
        "five connections may wait to be accepted; whoever comes then tries again after a second",
    ),
    Known(
        DEVELOPMENT,
        "polls.*",
        LOG,
        "socketserver|django",
        "a client that resets its connection is a traceback in its log",
    ),
    Known(
        ("cheroot",),
        "websocket handshakes.refused: two *",
        WRONG,
        "status=101",
        "of two headers with one name it passes on one",
    ),
    Known(
        ("wsgiref", "cheroot"),
        "*",
        WRONG,
        r"AssertionError: ($|\['4still)",
        "what a client that has gone had asked for is answered later than the next client's",
    ),
    Known(
        ("sanic-asgi",),
        "websocket frames.close never answered",
        WRONG,
        "still reads",
        "under Sanic uvicorn waits ten seconds for the answer to a close frame",
    ),
    Known(
        WSPROTO,
        "websocket handshakes.refused: *",
        WRONG,
        "status=101",
        "wsproto takes any key, and hypercorn other protocols than WebSocket",
    ),
    Known(
        ("hypercorn",),
        "method.*",
        WRONG,
        "status=200",
        "the method get is as good as GET",
    ),
    Known(
        ("hypercorn",),
        "method.*",
        HANG,
        "took|timed out",
        "a poll with the method get is no poll to it; the begin of HTTP/2 waits for the rest",
    ),
    Known(
        ("hypercorn",),
        "*",
        LOG,
        r"h2c|hypercorn/asyncio|client_connected_cb|POST /engine\.io",
        "HTTP/2 without TLS, and peers that leave while it writes, are tracebacks in its log",
    ),
    Known(
        ("hypercorn",),
        "websocket *",
        LEAK,
        "tasks",
        "it does not tell that a client has gone whose handshake had a body, or who does not read",
    ),
    Known(
        ("hypercorn",),
        "websocket handshakes.frames before the answer",
        WRONG,
        "JSONDecodeError",
        "what comes before the answer to a handshake is lost",
    ),
    Known(
        ("hypercorn",),
        "websocket floods.*",
        WRONG,
        "no .'disconnect'",
        "with many messages behind a close it does not see the end of the connection",
    ),
    Known(
        ("hypercorn",),
        "upgrades.everything in one segment",
        WRONG,
        "AssertionError",
        "what comes in one segment with a handshake is lost",
    ),
    Known(
        ("gunicorn-asgi",),
        "websocket floods.*",
        HANG,
        "took",
        "it takes pings one by one, through three layers each",
    ),
    Known(
        UWSGI[1:],
        "compression.bombs below the limit: handled at once",
        HANG,
        "timed out",
        "through the router the answers do not come in time; without it they do",
    ),
    Known(
        ("threading", "wsgiref", "django", *EVENTLET, *PYWSGI),
        "polls.*",
        WRONG,
        "status=400",
        "a head that breaks off counts as whole, so the poll in it is aborted",
    ),
    Known(
        UWSGI,
        "polls.*",
        LOG,
        r"uwsgi_response_write|uwsgi-body-read",
        "a line or two for each client that leaves too early",
    ),
    Known(
        ("sanic",),
        "*",
        LOG,
        "body not consumed",
        "two lines for a request with a body that nobody asked for",
    ),
    Known(
        UVICORN,
        "*",
        LOG,
        r"websockets_sansio_impl\.py",
        "text that is not UTF-8 is a traceback in its log",
    ),
    Known(
        UVICORN,
        "websocket handshakes.*",
        HANG,
        "timed out",
        "a WebSocket handshake with a body, or with a head of 400 KB, has no answer",
    ),
    Known(
        ("hypercorn",),
        "polls.pipelined and aborted",
        LOG,
        r"socket\.send\(\) raised",
        "a line for each answer to requests of a client that has gone",
    ),
    Known(
        ("granian-asgi",),
        "websocket handshakes.*",
        WRONG,
        "status=101",
        "it accepts WebSocket handshakes with any method and key",
    ),
    Known(
        ("gevent_uwsgi",),
        "log.in the method: line feed",
        WRONG,
        "not a status line",
        "it answers with what the request has as its version, a line of the request's making",
    ),
    Known(
        ("sanic",),
        "*",
        LOG,
        "sanic/request/types",
        "a URL that sanic cannot parse is a traceback in its log",
    ),
    Known(
        ("sanic",),
        "log.in the method: *",
        CRASH,
        "status=500",
        "sanic answers 500 to a method that is not UTF-8",
    ),
    Known(
        ("gunicorn-gthread",),
        "*",
        HANG,
        "took|timed out",
        "it waits 2 s for a client to close a connection, and serves nobody new meanwhile",
    ),
    Known(
        UWSGI[1:],
        "*",
        LOG,
        "uwsgi-http key",
        "the router writes a line for each connection that is reset",
    ),
    Known(
        UWSGI[1:],
        "log.in the origin: carriage return",
        WRONG,
        "status=200",
        "the router does not hand on a header with a bare carriage return",
    ),
    Known(
        UWSGI[1:],
        "websocket floods.echoes never read",
        WRONG,
        "no .'disconnect'",
        "the router goes on reading for a client that does not",
    ),
    Known(
        ("granian-asgi",),
        "*flood*: pings",
        WRONG,
        "MB more",
        "it keeps answers to pings for a client that does not read, as many as come",
    ),
    Known(
        ("waitress",),
        "polls.a hundred halves of requests",
        HANG,
        "timed out",
        "it has at most 100 connections, until they have been silent for two minutes",
    ),
    Known(
        ("gunicorn-25-gthread",),
        "polls.*",
        WRONG,
        "EOFError",
        "a request that comes with the one before it is lost",
    ),
    Known(
        ("granian",),
        "chunks.broken: *",
        WRONG,
        r"\['",
        "a chunked body that breaks off looks whole to a WSGI application",
    ),
    Known(
        GEVENT_WEBSOCKET,
        "websocket handshakes.*",
        WRONG,
        "",
        "gevent-websocket answers the handshake itself: 101, or the end of the connection",
    ),
    Known(
        GEVENT_WEBSOCKET,
        "upgrades.*",
        WRONG,
        "101|Bad request|second WebSocket|an upgrade of",
        "the 101 has left before anybody is asked; a close frame refuses then",
    ),
    Known(
        GEVENT_WEBSOCKET,
        "compression.*",
        WRONG,
        "1002|transport error",
        "no compression is negotiated, so compressed frames are violations",
    ),
    Known(
        ("gunicorn-asgi",),
        "*",
        WRONG,
        "status=403",
        "a WebSocket that is refused gets a 403, whatever the application says",
    ),
    Known(
        ("daphne",),
        "websocket *",
        WRONG,
        "AssertionError: 1000",
        "it refuses to send close codes below 3000, but for 1000",
    ),
    Known(
        ("daphne",),
        "upgrades.a second upgrade",
        WRONG,
        "AssertionError: 1000",
        "it refuses to send close codes below 3000, but for 1000",
    ),
    Known(
        ("daphne",),
        "websocket handshakes.*",
        WRONG,
        "status=101|ConnectionResetError",
        "it accepts older versions of WebSocket, and resets a handshake with a body",
    ),
    Known(
        ("daphne",),
        "websocket floods.*",
        WRONG,
        "no .'disconnect'|MB more",
        "it has no bound for what a client does not read, nor for what no handler has taken yet",
    ),
    Known(
        ("daphne",),
        "websocket frames.empty binary messages",
        HANG,
        "timed out",
        "it never sends an empty binary message",
    ),
    Known(
        ("daphne",),
        "length.*",
        HANG,
        "timed out",
        "it takes any number for a Content-Length, and waits for the body before it asks anybody",
    ),
    Known(
        ("daphne",),
        "origin.foreign on a websocket: other scheme",
        WRONG,
        "was opened",
        "it does not say whether a WebSocket came over TLS, so http and https count as one",
    ),
    Known(
        ("django",),
        "*",
        LOG,
        r"django\.server|django/core/servers",
        "runserver writes each refused request into its log as it is, control characters included, "
        "and a traceback for a body that is too long to be read",
    ),
    Known(
        GUNICORNS,
        "log.in the method: a thousand of them",
        LOG,
        "characters",
        "the whole of a request line that it cannot read is in its log, escaped",
    ),
    Known(
        ("threading", "wsgiref", "django", "cheroot", *EVENTLET, *PYWSGI),
        "length.two headers that differ",
        WRONG,
        "status=200",
        "of two Content-Length headers it takes one, as if a proxy could not have taken the other",
    ),
    Known(
        EVENTLET,
        "chunks.broken: longer than said",
        WRONG,
        "",
        "it takes what follows a chunk for the line end that belongs there, without a look",
    ),
    Known(
        ("aiohttp",),
        "*",
        LOG,
        r"aiohttp/web_protocol\.py",
        "a request that aiohttp cannot parse is a traceback in its log",
    ),
    Known(
        PYWSGI,
        "*",
        LOG,
        r"gevent/pywsgi\.py|Invalid HTTP",
        "a client that leaves within a request, and too many headers, are a traceback in its log",
    ),
    Known(
        PYWSGI,
        "log.in the content length: a thousand of them",
        LOG,
        "characters",
        "the whole of a header that it cannot read is in its log, escaped",
    ),
)


def known(rig: str, result: Result) -> Known | None:
    """The entry that covers a failure."""
    return next((each for each in KNOWN if each.covers(rig, result)), None)


def outdated(rig: str, played: Iterable[Result]) -> list[str]:
    """Entries of which nothing is left, although their cases were played."""
    results = list(played)
    found = []
    for each in KNOWN:
        if rig not in each.rigs or not any(fnmatchcase(r.case, each.cases) for r in results):
            continue
        if not any(each.covers(rig, result) for result in results):
            found.append(f"{each.cases} ({each.why}) does not fail on {rig} any more")
    return found
