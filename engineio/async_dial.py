"""How `AsyncClient` reaches a server: HTTP and the opening handshake of WebSockets through aiohttp.

After the handshake aiohttp passes on the bytes of the connection, and the frames are ours. Every
wait in here has an end: requests have time limits, and bodies a size.
"""

import asyncio
import base64
import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.request import getproxies, proxy_bypass

try:
    import aiohttp
except ImportError as error:
    missing: ImportError | None = error
else:
    missing = None

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension
from websockets.utils import accept_key

from engineio.base_client import (
    MAX_ERROR_BODY,
    MAX_REDIRECTS,
    REDIRECTS,
    USER_AGENT,
    Response,
    decoded,
    origin_of,
    redirect_of,
)
from engineio.base_server import printable
from engineio.exceptions import ConnectionError, DriverError
from engineio.websocket import ClientProtocol

READ_SIZE = 65536
MAX_WHOLE_BODY = 1_000_000  # bytes; aiohttp's limit is 2**20

# Arguments of aiohttp's `ws_connect` for what lies below WebSocket; its requests take them too.
_OF_REQUESTS = (
    *("auth", "params", "proxy", "proxy_auth", "proxy_headers", "server_hostname"),
    *("ssl", "ssl_context", "verify_ssl", "fingerprint"),
)
# Those that say how to check the server's certificate.
_OF_TLS = ("ssl", "ssl_context", "verify_ssl", "fingerprint")
# What is said with the headers of the handshake, or to our side of the protocol.
_OF_HANDSHAKE = ("compress", "headers", "max_msg_size", "method", "origin", "protocols")
# What Engine.IO has of its own, or does not need.
_NOT_NEEDED = (
    *("autoclose", "autoping", "decode_text", "heartbeat", "receive_timeout", "timeout"),
)

Headers = dict[str, str]


def check_installed() -> None:
    """Raise `DriverError` with what to install if a package is missing."""
    if missing is not None:
        raise DriverError(
            f"AsyncClient needs {missing.name or missing}: "
            "pip install 'python-engineio[asyncio_client]'"
        ) from missing


def check_options(options: Mapping[str, Any]) -> None:
    """Raise `TypeError` for what is no argument of aiohttp's `ws_connect`."""
    unknown = [n for n in options if n not in (*_OF_REQUESTS, *_OF_HANDSHAKE, *_NOT_NEEDED)]
    if unknown:
        raise TypeError(f"not an argument of aiohttp's ws_connect: {', '.join(unknown)}")


