"""The options of a server: what they may be, at construction and when they are set later."""

from typing import Any

import pytest

import engineio
from engineio.settings import Settings

SECONDS = ["ping_interval", "ping_timeout", "upgrade_timeout", "body_timeout"]
SIZES = ["max_http_buffer_size", "max_send_buffer", "compression_threshold"]
FLAGS = ["allow_upgrades", "http_compression", "cors_credentials", "async_handlers"]


def same_origin(origin: str) -> bool:
    return origin == "https://example.com"


GOOD: list[tuple[str, Any]] = [
    *((name, value) for name in SECONDS for value in (25, 0.001, 1e9)),
    *((name, value) for name in SIZES for value in (0, 1, 10**12)),
    *((name, value) for name in FLAGS for value in (True, False)),
    ("cookie", None),
    ("cookie", "io"),
    ("cookie", {"name": "io", "path": "/", "Secure": True, "Expires": str, "Max-Age": 3600}),
    ("cors_allowed_origins", None),
    ("cors_allowed_origins", "*"),
    ("cors_allowed_origins", "https://example.com"),
    ("cors_allowed_origins", []),
    ("cors_allowed_origins", ["https://example.com", "null"]),
    ("cors_allowed_origins", same_origin),
    ("transports", ["websocket"]),
    ("transports", ["websocket", "polling"]),
    ("per_message_deflate", True),
    ("per_message_deflate", {"server_max_window_bits": 12}),
]

BAD: list[tuple[str, Any]] = [
    *(
        (name, value)
        for name in SECONDS
        for value in (0, -1, True, None, "25", float("inf"), float("nan"), [25, 5])
    ),
    *((name, value) for name in SIZES for value in (-1, 1.5, True, None, "1", float("inf"))),
    ("ping_interval", (25, -1)),
    ("ping_interval", (0, 5)),
    ("ping_interval", (25, "5")),
    ("ping_interval", (25,)),
    ("ping_interval", (25, 5, 1)),
    ("cookie", ""),
    ("cookie", 5),
    ("cookie", "two words"),
    ("cookie", "a=b"),
    ("cookie", "io;"),
    ("cookie", "io,"),
    ("cookie", "io\r\nX: y"),
    ("cookie", "io\x7f"),
    ("cookie", {}),
    ("cookie", {"path": "/"}),
    ("cookie", {"name": 5}),
    ("cookie", {"name": ""}),
    ("cookie", {"name": "a=b"}),
    ("cookie", {"name": "io", "path": "/; HttpOnly"}),
    ("cookie", {"name": "io", "path": "/\r\nX: y"}),
    ("cookie", {"name": "io", "pa;th": "/"}),
    ("cors_allowed_origins", 5),
    ("cors_allowed_origins", ["https://example.com", 5]),
    ("cors_allowed_origins", b"https://example.com"),
    ("per_message_deflate", {"server_max_window_bits": 99}),
    ("per_message_deflate", {"window": 9}),
]


@pytest.fixture
def server() -> engineio.Server:
    return engineio.Server(async_mode="threading")


@pytest.mark.parametrize(("option", "value"), GOOD)
def test_good_values(server: engineio.Server, option: str, value: Any) -> None:
    setattr(server, option, value)
    assert getattr(server, option) == value
    other = engineio.Server(async_mode="threading", **{option: value})
    assert getattr(other, option) == value


@pytest.mark.parametrize(("option", "value"), BAD)
def test_bad_values(server: engineio.Server, option: str, value: Any) -> None:
    before = getattr(server, option)
    with pytest.raises(ValueError, match=option):
        setattr(server, option, value)
    assert getattr(server, option) == before
    with pytest.raises(ValueError, match=option):
        engineio.Server(async_mode="threading", **{option: value})


