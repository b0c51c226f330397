"""What many calls return or raise, as JSON: run with this package and with python-engineio.

`test_same_behaviour.py` compares the two.  Nothing here needs a network.
"""

# mypy: disable-error-code="func-returns-value,arg-type,assignment,method-assign"

import asyncio
import builtins
import io
import json
import logging
import re
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engineio
from engineio import exceptions, packet, payload
from engineio.static_files import get_static_file

SID = re.compile(r"[A-Za-z0-9_-]{20}")
OLD_ERRORS = {"UnknownPacketError", "ContentTooLongError", "SocketIsClosedError", "QueueEmpty"}
found: dict[str, Any] = {}


def shown(value: Any) -> Any:
    """A value as both packages must show it: sids and addresses differ from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", SID.sub("SID", repr(value)))


def note(label: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Note what a call returns, or what it raises."""
    assert label not in found, label
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        # A class of ours may stand below the one that python-engineio raises.
        names = [kind.__name__ for kind in type(error).__mro__]
        name = next(name for name in names if hasattr(builtins, name) or name in OLD_ERRORS)
        found[label] = f"raises {name}: {shown(error.args)}"
        return None
    found[label] = shown(result)
    return result


# -- packets and payloads


TEXTS = [
    "hello",
    "",
    "12",
    "-1",
    "1.5",
    "true",
    "null",
    '"q"',
    "{",
    '{"a":[1,null]}',
    "[1,2]",
    "ü€\U0001f30d",
]


def packets() -> None:
    data: list[Any] = [
        *TEXTS,
        b"",
        b"\x00\xff",
        bytearray(b"ab"),
        {"a": [1, None, "ü"]},
        [1],
        1,
        1.5,
    ]
    data += [True, None, ("t", 1)]
    for value in data:
        for kind in (packet.MESSAGE, packet.PING, packet.PONG, packet.OPEN):
            for b64 in (False, True):
                label = f"Packet({kind}, {value!r}).encode({b64})"
                note(label, lambda k=kind, v=value, b=b64: packet.Packet(k, data=v).encode(b64=b))
    encoded: list[Any] = [f"4{text}" for text in TEXTS]
    encoded += [
        "",
        "0{}",
        '0{"a":1}',
        "1",
        "2",
        "2probe",
        "3probe",
        "3",
        "5",
        "6",
        "bAP8=",
        "b",
        b"",
        b"\x00\xff",
    ]
    encoded += [bytearray(b"ab"), "4" + "1" * 200, "4-" + "1" * 200, "4[" + "1" * 200 + "]"]
    for form in encoded:

        def decoded(form: Any = form) -> Any:
            found = packet.Packet(encoded_packet=form)
            return found.packet_type, found.data, found.binary, type(found.data).__name__

        note(f"Packet(encoded_packet={form!r})", decoded)
    note("binary PING", packet.Packet, packet.PING, data=b"x", encoded_packet=None)
    plain = packet.Packet()
    note("a packet's defaults", lambda: (plain.packet_type, plain.data, plain.binary))


def payloads() -> None:
    message = packet.Packet(packet.MESSAGE, "a\u2028b\"'\\")
    several = [message, packet.Packet(packet.MESSAGE, b"\x01"), packet.Packet(packet.NOOP)]
    note("payload", lambda: payload.Payload(several).encode())
    note("payload of nothing", lambda: payload.Payload([]).encode())
    note(
        "payload jsonp",
        lambda: payload.Payload([packet.Packet(packet.MESSAGE, "a")]).encode(jsonp_index=3),
    )

    def decoded(encoded: str) -> Any:
        return [
            (item.packet_type, item.data)
            for item in payload.Payload(encoded_payload=encoded).packets
        ]

    for encoded in ("4a", "4a\x1e4b", "4a\x1ebAQ==\x1e6", 'd=4"a"', "d=4%1e"):
        note(f"payload {encoded!r}", decoded, encoded)

    def limited() -> Any:
        before, payload.Payload.max_decode_packets = payload.Payload.max_decode_packets, 16
        try:
            return decoded("\x1e".join(["4a"] * 17))
        finally:
            payload.Payload.max_decode_packets = before

    note("17 packets, 16 allowed", limited)


