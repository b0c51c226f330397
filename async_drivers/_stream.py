"""What every stream does with what it cannot write at once."""

from socket import SHUT_WR
from ssl import SSLWantReadError, SSLWantWriteError
from typing import Any

from ._handover import native_socket, shut_down

# So many pieces that wait for the peer become one: each takes 40 bytes besides what is in it, and
# small messages would take twenty times what their limit says.
PIECES = 1000

WOULD_BLOCK = (BlockingIOError, InterruptedError, SSLWantReadError, SSLWantWriteError)


class BufferedStream:
    """A connection and the bytes that wait to be written to it.

    Below TLS the methods of the TLS object are used: on a socket that does not wait, they neither.
    """

    __slots__ = (
        *("_ended", "_is_over", "_out", "_packed", "_recv", "_rest", "_send", "_sock", "_tls"),
        "size",
    )

    def __init__(self, sock: Any) -> None:
        self.size = 0
        self._sock = sock
        self._tls = getattr(sock, "_sslobj", None)
        native = native_socket(sock)
        self._recv = native.recv if self._tls is None else self._tls.read
        self._send = native.send if self._tls is None else self._tls.write
        self._out: list[bytes] = []
        self._packed = 0  # so many at its beginning are joined already
        self._rest: memoryview | None = None
        self._ended = False
        # No message may come any more: behind the close frame, or because it has ended.
        self._is_over = False

    def _write(self) -> bool:
        """Write what goes without waiting. Returns False if some is left for later."""
        while True:
            data: bytes | memoryview
            if self._rest is not None:
                data = self._rest
            elif self._out:
                data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
                self._out.clear()
                self._packed = 0
            else:
                return True
            try:
                sent = self._send(data)
            except WOULD_BLOCK:
                sent = 0
            except OSError:
                self._forget()
                self._break()
                return True
            self.size -= sent
            if sent == len(data):
                self._rest = None
            else:
                self._rest = memoryview(data)[sent:]
                return False

    def _pack(self) -> None:
        """Join small pieces while nothing can be written."""
        if len(self._out) - self._packed >= PIECES:
            self._out[self._packed :] = [b"".join(self._out[self._packed :])]
            self._packed += 1

    def _forget(self) -> None:
        self._out.clear()
        self._packed = 0
        self._rest = None
        self.size = 0

    def _recv_now(self, size: int) -> bytes | None:
        """Read without waiting: None when there is nothing, b'' at the end."""
        try:
            return self._recv(size)  # type: ignore[no-any-return]
        except WOULD_BLOCK:
            return None
        except OSError:
            return b""

    def disown(self) -> None:
        """Have nothing to do with the connection any more, in a process that was forked."""
        self._ended = True
        self._forget()

    def end(self) -> None:
        """Tell the peer that nothing more will be written; it may still be read from."""
        if self._tls is None:
            shut_down(self._sock, SHUT_WR)

    def abort(self) -> None:
        """End the connection in both directions and wake the reader."""
        self._break()

    def _break(self) -> None:
        if not self._ended:
            self._ended = self._is_over = True
            shut_down(self._sock)
