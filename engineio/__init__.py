"""Engine.IO server and client: realtime connections over WebSocket and HTTP long-polling."""

from engineio import exceptions, json, packet, payload, socket
from engineio.asgi import ASGIApp
from engineio.middleware import Middleware, WSGIApp
from engineio.server import Server

__version__ = "5.0.0"

__all__ = [
    "ASGIApp",
    "Middleware",
    "Server",
    "WSGIApp",
    "exceptions",
    "json",
    "packet",
    "payload",
    "socket",
]