def new_session() -> Any:
    """Return a session that keeps cookies of IP addresses, too."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


class AsyncHTTP:
    """The HTTP side of one connection.

    session: an `aiohttp.ClientSession` or what has its methods.
    verify: False not to check certificates; else the session's own setting holds.
    headers: sent with every request; a Cookie among them joins the session's own.
    limit: bytes that an answer may have.
    is_own: whether `close` closes the session.
    looks_up_proxy: whether the environment says which proxy to use. A session with `trust_env`
        does so too, but for each request, and with two hops to a thread.
    """

    def __init__(
        self,
        session: Any,
        verify: bool,
        headers: Mapping[str, str],
        limit: int,
        is_own: bool = False,
        looks_up_proxy: bool = False,
    ) -> None:
        self.session = session
        self.is_own = is_own
        self._session = session
        self._proxies: dict[Any, str | None] | None = {} if looks_up_proxy else None
        self._verify = verify
        self._limit = limit
        self._own = [session] if is_own else []
        self._sessions_proxy: dict[str, Any] = {}
        usual = {} if "User-Agent" in session.headers else {"User-Agent": USER_AGENT}
        self.headers: Headers = _merged(usual, headers)

    async def close(self) -> None:
        """Close the sessions that are nobody else's."""
        for session in reversed(self._own):
            with suppress(Exception):  # of somebody else's class
                await session.close()

    async def request(
        self, method: str, url: str, timeout: float | None, body: bytes | None = None
    ) -> Response:
        """Send a request and read the answer, following redirects.

        timeout: seconds until the answer is there, all of it. Raises `ConnectionError` if that
        fails.
        """
        headers = {"Content-Type": "text/plain;charset=UTF-8"} if body is not None else {}
        deadline = _deadline(timeout)
        for _ in range(MAX_REDIRECTS):
            try:
                answer = await self._send(method, url, headers, deadline, data=_readable(body))
                async with answer:
                    if answer.status not in REDIRECTS:
                        limit = self._limit if 200 <= answer.status < 300 else MAX_ERROR_BODY
                        return Response(answer.status, await _read(answer, limit), url)
                    location = answer.headers.get("Location")
            except _FAILURES as error:
                raise ConnectionError(_describe(error)) from None
            url = self._follow(url, location)
            if body is not None and answer.status == 303:
                raise ConnectionError("Redirect of a POST to something else")
        raise ConnectionError("Too many redirects")

    def _follow(self, url: str, location: str | None) -> str:
        """Return where a redirect leads to."""
        url, is_same = redirect_of(url, location)
        if not is_same:
            self._forget_credentials()
        return url

    def _forget_credentials(self) -> None:
        """Go on without what only the origin that was left may know."""
        left = self._session
        for name in ("proxy", "proxy_auth"):  # aiohttp has no public name for these
            if value := getattr(left, f"_default_{name}", None):
                self._sessions_proxy[name] = value
        self._session = aiohttp.ClientSession(
            connector=left.connector,
            connector_owner=False,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            trust_env=left.trust_env,
        )
        self._own.append(self._session)
        self.headers = _without_credentials(self.headers)

    async def _send(
        self, method: str, url: str, headers: Headers, deadline: float | None, **options: Any
    ) -> Any:
        if not self._verify and not any(name in options for name in _OF_TLS):
            options["ssl"] = False
        # All of it, redirects included; for aiohttp 0 is no limit.
        timeout = None if deadline is None else max(0.001, deadline - time.monotonic())
        options = {**self._sessions_proxy, **options}
        if self._proxies is not None:
            origin = origin_of(url)
            if origin not in self._proxies:
                self._proxies[origin] = _proxy_of(origin[0], origin[1] or "")
            options.setdefault("proxy", self._proxies[origin])
        return await self._session.request(
            method,
            url,
            headers=_merged(self.headers, headers),
            allow_redirects=False,
            raise_for_status=False,  # whatever the session would do: we want the body
            timeout=aiohttp.ClientTimeout(total=timeout),
            **options,
        )

    # -- WebSocket -------------------------------------------------------------------------------

    async def open_websocket(
        self,
        url: str,
        timeout: float | None,
        extra_options: Mapping[str, Any],
        make: Callable[[Any, ClientProtocol], Any],
    ) -> Any:
        """Return an open WebSocket.

        url: ws or wss. timeout: seconds that the handshake may take. extra_options: arguments for
        aiohttp's `ws_connect`, stronger than our own. make: called with the transport and the
        protocol when the handshake is done; what comes is given to the `feed` of what it returns.
        Raises `ConnectionError`, with the server's body if there is one.
        """
        options = {name: extra_options[name] for name in _OF_REQUESTS if name in extra_options}
        headers = _handshake_headers(extra_options)
        limit = extra_options.get("max_msg_size", self._limit) or sys.maxsize
        method = extra_options.get("method", "GET")
        deadline = _deadline(timeout)
        url = "http" + url.removeprefix("ws")
        for _ in range(MAX_REDIRECTS + 1):
            key = base64.b64encode(os.urandom(16)).decode()
            headers["Sec-WebSocket-Key"] = key
            try:
                answer = await self._send(
                    method, url, headers, deadline, read_until_eof=False, **options
                )
                if answer.status not in REDIRECTS:
                    return await _take_over(answer, key, limit, make)
                answer.close()
            except _FAILURES as error:
                raise ConnectionError(f"Connection error: {_describe(error)}") from None
            left, url = url, self._follow(url, answer.headers.get("Location"))
            options.pop("params", None)  # they are part of the URL that was left
            if origin_of(left) != origin_of(url):
                options.pop("auth", None)
                headers = _without_credentials(headers)
        raise ConnectionError("Connection error: too many redirects")


def _readable(body: bytes | None) -> Any:
    """Return a body as aiohttp wants it: large ones in parts, or it warns."""
    return body if body is None or len(body) <= MAX_WHOLE_BODY else io.BytesIO(body)


