"""What strangers send, made up: each fuzzer is a strategy and what must hold for all it makes.

`make test` runs each for a moment, `make fuzz` for minutes (run_fuzzers.py).  What one finds is
mended and becomes one of its examples here, so that it is tried each time.
"""

import io
import math
import os
import re
import tempfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase
from websockets.client import ClientProtocol as LibraryClient
from websockets.exceptions import ProtocolError as LibraryError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

import engineio
import wire
from engineio import response
from engineio.base_client import (
    read_opening_frame,
    read_payload_with_opening,
    redirect_of,
    redirected_endpoint,
)
from engineio.exceptions import ConnectionError, PacketError, ProtocolError
from engineio.manager import Manager
from engineio.packet import MESSAGE, OPEN, Packet, decode_frame
from engineio.payload import SEPARATOR, Payload, join, split
from engineio.request import (
    Connect,
    Poll,
    Post,
    Preflight,
    Reject,
    Request,
    Upgrade,
    client_address,
    content_length,
    origin_allowed,
    route,
)
from engineio.session import Life, Session
from engineio.settings import Settings
from engineio.static_files import (
    check_static_files,
    file_response,
    get_static_file,
    open_file,
)
from engineio.websocket import ClientProtocol, WebSocketProtocol, handshake


@dataclass(frozen=True)
class Fuzzer:
    """A function, what makes its arguments, and what once broke it."""

    function: Callable[..., None]
    strategies: tuple[st.SearchStrategy[Any], ...]
    examples: tuple[tuple[Any, ...], ...]

    def test(self, max_examples: int, database: ExampleDatabase | None = None) -> Any:
        """A function without arguments that tries so many; its failure is as short as can be."""
        test = given(*self.strategies)(self.function)
        for arguments in self.examples:
            test = example(*arguments)(test)
        return settings(
            max_examples=max_examples,
            deadline=None,
            database=database,
            suppress_health_check=list(HealthCheck),
        )(test)


FUZZERS: dict[str, Fuzzer] = {}


def fuzzer(
    *strategies: st.SearchStrategy[Any], examples: tuple[tuple[Any, ...], ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function one of the fuzzers."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        FUZZERS[function.__name__] = Fuzzer(function, strategies, examples)
        return function

    return register


# What WSGI servers make of bytes, and what tends to matter.
latin = st.text(st.characters(codec="latin-1"), max_size=60)
hostile = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "\r\n",
        "\x7f",
        "\xff",
        "0",
        "-1",
        "9" * 30,
        "null",
        "*",
        ",",
        ";",
        "=",
        "%",
    ]
)


def mixed(*words: str) -> st.SearchStrategy[str]:
    """Text made of these words and of anything."""
    return st.lists(st.sampled_from(words) | hostile | latin, max_size=8).map("".join)


# Packets and payloads.

JSON_BITS = (
    '"',
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "1",
    "-",
    "e5",
    "NaN",
    "true",
    "\\u",
    "\\ud800",
    "9" * 200,
)
packets = st.builds(
    str.__add__, st.sampled_from("0123456b789 ٤"), mixed(*JSON_BITS, "sid", "AAAA", "=")
)
any_text = packets | st.text(max_size=50)


@fuzzer(any_text)
def packet(text: str) -> None:
    try:
        packet_type, data = decode_frame(text)
    except PacketError:
        return
    again = Packet(packet_type, data).encode(b64=True)
    if isinstance(data, bytes):
        assert again == text or text.endswith("="), again  # the spare bits of base64
    elif isinstance(data, str) and text[1:] == data:
        assert again == text
    elif isinstance(data, (dict, list)):
        assert packet_type in (OPEN, MESSAGE)
        assert decode_frame(again) == (packet_type, data)


