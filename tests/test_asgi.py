"""ASGIApp, driven in memory: scopes, events, and what comes back."""

import asyncio
import functools
import gc
import itertools
import logging
import os
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import static_site
from engineio import asgi, static_files
from engineio.asgi import ASGIApp, ASGIApplication, Message, Receive, Scope, Send
from engineio.middleware import FileSpan, WSGIApp
from engineio.server import Server

BIG = len(static_site.BINARY)  # bytes; four chunks


class EngineIO:
    """Stands for an Engine.IO server: one method, and no attribute more."""

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(scope, send, b"engine.io")


async def other_app(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(scope, send, b"other")


async def answer(scope: Scope, send: Send, body: bytes) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept", "subprotocol": body.decode()})
        return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def http_scope(path: str, method: str = "GET", root_path: str = "", **headers: str) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": root_path,
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


def websocket_scope(path: str, root_path: str = "", *extensions: str) -> Scope:
    scope = http_scope(path, root_path=root_path)
    del scope["method"]
    return {**scope, "type": "websocket", "scheme": "ws", "extensions": dict.fromkeys(extensions)}


class Answer:
    """What an ASGI application answered to a scope; fails if it breaks the rules of HTTP."""

    def __init__(self, app: ASGIApplication, scope: Scope) -> None:
        self.sent: list[Message] = []
        before = dict(scope)
        asyncio.run(self._run(app, scope))
        assert scope == before
        if scope["type"] == "http":
            start, *parts = self.sent
            assert start["type"] == "http.response.start"
            assert {part["type"] for part in parts} == {"http.response.body"}
            more = [part.get("more_body", False) for part in parts]
            assert more == [True] * (len(parts) - 1) + [False]
            self.status: int = start["status"]
            self.header_list = [(name.decode(), value.decode()) for name, value in start["headers"]]
            self.headers = dict(self.header_list)
            assert len(self.headers) == len(self.header_list)
            assert all(name == name.lower() for name in self.headers)
            self.chunks = [part["body"] for part in parts]
            self.body = b"".join(self.chunks)
            if self.status != 304 and scope["method"] != "HEAD":
                assert self.headers["content-length"] == str(len(self.body))

    async def _run(self, app: ASGIApplication, scope: Scope) -> None:
        kind = scope["type"]
        first = {"type": "http.request"} if kind == "http" else {"type": "websocket.connect"}
        events = [first]

        async def receive() -> Message:
            if not events:
                await asyncio.Event().wait()  # the client stays
            return events.pop()

        async def send(message: Message) -> None:
            self.sent.append(message)

        await app(scope, receive, send)
        assert asyncio.all_tasks() == {asyncio.current_task()}


def request(app: ASGIApplication, path: str, *args: Any, **headers: str) -> Answer:
    return Answer(app, http_scope(path, *args, **headers))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    static_site.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert static_site.count_open_files(tmp_path) == 0


# Routing


@pytest.mark.parametrize(
    ("engineio_path", "attribute", "hits", "misses"),
    [
        *static_site.ENGINEIO_PATHS,
        ("größe", "/größe/", ["/größe/"], ["/grÃ¶Ã\x9fe/"]),
        (None, None, ["/", "", "/anything", "/engine.io/"], []),
    ],
)
def test_routing(
    engineio_path: str | None, attribute: str | None, hits: list[str], misses: list[str]
) -> None:
    app = ASGIApp(EngineIO(), other_app, engineio_path=engineio_path)
    assert app.engineio_path == attribute
    for expected, paths in ((b"engine.io", hits), (b"other", misses)):
        for path in paths:
            assert request(app, path).body == expected, path
            accepted = Answer(app, websocket_scope(path)).sent
            assert accepted == [{"type": "websocket.accept", "subprotocol": expected.decode()}]


def test_the_order_is_engineio_files_application(site: Path) -> None:
    files = {"/engine.io/x": "index.html", "/index": "index.html", "/gone": "gone.html"}
    app = ASGIApp(EngineIO(), other_app, static_files=files)
    assert request(app, "/engine.io/x").body == b"engine.io"
    assert request(app, "/index").body == b"<p>index"
    assert request(app, "/gone").body == b"other"
    assert request(app, "/elsewhere").body == b"other"
    assert Answer(app, websocket_scope("/index")).sent[0]["subprotocol"] == "other"
    app.engineio_path = None
    assert request(app, "/index").body == b"engine.io"


def test_not_found() -> None:
    app = ASGIApp(EngineIO())
    for path in ("/", "/nope", "/engine.iox"):
        answer = request(app, path)
        assert (answer.status, answer.body) == (404, b"Not Found")
        assert answer.headers == {"content-type": "text/plain", "content-length": "9"}


def test_a_websocket_that_nobody_wants_is_refused() -> None:
    app = ASGIApp(EngineIO())
    assert Answer(app, websocket_scope("/nope")).sent == [{"type": "websocket.close"}]
    start, body = Answer(app, websocket_scope("/nope", "", "websocket.http.response")).sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
    assert (body["type"], body["body"]) == ("websocket.http.response.body", b"Not Found")


def test_not_found_can_be_overridden() -> None:
    class Teapot(ASGIApp):
        async def not_found(self, receive: Receive, send: Send) -> None:
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 418, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    app = Teapot(EngineIO())
    assert request(app, "/").status == 418
    refusal = Answer(app, websocket_scope("/", "", "websocket.http.response")).sent
    assert refusal[0]["status"] == 418


def test_an_unknown_scope_is_for_the_other_application_or_nobody() -> None:
    seen: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    Answer(ASGIApp(EngineIO(), other), {"type": "webtransport"})
    assert seen == ["webtransport"]
    with pytest.raises(ValueError, match="webtransport"):
        Answer(ASGIApp(EngineIO()), {"type": "webtransport"})


def test_scope_and_events_are_handed_on_as_they_are() -> None:
    seen: list[tuple[Any, ...]] = []

    class Keeps:
        async def handle_request(self, *args: Any) -> None:
            seen.append(args)

    async def never(*args: Any) -> Any:
        raise AssertionError

    for app in (ASGIApp(Keeps()), ASGIApp(EngineIO(), Keeps().handle_request)):
        scope = http_scope("/engine.io/" if app.other_asgi_app is None else "/")
        asyncio.run(app(scope, never, never))
        assert seen.pop() == (scope, never, never)


def test_attributes_stay_settable(site: Path) -> None:
    engine = EngineIO()
    app = ASGIApp(engine)
    assert (app.engineio_server, app.other_asgi_app, app.static_files) == (engine, None, {})
    assert (app.on_startup, app.on_shutdown) == (None, None)
    app.other_asgi_app = other_app
    assert request(app, "/").body == b"other"
    app.static_files = {"/": "index.html"}
    assert request(app, "/").body == b"<p>index"
    app.static_files = None
    assert app.static_files == {}
    assert request(app, "/").body == b"other"
    app.engineio_path = "chat"
    assert app.engineio_path == "/chat/"
    assert request(app, "/chat/").body == b"engine.io"
    assert request(app, "/engine.io/").body == b"other"


def test_arguments_by_position(site: Path) -> None:
    started: list[str] = []
    app = ASGIApp(
        EngineIO(),
        other_app,
        {"/": "index.html"},
        "chat",
        lambda: started.append("up"),
        lambda: started.append("down"),
    )
    bodies = [request(app, path).body for path in ("/chat/", "/", "/x")]
    assert bodies == [b"engine.io", b"<p>index", b"other"]
    assert run_lifespan(app) == ["startup.complete", "shutdown.complete"]
    assert started == ["up", "down"]


def test_the_given_dict_is_used_and_can_grow(site: Path) -> None:
    files: dict[str, str] = {}
    app = ASGIApp(EngineIO(), static_files=files)
    files["/"] = "index.html"
    assert request(app, "/").body == b"<p>index"


def test_bad_static_files_are_refused() -> None:
    app = ASGIApp(EngineIO())
    for files in ({"/(": "x"}, {"/(.*)": r"x/\2"}):
        with pytest.raises(ValueError, match="static file"):
            ASGIApp(EngineIO(), static_files=files)
        with pytest.raises(ValueError, match="static file"):
            app.static_files = files


# Mounting


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("/sub", "/sub/engine.io/", b"engine.io"),
        ("/sub", "/sub/engine.io", b"engine.io"),
        ("/sub/", "/sub/engine.io/", b"engine.io"),
        ("/sub/", "/sub//engine.io/", b"engine.io"),  # uvicorn --root-path /sub/
        ("/sub", "/engine.io/", b"engine.io"),  # a proxy has removed it
        ("/a/b", "/a/b/engine.io/x", b"engine.io"),
        ("/größe", "/größe/engine.io/", b"engine.io"),
        ("/", "/engine.io/", b"engine.io"),
        ("/engine.io", "/engine.io/", b"engine.io"),  # worked with python-engineio 4
        ("/sub", "/sub/index", b"<p>index"),
        ("/sub", "/sub/sub/index", b"other"),
        ("/sub", "/sub/own", b"<p>index"),  # a key with the mount's path, idem
        ("/sub", "/subengine.io/", b"other"),
        ("/sub", "/sub", b"other"),
        ("/sub", "/sub/other/engine.io/", b"other"),
        ("/sub", "/other/engine.io/", b"other"),
    ],
)
def test_root_path(site: Path, root_path: str, path: str, expected: bytes) -> None:
    files = {"/index": "index.html", "/sub/own": "index.html"}
    app = ASGIApp(EngineIO(), other_app, static_files=files)
    assert request(app, path, "GET", root_path).body == expected
    if expected == b"engine.io":
        accepted = Answer(app, websocket_scope(path, root_path)).sent
        assert accepted[0]["subprotocol"] == "engine.io"


