"""What lies between a client and its server: TLS, proxies, redirects, headers, cookies, IPv6."""

import base64
import uuid
from typing import Any

import pytest

from client_rigs import ClientRig, RemoteClient, ServerRig
from peers import (
    CA,
    CLIENT_CERTIFICATE,
    Listener,
    Proxy,
    Redirector,
    Watcher,
    forward,
    server_context,
)

POLLING = ["polling"]
WEBSOCKET = ["websocket"]
UPGRADE = ["polling", "websocket"]
each_transport = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, UPGRADE], ids="+".join)
# A server that does not mind that the origin of a WebSocket is https and it is not.
BEHIND_TLS = "/cors_any/"
one_transport = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET], ids="+".join)


def talk(client: RemoteClient, url: str, transports: list[str]) -> None:
    """Connect, and see that messages go both ways, at the same time as well."""
    client.connect(url, transports=transports)
    assert client.status()[2] == transports[-1]
    client.send("burst:300")
    client.burst("echo", 300)
    client.wait("message", count=600)
    messages = client.messages()
    for name in ("burst", "echo"):
        assert [m for m in messages if m.startswith(name)] == [f"{name}-{n}" for n in range(300)]


def environ_of(client: RemoteClient, host: ServerRig, url: str, **options: Any) -> dict[str, str]:
    """What the server has got of the request that opened the connection."""
    token = uuid.uuid4().hex
    client.connect(f"{url}&token={token}", **options)
    sid = host.server().call("token", token=token, timeout=10)
    assert sid == client.status()[1]
    environ: dict[str, str] = host.server().call("environ", sid=sid)
    return environ


# Certificates


@each_transport
def test_https(clients: ClientRig, host: ServerRig, transports: list[str]) -> None:
    """The JavaScript server has TLS itself; another one is behind a front."""
    client = clients.client(session={"verify": CA})
    if host.name == "javascript":
        host.url()
        talk(client, f"https://127.0.0.1:{host.control('tls_port')}/engine.io/", transports)
        return
    host.url("cors_any")
    with Listener(forward(host.address[1]), context=server_context()) as front:
        talk(client, front.url(BEHIND_TLS), transports)
        client.disconnect()