@fuzzer(
    st.lists(packets.map(lambda text: text.encode(errors="surrogateescape")) | st.binary()).map(
        SEPARATOR.join
    )
    | mixed("d=", "4a", "%1e", "%", "\\n", "\\\\n", "+", "&", "\x1e").map(str.encode)
)
def payload(body: bytes) -> None:
    for data in (body, b"d=" + body):
        with suppress(PacketError):
            decoded = Payload(encoded_payload=data).packets
            with suppress(PacketError):  # text from JSON may have lone surrogates
                wire_form = join(decoded)
                assert len(Payload(encoded_payload=wire_form).packets) >= len(decoded)
    with suppress(PacketError):
        assert len(list(split(body))) == body.count(SEPARATOR) + 1


@fuzzer(
    st.text(max_size=60)
    | mixed(
        *('0{"sid":"x"', ',"pingInterval":', ',"pingTimeout":', ',"upgrades":[]', ',"maxPayload":'),
        *("25000", "1e999", "0", "true", "}", "[", "\x1e4hello"),
    )
    | st.dictionaries(
        st.sampled_from(["sid", "pingInterval", "pingTimeout", "upgrades", "maxPayload"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.lists(st.sampled_from(["websocket", "polling", 1])),
    ).map(lambda fields: "0" + engineio.json.dumps(fields))
)
def opening(text: str) -> None:
    with suppress(ConnectionError, PacketError):
        found = read_opening_frame(text)
        assert found.sid
        assert 0 < found.ping_interval < math.inf
        assert 0 < found.ping_timeout < math.inf
    with suppress(ConnectionError, PacketError):
        read_payload_with_opening(text.encode(errors="surrogatepass"))


@fuzzer(
    mixed(
        "http",
        "https",
        "ws",
        "file",
        "://",
        "//",
        "/",
        "?",
        "#",
        "@",
        "[",
        "]",
        "::1",
        ":80",
        "a.b",
    ),
    st.sampled_from(["http://h:80/p/?a=b", "wss://h/p/", "ws://[::1]:5/", "https://u:p@h/"]),
)
def redirect(location: str, url: str) -> None:
    try:
        target, is_same = redirect_of(url, location)
    except ConnectionError:
        return
    base, path = redirected_endpoint(target)
    assert base.partition("://")[0] in ("http", "https", "ws", "wss")
    assert not path or path.startswith("/")
    if is_same:
        assert base.partition("://")[0] in (url.partition("://")[0], "http", "https", "ws", "wss")


# Requests.


class Client(Session):
    """A session for the table of sessions."""

    def push(self, pkt: Packet) -> bool:
        with self.lock:
            self.enqueue(pkt)
        return True


queries = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["EIO", "transport", "sid", "j", "b64", "t"]) | mixed("sid", "%73id"),
        st.sampled_from(["=", "=", "=", "", "=="]),
        st.sampled_from(["4", "3", "polling", "websocket", "open", "gone", "0", "1"])
        | mixed("%", "%00"),
    ),
    max_size=8,
).map("&".join)
origins = mixed(
    "http", "https", "://", "a.example", ":80", ":443", ".", "null", "A.EXAMPLE", "@", "/"
)
HEADERS = {
    "HTTP_HOST": mixed("a.example", ":80", "[::1]", "@"),
    "HTTP_ORIGIN": origins,
    "HTTP_UPGRADE": mixed("websocket", "WebSocket", ", h2c"),
    "HTTP_CONNECTION": mixed("Upgrade", "keep-alive", ", "),
    "HTTP_SEC_WEBSOCKET_VERSION": st.sampled_from(["13", "8", "13, 8", ""]) | latin,
    "HTTP_SEC_WEBSOCKET_KEY": st.sampled_from(["dGhlIHNhbXBsZSBub25jZQ==", "A" * 24]) | latin,
    "HTTP_SEC_WEBSOCKET_EXTENSIONS": mixed(
        *("permessage-deflate", "; ", ", ", "server_max_window_bits", "=", "8", "10", '"', "\\"),
        *("client_max_window_bits", "server_no_context_takeover", "client_no_context_takeover"),
    ),
    "HTTP_TRANSFER_ENCODING": mixed("chunked", "identity"),
    "HTTP_ACCEPT_ENCODING": mixed("gzip", "deflate", "*", ";q=", "0.5", "0", "nan", "inf", ", "),
    "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": mixed("content-type", "x-a"),
    "HTTP_SEC_FETCH_SITE": st.sampled_from(["cross-site", "same-origin", "none"]) | latin,
    "HTTP_X_FORWARDED_PROTO": mixed("http", "https", "ws", ", "),
    "HTTP_X_FORWARDED_HOST": mixed("a.example", ":80", ", "),
    "HTTP_X_FORWARDED_FOR": mixed("10.0.0.1", "::1", "[::1]:80", ", ", ":5"),
    "HTTP_USER_AGENT": mixed("python-requests/2", "Python/3.11 aiohttp/3"),
    "REMOTE_ADDR": mixed("10.0.0.1", "::1", "unix:"),
    "CONTENT_LENGTH": st.sampled_from(["0", "5", "-1", "+5", "5 ", "0x5", "1" * 30, ""]) | latin,
    "CONTENT_TYPE": latin,
}
environs = st.fixed_dictionaries(
    {
        "REQUEST_METHOD": st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "get", ""]) | latin,
        "QUERY_STRING": queries | latin,
        "wsgi.url_scheme": st.sampled_from(["http", "https"]),
    },
    optional=HEADERS,
)
allowed_origins = st.sampled_from(
    [
        None,
        "*",
        [],
        "http://a.example",
        ["http://a.example", "https://b.example"],
        ["*"],
        lambda origin: origin == "http://a.example",
        lambda origin, environ: len(origin) > len(environ),
    ]
)
options = st.fixed_dictionaries(
    {},
    optional={
        "cors_allowed_origins": allowed_origins,
        "cors_credentials": st.booleans(),
        "transports": st.sampled_from([None, ["polling"], ["websocket"]]),
        "allow_upgrades": st.booleans(),
        "compression_threshold": st.sampled_from([0, 10, 10**6]),
    },
)