def others() -> None:
    for text in ("1", "[1]", "nope", "1" * 101, '{"a": 1e3}'):
        note(f"json.loads {text[:20]} {len(text)}", engineio.json.loads, text)
    note("json.dumps", engineio.json.dumps, {"a": "ü", "b": [1]}, separators=(",", ":"))
    for name in ("ConnectionError", "ContentTooLongError", "QueueEmpty", "SocketIsClosedError"):
        kind = getattr(exceptions, name)
        note(name, lambda k=kind: (issubclass(k, exceptions.EngineIOError), issubclass(k, OSError)))
    note("ConnectionError's arguments", lambda: exceptions.ConnectionError("a", {"b": 1}).args)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "page.html").write_text("page")
        Path(folder, "deep").mkdir()
        Path(folder, "deep", "x.js").write_text("x")
        files = {
            "/": f"{folder}/page.html",
            "/files": folder,
            "/typed": {"filename": f"{folder}/page.html", "content_type": "text/x"},
            "/dir/": f"{folder}/deep",
        }
        for path in ("/", "/files/deep/x.js", "/typed", "/dir/x.js", "/nothing", "/files/../x"):

            def without_folder(path: str = path) -> Any:
                file = get_static_file(path, files)
                if file is None:
                    return None
                return {key: value.replace(folder, "") for key, value in file.items()}

            note(f"static {path}", without_folder)


# -- a server, called as a WSGI server would


class Site:
    """A server with handlers that note what they get."""

    def __init__(self, label: str, verdict: Any = None, **options: Any) -> None:
        self.label = label
        self.events: list[Any] = []
        self.eio = engineio.Server(async_mode="threading", monitor_clients=False, **options)
        self.app = engineio.WSGIApp(self.eio, self.page)
        self.environs: list[Any] = []
        self.verdict = verdict
        self.done = threading.Condition()
        self.eio.on("connect", self.connect)
        self.eio.on("message", lambda sid, data: self.event("message", data, type(data).__name__))
        self.eio.on("disconnect", lambda sid, reason: self.event("disconnect", reason))

    def event(self, *what: Any) -> None:
        with self.done:
            self.events.append(what)
            self.done.notify_all()

    def connect(self, sid: str, environ: Any) -> Any:
        self.environs.append(environ)
        self.event("connect", SID.fullmatch(sid) is not None, environ.get("HTTP_X_HEADER"))
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    def wait(self, count: int) -> list[Any]:
        with self.done:
            assert self.done.wait_for(lambda: len(self.events) >= count, 10), self.events
        return self.events

    @staticmethod
    def page(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/x")])
        return [environ["PATH_INFO"].encode()]

    def call(
        self, method: str, query: str, body: bytes = b"", path: str = "/engine.io/", **more: Any
    ) -> Any:
        answer: dict[str, Any] = {}
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "wsgi.input": io.BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "HTTP_HOST": "host",
            "SERVER_NAME": "host",
            "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_X_HEADER": "x",
            "CONTENT_TYPE": "text/plain",
            **more,
        }
        self.environ = environ

        def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
            answer["status"] = status
            answer["headers"] = dict(headers)

        answer["body"] = b"".join(self.app(environ, start_response))
        return answer

    def open(self) -> str:
        body: bytes = self.call("GET", "EIO=4&transport=polling")["body"]
        sid: str = json.loads(body[1:].partition(b"\x1e")[0])["sid"]
        return sid

    def post(self, sid: str, *encoded: str) -> Any:
        return self.call(
            "POST", f"EIO=4&transport=polling&sid={sid}", "\x1e".join(encoded).encode()
        )

    def disconnect(self, sid: str) -> None:
        """Disconnect a client; python-engineio may wait for it for ever."""
        threading.Thread(target=self.eio.disconnect, args=[sid], daemon=True).start()

    def poll(self, sid: str) -> bytes:
        body: bytes = self.call("GET", f"EIO=4&transport=polling&sid={sid}")["body"]
        return body


