"""A raw Engine.IO client for tests, which choose every byte sent and see every byte that comes.

Nothing here imports engineio, repairs what a server does wrong, or waits without a timeout.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import select
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

TIMEOUT = 8.0  # seconds; longer than anything a healthy server needs, shorter than pytest-timeout's
PROMPTLY = 1.5  # seconds; less than a server may wait for a close frame that never comes
SEPARATOR = "\x1e"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10  # WebSocket opcodes

Address = tuple[str, int]


class TLSAddress(tuple[str, int]):
    """An address where TLS is spoken."""

    __slots__ = ()


Query = Mapping[str, str]
Headers = Mapping[str, str]

# The authority behind the certificate that servers have in tests.
AUTHORITY = Path(__file__).parent / "data" / "tls" / "ca.pem"


@cache
def tls_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(AUTHORITY))


_open_streams: "set[Stream]" = set()


def close_all(but: "Collection[Stream]" = ()) -> None:
    """Close every connection that is still open, so that a test need not."""
    for stream in list(_open_streams):
        if stream not in but:
            stream.close()


class Stream:
    """One TCP connection, read through a buffer."""

    def __init__(self, address: Address, receive_buffer: int | None = None) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._buffer = bytearray()
        _open_streams.add(self)
        self.sock.connect(address)
        if isinstance(address, TLSAddress):
            self.sock = tls_context().wrap_socket(self.sock, server_hostname="localhost")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read_until(self, end: bytes) -> bytes:
        """Everything up to and with `end`; EOFError when the stream ends before."""
        start = 0
        while (at := self._buffer.find(end, start)) < 0:
            start = max(0, len(self._buffer) - len(end))
            self._fill()
        return self._take(at + len(end))

    def read_exactly(self, size: int) -> bytes:
        """`size` bytes; EOFError when the stream ends before."""
        while len(self._buffer) < size:
            self._fill()
        return self._take(size)

    def read_to_eof(self) -> bytes:
        """All that is left.  A reset raises ConnectionResetError, silence TimeoutError."""
        with contextlib.suppress(EOFError):
            while True:
                self._fill()
        return self._take(len(self._buffer))

    def has_input(self, wait: float = 0.0) -> bool:
        """Whether anything (data, end of stream, reset) is there within `wait` seconds."""
        if self._buffer or (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return True
        return bool(select.select([self.sock], [], [], wait)[0])

    def pour(self, data: bytes, seconds: float) -> int:
        """Send `data` over and over for so long, and no longer than the server takes it.

        Reads nothing.  Returns how many bytes went out; they end within `data` as it happens.
        """
        sent, view, deadline = 0, memoryview(data), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                sent += self.sock.send(view[sent % len(data) :])
            except OSError:  # the server reads no more, or has ended the connection
                break
        self.sock.settimeout(TIMEOUT)
        return sent

    def shut_write(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        _open_streams.discard(self)
        self.sock.close()

    def reset(self) -> None:
        """Close with a TCP RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _fill(self) -> None:
        data = self.sock.recv(262144)
        if not data:
            raise EOFError(f"the server ended the connection after {bytes(self._buffer[:200])!r}")
        self._buffer += data

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


# HTTP


@dataclass(frozen=True)
class Response:
    """An HTTP response as it came; header names keep their case."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of every header line of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The value of a header that may be there once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    def packets(self) -> list[str]:
        """The packets of a polling payload."""
        return self.body.decode().split(SEPARATOR)


def chunked(*chunks: bytes) -> bytes:
    """A request body in chunked transfer coding, one chunk each."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def request_bytes(
    method: str, target: str, headers: Headers | None = None, body: bytes | None = None
) -> bytes:
    """An HTTP/1.1 request.  Content-Length is added unless the headers frame the body."""
    fields = {"Host": "127.0.0.1", **(headers or {})}
    names = {name.lower() for name in fields}
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