def _proxy_of(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy for a host, as the environment has it."""
    return None if proxy_bypass(host) else getproxies().get(scheme)


async def _read(answer: Any, limit: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in answer.content.iter_chunked(READ_SIZE):
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            answer.close()
            raise ConnectionError(f"The answer has more than {limit} bytes")
    return b"".join(chunks)


def _describe(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "The server did not answer in time"
    return printable(str(error)) or type(error).__name__


def _handshake_headers(options: Mapping[str, Any]) -> Headers:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    if origin := options.get("origin"):
        headers["Origin"] = origin
    if protocols := options.get("protocols"):
        headers["Sec-WebSocket-Protocol"] = ",".join(protocols)
    if options.get("compress"):
        offers = _deflate.get_request_params()
        headers["Sec-WebSocket-Extensions"] = build_extension([(_deflate.name, offers)])
    return _merged(headers, dict(options.get("headers") or {}))


def _without_credentials(headers: Headers) -> Headers:
    secret = ("authorization", "cookie")
    return {name: value for name, value in headers.items() if name.lower() not in secret}


def _merged(headers: Mapping[str, str], stronger: Mapping[str, str]) -> Headers:
    """Return headers of which each has one value, however its name is spelled."""
    names = {name.lower() for name in stronger}
    return {**{n: v for n, v in headers.items() if n.lower() not in names}, **stronger}


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


_deflate = ClientPerMessageDeflateFactory(client_max_window_bits=True)


async def _take_over(
    answer: Any, key: str, limit: int, make: Callable[[Any, ClientProtocol], Any]
) -> Any:
    """Return the WebSocket on the connection of an answer, if that accepts the handshake."""
    if answer.status != 101:
        body = b""
        async with answer:
            with suppress(ConnectionError, *_FAILURES):  # too long, or cut off
                body = await _read(answer, MAX_ERROR_BODY)
        message = f"Connection error: status code {answer.status} in server response"
        raise ConnectionError(message, decoded(body))
    try:
        offered = "Sec-WebSocket-Extensions" in answer.request_info.headers
        extensions = _check_handshake(answer.headers, key, offered)
        connection = answer.connection
        if connection is None:
            raise ConnectionError("Connection error: closed behind the handshake")
        websocket = make(connection.transport, ClientProtocol(limit, extensions))
        websocket.is_compressed = bool(extensions)
        websocket.answer = answer  # the connection lives as long as this does
        protocol = connection.protocol
        protocol.read_timeout = None
        protocol.set_parser(_Parser(websocket), _Failures(websocket))
        if not protocol.is_connected():
            websocket.feed_eof()  # it was lost before there was a parser to tell
    except BaseException:
        answer.close()
        raise
    return websocket


def _check_handshake(headers: Mapping[str, str], key: str, offered: bool) -> list[Extension]:
    """Return the extensions that a server has accepted. Raises `ConnectionError` for nonsense."""
    if (
        headers.get("Upgrade", "").lower() != "websocket"
        or "upgrade" not in headers.get("Connection", "").lower()
        or headers.get("Sec-WebSocket-Accept") != accept_key(key)
    ):
        raise ConnectionError("Connection error: the answer is no WebSocket handshake")
    accepted = headers.get("Sec-WebSocket-Extensions")
    if not accepted:
        return []
    try:
        ((name, parameters),) = parse_extension(accepted)
        if offered and name == _deflate.name:
            return [_deflate.process_response_params(parameters, [])]
    except (InvalidHeader, NegotiationError, ValueError):
        pass
    raise ConnectionError("Connection error: the server uses an extension that was not offered")


class _Parser:
    """What aiohttp gives the bytes of an upgraded connection to."""

    def __init__(self, websocket: Any) -> None:
        self.feed_eof = websocket.feed_eof
        self._feed = websocket.feed

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes of the server."""
        self._feed(data)
        return False, b""


class _Failures:
    """What aiohttp tells that a connection has failed."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket

    def set_exception(self, *_: Any) -> None:
        """Note the end."""
        self._websocket.feed_eof()

    def is_eof(self) -> bool:
        """Return False: the connection can't be used again."""
        return False


if missing is None:
    _FAILURES: tuple[type[Exception], ...] = (
        aiohttp.ClientError,
        asyncio.TimeoutError,
        OSError,
        ValueError,
        RuntimeError,  # the session is closed
        AssertionError,  # it was closed while a request was on its way
    )
