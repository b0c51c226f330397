"""A WebSocket on a WSGI server, the same in every sync mode."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from engineio.driver import Loop, Stream
from engineio.exceptions import ProtocolError
from engineio.request import Request
from engineio.websocket import Handshake, WebSocketProtocol, handshake

from ._handover import BorrowedSocket, Environ, Handover, StartResponse

# A thread that waits in recv() holds memory for what it asked for, so most ask for little; who got
# all of it asks for more.
READ_SIZE = 2048
FULL_READ_SIZE = 65536
LARGEST_READ = 1 << 20

# How long a peer may take to answer our close frame, or to take what is left for it.
CLOSE_TIMEOUT = 2.0  # seconds

NORMAL = 1000
ABNORMAL = 1006  # no close frame was received (RFC 6455, 7.1.5)

Message = str | bytes


class WebSocket:
    """An open WebSocket.

    `read` and `wait` are for the one that reads; `send` and `close` may be called from anywhere
    and never wait.
    """

    def __init__(
        self,
        stream: Stream,
        protocol: WebSocketProtocol,
        loop: Loop,
        lock: AbstractContextManager[Any],
        received: bytes = b"",
        is_compressed: bool = False,
        most_unread: int = 1 << 24,
    ) -> None:
        self.stream = stream
        self._most_unread = most_unread
        self.is_compressed = is_compressed
        """Whether permessage-deflate was negotiated, so that frames cannot be shared."""
        self.protocol = protocol
        self._loop = loop
        self._lock = lock
        self._received = received
        self.size = 0
        """Bytes that the last `read` took from the network, or made of what was compressed."""
        self._messages: list[Message] = []
        self._last_words = b""
        self._has_failed = False
        self._cancel_abort: Callable[[], None] | None = None

    @property
    def was_violated(self) -> bool:
        """Whether the connection ended because the peer broke the WebSocket protocol."""
        protocol = self.protocol
        return not protocol.closed_by_peer and protocol.close_code not in (None, ABNORMAL)

    def read(self) -> list[Message] | None:
        """Wait for messages and return all there are, or None when there will be no more."""
        protocol = self.protocol
        if self._last_words:
            self._say_last_words()
        while protocol.close_code is None:
            data = self._received
            if data:
                self._received = b""
            else:
                # What is compressed may be a thousand times its size.
                reads_more = self.size >= READ_SIZE and not self.is_compressed
                size = FULL_READ_SIZE if reads_more else READ_SIZE
                if protocol.wants > size:
                    size = min(protocol.wants, LARGEST_READ)
                data = self.stream.read(size)
            self.size = len(data)
            with self._lock:
                if data:
                    messages = protocol.receive(data)
                else:
                    protocol.receive_eof()
                    messages = []
                if messages and self.is_compressed:
                    self.size = max(len(data), sum(map(len, messages)))
                output = protocol.data_to_send() if protocol.has_output else b""
                if messages and not protocol.is_open:
                    # The answers to these come before the close frame; after it none may.
                    self._last_words = output
                    return messages
            # Who reads no pongs is sent no more of them.
            if output and (self.stream.size < self._most_unread or not protocol.is_open):
                self.stream.push_control(output, not protocol.is_open)
            if messages:
                return messages
            if not data:
                return None
        return None

    def _say_last_words(self) -> None:
        with self._lock:  # no message comes behind them
            words, self._last_words = self._last_words, b""
            if words:
                self.stream.push_control(words, True)

    def wait(self) -> Message | None:
        """Wait for one message and return it, or None when there will be no more."""
        if not self._messages:
            self._messages = (self.read() or [])[::-1]
        return self._messages.pop() if self._messages else None

    def send(self, message: Message) -> None:
        """Send one message: str as text, bytes as binary; nothing once the closing has begun."""
        with self._lock:  # also keeps compressed messages in the order they were compressed
            if self.protocol.is_open or self._last_words:
                self.stream.push(self.protocol.encode(message))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Start the closing handshake; the connection ends when the peer answers, or soon."""
        if self._last_words:
            self._say_last_words()
        if code != NORMAL:
            self._has_failed = True
        if not self.protocol.is_open:  # and never will be again
            return
        with self._lock:
            frame = self.protocol.close(code, reason)
        if frame:
            self.stream.push_control(frame, True)
            self.stream.flush()
            self._cancel_abort = self._loop.call_later(CLOSE_TIMEOUT, self.stream.abort)

    def over(self) -> None:
        """See to it that the connection ends soon, without waiting."""
        self.close()
        self.stream.flush()
        if self.protocol.closed_by_peer and not self.stream.size:
            self.stream.abort()
            return
        if (self.was_violated or self._has_failed) and not self.stream.size:
            self.stream.end()  # the close frame is the last word (RFC 6455, 7.1.7)
        if self._cancel_abort is None:
            self._cancel_abort = self._loop.call_later(CLOSE_TIMEOUT, self.stream.abort)

    def finish(self) -> None:
        """End the connection and wait until it has ended."""
        self.over()
        # Unread bytes at the moment of the close would turn it into a reset, and that could
        # take the close frame with it. So read on until the peer goes, or time is up.
        while (self.stream.size or not self.protocol.closed_by_peer) and (
            data := self.stream.read(READ_SIZE)
        ):
            with self._lock:
                self.protocol.receive(data)  # for its close frame
        self._end()

    def drop(self) -> None:
        """End the connection without waiting for anything."""
        self.close()
        self._end()

    def _end(self) -> None:
        if self._cancel_abort is not None:
            self._cancel_abort()
        self.stream.abort()
        self.stream.finish()