@one_transport
def test_certificates_are_verified(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    our_host.url("cors_any")
    with Listener(forward(our_host.address[1]), context=server_context()) as front:
        clients.client().refused(front.url(BEHIND_TLS), transports=transports)
        # A certificate of a known CA, for another host.
        options = {"session": {"verify": CA}}
        with Listener(forward(front.port), host="127.0.0.2") as elsewhere:
            url = elsewhere.url(BEHIND_TLS, scheme="https", host="127.0.0.2")
            clients.client(**options).refused(url, transports=transports)
        talk(clients.client(ssl_verify=False), front.url(BEHIND_TLS), transports)
        clients.reset()


@each_transport
def test_client_certificates(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    our_host.url("cors_any")
    context = server_context(ask_certificate=True)
    with Listener(forward(our_host.address[1]), context=context) as front:
        clients.client(session={"verify": CA}).refused(front.url(BEHIND_TLS), transports=transports)
        client = clients.client(session={"verify": CA, "cert": CLIENT_CERTIFICATE})
        talk(client, front.url(BEHIND_TLS), transports)
        clients.reset()


@each_transport
def test_websocket_urls(clients: ClientRig, our_host: ServerRig, transports: list[str]) -> None:
    """ws and wss mean what http and https do."""
    our_host.url("cors_any")
    talk(clients.client(), our_host.url(scheme="ws"), transports)
    with Listener(forward(our_host.address[1]), context=server_context()) as front:
        talk(
            clients.client(session={"verify": CA}), front.url(BEHIND_TLS, scheme="wss"), transports
        )
        clients.reset()


@each_transport
def test_ipv6(clients: ClientRig, our_host: ServerRig, transports: list[str]) -> None:
    our_host.url()
    with Listener(forward(our_host.address[1]), host="::1") as front:
        talk(clients.client(), front.url(host="[::1]"), transports)
        clients.reset()


# Proxies


def from_environment(proxy: str) -> dict[str, str]:
    return {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}


@each_transport
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_of_the_environment(
    clients: ClientRig, our_host: ServerRig, transports: list[str], scheme: str
) -> None:
    our_host.url("cors_any")
    context = server_context() if scheme == "https" else None
    with Listener(forward(our_host.address[1]), context=context) as front, Proxy() as proxy:
        url = front.url(BEHIND_TLS)
        clients.call("environ", **from_environment(proxy.url("")))
        client = clients.client(session={"verify": CA, "trust_env": True})
        talk(client, url, transports)
        ways = {method for method, _ in proxy.seen}
        if scheme == "https":
            assert ways == {"CONNECT"}
        elif clients.mode == "asyncio":
            assert "GET" in ways  # with aiohttp for the WebSocket as well
        else:
            assert ("CONNECT" in ways) == ("websocket" in transports)
            assert ("GET" in ways) == ("polling" in transports)
        client.disconnect()
        seen = len(proxy.seen)
        clients.call("environ", no_proxy="127.0.0.1")
        client = clients.client(session={"verify": CA, "trust_env": True})
        talk(client, url, transports)
        assert len(proxy.seen) == seen
        clients.reset()


@each_transport
def test_a_session_of_its_own_knows_the_proxy_too(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    url = our_host.url()
    with Proxy() as proxy:
        clients.call("environ", **from_environment(proxy.url("")))
        talk(clients.client(), url, transports)
        assert proxy.seen
        clients.reset()


@each_transport
def test_proxy_of_the_session(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    url = our_host.url()
    credentials = base64.b64encode(b"user:secret").decode()
    with Proxy(credentials) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        wrong, right = f"http://{address}", f"http://user:secret@{address}"
        client = clients.client(session={"proxies": {"http": wrong, "https": wrong}})
        client.refused(url, transports=transports)
        client = clients.client(session={"proxies": {"http": right, "https": right}})
        talk(client, url, transports)
        assert {"GET", "CONNECT"} >= {method for method, _ in proxy.seen} - {"POST"}
        clients.reset()


# Requests


@one_transport
def test_headers_cookies_and_query(
    clients: ClientRig, host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    url = host.url(a=1, b="x%20y", c="%C3%A9")
    headers = {"X-Custom": "yes", "Authorization": "Bearer token", "Cookie": "a=1; b=2"}
    for _ in range(2):  # the second connection has them as well
        environ = environ_of(client, host, url, headers=headers, transports=transports)
        query = environ["QUERY_STRING"].split("&")
        assert query[:3] == ["a=1", "b=x%20y", "c=%C3%A9"]
        assert {"EIO=4", f"transport={transports[0]}"} <= set(query)
        assert environ["HTTP_X_CUSTOM"] == "yes"
        assert environ["HTTP_AUTHORIZATION"] == "Bearer token"
        assert set(environ["HTTP_COOKIE"].split("; ")) == {"a=1", "b=2"}
        client.disconnect()


def test_headers_are_sent_with_every_request(clients: ClientRig, our_host: ServerRig) -> None:
    """The opening GET, polls, POSTs and the WebSocket; cookies of the server as well."""
    url = our_host.url("cookie")
    headers = {"X-Custom": "yes", "Cookie": "a=1"}
    with Watcher(our_host.address[1]) as watcher:
        for transports in (POLLING, UPGRADE):
            client = clients.client(welcome=["hello"])
            url = watcher.url("/cookie/")
            client.connect(url, headers=headers, transports=transports)
            client.wait("message", "hello")
            client.disconnect()
        clients.reset()
    requests = {(head.method, head.is_websocket) for head in watcher.heads}
    assert requests == {("GET", False), ("POST", False), ("GET", True)}
    for head in watcher.heads:
        assert head.headers["x-custom"] == "yes"
        assert head.query["EIO"] == "4"
        # The cookie is what a load balancer tells servers apart by.
        cookies = {"a=1", f"io={head.query['sid']}"} if "sid" in head.query else {"a=1"}
        assert set(head.headers["cookie"].split("; ")) == cookies
    times = [head.query["t"] for head in watcher.heads if head.method == "GET"]
    assert len(set(times)) == len(times)


def test_requests_without_timestamps(clients: ClientRig, our_host: ServerRig) -> None:
    client = clients.client(timestamp_requests=False)
    environ = environ_of(client, our_host, our_host.url())
    assert not [pair for pair in environ["QUERY_STRING"].split("&") if pair.startswith("t=")]


@one_transport
def test_credentials_of_the_url(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    url = our_host.url().replace("//", "//user:secret@", 1)
    environ = environ_of(clients.client(), our_host, url, transports=transports)
    wanted = base64.b64encode(b"user:secret").decode()
    assert environ["HTTP_AUTHORIZATION"] == f"Basic {wanted}"


@pytest.mark.parametrize("factory", [False, True], ids=["object", "factory"])
@one_transport
def test_what_the_session_says(
    clients: ClientRig, our_host: ServerRig, transports: list[str], factory: bool
) -> None:
    session = {"headers": {"X-Session": "yes"}, "cookies": {"a": "1"}, "auth": ["user", "secret"]}
    client = clients.client(session=session, factory=factory)
    for _ in range(2):
        environ = environ_of(client, our_host, our_host.url(), transports=transports)
        assert environ["HTTP_X_SESSION"] == "yes"
        assert environ["HTTP_COOKIE"] == "a=1"
        wanted = base64.b64encode(b"user:secret").decode()
        assert environ["HTTP_AUTHORIZATION"] == f"Basic {wanted}"
        client.disconnect()


@each_transport
def test_redirects(clients: ClientRig, our_host: ServerRig, transports: list[str]) -> None:
    """Another origin gets neither cookies nor the authorization."""
    our_host.url()
    headers = {"X-Custom": "yes", "Authorization": "Bearer token", "Cookie": "a=1"}
    with Redirector(f"http://127.0.0.1:{our_host.address[1]}") as redirector:
        client = clients.client()
        url = redirector.url() + "?x=1"
        environ = environ_of(client, our_host, url, headers=headers, transports=transports)
        assert redirector.seen[0]["authorization"] == "Bearer token"
        assert redirector.seen[0]["cookie"] == "a=1"
        assert "HTTP_AUTHORIZATION" not in environ
        assert "HTTP_COOKIE" not in environ
        assert environ["QUERY_STRING"].startswith("x=1&")
        client.send("hello")
        client.wait("message", "hello")
        assert client.status()[2] == transports[-1]
        clients.reset()