class HTTPConnection(Stream):
    """An HTTP/1.1 connection that stays open for as many requests as the server allows."""

    def send_request(
        self, method: str, target: str, headers: Headers | None = None, body: bytes | None = None
    ) -> None:
        self.send(request_bytes(method, target, headers, body))

    def request(
        self, method: str, target: str, headers: Headers | None = None, body: bytes | None = None
    ) -> Response:
        self.send_request(method, target, headers, body)
        return self.read_response(method)

    def read_response(self, method: str = "GET") -> Response:
        """The next response, read to its end by Content-Length, chunks or the end of the stream."""
        status, reason, headers = self.read_head()
        while status == 100:
            status, reason, headers = self.read_head()
        response = Response(status, reason, headers, b"")
        if method == "HEAD" or status in (101, 204, 304):
            return response
        length = response.header("Content-Length")
        if (response.header("Transfer-Encoding") or "").lower() == "chunked":
            assert length is None, "Content-Length and Transfer-Encoding together"
            body = self._read_chunks()
        elif length is not None:
            body = self.read_exactly(int(length))
        else:
            body = self.read_to_eof()
        return Response(status, reason, headers, body)

    def read_head(self) -> tuple[int, str, list[tuple[str, str]]]:
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        match = re.fullmatch(r"HTTP/1\.[01] (\d{3}) ?(.*)", lines[0])
        assert match, f"not a status line: {lines[0]!r}"
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            assert colon, f"not a header line: {line!r}"
            headers.append((name, value.strip()))
        return int(match[1]), match[2], headers

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self.read_until(b"\r\n")[:-2].partition(b";")[0], 16)
            body += self.read_exactly(size)
            assert self.read_exactly(2) == b"\r\n"
            if not size:
                return body


def request(
    address: Address,
    method: str,
    target: str,
    headers: Headers | None = None,
    body: bytes | None = None,
) -> Response:
    """One request on a connection of its own."""
    connection = HTTPConnection(address)
    try:
        return connection.request(method, target, {"Connection": "close", **(headers or {})}, body)
    finally:
        connection.close()


# Engine.IO over HTTP


@dataclass(frozen=True)
class Endpoint:
    """Where an Engine.IO server answers."""

    address: Address
    path: str = "/engine.io/"

    def target(self, query: Query | None = None) -> str:
        return f"{self.path}?{urlencode(query)}" if query else self.path

    def request(
        self,
        method: str,
        query: Query | None = None,
        headers: Headers | None = None,
        body: bytes | None = None,
    ) -> Response:
        return request(self.address, method, self.target(query), headers, body)


def polling_query(sid: str | None = None, **more: str) -> dict[str, str]:
    """The query of a polling request."""
    return {"EIO": "4", "transport": "polling", **({"sid": sid} if sid else {}), **more}


