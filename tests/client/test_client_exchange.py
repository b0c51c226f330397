"""What clients and servers say to each other: everything arrives, once, whole and in order."""

import hashlib
import time
import uuid
from typing import Any

import pytest

from client_rigs import ClientRig, RemoteClient, ServerRig

POLLING = ["polling"]
WEBSOCKET = ["websocket"]
UPGRADE = ["polling", "websocket"]
each_transport = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, UPGRADE], ids="+".join)

BURST = [f"burst-{number}" for number in range(1000)]


def binary(data: bytes) -> dict[str, Any]:
    return {"binary": len(data), "sha1": hashlib.sha1(data).hexdigest()}


def long_text(text: str) -> dict[str, Any]:
    return {"text": len(text), "sha1": hashlib.sha1(text.encode()).hexdigest()}


# What is sent, and what comes back to the handler.
EXCHANGES: list[tuple[Any, Any]] = [
    ("hello", "hello"),
    ("", ""),
    ("grüße, мир, 世界, \U0001f30d \x00\u2028", "grüße, мир, 世界, \U0001f30d \x00\u2028"),
    ("12", "12"),
    ("true story", "true story"),
    ({"a": [1, None, True], "b": {"c": "д"}}, {"a": [1, None, True], "b": {"c": "д"}}),
    ([1, 2], [1, 2]),
    ("x" * 300, long_text("x" * 300)),
    (b"", binary(b"")),
    (bytes(range(256)), binary(bytes(range(256)))),
]


@each_transport
def test_every_kind_of_message_comes_back(
    clients: ClientRig, host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    client.connect(host.url(), transports=transports)
    assert client.status()[0] == "connected"
    assert client.status()[2] == transports[-1]
    for data, _ in EXCHANGES:
        client.send(data)
    client.wait("message", count=len(EXCHANGES))
    assert client.messages() == [back for _, back in EXCHANGES]
    assert client.events()[0] == ["connect", "connected", True]
    assert host.server().transport(client.status()[1]) == transports[-1]


@each_transport
def test_bursts_both_ways_at_the_same_time(
    clients: ClientRig, host: ServerRig, transports: list[str]
) -> None:
    client = clients.client()
    client.connect(host.url(), transports=transports)
    sid = client.status()[1]
    client.send("burst:1000")
    client.burst("quiet", 1000)
    client.wait("message", count=1000)
    assert client.messages() == BURST
    server = host.server()
    server.wait(sid, "message", count=1001)
    assert server.messages(sid)[1:] == [f"quiet-{number}" for number in range(1000)]


def test_the_upgrade_keeps_order_and_loses_nothing(clients: ClientRig, host: ServerRig) -> None:
    """The connect handler and the server send before the upgrade, others while it happens."""
    client = clients.client(welcome=["burst:300", *(f"quiet-{number}" for number in range(300))])
    token = uuid.uuid4().hex
    client.start_connect(host.url(welcome=300, token=token))
    sid = host.server().call("token", token=token, timeout=10)
    client.wait("connect")
    client.burst("quiet-more", 300)
    host.server().call("burst", sid=sid, count=300)
    assert client.outcome()[0] == "result"
    client.wait("message", count=900)
    messages = client.messages()
    assert [m for m in messages if m.startswith("welcome")] == [f"welcome-{n}" for n in range(300)]
    # Two bursts, begun at different times; each keeps its order.
    bursts = [int(m[6:]) for m in messages if m.startswith("burst")]
    assert sorted(bursts) == sorted([*range(300), *range(300)])
    host.server().wait(sid, "message", count=601)
    quiet = [m for m in host.server().messages(sid) if m.startswith("quiet")]
    assert quiet == [
        *(f"quiet-{n}" for n in range(300)),
        *(f"quiet-more-{n}" for n in range(300)),
    ]
    assert client.status()[2] == "websocket"


@each_transport
def test_big_messages(clients: ClientRig, host: ServerRig, transports: list[str]) -> None:
    client = clients.client()
    client.connect(host.url("big"), transports=transports)
    client.send("size:5000000")
    client.send("bytes:5000000")
    client.call("send_size", size=3_000_000)
    client.wait("message", count=3)
    assert client.messages() == [
        long_text("x" * 5_000_000),
        binary(bytes(5_000_000)),
        long_text("x" * 3_000_000),
    ]


def test_posts_stay_within_max_payload(clients: ClientRig, host: ServerRig) -> None:
    """The server refuses a body of more than 1,000 bytes; 200 messages make 3,000 and more."""
    client = clients.client(welcome=[f"quiet-{number:03}" for number in range(200)])
    client.connect(host.url("small"), transports=POLLING)
    client.burst("quiet-é", 200)
    sid = client.status()[1]
    server = host.server("small")
    server.wait(sid, "message", count=400)
    assert server.messages(sid) == [
        *(f"quiet-{number:03}" for number in range(200)),
        *(f"quiet-é-{number}" for number in range(200)),
    ]
    assert client.status()[0] == "connected"


def test_a_handler_may_wait_for_a_later_message(clients: ClientRig, host: ServerRig) -> None:
    client = clients.client()
    client.connect(host.url())
    for data in ("my-hold:a", "before", "my-hold:b", "my-release:b", "my-release:a", "after"):
        client.send(data)
    client.wait("released", "a")
    client.wait("released", "b")
    client.wait("message", "after")
    assert client.messages() == [
        *("my-hold:a", "before", "my-hold:b", "my-release:b", "my-release:a", "after")
    ]


def test_a_handler_sends(clients: ClientRig, host: ServerRig) -> None:
    client = clients.client()
    client.connect(host.url())
    for number in range(100):
        client.send(f"my-send:{number}")
    client.wait("message", count=200)
    assert [data for data in client.messages() if data.isdigit()] == [str(n) for n in range(100)]


def test_what_a_refused_upgrade_leaves_is_polling(clients: ClientRig, host: ServerRig) -> None:
    client = clients.client()
    client.connect(host.url("polling_only"))
    client.send("hello")
    client.wait("message", "hello")
    assert client.status()[2] == "polling"


# python-engineio rounds its intervals down to whole seconds when it tells them.
@pytest.mark.parametrize("host", ["ours-gevent", "ours-uvicorn", "javascript"], indirect=True)
@each_transport
def test_pings_are_answered(clients: ClientRig, host: ServerRig, transports: list[str]) -> None:
    """The server asks every 0.2 s, and drops whoever does not answer."""
    client = clients.client()
    client.connect(host.url("drop_late" if host.is_ours else "drop"), transports=transports)
    time.sleep(1.0)
    client.send("still here")
    client.wait("message", "still here")
    assert client.events("disconnect") == []


def test_many_clients_at_once(clients: ClientRig, host: ServerRig) -> None:
    many: list[RemoteClient] = [clients.client() for _ in range(10)]
    for client in many:
        client.connect(host.url())
    for client in many:
        client.burst("echo", 50)
    for client in many:
        client.wait("message", count=50)
        assert client.messages() == [f"echo-{number}" for number in range(50)]
    for client in many:
        client.disconnect()
        assert client.ended()[0] == "client disconnect"
