"""Everything this package raises, told apart by whose fault it is.

`ConnectionError` is this package's own, not the builtin::

    EngineIOError
      ProtocolError            the peer's fault; has an HTTP status and a WebSocket close code
        PacketError            malformed packet or payload
          UnknownPacketError   a packet type that exists, but not here and now
        ContentTooLongError    larger than max_http_buffer_size
        OverlapError           a second poll while one waits, a second POST while one is read
      SocketIsClosedError      yours: used a session that has ended
      ConnectionError          a client could not connect, or lost its connection
      QueueEmpty               nothing to take from a queue
      DriverError              the installation's: says what to install or to change
"""


class EngineIOError(Exception):
    """Base class of every error of this package."""


class ProtocolError(EngineIOError):
    """The peer broke the protocol."""

    status = 400
    """HTTP status that answers it."""

    close_code = 1002
    """WebSocket close code that answers it (RFC 6455, 7.4.1)."""


class PacketError(ProtocolError, ValueError):
    """A packet or payload is malformed."""


class UnknownPacketError(PacketError):
    """A well-formed packet arrived where its type makes no sense."""


class ContentTooLongError(ProtocolError):
    """A message is larger than `max_http_buffer_size`."""

    status = 413
    close_code = 1009


class OverlapError(ProtocolError):
    """A client sent a request while an earlier one of its kind was still open."""


class SocketIsClosedError(EngineIOError):
    """The session has ended."""


class ConnectionError(EngineIOError):
    """A client could not connect, or lost its connection."""


class QueueEmpty(EngineIOError):  # noqa: N818 - the public name
    """There was nothing to take from a queue."""


class DriverError(EngineIOError):
    """The chosen async mode cannot work here; the message says what to install or change."""