class UnavailableError(ProtocolError):
    """There is no room for another WebSocket in this process."""

    status = 503


class WSGIWebSocket:
    """What a driver calls `websocket`: takes a request over and runs a handler on the result.

    ``WSGIWebSocket(handler, server)(environ, start_response)`` returns what the application
    returns to the WSGI server. Raises `ProtocolError` before anything was answered if the request
    is no valid handshake.
    """

    def __init__(self, handler: Callable[[WebSocket], Any], server: Any) -> None:
        self.handler = handler
        self.server = server

    def find(self, environ: Environ) -> Handover | None:
        """Return the connection of the request."""
        raise NotImplementedError

    def stream(self, sock: Any) -> Stream:
        """Return a connection as a stream of bytes in this mode's loop."""
        raise NotImplementedError

    def check(self, environ: Environ) -> Handshake:
        """Return how to answer the handshake. Raises `ProtocolError` if it can't succeed."""
        request = Request.parse(environ)
        connection = request.connection or self.server.find_connection(environ)
        if connection is None:
            raise ProtocolError("this server gives no access to its socket")
        if request.handshake is None:
            if connection.is_open_websocket:
                request.handshake = Handshake([], [])  # its 101 is out, without extensions
            else:
                request.handshake = handshake(environ, self.server.per_message_deflate)
        accepted: Handshake = request.handshake
        return accepted

    def open(
        self,
        sock: Any,
        protocol: WebSocketProtocol,
        received: bytes = b"",
        is_compressed: bool = False,
    ) -> WebSocket:
        """Return the WebSocket on a connection whose handshake is done; clients use this too."""
        loop = self.server.loop
        lock = self.server.driver.lock()
        unread = self.server.max_send_buffer
        return WebSocket(self.stream(sock), protocol, loop, lock, received, is_compressed, unread)

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Answer the handshake, run the handler, end the connection."""
        answer = self.check(environ)
        found: Handover | None = Request.parse(environ).connection
        if found is None or isinstance(found.sock, BorrowedSocket):
            try:
                found = self.find(environ)
            except OSError as error:  # uWSGI's descriptor is duplicated, and none is left
                raise UnavailableError(str(error)) from error
        if found is None:
            raise ProtocolError("this server gives no access to its socket")
        try:
            head, received = found.begin(start_response, answer.headers)
        except OSError:  # the peer has gone already; its handler will find out
            head = received = b""
        websocket = self.open(
            found.sock,
            WebSocketProtocol(
                self.server.max_http_buffer_size,
                answer.extensions,
                self.server.compression_threshold,
            ),
            received,
            is_compressed=bool(answer.extensions),
        )
        if head:
            websocket.stream.push(head)
        try:
            self.handler(websocket)
        except BaseException:  # this greenlet is killed, or the process exits
            websocket.drop()
            raise
        websocket.finish()
        return found.end(start_response)