def servers() -> None:
    choices: tuple[dict[str, Any], ...] = (
        *(
            {"async_mode": "nope"},
            {"async_mode": "asgi"},
            {"transports": []},
            {"transports": "nope"},
        ),
        *(
            {"transports": "websocket"},
            {"transports": ["polling", "x"]},
            {"ping_interval": (10, 2)},
        ),
    )
    for options in choices:
        note(
            f"Server(**{options})",
            lambda o=options: [
                getattr(engineio.Server(**{"async_mode": "threading", **o}), name)
                for name in (
                    "async_mode",
                    "transports",
                    "ping_interval",
                    "ping_interval_grace_period",
                )
            ],
        )
    note("AsyncServer(threading)", lambda: engineio.AsyncServer(async_mode="threading"))
    site = Site("server")
    eio = site.eio
    note("on nothing", eio.on, "nope")
    note("on", eio.on, "message", print)
    note("handlers", lambda: eio.handlers["message"] is print)
    note("on as a decorator", lambda: eio.on("message")(len) is len)
    for method in ("get_session", "transport"):
        note(f"{method} of nobody", getattr(eio, method), "nobody")
    note("save_session of nobody", eio.save_session, "nobody", {})
    note("_get_socket of nobody", eio._get_socket, "nobody")
    note("send to nobody", eio.send, "nobody", "x")
    note("send_packet to nobody", eio.send_packet, "nobody", packet.Packet(packet.MESSAGE, "x"))
    note("disconnect of nobody", eio.disconnect, "nobody")
    note("sockets", lambda: eio.sockets)
    note("generate_id", eio.generate_id)
    note("queue", lambda: type(eio.create_queue(maxsize=3)).__module__)
    note("queue's bound", lambda: eio.create_queue(maxsize=3).maxsize)
    note("queue empty", eio.get_queue_empty_exception)
    note("event", lambda: type(eio.create_event()).__name__)
    note("modes", lambda: (eio.async_modes(), eio.is_asyncio_based()))
    note("background task", lambda: [task := eio.start_background_task(len, "x"), task.join()][1])
    note("sleep", eio.sleep, 0)
    note("the other application", lambda: site.call("GET", "", path="/x/")["body"])
    note("a path that begins alike", lambda: site.call("GET", "", path="/engine.iox")["body"])
    for path in ("engine.io", "/engine.io/", "/a/b"):
        note(
            f"engineio_path {path}",
            lambda p=path: engineio.WSGIApp(eio, engineio_path=p).engineio_path,
        )


