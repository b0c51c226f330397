"""The environ that the connect handler gets: a plain WSGI one."""

import pytest

import rigs
import wire

# What a driver for asyncio adds: the way to everything its server knows.
KEYS = {
    "asgi": {"asgi.scope", "asgi.receive", "asgi.send", "asgi"},
    "aiohttp": {"aiohttp.request"},
    "sanic": {"sanic.request"},
    "tornado": {"tornado.handler"},
}


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_environ(server: rigs.Server, transport: str) -> None:
    headers = {"X-Custom": "value", "User-Agent": "the test", "Cookie": "a=b"}
    query = {"token": "a b", "other": "€"}
    if transport == "polling":
        sid = server.polling(headers, **query).sid
    else:
        sid = server.websocket({**wire.websocket_headers(), **headers}, **query).sid
    environ = server.call("environ", sid=sid)
    assert environ["REQUEST_METHOD"] == "GET"
    expected = f"EIO=4&transport={transport}&token=a+b&other=%E2%82%AC"
    assert environ["QUERY_STRING"] == expected
    assert environ["SCRIPT_NAME"] + environ["PATH_INFO"] == server.endpoint.path
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["SERVER_PROTOCOL"] in ("HTTP/1.1", "HTTP/1.0")
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["SERVER_PORT"] == str(server.endpoint.address[1])
    assert "SERVER_NAME" in environ
    assert environ["HTTP_X_CUSTOM"] == "value"
    assert environ["HTTP_USER_AGENT"] == "the test"
    assert environ["HTTP_COOKIE"] == "a=b"
    assert environ["HTTP_HOST"] == "127.0.0.1"


@pytest.mark.rig("asyncio")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_keys_of_the_driver(server: rigs.Server, transport: str) -> None:
    session = server.polling() if transport == "polling" else server.websocket()
    keys = set(server.call("environ_keys", sid=session.sid))
    assert keys >= KEYS[server.spec.async_mode]