def make_settings(chosen: dict[str, Any]) -> Settings:
    made = Settings()
    for name, value in chosen.items():
        setattr(made, name, value)
    return made


def check_headers(headers: list[tuple[str, str]], given: dict[str, Any]) -> None:
    """No header splits an answer, unless the server let such a one in."""
    text = "".join(str(value) for value in given.values())
    for name, value in headers:
        assert re.fullmatch(r"[A-Za-z-]+", name)
        value.encode("latin-1")
        for character in "\r\n\0":
            assert character not in value or character in text


@fuzzer(environs, options)
def request(environ: dict[str, Any], chosen: dict[str, Any]) -> None:
    made = make_settings(chosen)
    table: Manager[Client] = Manager()
    for sid in ("open", "gone"):
        client = Client(sid, made, nullcontext())
        client.life = Life.OPEN if sid == "open" else Life.CLOSED
        table.add(client)
    parsed = Request.parse(environ)
    decision = route(parsed, made, table)
    assert isinstance(decision, (Connect, Poll, Post, Upgrade, Preflight, Reject))
    if isinstance(decision, Reject):
        assert decision.status in (400, 405)
        code, message = decision.error
        assert message.isascii()  # and nothing of what was sent
        answer = response.error(decision.status, code, message)
    else:
        assert origin_allowed(environ, made)
        answer = response.text("x" * 2000)
    if isinstance(decision, (Poll, Post, Upgrade)):
        assert decision.session.sid == parsed.sid == "open"
    check_headers(response.finish(answer, environ, made)["headers"], environ)
    with suppress(ValueError):
        length = content_length(environ)
        assert length is None or length >= 0
    client_address(environ, made)
    parsed.packet_limit  # noqa: B018 - reads a header


