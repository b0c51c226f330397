"""How `Client` reaches a server: HTTP through requests, WebSockets through websocket-client.

Every wait in here has an end: requests have time limits, bodies a size, and `HTTP.abort` ends what
other threads wait for.
"""

import _socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from os.path import isdir
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakSet

try:
    import requests
    import urllib3
    import websocket
    from requests.adapters import HTTPAdapter
except ImportError as error:
    missing: ImportError | None = error
    HTTPAdapter: Any = object  # type: ignore[no-redef]
else:
    missing = None

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

READ_SIZE = 65536

MAX_HANDSHAKE = MAX_ERROR_BODY + 100_000  # bytes of an answer, its head included

# Nothing is called so (RFC 6761, 6.4). Without an entry websocket-client would take the list of
# hosts that need no proxy from the environment, where requests has looked already.
_NO_HOST = ["none.invalid"]

_PROXY_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080

Headers = dict[str, str]


def check_installed() -> None:
    """Raise `DriverError` with what to install if a package is missing."""
    if missing is not None:
        raise DriverError(
            f"Client needs {missing.name or missing}: pip install 'python-engineio[client]'"
        ) from missing


def new_session() -> Any:
    """Return a session with the settings of the environment."""
    return requests.Session()


def shut_down(sock: Any) -> None:
    """End a connection in both directions, which wakes whoever waits for it in another thread."""
    # The method of the C base class, below TLS and below green sockets.
    for attribute in ("_sock", "fd"):
        inner = getattr(sock, attribute, None)
        if isinstance(inner, _socket.socket):
            sock = inner
    with suppress(OSError, TypeError):
        _socket.socket.shutdown(sock, SHUT_RDWR)


