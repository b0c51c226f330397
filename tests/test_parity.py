"""The sync and the asyncio half offer the same things under the same names."""

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

import engineio
from engineio.asgi import ASGIApp
from engineio.async_client import AsyncClient
from engineio.async_server import AsyncServer
from engineio.async_socket import AsyncSocket
from engineio.base_client import BaseClient
from engineio.client import Client
from engineio.middleware import WSGIApp
from engineio.server import Server
from engineio.socket import Socket

PACKAGE = Path(engineio.__file__).parent

# What waits, and so is a coroutine function in AsyncServer.
COROUTINES = {
    *("send", "send_packet", "broadcast", "disconnect", "shutdown", "sleep", "handle_request"),
    *("get_session", "save_session"),
}
# What cannot be the same, and why.
DIFFERENT_SIGNATURE = {"handle_request"}  # WSGI's, or whatever the framework gives
DIFFERENT_RESULT = {
    "session",  # a context manager, of one kind or the other
    "handle_message",  # returns what to await
}
DIFFERENT_DOCSTRING = {
    "handle_request",
    "shutdown",  # threads, or tasks
    "start_background_task",  # the same
    "handle_message",
}
ONLY_ASYNC = {"attach"}  # routes of aiohttp and sanic
ONLY_SYNC = {
    "find_connection",  # which WSGI server it is
}


def public(kind: type) -> dict[str, Any]:
    members = {name: inspect.getattr_static(kind, name) for name in dir(kind) if name[:1] != "_"}
    return {
        name: member
        for name, member in members.items()
        if inspect.isroutine(member) or isinstance(member, property)
    }


def text(member: Any) -> str:
    return inspect.cleandoc(member.__doc__ or "")


SERVERS = public(Server), public(AsyncServer)
SHARED = sorted(SERVERS[0].keys() & SERVERS[1].keys())


def test_both_servers_have_the_same_members() -> None:
    sync, asynchronous = SERVERS
    # `loop` is a property of one and an attribute of the other.
    assert sync.keys() - asynchronous.keys() - {"loop"} == ONLY_SYNC
    assert asynchronous.keys() - sync.keys() == ONLY_ASYNC


@pytest.mark.parametrize("name", SHARED)
def test_signatures_and_docstrings_of_the_servers(name: str) -> None:
    sync, asynchronous = (members[name] for members in SERVERS)
    assert text(sync)
    if name not in DIFFERENT_DOCSTRING:
        assert text(sync) == text(asynchronous)
    if isinstance(sync, property):
        return
    if name not in DIFFERENT_SIGNATURE:
        ours, theirs = inspect.signature(sync), inspect.signature(asynchronous)
        assert ours.parameters == theirs.parameters
        if name not in DIFFERENT_RESULT:
            assert ours.return_annotation == theirs.return_annotation
    assert inspect.iscoroutinefunction(asynchronous) == (name in COROUTINES)


def test_constructors() -> None:
    assert inspect.signature(Server) == inspect.signature(AsyncServer)
    assert Server.reason is AsyncServer.reason


WAITS = {
    *("send", "close", "receive", "poll", "accept", "check_ping_timeout"),
    *("handle_get_request", "handle_post_request", "_send_ping", "_websocket_handler"),
}


def test_both_sockets() -> None:
    sync, asynchronous = public(Socket), public(AsyncSocket)
    assert sync.keys() <= asynchronous.keys()
    assert asynchronous.keys() - sync.keys() == {"end_now"}
    for name in WAITS:
        ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (Socket, AsyncSocket))
        parameters = [key for key in ours.parameters if key != "start_response"]
        assert parameters == list(theirs.parameters), name
        assert inspect.iscoroutinefunction(getattr(AsyncSocket, name)), name
        assert text(getattr(Socket, name)) == text(getattr(AsyncSocket, name)) or name in {
            "handle_get_request",
            "handle_post_request",
        }


CLIENTS = public(Client), public(AsyncClient)
WAIT_IN_CLIENTS = {"connect", "disconnect", "send", "sleep", "wait"}


def test_both_clients() -> None:
    assert CLIENTS[0].keys() == CLIENTS[1].keys()
    assert inspect.signature(Client) == inspect.signature(AsyncClient)
    assert Client.reason is AsyncClient.reason
    assert issubclass(Client, BaseClient)
    assert issubclass(AsyncClient, BaseClient)


@pytest.mark.parametrize("name", sorted(CLIENTS[0]))
def test_signatures_and_docstrings_of_the_clients(name: str) -> None:
    sync, asynchronous = (members[name] for members in CLIENTS)
    assert text(sync)
    if name not in DIFFERENT_DOCSTRING:
        assert text(sync) == text(asynchronous)
    if isinstance(sync, property):
        return
    ours, theirs = inspect.signature(sync), inspect.signature(asynchronous)
    assert ours.parameters == theirs.parameters
    if name not in ("start_background_task", "handle_message"):  # returns what to await
        assert ours.return_annotation == theirs.return_annotation
    assert inspect.iscoroutinefunction(asynchronous) == (name in WAIT_IN_CLIENTS)


def test_both_applications() -> None:
    sync, asynchronous = (inspect.signature(kind).parameters for kind in (WSGIApp, ASGIApp))
    names = {"engineio_app": "engineio_server", "wsgi_app": "other_asgi_app"}
    assert [names.get(name, name) for name in sync] == [
        name for name in asynchronous if name not in ("on_startup", "on_shutdown")
    ]
    for name, parameter in sync.items():
        assert parameter.default == asynchronous[names.get(name, name)].default
    assert public(WSGIApp).keys() <= public(ASGIApp).keys()


def order(path: str, kind: str) -> list[str]:
    """The methods of a class, from the top of its file down."""
    (node,) = (
        node
        for node in ast.parse((PACKAGE / path).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == kind
    )
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [item.name for item in node.body if isinstance(item, functions)]


@pytest.mark.parametrize(
    ("sync", "asynchronous"),
    [
        (("server.py", "Server"), ("async_server.py", "AsyncServer")),
        (("socket.py", "Socket"), ("async_socket.py", "AsyncSocket")),
        (("middleware.py", "WSGIApp"), ("asgi.py", "ASGIApp")),
        (("client.py", "Client"), ("async_client.py", "AsyncClient")),
        (("client.py", "Connection"), ("async_client.py", "AsyncConnection")),
        (("reader.py", "Reader"), ("async_reader.py", "AsyncReader")),
        (("dial.py", "HTTP"), ("async_dial.py", "AsyncHTTP")),
    ],
)
def test_the_files_are_in_the_same_order(
    sync: tuple[str, str], asynchronous: tuple[str, str]
) -> None:
    """So that two windows scroll together."""
    ours, theirs = order(*sync), order(*asynchronous)
    shared = set(ours) & set(theirs)
    assert [name for name in ours if name in shared] == [name for name in theirs if name in shared]
    assert len(shared) >= 3
