"""How a connection ends, or does not begin: reasons, states, and that one can connect again."""

import signal
import socket

import pytest

from client_rigs import CallError, ClientRig, RemoteClient, ServerRig
from peers import Head, Listener, response

POLLING = ["polling"]
WEBSOCKET = ["websocket"]
UPGRADE = ["polling", "websocket"]
each_transport = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, UPGRADE], ids="+".join)


@each_transport
def test_the_client_disconnects(clients: ClientRig, host: ServerRig, transports: list[str]) -> None:
    client = clients.client()
    client.connect(host.url(), transports=transports)
    sid = client.status()[1]
    client.disconnect()
    assert client.status() == ["disconnected", None, transports[-1]]
    assert client.events() == [
        ["connect", "connected", True],
        ["disconnect", "client disconnect", "disconnecting", True],
    ]
    host.server().wait(sid, "disconnect")
    client.disconnect()  # a second time does nothing
    client.send("into the void")
    assert len(client.events()) == 2


def _let_upstream_answer(client: RemoteClient, host: ServerRig, count: int) -> None:
    """Over polling python-engineio forgets what was not fetched yet when it disconnects."""
    if host.name == "upstream":
        client.wait("message", count=count)


@each_transport
def test_the_server_disconnects(clients: ClientRig, host: ServerRig, transports: list[str]) -> None:
    client = clients.client()
    client.connect(host.url(), transports=transports)
    client.send("first")
    _let_upstream_answer(client, host, 1)
    client.send("close")
    reason, state, _ = client.ended()
    if host.name == "javascript" and transports[-1] == "websocket":
        # It closes the WebSocket and says no more, as if it had been told to stop.
        assert (reason, state) == ("transport error", "connected")
    elif host.name == "upstream" and transports == POLLING and reason == "transport error":
        assert state == "connected"  # it forgets the session before the client could ask why
    else:
        assert (reason, state) == ("server disconnect", "disconnecting")
    assert client.messages() == ["first"]
    client.connect(host.url(), transports=transports)
    client.send("again")
    client.wait("message", "again")


