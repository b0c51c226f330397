"""Engine.IO server and client: realtime connections over WebSocket and HTTP long-polling."""

from typing import TYPE_CHECKING, Any

from engineio import async_socket, base_client, exceptions, json, packet, payload, socket
from engineio.asgi import ASGIApp
from engineio.async_server import AsyncServer, get_tornado_handler
from engineio.driver import CLIENT_MODULES, load_client_module
from engineio.middleware import Middleware, WSGIApp
from engineio.server import Server

if TYPE_CHECKING:
    from engineio.async_client import AsyncClient
    from engineio.client import Client

__version__ = "5.0.0"

__all__ = [
    "ASGIApp",
    "AsyncClient",
    "AsyncServer",
    "Client",
    "Middleware",
    "Server",
    "WSGIApp",
    "async_socket",
    "base_client",
    "exceptions",
    "get_tornado_handler",
    "json",
    "packet",
    "payload",
    "socket",
]


def __getattr__(name: str) -> Any:
    """Load a client when it is first asked for: their HTTP libraries take longer than all else."""
    module_name = CLIENT_MODULES.get(name, name)
    if module_name not in CLIENT_MODULES.values():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = load_client_module(module_name)
    value = globals()[name] = module if name == module_name else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
