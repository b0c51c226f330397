"""What a request asks for: a WSGI environ in, one decision out.

`route` refuses everything protocol.md's table of bad requests lists that can be seen before a
body is read. It changes nothing and waits for nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from inspect import Parameter, signature
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import parse_qs

from engineio.session import Session
from engineio.settings import POLLING, VALID_TRANSPORTS, WEBSOCKET, Settings

Environ = dict[str, Any]

# Where a request keeps what was read off it, until it is answered.
REQUEST_KEY = "engineio.request"

# The error codes of the JavaScript server; its messages are fixed texts, and so are ours.
UNKNOWN_TRANSPORT = (0, "Transport unknown")
UNKNOWN_SID = (1, "Session ID unknown")
BAD_HANDSHAKE_METHOD = (2, "Bad handshake method")
BAD_REQUEST = (3, "Bad request")
BAD_ORIGIN = (3, "Not an accepted origin")
UNSUPPORTED_VERSION = (5, "Unsupported protocol version")
TOO_MANY_CLIENTS = (3, "Too many clients")
TOO_MANY_REQUESTS = (3, "Too many requests")

_DIGITS = re.compile(r"[0-9]{1,19}")
_JSONP_INDEX = re.compile(r"[0-9]{1,20}")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
# Traefik forwards a WebSocket's own scheme; an Origin has that of the page.
PAGE_SCHEMES = {"ws": "http", "wss": "https"}

# python-engineio's own clients up to 4.15 refuse a poll response of more packets than this. They
# send the User-Agent of the library underneath.
LEGACY_CLIENT_PACKETS = 16
_LEGACY_CLIENT = re.compile(r"python-requests/|Python/\S+ aiohttp/")


@dataclass(slots=True)
class Request:
    """The parts of a request that Engine.IO looks at."""

    environ: Environ
    method: str
    transport: str | None
    sid: str | None
    version: str | None
    jsonp_index: str | None
    base64: bool
    wants_websocket: bool
    connection: Any = None
    """What the driver knows of the connection it came over, once the server has looked."""
    handshake: Any = None
    """How the driver will answer a WebSocket handshake, once it has checked it."""

    @classmethod
    def parse(cls, environ: Environ) -> "Request":
        """Read a WSGI environ, once."""
        known = environ.get(REQUEST_KEY)
        if isinstance(known, Request):
            return known
        query = _parse_query(environ.get("QUERY_STRING", "")).get
        return cls(
            environ,
            method=environ["REQUEST_METHOD"],
            transport=query("transport"),
            sid=query("sid"),
            version=query("EIO"),
            jsonp_index=query("j"),
            base64=query("b64", "") not in ("", "0", "false"),
            wants_websocket="websocket" in environ.get("HTTP_UPGRADE", "").lower(),
        )

    @property
    def packet_limit(self) -> int | None:
        """The most packets this client takes in one poll response, or None."""
        agent = self.environ.get("HTTP_USER_AGENT")
        if agent and _LEGACY_CLIENT.match(agent):
            return LEGACY_CLIENT_PACKETS
        return None


def _parse_query(query: str) -> dict[str, str]:
    """Return the parameters of a query string; the short way if nothing in it is quoted.

    One that is given twice is as good as a wrong one, "": which would have been meant?
    """
    if "%" in query or "+" in query:
        lists = parse_qs(query, keep_blank_values=True)
        return {name: values[0] if len(values) == 1 else "" for name, values in lists.items()}
    parameters: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        parameters[name] = "" if name in parameters else value
    return parameters


AnySession = TypeVar("AnySession", bound=Session)
SomeSession = TypeVar("SomeSession", bound=Session, covariant=True)


class Sessions(Protocol[SomeSession]):
    """Where `route` looks sessions up: the manager."""

    def get(self, sid: str) -> SomeSession | None:
        """Return the session of a sid, in whatever state, or None."""

    def leaving(self, sid: str) -> SomeSession | None:
        """Return a closed session that still has something for its client to fetch, or None."""


@dataclass(frozen=True)
class Connect:
    """A handshake over `transport`."""

    transport: str


@dataclass(frozen=True)
class Poll(Generic[AnySession]):
    """A GET that fetches packets."""

    session: AnySession


@dataclass(frozen=True)
class Post(Generic[AnySession]):
    """A POST that brings packets."""

    session: AnySession


@dataclass(frozen=True)
class Upgrade(Generic[AnySession]):
    """A WebSocket for a session that polls."""

    session: AnySession


@dataclass(frozen=True)
class Preflight:
    """An OPTIONS request: nothing but CORS headers is wanted."""


@dataclass(frozen=True)
class Reject:
    """A refusal, with the key under which it is logged in full once."""

    status: int
    error: tuple[int, str]
    log_key: str


Decision = Connect | Poll[AnySession] | Post[AnySession] | Upgrade[AnySession] | Preflight | Reject


def route(
    request: Request, settings: Settings, sessions: Sessions[AnySession]
) -> Decision[AnySession]:
    """Decide what a request gets."""
    if not origin_allowed(request.environ, settings):
        return Reject(400, BAD_ORIGIN, "bad-origin")
    if request.method == "OPTIONS":
        return Preflight()
    if request.transport not in VALID_TRANSPORTS or request.transport not in settings.transports:
        return Reject(400, UNKNOWN_TRANSPORT, "bad-transport")
    if request.jsonp_index is not None:
        if not _JSONP_INDEX.fullmatch(request.jsonp_index):
            return Reject(400, BAD_REQUEST, "bad-jsonp-index")
        if _is_cross_site_script(request, settings):
            return Reject(400, BAD_ORIGIN, "bad-origin")
    if request.sid is None:
        return _route_handshake(request, request.transport)
    return _route_session(request, request.transport, request.sid, settings, sessions)


def _route_handshake(request: Request, transport: str) -> Connect | Reject:
    if request.method != "GET":
        return Reject(400, BAD_HANDSHAKE_METHOD, "bad-handshake-method")
    if request.version != "4":
        return Reject(400, UNSUPPORTED_VERSION, "bad-version")
    if (transport == WEBSOCKET) != request.wants_websocket:
        return Reject(400, BAD_REQUEST, "bad-upgrade")
    return Connect(transport)


def _route_session(
    request: Request,
    transport: str,
    sid: str,
    settings: Settings,
    sessions: Sessions[AnySession],
) -> Poll[AnySession] | Post[AnySession] | Upgrade[AnySession] | Reject:
    session = sessions.get(sid)
    if session is None or not session.connected:
        if session is None or not session.says_goodbye:
            session = sessions.leaving(sid)
        if session is None or request.method != "GET" or transport != POLLING:
            return Reject(400, UNKNOWN_SID, "bad-sid")
        return Poll(session)
    if request.method not in ("GET", "POST"):
        return Reject(405, BAD_REQUEST, "bad-method")
    if request.wants_websocket:
        may_upgrade = settings.allow_upgrades and request.method == "GET"
        if transport != WEBSOCKET or session.upgraded or not may_upgrade:
            return Reject(400, BAD_REQUEST, "bad-upgrade")
        return Upgrade(session)
    if transport != POLLING or session.upgraded:
        return Reject(400, BAD_REQUEST, "unexpected-http")
    return Poll(session) if request.method == "GET" else Post(session)


def content_length(environ: Environ) -> int | None:
    """Return the length of a request's body in bytes, None when it is not declared.

    Raises `ValueError` for anything but ASCII digits (RFC 9112, 6.3).
    """
    declared = environ.get("CONTENT_LENGTH")
    if declared is None:
        return None
    if declared == "" and "HTTP_TRANSFER_ENCODING" in environ:
        # PEP 3333 lets a server say "absent" this way, and uWSGI does.
        return None
    if not _DIGITS.fullmatch(declared):
        raise ValueError(f"Content-Length {declared[:20]!r}")
    return int(declared)


# -- addresses -------------------------------------------------------------------------------


def client_address(environ: Environ, settings: Settings) -> str:
    """Return the address a request comes from, "" where that can't be told (a Unix socket).

    It is that of the connection, unless that is one of `trusted_proxies`: then the last address in
    X-Forwarded-For that is none of them.
    """
    address: str = environ.get("REMOTE_ADDR") or ""
    proxies = settings.trusted_proxies
    if not proxies or not is_trusted(address, proxies):
        return address
    for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        found = hop.strip()
        if parse_address(found) is None:
            break  # a trusted proxy would not have put that there
        address = found
        if not is_trusted(address, proxies):
            break
    return address


@lru_cache(1024)
def is_trusted(address: str, proxies: tuple[str, ...]) -> bool:
    """Tell whether an address is among addresses and networks; "" stands for a Unix socket."""
    if not address:
        return "" in proxies
    found = parse_address(address)
    return found is not None and any(found in ip_network(proxy) for proxy in proxies if proxy)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address, or None for a text that is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # As a server that listens on both kinds sees an IPv4 address.
    return getattr(address, "ipv4_mapped", None) or address


# -- origins ---------------------------------------------------------------------------------


def _first(header: str | None) -> str | None:
    return header.split(",", 1)[0].strip() or None if header else None


def _same_site(scheme: str, host: str) -> str:
    """Spell an origin as browsers do: lower case, without the scheme's own port."""
    scheme, host = scheme.lower(), host.lower()
    return f"{scheme}://{host.removesuffix(DEFAULT_PORTS.get(scheme, ' '))}"