@fuzzer(
    st.fixed_dictionaries(
        {
            "REQUEST_METHOD": st.just("GET"),
            "HTTP_UPGRADE": st.just("websocket"),
            "HTTP_CONNECTION": st.just("Upgrade"),
            "HTTP_SEC_WEBSOCKET_VERSION": st.just("13"),
            "HTTP_SEC_WEBSOCKET_KEY": st.just("dGhlIHNhbXBsZSBub25jZQ=="),
            "HTTP_SEC_WEBSOCKET_EXTENSIONS": HEADERS["HTTP_SEC_WEBSOCKET_EXTENSIONS"],
        }
    )
    | environs
)
def websocket_handshake(environ: dict[str, Any]) -> None:
    for deflate in (False, True, {"server_max_window_bits": 9, "client_max_window_bits": 9}):
        with suppress(ProtocolError):
            headers, extensions = handshake(environ, deflate)
            assert len(extensions) == (len(headers) == 4)
            check_headers(headers, {})


_eio = engineio.Server(async_mode="threading")
_eio.on("connect", lambda sid, environ: False)
_app = engineio.WSGIApp(_eio)


@fuzzer(environs, mixed("/engine.io", "/", "engine.io", "..", "%2e"), st.binary(max_size=30))
def wsgi(environ: dict[str, Any], path: str, body: bytes) -> None:
    """The whole application; its connect handler lets nobody in."""
    answers: list[tuple[str, list[tuple[str, str]]]] = []
    given = {"PATH_INFO": path, "SCRIPT_NAME": "", "wsgi.input": io.BytesIO(body), **environ}

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        answers.append((status, headers))

    result = b"".join(_app(given, start_response))
    [(status, headers)] = answers
    assert status[:3] in ("200", "400", "401", "404", "405", "413"), status
    check_headers(headers, given)
    lengths = [value for name, value in headers if name == "Content-Length"]
    assert lengths in ([], [str(len(result))]) or environ["REQUEST_METHOD"] == "HEAD"
    assert not _eio.sockets


# WebSocket frames.  The library is the oracle, without our short ways around it.

MAX_SIZE = 300


class Renewing(PerMessageDeflate):
    """The library's extension, which goes on behind a final block."""

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        decoded = super().decode(frame, max_size=max_size)
        decoder = getattr(self, "decoder", None)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) and decoder and decoder.eof:
            rest = decoder.unused_data
            if rest.removesuffix(b"\x00\x00\xff\xff") not in (b"", b"\x00"):
                raise LibraryError("data behind a final block")
            self.decoder = zlib.decompressobj(wbits=-self.remote_max_window_bits)
        return decoded


def squeezed(data: bytes, is_final: bool) -> bytes:
    squeezer = zlib.compressobj(wbits=-9)
    flush = zlib.Z_FINISH if is_final else zlib.Z_SYNC_FLUSH
    whole = squeezer.compress(data) + squeezer.flush(flush)
    return whole + b"\x00" if is_final else whole[:-4]


sizes = st.sampled_from([0, 1, 124, 125, 126, 127, 299, 300, 301, 400])
payloads = (
    st.text(max_size=20).map(str.encode)
    | st.binary(max_size=12)
    | sizes.map(lambda size: b"x" * size)
)
frames = st.fixed_dictionaries(
    {
        "opcode": st.sampled_from([0, 0, 1, 1, 2, 8, 9, 10, 3, 15]),
        "payload": payloads
        | st.builds(squeezed, payloads, st.booleans())
        | st.builds(
            lambda code, reason: code.to_bytes(2, "big") + reason,
            st.sampled_from([1000, 1001, 1005, 1006, 1015, 3000, 4999, 5000, 0]),
            st.binary(max_size=5),
        ),
        "fin": st.sampled_from([True, True, False]),
        "rsv": st.sampled_from([0, 0, 0, 4, 4, 1, 2]),
        "form": st.sampled_from([None, None, None, 126, 127]),
        "wrong_mask": st.sampled_from([False] * 9 + [True]),
    }
)
streams = st.lists(frames | st.binary(max_size=20), max_size=10)


def encode_stream(items: list[Any], masks: bool) -> bytes:
    data = b""
    for item in items:
        if isinstance(item, bytes):
            data += item
        else:
            mask = b"\x01\x20\x83\xf4" if masks != item["wrong_mask"] else None
            fields = {name: value for name, value in item.items() if name != "wrong_mask"}
            data += wire.frame(mask=mask, **fields)
    return data