def test_an_engineio_path_with_the_mounts_path_in_it() -> None:
    app = ASGIApp(EngineIO(), other_app, engineio_path="/sub/engine.io")
    assert request(app, "/sub/engine.io/", "GET", "/sub").body == b"engine.io"
    assert request(app, "/sub/engine.io/", "GET", "").body == b"engine.io"


def test_the_mount_point_itself(site: Path) -> None:
    app = ASGIApp(EngineIO(), other_app, static_files={"": "index.html"})
    assert request(app, "/sub", "GET", "/sub").body == b"<p>index"
    assert request(app, "/sub", "GET", "/x").body == b"other"


def test_a_scope_without_root_path() -> None:
    scope = http_scope("/engine.io/")
    for root_path in (None, ...):
        scope["root_path"] = root_path
        if root_path is ...:
            del scope["root_path"]
        assert Answer(ASGIApp(EngineIO(), other_app), scope).body == b"engine.io"


PARTS = st.sampled_from(
    ["", "/", "//", "engine.io", "engine.iox", "x", "..", ".", "\0", "é", "%2f"]
)
PATHS = st.lists(PARTS, max_size=6).map("".join)


@given(path=PATHS, roots=st.lists(st.sampled_from(["/x", "/é", "/y/z"]), max_size=2))
@example(path="/engine.io", roots=["/x"])
@example(path="", roots=["/x"])
def test_mounting_changes_nothing(path: str, roots: list[str]) -> None:
    root_path = "".join(roots)
    app = ASGIApp(EngineIO(), other_app)
    is_engineio = path == "/engine.io" or path.startswith("/engine.io/")
    expected = b"engine.io" if is_engineio else b"other"
    if path.startswith("/") or not path:
        assert request(app, root_path + path, "GET", root_path).body == expected
    assert request(app, path).body == expected