class HTTP:
    """The HTTP side of one connection.

    session: a `requests.Session` or what has its methods; it is not changed, and not closed.
    verify: False not to check certificates; else the session's own setting holds.
    headers: sent with every request; a Cookie among them joins the session's own.
    """

    def __init__(self, session: Any, verify: bool, headers: Mapping[str, str], limit: int) -> None:
        self._live: WeakSet[Any] = WeakSet()
        self._adapters: list[Any] = []
        self._aborted = False
        self._session = self._share(session)
        # requests lets the environment (REQUESTS_CA_BUNDLE) overrule what a session says, but not
        # what a request does.
        self._verify = False if not verify else getattr(session, "verify", True)
        if self._verify is True:
            self._verify = None
        self._limit = limit
        self.headers: Headers = {}
        usual = getattr(session, "headers", {}).get("User-Agent")
        if usual == requests.utils.default_user_agent():
            # Servers take that for a python-engineio client, with its limits.
            self.headers["User-Agent"] = USER_AGENT
        self._cookies: Headers = {}
        for name, value in headers.items():
            if name.lower() == "cookie":
                self._cookies.update(_parse_cookies(value))
            else:
                self.headers[name] = value

    def _share(self, session: Any) -> Any:
        """Return a session with the same settings, and cookies, whose requests can be aborted.

        One that has been extended is used as it is: who knows what its methods do.
        """
        if type(session) is not requests.Session:
            return session
        mine = requests.Session()
        mine.__dict__.update(session.__dict__)
        mine.adapters = type(session.adapters)()
        for prefix, adapter in session.adapters.items():
            mine.adapters[prefix] = self._track(adapter)
        return mine

    def _track(self, adapter: Any) -> Any:
        if type(adapter) is not HTTPAdapter:
            return adapter
        tracked = _Adapter.like(adapter, self._pool)
        self._adapters.append(tracked)
        return tracked

    def _pool(self, pool: Any) -> Any:
        """Return a class of urllib3's connection pools whose connections are remembered."""
        http = self

        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                http._live.add(self)
                if http._aborted:
                    shut_down(self.sock)

        return type("Pool", (pool,), {"ConnectionCls": Connection})

    def abort(self) -> None:
        """End all requests, now and for ever."""
        self._aborted = True
        for connection in list(self._live):
            shut_down(getattr(connection, "sock", None))

    def close(self) -> None:
        """Close the connections that no request uses any more."""
        for adapter in self._adapters:
            adapter.close()

    def request(
        self,
        method: str,
        url: str,
        timeout: float | None,
        read_timeout: float | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send a request and read the answer, following redirects.

        timeout: seconds until there is a connection, and between two parts of the answer unless
        `read_timeout` says otherwise. Raises `ConnectionError` if that fails.
        """
        for _ in range(MAX_REDIRECTS):
            answer = self._send(method, url, (timeout, read_timeout or timeout), body)
            with answer:
                if answer.status_code not in REDIRECTS:
                    limit = self._limit if 200 <= answer.status_code < 300 else MAX_ERROR_BODY
                    return Response(answer.status_code, self._read(answer, limit), url)
                url, is_same = redirect_of(url, answer.headers.get("Location"))
                if not is_same:
                    self._forget_credentials()
                if body is not None and answer.status_code == 303:
                    raise ConnectionError("Redirect of a POST to something else")
        raise ConnectionError("Too many redirects")

    def _forget_credentials(self) -> None:
        """Go on without what only the origin that was left may know."""
        left = self._session
        self._session = self._share(requests.Session())
        for setting in ("proxies", "verify", "trust_env"):
            with suppress(AttributeError):
                setattr(self._session, setting, getattr(left, setting))
        self._cookies = {}
        self.headers = {
            name: value for name, value in self.headers.items() if name.lower() != "authorization"
        }

    def _send(self, method: str, url: str, timeout: Any, body: bytes | None) -> Any:
        headers = dict(self.headers)
        if body is not None:
            headers["Content-Type"] = "text/plain;charset=UTF-8"
        try:
            return self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                cookies=self._cookies or None,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                verify=self._verify,
            )
        except _FAILURES as error:
            raise self._failed(error) from None

    def _read(self, answer: Any, limit: int) -> bytes:
        chunks = []
        size = 0
        try:
            for chunk in answer.iter_content(READ_SIZE):
                chunks.append(chunk)
                size += len(chunk)
                if self._aborted:
                    raise ConnectionError("Aborted")
                if size > limit:
                    raise ConnectionError(f"The answer has more than {limit} bytes")
        except _FAILURES as error:
            raise self._failed(error) from None
        return b"".join(chunks)

    def _failed(self, error: Exception) -> ConnectionError:
        if self._aborted:
            return ConnectionError("The server did not answer in time")
        return ConnectionError(str(error) or type(error).__name__)

    # -- for the WebSocket -----------------------------------------------------------------------

    def websocket_options(self, url: str) -> dict[str, Any]:
        """Return what websocket-client has to know to do as requests would for an http(s) URL."""
        session: Any = self._session
        options: dict[str, Any] = {}
        headers = dict(self.headers)
        if isinstance(session, requests.Session):
            request = requests.Request("GET", url, headers=headers, cookies=self._cookies)
            prepared = session.prepare_request(request)
            settings = session.merge_environment_settings(url, {}, None, self._verify, None)
            headers = _without_defaults(prepared.headers)
            if cookie := headers.pop("Cookie", None):
                options["cookie"] = cookie
            options.update(_proxy_options(url, settings["proxies"]))
            options["sslopt"] = _tls_options(settings["verify"], settings["cert"])
        elif self._verify is False:
            options["sslopt"] = _tls_options(False, None)
        options["header"] = headers
        return options


class _Adapter(HTTPAdapter):
    """An adapter of requests that knows its connections."""

    _pool: Callable[[Any], Any]

    @classmethod
    def like(cls, adapter: Any, pool: Callable[[Any], Any]) -> "_Adapter":
        """Return one with the settings of another."""
        mine = cls.__new__(cls)
        mine._pool = pool
        mine.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]
        return mine

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._use_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        self._use_pools(manager)
        return manager

    def _use_pools(self, manager: Any) -> None:
        pools = manager.pool_classes_by_scheme
        if not any(pool.__name__ == "Pool" for pool in pools.values()):
            manager.pool_classes_by_scheme = {
                scheme: self._pool(pool) for scheme, pool in pools.items()
            }


def _parse_cookies(header: str) -> Headers:
    found = {}
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals and name:
            found[name] = value
    return found


def _without_defaults(headers: Any) -> Headers:
    """Return headers without those that every request of requests has."""
    usual = requests.utils.default_headers()
    return {name: value for name, value in headers.items() if usual.get(name) != value}


def _tls_options(verify: Any, cert: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if verify is False:
        options["cert_reqs"] = ssl.CERT_NONE
    elif isinstance(verify, str):
        options["ca_cert_path" if isdir(verify) else "ca_certs"] = verify
    if isinstance(cert, str):
        options["certfile"] = cert
    elif cert:
        options["certfile"], options["keyfile"] = cert
    return options


def _proxy_options(url: str, proxies: Any) -> dict[str, Any]:
    scheme = urlsplit(url).scheme
    websocket_scheme = "wss" if scheme == "https" else "ws"
    proxies = {**proxies}
    if websocket_scheme in proxies:
        proxies[scheme] = proxies[websocket_scheme]
    proxy = requests.utils.select_proxy(url, proxies)
    if not proxy:
        return {"http_no_proxy": ["*"]}
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    kind = "http" if parts.scheme in ("http", "https") else parts.scheme
    options: dict[str, Any] = {
        "http_proxy_host": parts.hostname,
        "http_proxy_port": parts.port or _PROXY_PORTS.get(parts.scheme, _SOCKS_PORT),
        "http_no_proxy": _NO_HOST,
        "proxy_type": kind,
    }
    if parts.username or parts.password:
        options["http_proxy_auth"] = (unquote(parts.username or ""), unquote(parts.password or ""))
    return options


class _LimitedSocket:
    """A socket that gives no more than the answer to a handshake may have.

    websocket-client reads whatever comes, byte by byte. A green socket that always has a byte to
    give would let nothing else run, not even what is to end that.
    """

    def __init__(self, sock: Any) -> None:
        self.inner = sock
        self._left = MAX_HANDSHAKE

    def recv(self, size: int) -> bytes:
        """Return what the socket does. Raises `OSError` when it was too much."""
        data: bytes = self.inner.recv(size)
        self._left -= len(data)
        if self._left < 0:
            raise OSError(f"the answer has more than {MAX_HANDSHAKE} bytes")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _LimitedHandshake:
    """What makes a class of websocket-client read its handshake from a `_LimitedSocket`."""

    _limited: _LimitedSocket | None = None

    @property
    def sock(self) -> Any:
        return self._limited

    @sock.setter
    def sock(self, sock: Any) -> None:
        self._limited = None if sock is None else _LimitedSocket(sock)


class WebSocketDialer:
    """Opens one WebSocket; `abort` ends that from another thread."""

    def __init__(self) -> None:
        self._websocket: Any = None
        self._aborted = False

    def abort(self) -> None:
        """End the handshake that is under way."""
        self._aborted = True
        shut_down(self._sock())

    def open(
        self, url: str, http: HTTP, timeout: float | None, extra_options: Mapping[str, Any]
    ) -> Any:
        """Return a socket on which the opening handshake is done.

        url: ws or wss. extra_options: for websocket-client, stronger than our own.
        Raises `ConnectionError` if that fails, with the server's body if there is one.
        """
        limit = extra_options.get("redirect_limit", MAX_REDIRECTS)
        for _ in range(limit + 1):
            sock, location = self._try(url, http, timeout, extra_options)
            if sock is not None:
                return sock
            url, is_same = redirect_of(url, location)
            url = "ws" + url.removeprefix("http") if url.startswith("http") else url
            if not is_same:
                http._forget_credentials()
                extra_options = _without_credentials(extra_options)
        raise ConnectionError("Connection error: too many redirects")

    def _try(
        self, url: str, http: HTTP, timeout: float | None, extra_options: Mapping[str, Any]
    ) -> tuple[Any, str | None]:
        """Return a socket, or where to go instead."""
        options = http.websocket_options("http" + url.removeprefix("ws"))
        extra = dict(extra_options)
        options["header"] = _merge_headers(options["header"], extra.pop("header", None))
        options["sslopt"] = {**options.get("sslopt", {}), **extra.pop("sslopt", {})}
        options["timeout"] = timeout
        options.update(extra)
        options["redirect_limit"] = 0
        create = options.pop("class_", websocket.WebSocket)
        own = {name: options.pop(name) for name in _OF_CONSTRUCTOR if name in options}
        try:
            self._websocket = type("Limited", (_LimitedHandshake, create), {})(**own)
            self._websocket.settimeout(options["timeout"])
            self._websocket.connect(url, **options)
        except websocket.WebSocketBadStatusException as error:
            body = decoded(getattr(error, "resp_body", None))
            message = f"Connection error: status code {error.status_code} in server response"
            raise ConnectionError(message, body) from None
        except _FAILURES as error:
            if location := self._location():
                return None, location
            if self._aborted:
                message = "Connection error: the server did not answer in time"
            else:
                message = f"Connection error: {printable(str(error)) or type(error).__name__}"
            raise ConnectionError(message) from None
        if location := self._location():  # websocket-client up to 1.8 returns it as it is
            self._websocket.sock.close()
            return None, location
        if self._websocket.handshake_response.headers.get("sec-websocket-extensions"):
            # RFC 6455, 4.1; websocket-client does not look, and we cannot decompress.
            self._websocket.sock.close()
            message = "Connection error: the server uses an extension that was not offered"
            raise ConnectionError(message)
        return self._sock(), None

    def _sock(self) -> Any:
        return getattr(getattr(self._websocket, "sock", None), "inner", None)

    def _location(self) -> str | None:
        response = getattr(self._websocket, "handshake_response", None)
        if response is None or response.status not in REDIRECTS:
            return None
        location: str | None = response.headers.get("location")
        return location


# Arguments of websocket-client's class; the rest are those of its method `connect`.
_OF_CONSTRUCTOR = (
    *("get_mask_key", "sockopt", "sslopt", "fire_cont_frame", "enable_multithread"),
    "skip_utf8_validation",
)


def _without_credentials(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options for websocket-client without what only one origin may know."""
    secret = ("authorization", "cookie")
    lines = _merge_headers({}, options.get("header"))
    lines = [line for line in lines if line.partition(":")[0].strip().lower() not in secret]
    return {**options, "header": lines, "cookie": None}


def _merge_headers(ours: Headers, theirs: Any) -> list[str]:
    if isinstance(theirs, Mapping):
        lines = [f"{name}: {value}" for name, value in theirs.items() if value is not None]
    else:
        lines = list(theirs or ())
    names = {line.partition(":")[0].strip().lower() for line in lines}
    return [f"{n}: {v}" for n, v in ours.items() if n.lower() not in names] + lines


if missing is None:
    # What requests lets through besides its own errors, and what websocket-client raises.
    _FAILURES: tuple[type[Exception], ...] = (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        websocket.WebSocketException,
        HTTPException,
        OSError,
        ValueError,
    )