def test_defaults() -> None:
    values = Settings()
    assert (values.ping_interval, values.ping_timeout, values.upgrade_timeout) == (25, 20, 10)
    assert values.ping_interval_grace_period == 0
    assert (values.max_http_buffer_size, values.compression_threshold) == (1_000_000, 1024)
    assert values.max_send_buffer == 16 * 1024 * 1024
    assert values.transports == ["polling", "websocket"]
    assert values.allow_upgrades
    assert values.http_compression
    assert values.cors_credentials
    assert values.async_handlers
    assert not values.per_message_deflate
    assert values.cookie is None
    assert values.cors_allowed_origins is None


@pytest.mark.parametrize("size", [1e8, 1000.0])
def test_a_whole_float_is_a_size(server: engineio.Server, size: float) -> None:
    # `max_http_buffer_size=1e8` is how the JavaScript server's documentation writes it, and
    # python-engineio takes it.
    server.max_http_buffer_size = size  # type: ignore[assignment]
    assert server.max_http_buffer_size == size
    assert isinstance(server.max_http_buffer_size, int)


def test_ping_interval_and_grace_period(server: engineio.Server) -> None:
    server.ping_interval = (10, 2.5)  # type: ignore[assignment]
    assert (server.ping_interval, server.ping_interval_grace_period) == (10, 2.5)
    other = engineio.Server(async_mode="threading", ping_interval=(3, 0))
    assert (other.ping_interval, other.ping_interval_grace_period) == (3, 0)


def test_a_bad_interval_leaves_the_grace_period(server: engineio.Server) -> None:
    server.ping_interval = (10, 2)  # type: ignore[assignment]
    with pytest.raises(ValueError, match="ping_interval"):
        server.ping_interval = (0, 7)  # type: ignore[assignment]
    assert (server.ping_interval, server.ping_interval_grace_period) == (10, 2)


@pytest.mark.parametrize("value", ["websocket", ["websocket"], ("websocket", "flash")])
def test_transports_are_filtered(server: engineio.Server, value: Any) -> None:
    server.transports = value
    assert server.transports == ["websocket"]


def test_transports_default_to_all(server: engineio.Server) -> None:
    server.transports = ["websocket"]
    server.transports = None  # type: ignore[assignment]
    assert server.transports == ["polling", "websocket"]


@pytest.mark.parametrize("value", [[], "", "flash", ["flash"], [5]])
def test_no_valid_transport(server: engineio.Server, value: Any) -> None:
    with pytest.raises(ValueError, match="No valid transports provided"):
        server.transports = value
    with pytest.raises(ValueError, match="No valid transports provided"):
        engineio.Server(async_mode="threading", transports=value)


def test_lists_are_copied(server: engineio.Server) -> None:
    origins = ["https://example.com"]
    transports = ["polling"]
    server.cors_allowed_origins = origins
    server.transports = transports
    origins.append("*")
    transports.append("websocket")
    assert server.cors_allowed_origins == ["https://example.com"]
    assert server.transports == ["polling"]


def test_a_server_does_not_change_another(server: engineio.Server) -> None:
    server.transports.clear()
    assert engineio.Server(async_mode="threading").transports == ["polling", "websocket"]


def test_unknown_options() -> None:
    options: dict[str, Any] = {"message_queue": None, "a_typo": 1, "another": 2}
    with pytest.warns(UserWarning, match="ignored unknown options: a_typo, another$") as record:
        engineio.Server(async_mode="threading", **options)
    assert [warning.filename for warning in record] == [__file__]


def test_known_options_are_not_warned_about() -> None:
    engineio.Server(
        async_mode="threading",
        max_send_buffer=1,
        upgrade_timeout=1,
        per_message_deflate=True,
        client_manager=None,
        monitor_clients=False,
        json=None,
    )


@pytest.mark.parametrize("mode", ["asgi", "aiohttp", "", "Threading", "os"])
def test_invalid_async_mode(mode: str) -> None:
    with pytest.raises(ValueError, match="Invalid async_mode specified"):
        engineio.Server(async_mode=mode)