# Files


@pytest.fixture
def app(site: Path) -> ASGIApp:
    return ASGIApp(EngineIO(), static_files={"/": str(site)})


def test_a_file_is_sent_in_chunks(app: ASGIApp, site: Path) -> None:
    answer = request(app, "/200k.bin")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(BIG)
    assert [len(chunk) for chunk in answer.chunks] == [65536, 65536, 65536, 3392]
    assert answer.body == (site / "200k.bin").read_bytes()


def test_a_part_of_a_file(app: ASGIApp, site: Path) -> None:
    content = (site / "200k.bin").read_bytes()
    for value, start, stop in (("3-5", 3, 6), ("100000-", 100_000, BIG), ("-7", BIG - 7, BIG)):
        part = request(app, "/200k.bin", Range=f"bytes={value}")
        assert (part.status, part.body) == (206, content[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{BIG}"


def test_disappearing_files_are_not_found(app: ASGIApp, site: Path) -> None:
    class Removes(ASGIApp):
        async def serve_static_file(
            self, static_file: dict[str, Any], receive: Receive, send: Send
        ) -> None:
            os.unlink(static_file["filename"])
            await super().serve_static_file(static_file, receive, send)

    assert request(Removes(EngineIO(), static_files={"/": str(site)}), "/empty.bin").status == 404


def test_serve_static_file_needs_no_more_than_a_name_and_a_type(site: Path) -> None:
    class Fallback(ASGIApp):
        async def not_found(self, receive: Receive, send: Send) -> None:
            page = {"filename": "index.html", "content_type": "text/html"}
            await self.serve_static_file(page, receive, send)

    answer = request(Fallback(EngineIO()), "/nope", Range="bytes=0-1")
    assert (answer.status, answer.body) == (200, b"<p>index")
    assert answer.headers["content-type"] == "text/html"


METHODS = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"])
FILE_PATHS = st.one_of(
    st.sampled_from(["/", "/200k.bin", "/größe.txt", "/empty.bin", "/page", "/x/index.html"]),
    PATHS.map(lambda path: "/" + path),
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "range": st.sampled_from(["bytes=1-3", "bytes=-5", "bytes=4-", "bytes=999999-", "x"]),
        "if-none-match": st.sampled_from(["*", '"x"', "{etag}"]),
        "if-range": st.sampled_from(['"x"', "{etag}"]),
        "if-modified-since": st.just("Fri, 31 Dec 2100 00:00:00 GMT"),
    },
)


def test_wsgi_and_asgi_serve_the_same(site: Path) -> None:
    files = {"/": str(site), "/page": "index.html", "/x/(.*)": r"./\1", "/gone": "gone"}
    async_app = ASGIApp(EngineIO(), None, files, "chat")
    sync_app = WSGIApp(Server("threading"), None, files, "chat")
    etag = request(async_app, "/").headers["etag"]

    @given(path=FILE_PATHS, method=METHODS, headers=CONDITIONS)
    def serve_the_same(path: str, method: str, headers: dict[str, str]) -> None:
        headers = {name: value.format(etag=etag) for name, value in headers.items()}
        environ = {f"HTTP_{name.upper().replace('-', '_')}": headers[name] for name in headers}
        environ |= {"REQUEST_METHOD": method, "PATH_INFO": path.encode().decode("latin-1")}
        started: list[Any] = []

        def start_response(*args: Any) -> Any:
            started.append(args)

        result: Any = sync_app(environ, start_response)
        body = b"".join(result)
        if hasattr(result, "close"):
            result.close()
        [(status, fields)] = started
        expected = int(status[:3]), [(name.lower(), value) for name, value in fields]
        got = request(async_app, path, method, **headers)
        assert (got.status, got.header_list) == expected
        if method != "HEAD":
            assert got.body == body

    serve_the_same()


def test_the_loop_runs_while_a_disk_is_slow(
    app: ASGIApp, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing the request waits for is waited for in the loop's thread."""
    loops = threading.current_thread()
    threads: list[threading.Thread] = []

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            threads.append(threading.current_thread())
            return function(*args, **kwargs)

        return noted

    monkeypatch.setattr(asgi, "get_static_file", noting(static_files.get_static_file))
    monkeypatch.setattr(asgi, "open_file", noting(static_files.open_file))
    monkeypatch.setattr(FileSpan, "read", noting(FileSpan.read))
    assert request(app, "/200k.bin").status == 200
    assert len(threads) == 6
    assert loops not in threads


class Download:
    """A request for a file whose client takes one part of the response after the other."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self.parts: asyncio.Queue[Message] = asyncio.Queue()
        self.events: asyncio.Queue[Message] = asyncio.Queue()
        self._takes = asyncio.Semaphore(0)
        scope = http_scope(path)
        self.task: asyncio.Future[None] = asyncio.ensure_future(
            app(scope, self._receive, self.send)
        )

    async def take(self) -> Message:
        self._takes.release()
        return await self.parts.get()

    async def send(self, message: Message) -> None:
        await self._takes.acquire()
        self.parts.put_nowait(message)

    async def _receive(self) -> Message:
        return await self.events.get()


def test_a_client_that_goes_away_ends_the_reading(app: ASGIApp, site: Path) -> None:
    async def main() -> None:
        download = Download(app, "/200k.bin")
        assert (await download.take())["status"] == 200
        assert len((await download.take())["body"]) == 65536
        download.events.put_nowait({"type": "http.request", "more_body": False})
        download.events.put_nowait({"type": "http.disconnect"})
        while not download.events.empty():
            await asyncio.sleep(0)
        await download.take()  # the one that was on its way
        await download.task
        assert download.parts.empty()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_server_whose_receive_breaks_down(
    app: ASGIApp, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def receive() -> Message:
        raise ConnectionResetError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    async def main() -> None:
        await app(http_scope("/200k.bin"), receive, send)

    asyncio.run(main())
    assert sum(len(message.get("body", b"")) for message in sent) < BIG
    gc.collect()
    assert not caplog.records  # no "exception was never retrieved"


@types.coroutine
def cancelled_at(step: int, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, bool]:
    """Run a coroutine in this task, cancelled as it waits for the `step`-th time.

    Returns False if it does not wait so often.
    """
    task = asyncio.current_task()
    assert task is not None
    count = 0
    resume = functools.partial(coroutine.send, None)
    while True:
        try:
            waits_for = resume()
        except StopIteration:
            return count > step
        if count == step:
            task.cancel()
        count += 1
        try:
            yield waits_for
            resume = functools.partial(coroutine.send, None)
        except BaseException as error:
            resume = functools.partial(coroutine.throw, error)


def test_cancellation_at_any_await_closes_the_file(app: ASGIApp, site: Path) -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        return {}

    async def send(message: Message) -> None:
        await asyncio.sleep(0)

    async def main(step: int) -> bool:
        coroutine = app(http_scope("/200k.bin"), receive, send)
        try:
            return await cancelled_at(step, coroutine)
        except asyncio.CancelledError:
            return True
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    steps = 0
    while asyncio.run(main(steps)):
        assert static_site.count_open_files(site) == 0  # asyncio.run has waited for the threads
        steps += 1
    assert steps == 11  # five in threads, five times send, and the end of the wait for the client


@pytest.mark.parametrize("fast_reads", [0, 1])
def test_a_request_cancelled_while_its_file_is_being_read(
    app: ASGIApp, site: Path, monkeypatch: pytest.MonkeyPatch, fast_reads: int
) -> None:
    """The thread that reads closes the file: nobody else may while it reads."""
    reading, go_on = threading.Event(), threading.Event()
    reads = itertools.count()
    real_read = FileSpan.read
    was_open: list[bool] = []

    def slow_read(span: FileSpan, size: int = -1) -> bytes:
        if next(reads) < fast_reads:
            return real_read(span, size)
        reading.set()
        assert go_on.wait(30)
        was_open.append(static_site.count_open_files(site) == 1)
        return real_read(span, size)

    monkeypatch.setattr(FileSpan, "read", slow_read)

    async def main() -> None:
        download = Download(app, "/200k.bin")
        if fast_reads:
            await download.take()
            await download.take()
        await asyncio.to_thread(reading.wait, 30)
        download.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download.task
        go_on.set()

    asyncio.run(main())
    assert was_open == [True]
    assert static_site.count_open_files(site) == 0


def test_a_file_that_changes_while_it_is_sent(app: ASGIApp, site: Path) -> None:
    async def main(change: Callable[[], object]) -> list[bytes]:
        download = Download(app, "/200k.bin")
        await download.take()
        change()
        bodies = []
        while not download.task.done():
            take = asyncio.ensure_future(download.take())
            either: set[asyncio.Future[Any]] = {take, download.task}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if take.done():
                bodies.append(take.result()["body"])
            take.cancel()
        await download.task
        return bodies

    def grow() -> None:
        with (site / "200k.bin").open("ab") as file:
            file.write(b"more")

    assert sum(map(len, asyncio.run(main(grow)))) == BIG
    with pytest.raises(OSError, match="shorter"):
        asyncio.run(main(lambda: os.truncate(site / "200k.bin", 65536)))


def test_the_file_is_closed_when_the_server_breaks_down(app: ASGIApp, site: Path) -> None:
    async def send(message: Message) -> None:
        raise BrokenPipeError

    async def receive() -> Message:
        raise AssertionError

    async def main() -> None:
        with pytest.raises(BrokenPipeError):
            await app(http_scope("/200k.bin"), receive, send)

    asyncio.run(main())
    assert static_site.count_open_files(site) == 0


# Lifespan


def run_lifespan(app: ASGIApplication, **scope: Any) -> list[str]:
    """Start and, if that worked, stop an application; return its answers, messages after a colon.

    `send` raises after a failed startup as hypercorn's does, if the scope says so.
    """
    answers: list[str] = []

    async def main() -> None:
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        answered = asyncio.Event()
        answered.set()

        async def receive() -> Message:
            # A server asks again only after an answer, and never after a failed startup.
            await answered.wait()
            if not events or any("failed" in answer for answer in answers):
                await asyncio.Event().wait()
            answered.clear()
            return events.pop(0)

        async def send(message: Message) -> None:
            answer = message["type"].removeprefix("lifespan.")
            assert not answered.is_set(), f"{answer}: not asked"
            answers.append(":".join([answer, *filter(None, [message.get("message")])]))
            answered.set()
            if "failed" in answer and scope.get("raises"):
                raise RuntimeError("server says no")

        await asyncio.wait_for(app({"type": "lifespan", "state": {}, **scope}, receive, send), 30)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    return answers


class Steps(list[str]):
    """What happened, in order."""

    def note(self, step: str) -> Callable[[], None]:
        return lambda: self.append(step)

    def note_async(self, step: str) -> Callable[[], Awaitable[None]]:
        async def noted() -> None:
            await asyncio.sleep(0)
            self.append(step)

        return noted

    def fail(self, step: str) -> Callable[[], None]:
        def failing() -> None:
            self.append(step)
            raise LookupError(f"no {step}")

        return failing

    def wrapped(self, *failing: str) -> ASGIApplication:
        """An application as Starlette does it: what fails is answered, and raised."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for phase in ("startup", "shutdown"):
                event = await receive()
                assert event == {"type": f"lifespan.{phase}"}
                self.append(f"wrapped {phase}")
                scope["state"][phase] = True
                if phase in failing:
                    await send({"type": f"lifespan.{phase}.failed", "message": f"no {phase}"})
                    raise LookupError(phase)
                await send({"type": f"lifespan.{phase}.complete"})

        return app


class Stops(EngineIO):
    """A server with a shutdown, as AsyncServer has it."""

    def __init__(self, shutdown: Callable[[], object]) -> None:
        self.shutdown = shutdown


COMPLETE = ["startup.complete", "shutdown.complete"]


def test_lifespan_without_anything_to_do() -> None:
    assert run_lifespan(ASGIApp(EngineIO())) == COMPLETE
    assert run_lifespan(ASGIApp(EngineIO(), engineio_path=None)) == COMPLETE


def test_everybody_starts_and_stops_in_order() -> None:
    steps = Steps()
    app = ASGIApp(
        Stops(steps.note_async("clients")),
        steps.wrapped(),
        on_startup=steps.note_async("up"),
        on_shutdown=steps.note_async("down"),
    )
    state: dict[str, Any] = {}
    assert run_lifespan(app, state=state) == COMPLETE
    assert steps == ["wrapped startup", "up", "clients", "down", "wrapped shutdown"]
    assert state == {"startup": True, "shutdown": True}

    # Plain functions, and an object whose call is a coroutine function.
    steps.clear()

    class Up:
        async def __call__(self) -> None:
            steps.append("up")

    app = ASGIApp(Stops(steps.note("clients")), None, None, "x", Up(), steps.note("down"))
    assert run_lifespan(app) == COMPLETE
    assert steps == ["up", "clients", "down"]


def test_the_wrapped_lifespan_alone() -> None:
    steps = Steps()
    assert run_lifespan(ASGIApp(EngineIO(), steps.wrapped())) == COMPLETE
    assert steps == ["wrapped startup", "wrapped shutdown"]


def test_a_failing_startup(caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    app = ASGIApp(EngineIO(), on_startup=steps.fail("db"), on_shutdown=steps.note("down"))
    assert run_lifespan(app) == ["startup.failed:LookupError: no db"]
    assert steps == ["db"]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("engineio.server", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


@pytest.mark.parametrize("raises", [False, True])
def test_a_failing_startup_stops_the_wrapped_application(raises: bool) -> None:
    steps = Steps()
    app = ASGIApp(EngineIO(), steps.wrapped(), on_startup=steps.fail("db"))
    if raises:
        with pytest.raises(RuntimeError, match="server says no"):
            run_lifespan(app, raises=True)
        assert steps == ["wrapped startup", "db"]
    else:
        assert run_lifespan(app) == ["startup.failed:LookupError: no db"]
        assert steps == ["wrapped startup", "db", "wrapped shutdown"]


def test_a_wrapped_application_is_told_to_stop_once() -> None:
    """After the shutdown it hears of nothing more, as from a server."""
    heard: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            heard.append(event["type"])
            await send({"type": event["type"] + ".complete"})

    events = [{"type": "lifespan.startup"}]

    async def receive() -> Message:
        if not events:
            raise EOFError("the server has ended")
        return events.pop()

    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["type"])

    app = ASGIApp(EngineIO(), other, on_startup=Steps().fail("db"))
    with pytest.raises(EOFError):
        asyncio.run(app.lifespan({"type": "lifespan"}, receive, send))
    assert heard == ["lifespan.startup", "lifespan.shutdown"]
    assert sent == ["lifespan.startup.failed"]


def test_a_wrapped_startup_that_fails() -> None:
    steps = Steps()
    app = ASGIApp(EngineIO(), steps.wrapped("startup"), on_startup=steps.note("up"))
    with pytest.raises(LookupError, match="startup"):  # the server knows what to do with it
        run_lifespan(app)
    assert steps == ["wrapped startup"]


def test_failing_shutdowns(caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps()
    app = ASGIApp(Stops(steps.fail("clients")), steps.wrapped(), on_shutdown=steps.note("down"))
    failed = "shutdown.failed:LookupError: no clients"
    assert run_lifespan(app) == ["startup.complete", failed]
    assert steps == ["wrapped startup", "clients", "down", "wrapped shutdown"]
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError

    steps.clear()
    app = ASGIApp(Stops(steps.note("clients")), on_shutdown=steps.fail("db"))
    assert run_lifespan(app) == ["startup.complete", "shutdown.failed:LookupError: no db"]
    assert steps == ["clients", "db"]

    steps.clear()
    app = ASGIApp(EngineIO(), steps.wrapped("shutdown"), on_shutdown=steps.note("down"))
    with pytest.raises(LookupError, match="shutdown"):
        run_lifespan(app)
    assert steps == ["wrapped startup", "down", "wrapped shutdown"]


async def knows_http_only(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"


async def looks_at_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(scope, send, b"hello")


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    return


async def returns_after_receive(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def starts_only(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


@pytest.mark.parametrize(
    "other",
    [knows_http_only, looks_at_nothing, returns_at_once, returns_after_receive, starts_only],
)
def test_a_wrapped_application_without_a_lifespan(
    other: ASGIApplication, caplog: pytest.LogCaptureFixture
) -> None:
    steps = Steps()
    app = ASGIApp(Stops(steps.note("clients")), other, on_startup=steps.note("up"))
    assert run_lifespan(app) == COMPLETE
    assert steps == ["up", "clients"]
    assert not caplog.records


def test_a_wrapped_application_that_breaks_down_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def breaks_in(phase: str) -> ASGIApplication:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for step in ("startup", "shutdown"):
                await receive()
                if step == phase:
                    raise LookupError(phase)
                await send({"type": f"lifespan.{step}.complete"})
                if phase == "between":
                    raise LookupError(phase)

        return app

    steps = Steps()
    app = ASGIApp(Stops(steps.note("clients")), breaks_in("startup"), on_startup=steps.note("up"))
    assert run_lifespan(app) == COMPLETE  # the specification wants the server to go on
    assert steps == ["up", "clients"]
    app.other_asgi_app = breaks_in("between")
    assert run_lifespan(app) == COMPLETE
    app.other_asgi_app = breaks_in("shutdown")
    assert run_lifespan(app) == ["startup.complete", "shutdown.failed:LookupError: shutdown"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert all(record.exc_info for record in caplog.records)


def test_lifespan_can_be_overridden() -> None:
    steps = Steps()

    class Own(ASGIApp):
        async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
            steps.append("own")
            await super().lifespan(scope, receive, send)

    assert run_lifespan(Own(EngineIO())) == COMPLETE
    assert steps == ["own"]


def test_cancellation_ends_a_lifespan() -> None:
    async def main(app: ASGIApp) -> None:
        async def receive() -> Message:
            await asyncio.Event().wait()
            return {}

        async def send(message: Message) -> None:
            raise AssertionError

        task: asyncio.Future[None] = asyncio.ensure_future(app({"type": "lifespan"}, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for other in (None, Steps().wrapped()):
        with closing(asyncio.new_event_loop()) as loop:
            loop.run_until_complete(main(ASGIApp(EngineIO(), other)))