class Polling:
    """A session that was opened by polling.  Each request has a connection of its own."""

    def __init__(
        self, endpoint: Endpoint, query: Query | None = None, headers: Headers | None = None
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.handshake = endpoint.request("GET", polling_query(**(query or {})), headers)
        assert self.handshake.status == 200, self.handshake
        first, *self.early = self.handshake.packets()
        assert first[:1] == "0", first
        self.opening: dict[str, Any] = json.loads(first[1:])
        self.sid: str = self.opening["sid"]

    def request(
        self, method: str, headers: Headers | None = None, body: bytes | None = None
    ) -> Response:
        fields = {**(self.headers or {}), **(headers or {})}
        return self.endpoint.request(method, polling_query(self.sid), fields, body)

    def start_poll(self) -> HTTPConnection:
        """Send a GET; its answer is read with `read_response`."""
        connection = HTTPConnection(self.endpoint.address)
        target = self.endpoint.target(polling_query(self.sid))
        connection.send_request("GET", target, {"Connection": "close", **(self.headers or {})})
        return connection

    def start_post(self, length: int) -> HTTPConnection:
        """Send the head of a POST of `length` bytes, and nothing of its body."""
        connection = HTTPConnection(self.endpoint.address)
        target = self.endpoint.target(polling_query(self.sid))
        head = {"Content-Length": str(length), "Content-Type": "text/plain; charset=UTF-8"}
        connection.send_request("POST", target, head)
        return connection

    def poll(self) -> list[str]:
        """The packets of one successful GET."""
        response = self.request("GET")
        assert response.status == 200, response
        return response.packets()

    def post(self, *packets: str) -> Response:
        body = SEPARATOR.join(packets).encode()
        return self.request("POST", {"Content-Type": "text/plain; charset=UTF-8"}, body)

    def send(self, *packets: str) -> None:
        """POST packets and check that the server took them."""
        response = self.post(*packets)
        assert (response.status, response.body) == (200, b"ok"), response

    def receive(self, count: int) -> list[str]:
        """`count` packets, from as many polls as it takes."""
        packets: list[str] = []
        while len(packets) < count:
            packets += self.poll()
        assert len(packets) == count, packets[count:]
        return packets


# WebSocket


class Refused(Exception):  # noqa: N818 - an outcome that many tests want
    """The server answered a WebSocket handshake with an ordinary response."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status} {response.body!r}")
        self.response = response


@dataclass(frozen=True)
class Frame:
    """A WebSocket frame from the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


def mask_bytes(data: bytes, mask: bytes) -> bytes:
    keys = (mask * (len(data) // 4 + 1))[: len(data)]
    value = int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")
    return value.to_bytes(len(data), "little")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x12\x34\x56\x78",
    length: int | None = None,
    form: int | None = None,
) -> bytes:
    """A frame as a client sends it, or as none should.

    `length` lies about the payload's length, `form` (0, 126 or 127) chooses the length's encoding.
    """
    size = len(payload) if length is None else length
    if form is None:
        form = 0 if size < 126 else 126 if size < 65536 else 127
    masked = 0x80 if mask is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 0:
        head += bytes([masked | size])
    elif form == 126:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    return head + payload if mask is None else head + mask + mask_bytes(payload, mask)


def text_frame(text: str) -> bytes:
    return frame(TEXT, text.encode())


def close_frame(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


def deflated(data: bytes) -> bytes:
    """A message's payload under permessage-deflate; its first frame has rsv=4."""
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def websocket_query(sid: str | None = None, **more: str) -> dict[str, str]:
    """The query of a WebSocket request."""
    return {"EIO": "4", "transport": "websocket", **({"sid": sid} if sid else {}), **more}


def websocket_headers(**changes: str | None) -> dict[str, str]:
    """The headers of a WebSocket handshake; None leaves one out, `_` in a name stands for `-`."""
    headers: dict[str, str | None] = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    return {name: value for name, value in headers.items() if value is not None}


class WebSocket(HTTPConnection):
    """A WebSocket, from its handshake on.  Raises Refused when there is none."""

    def __init__(
        self,
        endpoint: Endpoint,
        query: Query | None = None,
        headers: Headers | None = None,
        *,
        extra: bytes = b"",
        receive_buffer: int | None = None,
    ) -> None:
        super().__init__(endpoint.address, receive_buffer)
        self.endpoint = endpoint
        fields = websocket_headers() if headers is None else dict(headers)
        target = endpoint.target(websocket_query() if query is None else query)
        self.send(request_bytes("GET", target, fields) + extra)
        self.handshake = self.read_response()
        if self.handshake.status != 101:
            self.close()
            raise Refused(self.handshake)
        self._check_handshake(fields["Sec-WebSocket-Key"])

    def _check_handshake(self, key: str) -> None:
        digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        assert self.handshake.header("Sec-WebSocket-Accept") == base64.b64encode(digest).decode()
        assert (self.handshake.header("Upgrade") or "").lower() == "websocket"
        assert (self.handshake.header("Connection") or "").lower() == "upgrade"
        assert self.handshake.header("Content-Length") is None
        assert self.handshake.header("Transfer-Encoding") is None

    def send_text(self, *packets: str) -> None:
        self.send(b"".join(text_frame(packet) for packet in packets))

    def send_binary(self, data: bytes) -> None:
        self.send(frame(BINARY, data))

    def read_frame(self) -> Frame:
        first, second = self.read_exactly(2)
        assert not second & 0x80, "a server must not mask"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.read_exactly(2))
            assert size >= 126, "length not in its shortest form"
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read_exactly(8))
            assert size >= 65536, "length not in its shortest form"
        return Frame(first & 15, self.read_exactly(size), bool(first & 0x80), first >> 4 & 7)

    def receive(self) -> str | bytes:
        """The next message; anything else than a whole data frame is an error."""
        got = self.read_frame()
        assert got.opcode in (TEXT, BINARY), got
        assert got.fin, got
        assert not got.rsv, got
        return got.payload.decode() if got.opcode == TEXT else got.payload

    def receive_text(self, count: int) -> list[str]:
        """The next `count` messages, which must be text."""
        messages = [self.receive() for _ in range(count)]
        assert all(isinstance(message, str) for message in messages)
        return [str(message) for message in messages]

    def read_close(self) -> int | None:
        """The code of the close frame that must come next (None: it carries no code)."""
        got = self.read_frame()
        assert got.opcode == CLOSE, got
        return struct.unpack("!H", got.payload[:2])[0] if got.payload else None

    def finish(self) -> None:
        """Check that the server sends nothing more and ends the connection at once."""
        self.sock.settimeout(PROMPTLY)
        rest = self.read_to_eof()
        assert rest == b"", rest[:500]

    def answer_close(self) -> int | None:
        """Read the server's close frame, answer it and see the connection end; returns the code."""
        code = self.read_close()
        with contextlib.suppress(
            OSError
        ):  # a server that failed the connection may be gone already
            self.send(close_frame(code or 1000))
        with contextlib.suppress(ConnectionResetError):
            self.finish()
        return code


class EngineWebSocket(WebSocket):
    """A session that was opened over a WebSocket."""

    def __init__(
        self,
        endpoint: Endpoint,
        query: Query | None = None,
        headers: Headers | None = None,
        *,
        extra: bytes = b"",
        receive_buffer: int | None = None,
    ) -> None:
        whole = websocket_query(**(query or {}))
        super().__init__(endpoint, whole, headers, extra=extra, receive_buffer=receive_buffer)
        first = self.receive()
        assert isinstance(first, str), first
        assert first[:1] == "0", first
        self.opening: dict[str, Any] = json.loads(first[1:])
        self.sid: str = self.opening["sid"]


def probe(session: Polling, **options: Any) -> WebSocket:
    """A WebSocket whose probe the server has answered."""
    websocket = WebSocket(session.endpoint, websocket_query(session.sid), **options)
    websocket.send_text("2probe")
    assert websocket.receive() == "3probe"
    return websocket


def upgrade(session: Polling) -> tuple[WebSocket, list[str]]:
    """Upgrade as the JavaScript client does.  Also returns what the last polls brought."""
    websocket = WebSocket(session.endpoint, websocket_query(session.sid))
    poll = session.start_poll()
    websocket.send_text("2probe")
    assert websocket.receive() == "3probe"
    response = poll.read_response()
    assert response.status == 200, response
    poll.close()
    websocket.send_text("5")
    return websocket, [packet for packet in response.packets() if packet != "6"]


def unescape_js(text: str) -> str:
    """The string a JavaScript engine reads from the argument of a JSONP answer."""
    value = json.loads(text)
    assert isinstance(value, str)
    return value


# Message sizes on both sides of every WebSocket length form.
EACH_LENGTH = (0, 1, 123, 124, 125, 126, 127, 65533, 65534, 65535, 65536, 65537)


def summary(data: object) -> object:
    """How the contract application records a message: as it is when short, else size and digest."""
    if isinstance(data, str) and len(data) > 200:
        return {"text": len(data), "sha1": hashlib.sha1(data.encode()).hexdigest()}
    if isinstance(data, bytes | bytearray):
        return {"binary": len(data), "sha1": hashlib.sha1(data).hexdigest()}
    return data