def own_origins(environ: Environ, trusted_proxies: tuple[str, ...] | None = None) -> list[str]:
    """Return the origins that count as this server's own: its URL, also as a proxy names it.

    A page cannot set these headers across sites, so without `trusted_proxies` whoever sends them
    is believed.
    """
    scheme = environ.get("wsgi.url_scheme", "http")
    host = environ.get("HTTP_HOST")
    if not host:
        return []
    origins = [_same_site(scheme, host)]
    peer = environ.get("REMOTE_ADDR") or ""
    if trusted_proxies is not None and not is_trusted(peer, trusted_proxies):
        return origins
    proto = _first(environ.get("HTTP_X_FORWARDED_PROTO"))
    if proto is not None:
        proto = PAGE_SCHEMES.get(proto.lower(), proto)
    forwarded_host = _first(environ.get("HTTP_X_FORWARDED_HOST"))
    if proto or forwarded_host:
        origins.append(_same_site(proto or scheme, forwarded_host or host))
    return origins


def origin_allowed(environ: Environ, settings: Settings) -> bool:
    """Tell whether a page of the request's origin may talk to this server.

    A request without an Origin header does not come from another site's page. With
    `cors_allowed_origins` as an empty list nothing is checked.
    """
    origin = environ.get("HTTP_ORIGIN")
    allowed = settings.cors_allowed_origins
    if origin is None or allowed == []:
        return True
    if allowed is None:
        scheme, _, host = origin.partition("://")
        return _same_site(scheme, host) in own_origins(environ, settings.trusted_proxies)
    if isinstance(allowed, str):
        return allowed in ("*", origin)
    if callable(allowed):
        return bool(_ask_origin(allowed, origin, environ))
    return origin in allowed or "*" in allowed


def _ask_origin(allowed: Callable[..., Any], origin: str, environ: Environ) -> Any:
    return allowed(origin, environ) if positional_arguments(allowed) >= 2 else allowed(origin)


def positional_arguments(function: Callable[..., Any]) -> int:
    """Return how many positional arguments a function takes; many, if that can't be told.

    Handlers may leave out the last argument. Trying and catching TypeError would run a handler
    twice that raises TypeError by itself.
    """
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return 99
    if any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters):
        return 99
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in parameters)


def _is_cross_site_script(request: Request, settings: Settings) -> bool:
    """Tell whether another site's page loads this as a script, which CORS does not cover."""
    if request.environ.get("HTTP_SEC_FETCH_SITE") != "cross-site":
        return False
    if "HTTP_ORIGIN" in request.environ:
        return False  # it was allowed, or the request would not have come this far
    allowed = settings.cors_allowed_origins
    return allowed is None or callable(allowed) or (allowed != [] and "*" not in allowed)