def make_extensions(kind: bool | None, extension: type[PerMessageDeflate]) -> list[Extension]:
    """kind: None without compression, else whether the peer forgets its context."""
    return [] if kind is None else [extension(kind, kind, 15, 15)]


@dataclass
class Outcome:
    """What came out of bytes."""

    messages: list[str | bytes]
    code: int | None
    is_closed_by_peer: bool


def ask_library(data: bytes, is_client: bool, kind: bool | None) -> Outcome:
    """What the library makes of it, and of its text the decoder."""
    library: Protocol = ServerProtocol(state=State.OPEN, max_size=MAX_SIZE)
    if is_client:
        uri = parse_uri("ws://server/")
        library = LibraryClient(uri, state=State.OPEN, max_size=MAX_SIZE)
    library.extensions = make_extensions(kind, Renewing)
    library.receive_data(data)
    messages: list[str | bytes] = []
    parts: list[bytes] = []
    is_text = False
    for frame in library.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            continue
        if frame.opcode is not Opcode.CONT:
            parts, is_text = [], frame.opcode is Opcode.TEXT
        parts.append(bytes(frame.data))
        whole = b"".join(parts)
        if is_text:
            try:
                text = whole.decode()
            except UnicodeDecodeError as error:
                if frame.fin or error.reason != "unexpected end of data":
                    return Outcome(messages, 1007, False)
        if frame.fin:
            messages.append(text if is_text else whole)
    if library.parser_exc is not None:
        assert library.close_sent is not None
        return Outcome(messages, int(library.close_sent.code), False)
    if library.close_rcvd is not None:
        return Outcome(messages, int(library.close_rcvd.code), True)
    return Outcome(messages, None, False)


def ask_ours(data: bytes, cuts: list[int], is_client: bool, kind: bool | None) -> Outcome:
    made = ClientProtocol if is_client else WebSocketProtocol
    protocol = made(MAX_SIZE, make_extensions(kind, PerMessageDeflate))
    messages: list[str | bytes] = []
    last = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        messages += protocol.receive(data[last:cut])
        last = cut
    assert protocol.is_open is (protocol.close_code is None)
    assert protocol.wants == 0 or protocol.is_open
    return Outcome(messages, protocol.close_code, protocol.closed_by_peer)


@fuzzer(
    streams | st.binary(max_size=300).map(lambda data: [data]),
    st.lists(st.integers(0, 2000), max_size=8),
    st.booleans(),
    st.sampled_from([None, False, True]),
)
def websocket_frames(items: list[Any], cuts: list[int], is_client: bool, kind: bool | None) -> None:
    data = encode_stream(items, masks=not is_client)
    expected = ask_library(data, is_client, kind)
    assert ask_ours(data, [], is_client, kind) == expected
    assert ask_ours(data, cuts, is_client, kind) == expected
    assert ask_ours(data, list(range(len(data))), is_client, kind) == expected


# Static files.

_folder = tempfile.TemporaryDirectory(prefix="fuzz-static-")
ROOT = Path(_folder.name).resolve()
PUBLIC = ROOT / "public"
(PUBLIC / "sub").mkdir(parents=True)
for _name in ("index.html", "a.txt", "sub/index.html", "sub/b.tar.gz"):
    (PUBLIC / _name).write_text("inside")
(ROOT / "secret.txt").write_text("outside")
(PUBLIC / "link").symlink_to(ROOT / "secret.txt")
os.mkfifo(PUBLIC / "pipe")

MAPPINGS = (
    {"/s": str(PUBLIC)},
    {"/s/": f"{PUBLIC}/"},
    {"/s/(.*)": rf"{PUBLIC}/\1"},
    {"/": f"{PUBLIC}/index.html", "/s": str(PUBLIC), "": "a.txt"},
    {r"/(?P<d>\w+)/(?P<f>.*)": rf"{PUBLIC}/\g<d>/\g<f>"},
)
paths = mixed(
    *("/", "s", "/s/", "sub", "index.html", "a.txt", "..", ".", "\\", "//", "link", "pipe", "~"),
    *("secret.txt", "\udc80", "\0", "C:", "%2e", str(ROOT)),
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "if-none-match": mixed('"', "W/", "*", ", ", "a"),
        "if-modified-since": mixed("Sun, 06 Nov 1994 08:49:37 GMT", "99999", ":", "+0000"),
        "if-range": mixed('"', "W/", "Sun, 06 Nov 1994 08:49:37 GMT"),
        "range": mixed("bytes", "=", "-", "0", "5", "9" * 20, ", "),
    },
)