@each_transport
def test_what_was_sent_before_the_end_arrives(
    clients: ClientRig, host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    client.connect(host.url(), transports=transports)
    sid = client.status()[1]
    client.burst("quiet", 200, finish=True)
    assert client.ended()[0] == "client disconnect"
    host.server().wait(sid, "disconnect")
    assert host.server().messages(sid) == [f"quiet-{number}" for number in range(200)]


@each_transport
def test_what_the_server_sent_before_the_end_arrives(
    clients: ClientRig, host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    client.connect(host.url(), transports=transports)
    client.send("burst:200")
    _let_upstream_answer(client, host, 200)
    client.send("close")
    client.ended()
    assert client.messages() == [f"burst-{number}" for number in range(200)]


@each_transport
def test_a_message_handler_disconnects(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    client.connect(our_host.url(), transports=transports)
    client.send("my-disconnect")
    client.wait("disconnected", "disconnected")
    assert client.ended()[:2] == ["client disconnect", "disconnecting"]


@each_transport
def test_the_connect_handler_sends(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    client = clients.client(welcome=["one", "two", "three"])
    client.connect(our_host.url(welcome=1), transports=transports)
    client.wait("message", count=4)
    assert client.messages() == ["welcome-0", "one", "two", "three"]


def test_the_server_is_killed_and_comes_back(clients: ClientRig, host: ServerRig) -> None:
    many = []
    for transports in (POLLING, WEBSOCKET, UPGRADE):
        client = clients.client()
        client.connect(host.url(), transports=transports)
        client.send("hello")
        client.wait("message", "hello")
        many.append((client, transports))
    host.kill()
    for client, _ in many:
        # So that who wants to connect again knows that nobody asked for the end.
        assert client.ended()[:2] == ["transport error", "connected"]
    host.start()
    for client, transports in many:
        client.connect(host.url(), transports=transports)
        client.send("again")
        client.wait("message", "again")
        client.disconnect()


def test_the_server_falls_silent(clients: ClientRig, our_host: ServerRig) -> None:
    """A stopped process keeps its connections open, and says nothing."""
    many = [clients.client(), clients.client()]
    for client, transports in zip(many, (POLLING, WEBSOCKET), strict=True):
        client.connect(our_host.url("drop_late"), transports=transports)
    our_host.send_signal(signal.SIGSTOP)
    try:
        for client in many:
            assert client.ended()[:2] == ["ping timeout", "connected"]
    finally:
        our_host.send_signal(signal.SIGCONT)


@each_transport
def test_waiting_for_the_end(
    clients: ClientRig, our_host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    client.call("join")  # not connected: nothing to wait for
    client.connect(our_host.url(), transports=transports)
    client.start("join")
    assert client.call("outcome") is None
    client.send("close")
    assert client.outcome() == ["result", None]
    assert client.status()[:2] == ["disconnected", None]


@each_transport
def test_aborting(clients: ClientRig, our_host: ServerRig, transports: list[str]) -> None:
    client = clients.client()
    client.connect(our_host.url(), transports=transports)
    client.disconnect(abort=True)
    assert client.ended()[0] == "client disconnect"


def test_one_connection_at_a_time(clients: ClientRig, our_host: ServerRig) -> None:
    client = clients.client()
    client.connect(our_host.url())
    with pytest.raises(CallError, match=r"ValueError.*not in a disconnected state"):
        client.connect(our_host.url())
    client.send("still here")
    client.wait("message", "still here")


@each_transport
def test_connecting_again_and_again(
    clients: ClientRig, host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    sids = set()
    for number in range(5):
        client.connect(host.url(), transports=transports)
        sids.add(client.status()[1])
        client.send(f"hello-{number}")
        client.wait("message", f"hello-{number}")
        client.disconnect()
    assert len(sids) == 5
    assert client.messages() == [f"hello-{number}" for number in range(5)]
    assert len(client.events("disconnect")) == 5


@pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, UPGRADE], ids="+".join)
def test_a_refusal(clients: ClientRig, host: ServerRig, transports: list[str]) -> None:
    client = clients.client()
    arguments = client.refused(host.url(answer="json"), transports=transports)
    body = (
        {"code": 4, "message": "keep out"} if host.name == "javascript" else {"because": "of this"}
    )
    if transports[0] == "polling":
        status = 403 if host.name == "javascript" else 401
        assert arguments == [f"Unexpected status code {status} in server response", body]
    else:
        assert arguments[0].startswith("Connection error")
        if host.is_ours:
            assert arguments[1] == body
    assert client.events() == []
    client.connect(host.url(), transports=transports)
    client.send("hello")
    client.wait("message", "hello")


def answer_not_found(sock: socket.socket) -> None:
    Head(sock)
    sock.sendall(response("404 Not Found"))


@pytest.mark.parametrize("transports", [POLLING, WEBSOCKET], ids="+".join)
def test_there_is_no_server(clients: ClientRig, our_host: ServerRig, transports: list[str]) -> None:
    client = clients.client()
    with Listener(answer_not_found) as listener:
        arguments = client.refused(listener.url(), transports=transports)
    if transports == POLLING:
        assert arguments == ["Unexpected status code 404 in server response", None]
    client.refused("http://127.0.0.1:1/", transports=transports)
    client.refused("http://nowhere.invalid/", transports=transports)
    client.connect(our_host.url(), transports=transports)
    assert client.status()[0] == "connected"


def test_arguments_that_make_no_sense(clients: ClientRig) -> None:
    client = clients.client()
    with pytest.raises(CallError, match=r"ValueError.*No valid transports"):
        client.connect("http://127.0.0.1:1/", transports=["carrier pigeon"])
    for url in (
        "ftp://127.0.0.1/",
        "127.0.0.1:80",
        "",
        "http://",
        "http://[::1",
        "http://x:99999/",
    ):
        client.refused(url)