def sessions() -> None:
    site = Site(
        "sessions", cookie="io", ping_interval=(10, 2), ping_timeout=3.5, max_http_buffer_size=500
    )
    first = site.call("GET", "EIO=4&transport=polling")
    opening = json.loads(first["body"][1:])
    opening.pop("upgrades")  # this one shows no socket, so it offers none
    note(
        "handshake",
        lambda: (first["status"], first["headers"]["Content-Type"], list(opening.items())),
    )
    note("cookie", lambda: first["headers"]["Set-Cookie"])
    note("the environ is the request's", lambda: site.environs[0] is site.environ)
    note(
        "what comes to it stays",
        lambda: site.environs[0].setdefault("mine", 1) and site.environs[0]["mine"],
    )
    sid = opening["sid"]
    eio = site.eio
    socket = eio.sockets[sid]
    names = ("sid", "connected", "upgrading", "upgraded", "closing", "closed", "session")
    note("socket", lambda: [getattr(socket, name) for name in names])
    note("the server's socket", lambda: (eio._get_socket(sid) is socket, socket.server is eio))
    note("transport", eio.transport, sid)
    note("session is live", lambda: [eio.get_session(sid).update(a=1), eio.get_session(sid)])
    note("save_session", lambda: [eio.save_session(sid, {"b": 2}), eio.get_session(sid)])

    def with_session() -> Any:
        with eio.session(sid) as session:
            session["c"] = 3
        return eio.get_session(sid)

    note("session()", with_session)
    data: list[Any] = [
        *TEXTS,
        b"\x00\xff",
        bytearray(b"ab"),
        {"a": "ü"},
        [1],
        1,
        1.5,
        True,
        None,
        ("t",),
    ]
    for value in data:
        note(f"send {value!r}", lambda v=value: [eio.send(sid, v), site.poll(sid)])
    note(
        "send_packet",
        lambda: [eio.send_packet(sid, packet.Packet(packet.MESSAGE, "p")), site.poll(sid)],
    )
    note("two messages", lambda: [eio.send(sid, "a"), eio.send(sid, b"b"), site.poll(sid)])
    before = len(site.events)
    for number, text in enumerate([*TEXTS, "-" + "1" * 200], 1):
        site.post(sid, f"4{text}")
        site.wait(before + number)
    site.post(sid, "bAP8=", "4last")
    note("messages", lambda: site.wait(before + len(TEXTS) + 3)[before:])
    before = len(site.events)
    site.disconnect(sid)
    note("its reason", lambda: site.wait(before + 1)[before:])
    note("no session afterwards", eio.get_session, sid)
    note("disconnected again", lambda: [site.disconnect(sid), len(site.events) - before])
    sid = site.open()
    before = len(site.events)
    note(
        "the client's end", lambda: [site.post(sid, "1")["status"], site.wait(before + 1)[before:]]
    )


def verdicts() -> None:
    cases: list[Any] = [None, True, False, 0, "", "no", {"why": 1}, ["a"], 5, ValueError("x")]
    for verdict in cases:
        site = Site("verdict", verdict)

        def answer(site: Site = site) -> Any:
            got = site.call("GET", "EIO=4&transport=polling")
            body = got["body"] if got["status"] != "200 OK" else got["body"][:7]
            return (
                got["status"],
                got["headers"]["Content-Type"],
                body,
                len(site.eio.sockets),
                site.events,
            )

        note(f"connect returns {verdict!r}", answer)
    site = Site("without all arguments")
    gone: list[str] = []
    site.eio.on("disconnect", lambda sid: gone.append(sid))

    def open_and_close() -> Any:
        sid = site.open()
        site.disconnect(sid)
        deadline = time.monotonic() + 10
        while not gone and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(gone)

    note("disconnect(sid)", open_and_close)


def cors() -> None:
    def answer(allowed: Any, origin: str | None, method: str = "GET", **more: Any) -> Any:
        site = Site("cors", cors_allowed_origins=allowed, **more.pop("options", {}))
        headers = {} if origin is None else {"HTTP_ORIGIN": origin}
        got = site.call(method, "EIO=4&transport=polling", **headers, **more)
        names = [name for name in got["headers"] if name.startswith("Access-Control")]
        # python-engineio's errors carry none of them.
        return got["status"], {name: got["headers"][name] for name in names} if got["status"][
            0
        ] == "2" else 0

    same, other = "http://host", "http://other"
    for allowed in (None, "*", other, [other], [other, "*"], []):
        for origin in (None, same, other, "http://evil"):
            note(f"origin {origin}, allowed {allowed}", answer, allowed, origin)
    note("a function of two", answer, lambda origin, environ: origin == other, other)
    note("a function of one", answer, lambda origin: origin == other, other)
    note("a function that refuses", answer, lambda origin: False, other)
    note("no credentials", answer, "*", other, options={"cors_credentials": False})
    note("OPTIONS", answer, None, same, "OPTIONS", HTTP_ACCESS_CONTROL_REQUEST_HEADERS="X-A, X-B")
    proxy = {"HTTP_X_FORWARDED_PROTO": "https, http", "HTTP_X_FORWARDED_HOST": "front, back"}
    note("behind a proxy", answer, None, "https://front", **proxy)


