"""The options of a server: their defaults and what they may be.

Options are plain attributes of the server that applications also set after construction
(``eio.ping_interval = 5``). So the check sits on assignment, and reading one costs nothing.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from math import inf, isfinite
from typing import Any

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

POLLING = "polling"
WEBSOCKET = "websocket"
VALID_TRANSPORTS = [POLLING, WEBSOCKET]

# Options that python-engineio does not have.
NEW_OPTIONS = (
    *("max_send_buffer", "max_total_send_buffer", "upgrade_timeout", "body_timeout"),
    "per_message_deflate",
    *("max_clients", "max_clients_per_address", "max_handshakes_per_address", "trusted_proxies"),
)

UPGRADE_TIMEOUT = 10.0  # seconds; engine.io's upgradeTimeout default
BODY_TIMEOUT = 30.0  # seconds
MAX_SEND_BUFFER = 16 * 1024 * 1024  # bytes per client

# RFC 6265, 4.1.1: what cannot stand in a cookie's name, value or attribute; nor can, in any header,
# what is not Latin-1 (PEP 3333).
_NOT_IN_COOKIE = re.compile(r"[\x00-\x1f\x7f;,]|[^\x00-\xff]")


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number of seconds, not {value!r}")
    if not isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be greater than 0 and finite, not {value!r}")
    return value


def _size(name: str, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e8, as people write it
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} must be a number of bytes, not {value!r}")
    return value


def _count(name: str, value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"{name} must be None or a number, not {value!r}")
    return value


def _rate(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
        raise ValueError(f"{name} must be None or a number per second, not {value!r}")
    return value


def _optional_size(name: str, value: Any) -> int | None:
    return None if value is None else _size(name, value)


def _addresses(name: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    addresses = (value,) if isinstance(value, str) else tuple(value)
    for address in addresses:
        try:
            if address != "":
                ip_network(address)
        except ValueError as error:
            raise ValueError(f"{name} must be addresses or networks: {error}") from None
    return addresses


def _flag(name: str, value: Any) -> bool:
    return bool(value)


def _grace(name: str, value: Any) -> float:
    return value if value == 0 else _seconds(name, value)


def _transports(name: str, value: Any) -> list[str]:
    if value is None:
        return list(VALID_TRANSPORTS)
    wanted = [value] if isinstance(value, str) else list(value)
    transports = [transport for transport in wanted if transport in VALID_TRANSPORTS]
    if not transports:
        raise ValueError("No valid transports provided")
    return transports


def _origins(name: str, value: Any) -> str | list[str] | Callable[..., bool] | None:
    if value is None or isinstance(value, str):
        return value
    if callable(value):
        function: Callable[..., bool] = value
        return function
    if isinstance(value, Iterable):
        origins = list(value)
        if all(isinstance(origin, str) for origin in origins):
            return origins
    raise ValueError(f"{name} must be None, a string, a list of strings or a function: {value!r}")


def _cookie(name: str, value: Any) -> str | Mapping[str, Any] | None:
    if value is None or value is False:
        return None
    if isinstance(value, str):
        parts: list[Any] = [value]
    elif isinstance(value, Mapping) and isinstance(value.get("name"), str):
        parts = [*value.keys(), *value.values()]
    else:
        raise ValueError(f"{name} must be None, a name or a mapping with a name: {value!r}")
    for part in parts:
        if isinstance(part, str) and _NOT_IN_COOKIE.search(part):
            raise ValueError(f"{name} holds a character that cookies cannot: {part!r}")
    if not re.fullmatch(r"[^=\s]+", value if isinstance(value, str) else value["name"]):
        raise ValueError(f"{name} has no valid name: {value!r}")
    cookie: str | Mapping[str, Any] = value
    return cookie


def _deflate(name: str, value: Any) -> bool | Mapping[str, Any]:
    if not isinstance(value, Mapping):
        return bool(value)
    try:
        ServerPerMessageDeflateFactory(**value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} has an option that cannot be: {error}") from error
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "ping_interval": _seconds,
    "ping_interval_grace_period": _grace,
    "ping_timeout": _seconds,
    "max_http_buffer_size": _size,
    "max_send_buffer": _size,
    "max_total_send_buffer": _optional_size,
    "max_clients": _count,
    "max_clients_per_address": _count,
    "max_handshakes_per_address": _rate,
    "trusted_proxies": _addresses,
    "upgrade_timeout": _seconds,
    "body_timeout": _seconds,
    "allow_upgrades": _flag,
    "http_compression": _flag,
    "compression_threshold": _size,
    "cookie": _cookie,
    "cors_allowed_origins": _origins,
    "cors_credentials": _flag,
    "async_handlers": _flag,
    "transports": _transports,
    "per_message_deflate": _deflate,
}


class Settings:
    """The options of a server as attributes, each checked when it is set.

    Raises `ValueError`, with the option's name, for a value that cannot work.
    """

    ping_interval: float = 25
    ping_interval_grace_period: float = 0
    ping_timeout: float = 20
    max_http_buffer_size: int = 1_000_000
    max_send_buffer: int = MAX_SEND_BUFFER
    max_total_send_buffer: int | None = None
    max_clients: int | None = None
    max_clients_per_address: int | None = None
    max_handshakes_per_address: float | None = None
    trusted_proxies: tuple[str, ...] | None = None
    upgrade_timeout: float = UPGRADE_TIMEOUT
    body_timeout: float = BODY_TIMEOUT
    allow_upgrades: bool = True
    http_compression: bool = True
    compression_threshold: int = 1024
    cookie: str | Mapping[str, Any] | None = None
    cors_allowed_origins: str | list[str] | Callable[..., bool] | None = None
    cors_credentials: bool = True
    async_handlers: bool = True
    transports: list[str] = VALID_TRANSPORTS
    per_message_deflate: bool | Mapping[str, Any] = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "ping_interval" and isinstance(value, tuple):
            if len(value) != 2:
                raise ValueError(f"{name} must be a number or (interval, grace), not {value!r}")
            interval = _seconds(name, value[0])
            self.ping_interval_grace_period = _grace(f"{name}'s grace period", value[1])
            value = interval
        check = _CHECKS.get(name)
        object.__setattr__(self, name, value if check is None else check(name, value))
