"""How `AsyncClient` reaches a server: HTTP and the opening handshake of WebSockets through aiohttp.

After the handshake aiohttp passes on the bytes of the connection, and the frames are ours. Every
wait in here has an end: requests have time limits, and bodies a size.
"""

import asyncio
import base64
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

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
    redirect_of,
)
from engineio.base_server import printable
from engineio.exceptions import ConnectionError, DriverError
from engineio.websocket import ClientProtocol

READ_SIZE = 65536

# Arguments of aiohttp's `ws_connect` for what lies below WebSocket; its requests take them too.
_OF_REQUESTS = (
    *("auth", "params", "proxy", "proxy_auth", "proxy_headers", "server_hostname"),
    *("ssl", "ssl_context", "verify_ssl", "fingerprint"),
)
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


def new_session() -> Any:
    """Return a session with the settings of the environment; cookies of IP addresses are kept."""
    return aiohttp.ClientSession(trust_env=True, cookie_jar=aiohttp.CookieJar(unsafe=True))


class AsyncHTTP:
    """The HTTP side of one connection.

    session: an `aiohttp.ClientSession` or what has its methods; it is not closed.
    verify: False not to check certificates; else the session's own setting holds.
    headers: sent with every request; a Cookie among them joins the session's own.
    limit: bytes that an answer may have.
    """

    def __init__(self, session: Any, verify: bool, headers: Mapping[str, str], limit: int) -> None:
        self._session = session
        self._verify = verify
        self._limit = limit
        self._own: list[Any] = []
        self.headers: Headers = {"User-Agent": USER_AGENT}
        if any(name.lower() == "user-agent" for name in (*session.headers, *headers)):
            self.headers = {}
        self.headers.update(headers)

    async def close(self) -> None:
        """Close what this has opened besides the session."""
        for session in self._own:
            await session.close()

    async def request(
        self, method: str, url: str, timeout: float | None, body: bytes | None = None
    ) -> Response:
        """Send a request and read the answer, following redirects.

        timeout: seconds until the answer is there, all of it. Raises `ConnectionError` if that
        fails.
        """
        headers = {"Content-Type": "text/plain;charset=UTF-8"} if body is not None else {}
        for _ in range(MAX_REDIRECTS):
            try:
                answer = await self._send(method, url, headers, timeout, data=body)
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

    async def _send(
        self, method: str, url: str, headers: Headers, timeout: float | None, **options: Any
    ) -> Any:
        if not self._verify:
            options.setdefault("ssl", False)
        return await self._session.request(
            method,
            url,
            headers={**self.headers, **headers},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout),
            **options,
        )

    def _follow(self, url: str, location: str | None) -> str:
        """Return where a redirect leads to."""
        url, is_same = redirect_of(url, location)
        if not is_same:
            self._forget_credentials()
        return url

    def _forget_credentials(self) -> None:
        """Go on without what only the origin that was left may know."""
        left = self._session
        self._session = aiohttp.ClientSession(
            connector=left.connector,
            connector_owner=False,
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            trust_env=left.trust_env,
        )
        self._own.append(self._session)
        secret = ("authorization", "cookie")
        self.headers = {
            name: value for name, value in self.headers.items() if name.lower() not in secret
        }

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
        options = {**extra_options}
        for name in _NOT_NEEDED:
            options.pop(name, None)
        headers = {**_handshake_headers(options), **dict(options.pop("headers", None) or {})}
        limit = options.pop("max_msg_size", self._limit)
        method = options.pop("method", "GET")
        if unknown := [name for name in options if name not in _OF_REQUESTS]:
            raise TypeError(f"not an argument of aiohttp's ws_connect: {', '.join(unknown)}")
        url = "http" + url.removeprefix("ws")
        for _ in range(MAX_REDIRECTS + 1):
            key = base64.b64encode(os.urandom(16)).decode()
            headers["Sec-WebSocket-Key"] = key
            try:
                answer = await self._send(
                    method, url, headers, timeout, read_until_eof=False, **options
                )
                if answer.status not in REDIRECTS:
                    return await _take_over(answer, key, limit, make)
                answer.close()
            except _FAILURES as error:
                raise ConnectionError(f"Connection error: {_describe(error)}") from None
            url = self._follow(url, answer.headers.get("Location"))
        raise ConnectionError("Connection error: too many redirects")


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


def _handshake_headers(options: dict[str, Any]) -> Headers:
    """Return the headers of a handshake, and take out of `options` what is said with them."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    if origin := options.pop("origin", None):
        headers["Origin"] = origin
    if protocols := options.pop("protocols", None):
        headers["Sec-WebSocket-Protocol"] = ",".join(protocols)
    if options.pop("compress", 0):
        offers = _deflate.get_request_params()
        headers["Sec-WebSocket-Extensions"] = build_extension([(_deflate.name, offers)])
    return headers


_deflate = ClientPerMessageDeflateFactory(client_max_window_bits=True)


async def _take_over(
    answer: Any, key: str, limit: int, make: Callable[[Any, ClientProtocol], Any]
) -> Any:
    """Return the WebSocket on the connection of an answer, if that accepts the handshake."""
    if answer.status != 101:
        body = b""
        async with answer:
            with suppress(ConnectionError):  # too long: the status says enough
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