def logs() -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("engineio.server")
    logger.addHandler(handler)
    logger.propagate = False
    site = Site("logs")
    note("logger", lambda: (site.eio.logger is logger, logging.getLevelName(logger.level)))
    mine = logging.getLogger("mine")
    note("a logger of one's own", lambda: Site("mine", logger=mine).eio.logger is mine)
    site.eio.send("nobody", "x")
    note(
        "send to nobody is a warning",
        lambda: [logging.getLevelName(item.levelno) for item in records],
    )
    del records[:]
    logger.setLevel(logging.INFO)
    sid = site.open()
    site.post(sid, "4hello")
    site.wait(2)
    site.eio.send(sid, b"x")
    site.poll(sid)
    shown = [item.getMessage().replace(sid, "SID") for item in records if "packet" in item.msg]
    note("packets", lambda: [re.sub(r"data {.*", "data {...}", line) for line in sorted(shown)])


# -- asyncio, without a web server


async def asyncio_server() -> None:
    eio = engineio.AsyncServer(async_mode="asgi", monitor_clients=False)
    note("async modes", lambda: (eio.async_modes(), eio.is_asyncio_based()))
    calls: list[tuple[str, tuple[Any, ...]]] = [
        *(("get_session", ("nobody",)), ("save_session", ("nobody", {}))),
        *(
            ("send", ("nobody", "x")),
            ("disconnect", ("nobody",)),
            ("sleep", (0,)),
            ("shutdown", ()),
        ),
    ]
    for method, args in calls:
        try:
            result: Any = await getattr(eio, method)(*args)
        except Exception as error:
            result = f"raises {type(error).__name__}: {error.args}"
        note(f"async {method}", lambda r=result: r)
    note("async transport", eio.transport, "nobody")
    note("async queue", lambda: type(eio.create_queue()).__name__)
    note("async queue empty", lambda: eio.get_queue_empty_exception() is asyncio.QueueEmpty)
    note("async event", lambda: type(eio.create_event()).__name__)

    async def job(a: int, b: int = 0) -> int:
        return a + b

    task = eio.start_background_task(job, 1, b=2)
    note("async background task", lambda: isinstance(task, asyncio.Task))
    result = await task
    note("its result", lambda: result)


def clients() -> None:
    for kind in (engineio.Client, engineio.AsyncClient):
        name = kind.__name__
        note(f"{name} unknown option", kind, nope=1)
        client = kind(handle_sigint=False)
        note(f"{name} on nothing", client.on, "nope")
        note(f"{name} on", client.on, "message", print)
        note(f"{name} asyncio", client.is_asyncio_based)
        note(f"{name} transport", client.transport)
        note(f"{name} reason", lambda k=kind: k.reason.TRANSPORT_ERROR)
    client = engineio.Client(handle_sigint=False)
    note("client send", client.send, "x")
    note("client disconnect", client.disconnect)
    note("client wait", client.wait)
    note("client no transport", client.connect, "http://127.0.0.1:1", transports=["nope"])
    note("client refused", lambda: refused(client, ["polling"]))
    note("client refused over WebSocket", lambda: refused(client, ["websocket"]))
    note("client state", lambda: (client.state, client.sid))


def refused(client: Any, transports: list[str]) -> Any:
    try:
        client.connect("http://127.0.0.1:1", transports=transports)
    except exceptions.ConnectionError as error:
        return len(error.args)
    return "connected"


def main() -> None:
    warnings.simplefilter("ignore")
    for section in (packets, payloads, others, servers, sessions, verdicts, cors, logs, clients):
        section()
    asyncio.run(asyncio_server())
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    logging.getLogger("engineio.server").addHandler(logging.NullHandler())
    logging.getLogger("engineio.client").addHandler(logging.NullHandler())
    main()