@fuzzer(
    st.builds("/{}".format, paths)
    | st.builds("/s/{}".format, paths)
    | st.builds("/{}".format, st.text()),
    st.sampled_from(["GET", "HEAD", "POST", ""]),
    conditions,
)
def static_path(path: str, method: str, headers: dict[str, str]) -> None:
    for mapping in MAPPINGS:
        found = get_static_file(path, mapping)
        if found is None:
            continue
        real = os.path.realpath(found["filename"])
        assert real.startswith(f"{PUBLIC}{os.sep}"), found
        opened = open_file(found["filename"])
        if opened is None:
            continue
        file, info = opened
        with file:
            assert file.read() == b"inside"
        answer = file_response(method, headers, info, found["content_type"])
        assert 0 <= answer.start <= answer.start + answer.length <= info.st_size
        assert answer.status[:3] in ("200", "206", "304", "405", "416")
        check_headers(list(answer.headers), {})


@fuzzer(
    st.dictionaries(
        mixed("/", "s", "(.*)", "(", ")", "[", "*", "?P<a>", "\\"),
        mixed("public", "/", r"\1", r"\g<a>", r"\g<", "\\")
        | st.dictionaries(st.sampled_from(["filename", "content_type", "x"]), mixed("a", "\n")),
        max_size=3,
    ),
    paths,
)
def static_mapping(mapping: dict[str, Any], path: str) -> None:
    """What an application may say: refused when it starts, or it works."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of `re`, to the application
        try:
            check_static_files(mapping)
        except ValueError:
            return
        found = get_static_file(f"/{path}", mapping)
    if found is not None:
        assert "\n" not in found["content_type"]


# Options.

attributes = st.sampled_from(["path", "Path", "SameSite", "HttpOnly", "max-age", "name", "expires"])
values = (
    mixed("/", "Lax", "None", "io", "\t")
    | st.text(max_size=10)
    | st.booleans()
    | st.none()
    | st.integers()
    | st.floats()
    | st.binary(max_size=3)
)


@fuzzer(
    values
    | st.dictionaries(attributes | mixed("a"), values, max_size=4)
    | st.lists(values, max_size=2)
)
def cookie_option(value: Any) -> None:
    made = Settings()
    try:
        made.cookie = value
    except ValueError:
        return
    if made.cookie is None:
        return
    header = response.cookie_header("the-sid", made.cookie)
    header.encode("latin-1")
    assert not re.search(r"[\x00-\x1f\x7f]", header)
    first, *rest = header.split("; ")
    name = made.cookie if isinstance(made.cookie, str) else made.cookie["name"]
    assert first == f"{name}=the-sid"
    assert all(";" not in part for part in rest)


@fuzzer(
    values | st.lists(values | origins, max_size=3) | allowed_origins,
    origins | latin,
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    mixed("a.example", ":80", ":443"),
)
def cors_option(value: Any, origin: str, method: str, host: str) -> None:
    made = Settings()
    try:
        made.cors_allowed_origins = value
    except ValueError:
        return
    environ = {"REQUEST_METHOD": method, "HTTP_ORIGIN": origin, "HTTP_HOST": host}
    headers = response.cors_headers(environ, made)
    check_headers(headers, environ)
    echoed = dict(headers).get("Access-Control-Allow-Origin")
    is_allowed = origin_allowed(environ, made)
    assert echoed in (None, origin)
    assert (echoed is not None) == (is_allowed and made.cors_allowed_origins != [])
    if isinstance(value, str) and value not in ("*", origin):
        assert not is_allowed
