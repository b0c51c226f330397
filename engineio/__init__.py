"""Engine.IO server and client: realtime connections over WebSocket and HTTP long-polling."""

from engineio import async_socket, exceptions, json, packet, payload, socket
from engineio.asgi import ASGIApp
from engineio.async_server import AsyncServer, get_tornado_handler
from engineio.middleware import Middleware, WSGIApp
from engineio.server import Server

__version__ = "5.0.0"

__all__ = [
    "ASGIApp",
    "AsyncServer",
    "Middleware",
    "Server",
    "WSGIApp",
    "async_socket",
    "exceptions",
    "get_tornado_handler",
    "json",
    "packet",
    "payload",
    "socket",
]
