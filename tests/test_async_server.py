"""AsyncServer in memory, over the asgi driver: what handlers see, who waits for whom, the end."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial, partialmethod
from typing import Any

import pytest

import engineio
from asgi_client import WAIT, Exchange, Polling, WebSocket, handshake, upgrade
from engineio.async_server import AsyncServer
from engineio.async_socket import AsyncSocket
from engineio.exceptions import DriverError, PacketError, UnknownPacketError
from engineio.packet import CLOSE, MESSAGE, OPEN, PONG, Packet


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine function as a test; nothing of it may be left."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        complaints: list[dict[str, Any]] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            await test(*args, **kwargs)
            gc.collect()
            await asyncio.sleep(0)
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            assert not rest

        asyncio.run(main())
        gc.collect()
        assert not complaints

    return run


class Site:
    """A server and what its handlers were called with."""

    def __init__(self, **options: Any) -> None:
        self.eio = AsyncServer(async_mode="asgi", **options)
        self.app = self.eio.handle_request
        self.events: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.eio.on("message", self.message)
        self.eio.on("disconnect", self.disconnect)

    async def message(self, sid: str, data: Any) -> None:
        self.events.put_nowait(("message", data))

    async def disconnect(self, sid: str, reason: str) -> None:
        self.events.put_nowait(("disconnect", reason))

    async def event(self) -> tuple[Any, ...]:
        return await asyncio.wait_for(self.events.get(), WAIT)

    async def polling(self) -> Polling:
        return await Polling.connect(self.app)

    async def websocket(self) -> WebSocket:
        return await WebSocket.connect(self.app)

    async def __aenter__(self) -> "Site":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.eio.shutdown()
        assert not self.eio.sockets
        assert len(self.eio.heartbeat) == len(self.eio.manager._leaving)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.001)


async def turns(count: int = 20) -> None:
    """Let everything happen that can without time passing."""
    for _ in range(count):
        await asyncio.sleep(0)


# -- what applications call


def test_modes() -> None:
    eio = AsyncServer(async_mode="asgi")
    assert eio.async_modes() == ["aiohttp", "sanic", "tornado", "asgi"]
    assert eio.is_asyncio_based()
    assert (eio.async_mode, eio._async["asyncio"]) == ("asgi", True)
    assert eio.get_queue_empty_exception() is asyncio.QueueEmpty
    assert isinstance(eio.create_queue(3), asyncio.Queue)
    assert isinstance(eio.create_event(), asyncio.Event)
    with pytest.raises(ValueError, match="Invalid async_mode"):
        AsyncServer(async_mode="threading")
    with pytest.raises(ValueError, match="Invalid async_mode"):
        engineio.Server(async_mode="asgi")
    with pytest.raises(ValueError, match=r"no attach\(\)"):
        eio.attach(object())


def test_the_first_mode_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"aiohttp", "sanic"}
    load = engineio.driver.load

    def load_some(mode: str) -> Any:
        if mode in missing:
            raise DriverError(mode)
        return load(mode)

    monkeypatch.setattr(engineio.driver, "load", load_some)
    assert AsyncServer().async_mode == "tornado"
    missing.add("tornado")
    assert AsyncServer().async_mode == "asgi"


@in_loop
async def test_polling() -> None:
    async with Site() as site:
        client = await site.polling()
        assert client.opening["upgrades"] == ["websocket"]
        assert site.eio.transport(client.sid) == "polling"
        answer = await client.post("4hello", "b" + "AQI=", '4{"a":1}')
        assert (answer.status, answer.body) == (200, b"ok")
        assert [(await site.event())[1] for _ in range(3)] == ["hello", b"\1\2", {"a": 1}]
        await site.eio.send(client.sid, "one")
        await site.eio.send(client.sid, b"\3")
        await site.eio.send(client.sid, {"b": 2})
        assert await client.poll() == ["4one", "bAw==", '4{"b":2}']
        poll = client.start_poll()
        await turns()
        assert not poll.task.done()
        await site.eio.send_packet(client.sid, Packet(MESSAGE, "two"))
        assert (await poll.answer()).packets == ["4two"]


@in_loop
async def test_websocket() -> None:
    async with Site() as site:
        client = await site.websocket()
        assert site.eio.transport(client.sid) == "websocket"
        client.send("4hello")
        client.send(b"\1")
        assert await site.event() == ("message", "hello")
        assert await site.event() == ("message", b"\1")
        await site.eio.send(client.sid, "one")
        await site.eio.send(client.sid, b"\2")
        assert [await client.receive(), await client.receive()] == ["4one", b"\2"]
        client.hang_up()
        await client.ended()
        assert await site.event() == ("disconnect", "transport close")


@in_loop
async def test_upgrade() -> None:
    async with Site() as site:
        session = await site.polling()
        await site.eio.send(session.sid, "before")
        websocket = await upgrade(site.app, session)
        assert await websocket.receive() == "4before"
        assert site.eio.transport(session.sid) == "websocket"
        websocket.send("4after")
        assert await site.event() == ("message", "after")


@in_loop
async def test_functions_and_coroutine_functions() -> None:
    async with Site() as site:
        calls: list[tuple[str, Any]] = []

        @site.eio.on("connect")
        def connect(sid: str) -> None:
            calls.append(("connect", sid))

        @site.eio.on("message")
        def message(sid: str, data: Any) -> str:
            calls.append(("message", data))
            return "of no interest"

        @site.eio.on("disconnect")
        async def disconnect(sid: str) -> None:
            await asyncio.sleep(0)
            calls.append(("disconnect", sid))

        client = await site.websocket()
        client.send("4hello")
        client.send("1")
        await client.ended()
        assert calls == [("connect", client.sid), ("message", "hello"), ("disconnect", client.sid)]


@in_loop
@pytest.mark.parametrize(
    ("verdict", "body"), [(False, b'"Unauthorized"'), ({"a": 1}, b'{"a": 1}'), ("no", b'"no"')]
)
async def test_rejected(verdict: Any, body: bytes) -> None:
    async with Site() as site:
        site.eio.on("connect", lambda sid, environ: verdict)
        answer = await handshake(site.app).answer()
        assert (answer.status, answer.body) == (401, body)
        websocket = WebSocket(site.app)
        assert (await websocket.event())["type"] == "websocket.close"
        extended = WebSocket(site.app, {"websocket.http.response": {}})
        start, rest = await extended.event(), await extended.event()
        assert (start["status"], rest["body"]) == (401, body)
        await websocket.ended()
        await extended.ended()
        assert not site.eio.sockets
        assert site.events.empty()


@in_loop
async def test_environ() -> None:
    async with Site() as site:
        environs: list[dict[str, Any]] = []
        site.eio.on("connect", lambda sid, environ: environs.append(environ))
        headers = {"X-Real": "yes", "X-Forwarded-Proto": "https", "Content-Type": "text/plain"}
        exchange = Exchange(site.app, "GET", {"EIO": "4", "transport": "polling"}, headers=headers)
        await exchange.answer()
        (environ,) = environs
        assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("192.0.2.1", "4242")
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("192.0.2.2", "80")
        assert environ["wsgi.url_scheme"] == "http"
        assert environ["HTTP_X_REAL"] == "yes"
        assert environ["CONTENT_TYPE"] == "text/plain"
        assert environ["asgi"]["scope"] is environ["asgi.scope"] is exchange.scope
        assert environ["SERVER_SOFTWARE"] == "asgi"


@in_loop
async def test_sessions() -> None:
    async with Site() as site:
        client = await site.polling()
        session = await site.eio.get_session(client.sid)
        session["live"] = True
        async with site.eio.session(client.sid) as again:
            assert again == {"live": True}
            again["more"] = 1
        await site.eio.save_session(client.sid, {"new": 1})
        assert await site.eio.get_session(client.sid) == {"new": 1}
        with pytest.raises(KeyError):
            await site.eio.get_session("nobody")
        with pytest.raises(KeyError):
            site.eio.transport("nobody")


@in_loop
async def test_sids_and_broadcast() -> None:
    async with Site() as site:
        polling = await site.polling()
        websocket = await site.websocket()
        third = await site.websocket()
        assert set(site.eio.sids) == {polling.sid, websocket.sid, third.sid}
        await site.eio.broadcast(b"\1", skip=third.sid)
        await site.eio.broadcast("most", skip=[third.sid, "nobody"])
        await site.eio.broadcast("all")
        assert await polling.poll() == ["bAQ==", "4most", "4all"]
        assert [await websocket.receive() for _ in range(3)] == [b"\1", "4most", "4all"]
        assert await third.receive() == "4all"
        await site.eio.disconnect(third.sid)
        assert set(site.eio.sids) == {polling.sid, websocket.sid}


@in_loop
async def test_what_is_sent_first_arrives_first() -> None:
    """Socket.IO makes a task for each packet and relies on the order they were made in."""
    async with Site() as site:
        client = await site.websocket()
        sending = [asyncio.ensure_future(site.eio.send(client.sid, str(n))) for n in range(50)]
        await asyncio.gather(*sending)
        assert [await client.receive() for _ in range(50)] == [f"4{n}" for n in range(50)]


@in_loop
async def test_what_cannot_be_encoded() -> None:
    async with Site() as site:
        polling, websocket = await site.polling(), await site.websocket()
        for sid in (polling.sid, websocket.sid):
            with pytest.raises(PacketError):
                await site.eio.send(sid, "\ud800")
            with pytest.raises(TypeError):
                await site.eio.send(sid, {"a": object()})
            await site.eio.send(sid, "\u20ac")
        assert await polling.poll() == ["4\u20ac"]
        assert await websocket.receive() == "4\u20ac"


@in_loop
async def test_send_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with Site(logger=logging.getLogger("test")) as site:
        await site.eio.send("nobody", "hello")
        await site.eio.send_packet("nobody", Packet(MESSAGE))
        await site.eio.disconnect("nobody")
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@in_loop
async def test_background_tasks() -> None:
    eio = AsyncServer(async_mode="asgi")

    async def double(number: int, times: int = 2) -> int:
        await eio.sleep(0)
        return number * times

    task = eio.start_background_task(double, 4, times=3)
    assert isinstance(task, asyncio.Task)
    assert await task == 12


# -- the socket itself


@in_loop
async def test_socket() -> None:
    async with Site() as site:
        client = await site.polling()
        socket = site.eio._get_socket(client.sid)
        assert isinstance(socket, AsyncSocket)
        assert await socket.send(Packet(MESSAGE, "one"))
        assert socket.queue.get_nowait().data == "one"
        assert [packet.data for packet in await socket.poll()] == ["one"]
        await socket.receive(Packet(MESSAGE, "hello"))
        assert await site.event() == ("message", "hello")
        await socket.receive(Packet(PONG))
        assert await socket.check_ping_timeout()
        with pytest.raises(UnknownPacketError):
            await socket.receive(Packet(OPEN))
        assert await site.event() == ("disconnect", "parse error")
        other = await site.polling()
        await site.eio._get_socket(other.sid).close(wait=False)
        assert await site.event() == ("disconnect", "server disconnect")
        assert await other.poll() == ["1"]


@in_loop
async def test_a_patched_websocket(monkeypatch: pytest.MonkeyPatch) -> None:
    """As python-socketio's admin instrumentation does it."""
    sent: list[Any] = []
    received: list[Any] = []
    original = AsyncSocket._websocket_handler

    async def handler(socket: AsyncSocket, ws: Any) -> None:
        send, wait = ws.send, ws.wait

        async def patched_send(data: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(data)
            return await send(data, *args, **kwargs)

        async def patched_wait() -> Any:
            data = await wait()
            received.append(data)
            return data

        ws.send, ws.wait = patched_send, patched_wait
        await original(socket, ws)

    monkeypatch.setattr(AsyncSocket, "_websocket_handler", partialmethod(handler))
    async with Site() as site:
        session = await site.polling()
        websocket = await upgrade(site.app, session)
        websocket.send("4hello")
        assert await site.event() == ("message", "hello")
        await site.eio.send(session.sid, "answer")
        assert await websocket.receive() == "4answer"
        await site.eio.disconnect(session.sid)
        assert await websocket.receive() == "1"
        assert (await websocket.event())["type"] == "websocket.close"
        websocket.hang_up()
        await websocket.ended()
    assert sent == ["3probe", "4answer", "1"]
    assert received == ["2probe", "5", "4hello", None]


@in_loop
async def test_other_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def patch(name: str) -> None:
        original = getattr(AsyncSocket, name)

        async def patched(socket: AsyncSocket, *args: Any) -> Any:
            seen.append(name)
            return await original(socket, *args)

        monkeypatch.setattr(AsyncSocket, name, partialmethod(patched))

    patch("handle_post_request")
    patch("_send_ping")
    async with Site(ping_interval=0.02) as site:
        ok = site.eio._ok

        def patched_ok(packets: Any = None, headers: Any = None, jsonp_index: Any = None) -> Any:
            response = ok(packets, headers, jsonp_index)
            assert len(response["response"]) > 0
            seen.append("_ok")
            return response

        site.eio._ok = patched_ok  # type: ignore[method-assign]
        client = await site.polling()
        await client.post("4hello")
        assert await client.poll() == ["2"]
    assert seen == ["_ok", "handle_post_request", "_ok", "_send_ping", "_ok"]


# -- who waits for whom


@in_loop
@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("serial", [False, True])
async def test_handlers_that_wait(transport: str, serial: bool) -> None:
    async with Site(async_handlers=not serial) as site:
        begun: list[str] = []
        release = asyncio.Event()
        done: list[str] = []

        @site.eio.on("message")
        async def message(sid: str, data: str) -> None:
            begun.append(data)
            await release.wait()
            done.append(data)

        wanted = [f"m{number}" for number in range(30)]
        if transport == "polling":
            client: Any = await site.polling()
            for data in wanted:
                assert (await client.post("4" + data)).body == b"ok"
        else:
            client = await site.websocket()
            for data in wanted:
                client.send("4" + data)
        await turns(200)
        assert begun == (wanted[:1] if serial else wanted)
        release.set()
        await until(lambda: len(done) == 30)
        assert begun == wanted


@in_loop
async def test_a_second_task_only_while_a_handler_waits() -> None:
    async with Site() as site:
        client = await site.websocket()
        before = asyncio.all_tasks()
        for number in range(100):
            client.send(f"4{number}x")
            await site.event()
            assert asyncio.all_tasks() == before


@in_loop
async def test_a_serial_server_still_answers_heartbeats() -> None:
    async with Site(async_handlers=False, ping_interval=0.02, ping_timeout=WAIT) as site:
        release = asyncio.Event()

        @site.eio.on("message")
        async def message(sid: str, data: str) -> None:
            await release.wait()
            site.events.put_nowait(("message", data))

        client = await site.websocket()
        client.send("4waits")
        for _ in range(3):
            assert await client.receive() == "2"
            client.send("3")
        release.set()
        assert await site.event() == ("message", "waits")


@in_loop
async def test_a_slow_client_holds_nobody_back() -> None:
    async with Site(max_send_buffer=1000) as site:
        slow, quick = await site.websocket(), await site.websocket()
        slow.block()
        for number in range(20):
            await site.eio.broadcast(f"m{number}")
        assert [await quick.receive() for _ in range(20)] == [f"4m{n}" for n in range(20)]
        slow.unblock()
        assert [await slow.receive() for _ in range(20)] == [f"4m{n}" for n in range(20)]
        slow.block()
        for _ in range(20):
            await site.eio.send(slow.sid, "x" * 100)
        assert await site.event() == ("disconnect", "send buffer full")
        await slow.ended()
        await site.eio.send(quick.sid, "still here")
        assert await quick.receive() == "4still here"


@in_loop
async def test_a_polling_client_that_does_not_poll() -> None:
    async with Site(max_send_buffer=1000) as site:
        client = await site.polling()
        for _ in range(20):
            await site.eio.send(client.sid, "x" * 100)
        assert await site.event() == ("disconnect", "send buffer full")
        assert (await client.start_poll().answer()).status == 400


@in_loop
async def test_the_context_of_a_request_goes_with_its_handlers() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    seen: list[str] = []
    release = asyncio.Event()

    async with Site() as site:

        @site.eio.on("message")
        async def message(sid: str, data: str) -> None:
            seen.append(variable.get())
            await release.wait()
            seen.append(variable.get())

        clients = []
        for name in ("first", "second"):
            variable.set(name)
            clients.append(await site.websocket())
        variable.set("neither")
        for client in clients:
            client.send("4a")
            client.send("4b")
        await until(lambda: len(seen) == 4)
        assert sorted(seen) == ["first", "first", "second", "second"]
        release.set()
        await until(lambda: len(seen) == 8)
        assert sorted(seen) == ["first"] * 4 + ["second"] * 4


@in_loop
async def test_a_handler_that_blocks_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Site() as site:

        @site.eio.on("message")
        def message(sid: str, data: str) -> None:
            time.sleep(1.05)
            site.events.put_nowait(("message", data))

        client = await site.websocket()
        for _ in range(2):
            client.send("4block")
            await site.event()
            await turns()
        (record,) = [record for record in caplog.records if "stalled" in record.message]
        assert record.levelname == "ERROR"  # what is logged without being asked for


# -- handlers that fail


@in_loop
async def test_handlers_that_raise(caplog: pytest.LogCaptureFixture) -> None:
    async with Site() as site:
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancelled.cancel()

        @site.eio.on("message")
        async def message(sid: str, data: str) -> None:
            site.events.put_nowait(("message", data))
            if data == "cancel":
                await cancelled  # somebody else's cancellation, which is an error like others
            raise ValueError(data)

        client = await site.websocket()
        wanted = ["a", "b"] if not hasattr(asyncio.Task, "cancelling") else ["a", "cancel", "b"]
        for data in wanted:
            client.send("4" + data)
            assert await site.event() == ("message", data)
        await until(lambda: len(caplog.records) == len(wanted))
        assert {record.message for record in caplog.records} == {"message handler error"}

        @site.eio.on("connect")
        async def connect(sid: str, environ: Any) -> None:
            raise ValueError("connect")

        assert (await handshake(site.app).answer()).status == 401


# -- the end


@in_loop
async def test_server_disconnect() -> None:
    async with Site() as site:
        polling, websocket = await site.polling(), await site.websocket()
        poll = polling.start_poll()
        await turns()
        await site.eio.disconnect()
        assert (await poll.answer()).packets == ["1"]
        assert await websocket.receive() == "1"
        assert await websocket.event() == {"type": "websocket.close", "code": 1000, "reason": ""}
        websocket.hang_up(1000)
        await websocket.ended()
        ends = [await site.event(), await site.event()]
        assert ends == [("disconnect", "server disconnect")] * 2
        await site.eio.disconnect()


@in_loop
async def test_a_peer_that_does_not_answer_the_close_frame() -> None:
    async with Site() as site:
        websocket = await site.websocket()
        await site.eio.disconnect(websocket.sid)
        await websocket.ended()


@in_loop
async def test_ping_timeout() -> None:
    async with Site(ping_interval=0.02, ping_timeout=0.02) as site:
        client = await site.websocket()
        assert await client.receive() == "2"
        assert await site.event() == ("disconnect", "ping timeout")
        await client.ended()


@in_loop
async def test_an_aborted_poll_loses_nothing_and_ends_the_session() -> None:
    async with Site() as site:
        client = await site.polling()
        poll = client.start_poll()
        await turns()
        poll.hang_up()
        assert await site.event() == ("disconnect", "transport error")
        await asyncio.wait_for(poll.task, WAIT)
        assert (await client.start_poll().answer()).status == 400


@in_loop
async def test_bodies() -> None:
    async with Site(max_http_buffer_size=100) as site:
        client = await site.polling()
        post = client.start_post(b"4in ", b"three ", b"parts")
        assert (await post.answer()).body == b"ok"
        assert await site.event() == ("message", "in three parts")
        for chunks, headers in (
            ([b"4" + b"x" * 60] * 2 + [b""], {}),
            ([b""], {"Content-Length": "101"}),
        ):
            post = client.start_post(*chunks, **headers)
            assert (await post.answer()).status == 413
        assert (await client.post("4alive")).body == b"ok"
        assert await site.event() == ("message", "alive")
        post = client.start_post(b"4never", b"", **{"Content-Length": "50"})
        post.incoming.get_nowait()  # the end of the body does not come
        await turns()
        overlapping = await client.post("4second")
        assert overlapping.status == 400
        assert await site.event() == ("disconnect", "transport error")
        post.hang_up()
        assert (await post.answer()).status == 400
        assert site.events.empty()


@in_loop
async def test_a_post_that_is_cut_off() -> None:
    async with Site() as site:
        client = await site.polling()
        post = client.start_post(b"4never", b"", **{"Content-Length": "50"})
        post.incoming.get_nowait()
        await turns()
        post.hang_up()
        assert await site.event() == ("disconnect", "transport error")
        await asyncio.wait_for(post.task, WAIT)


@in_loop
async def test_a_message_that_is_too_long() -> None:
    async with Site(max_http_buffer_size=100) as site:
        for message in ("4" + "x" * 100, b"x" * 101, "4" + "\u20ac" * 34):
            client = await site.websocket()
            client.send(message)
            assert (await client.event())["code"] == 1009
            assert await site.event() == ("disconnect", "transport error")
            client.hang_up(1009)
            await client.ended()


@in_loop
async def test_shutdown_in_the_middle_of_everything() -> None:
    site = Site()
    began = asyncio.Event()
    caught: list[str] = []

    @site.eio.on("message")
    async def message(sid: str, data: str) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            caught.append(data)
            raise

    polling, websocket = await site.polling(), await site.websocket()
    poll = polling.start_poll()
    await polling.post("4polling")
    await turns()
    await site.eio.shutdown()
    assert (await poll.answer()).packets == ["1"]
    assert caught == ["polling"]
    websocket.hang_up()
    await websocket.ended()
    ends = [await site.event(), await site.event()]
    assert ends == [("disconnect", "server shutdown")] * 2
    await site.eio.shutdown()
    # The next client starts it again.
    again = await site.polling()
    assert site.eio.sids == (again.sid,)
    await site.eio.shutdown()
    assert await site.event() == ("disconnect", "server shutdown")


def test_one_server_in_two_event_loops() -> None:
    """Tests do that, and scripts that call asyncio.run() twice."""
    eio = AsyncServer(async_mode="asgi")
    sids = []

    async def main() -> None:
        client = await Polling.connect(eio.handle_request)
        await eio.send(client.sid, "hello")
        assert await client.poll() == ["4hello"]
        sids.append(client.sid)
        assert eio.sids == (client.sid,)

    asyncio.run(main())
    asyncio.run(main())
    assert len(set(sids)) == 2


# -- cancellation


class Interrupted:
    """Cancels a task when it has come back to the loop a number of times."""

    def __init__(self, task: "asyncio.Future[Any]", after: int) -> None:
        self._left = after
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._task.done():
            return
        if self._left == 0:
            self._task.cancel()
            return
        self._left -= 1
        self._loop.call_soon(self._turn)


async def scenario(site: Site, kind: str, after: int) -> bool:
    """Run requests, one of which is cancelled after some turns. Returns whether it still ran."""
    if kind == "connect":
        victim: Any = handshake(site.app)
    elif kind == "websocket":
        victim = WebSocket(site.app)
        victim.send("4wait")
        victim.send("4one")
        victim.send("1")
    else:
        session = await site.polling()
        if kind == "poll":
            victim = session.start_poll()
            asyncio.get_running_loop().call_later(0.01, site.eio.manager.send, session.sid, PACKET)
        elif kind == "post":
            victim = session.start_post(b"4wait\x1e4o", b"")
            victim.incoming.get_nowait()
            victim.incoming.get_nowait()
            for turn, chunk in enumerate((b"4wait\x1e4o", b"ne", b"")):
                later = partial(victim.push_body, chunk, bool(chunk))
                asyncio.get_running_loop().call_later(0.005 * turn, later)
        else:
            victim = WebSocket(site.app, sid=session.sid)
            victim.send("2probe")
            victim.send("5")
            victim.send("4wait")
            victim.send("4one")
    Interrupted(victim.task, after)
    done, _ = await asyncio.wait([victim.task], timeout=0.2 if kind == "upgrade" else WAIT)
    if not done:  # an upgraded session that was not cancelled in time goes on
        return False
    return bool(victim.task.cancelled())


PACKET = Packet(MESSAGE, "wakes the poll")


@pytest.mark.parametrize("kind", ["connect", "websocket", "poll", "post", "upgrade"])
@pytest.mark.parametrize("serial", [False, True])
def test_cancelled_at_every_await(
    kind: str, serial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """However far it came, a client that was let in is disconnected once, and nothing is left."""

    async def main(after: int) -> bool:
        site = Site(async_handlers=not serial)
        accepted: list[str] = []
        ended: list[str] = []

        @site.eio.on("connect")
        async def connect(sid: str, environ: Any) -> None:
            await asyncio.sleep(0)
            accepted.append(sid)

        @site.eio.on("message")
        async def message(sid: str, data: str) -> None:
            for _ in range(3 if data == "wait" else 1):
                await asyncio.sleep(0)

        @site.eio.on("disconnect")
        async def disconnect(sid: str, reason: str) -> None:
            await asyncio.sleep(0)
            ended.append(sid)
            await asyncio.sleep(0)

        was_cancelled = await scenario(site, kind, after)
        await turns(60)
        await site.eio.shutdown()
        assert sorted(ended) == sorted(accepted), after
        assert not site.eio.sockets
        assert not site.eio.manager._leaving or not was_cancelled
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:  # of an upgrade that went on
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        return was_cancelled

    cancelled = [asyncio.run(main(after)) for after in range(40)]
    assert cancelled[0]
    assert sum(cancelled) >= (1 if kind == "connect" else 3)
    caplog.clear()
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@in_loop
async def test_a_session_that_is_closed_while_its_handler_connects() -> None:
    async with Site() as site:

        @site.eio.on("connect")
        async def connect(sid: str, environ: Any) -> None:
            await site.eio.disconnect(sid)

        answer = await handshake(site.app).answer()
        assert answer.packets[0][0] == "0"
        assert answer.packets[-1] == str(CLOSE)
        assert await site.event() == ("disconnect", "server disconnect")
        assert site.events.empty()


def test_logger_is_asked_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        site = Site()
        site.eio.logger.setLevel(logging.INFO)
        try:
            client = await site.websocket()
            client.send("4hello")
            await site.event()
        finally:
            site.eio.logger.setLevel(logging.NOTSET)
            await site.eio.shutdown()

    asyncio.run(main())
    assert any("Received packet MESSAGE data hello" in record.message for record in caplog.records)


# -- limits


@in_loop
async def test_limits() -> None:
    async with Site(max_clients=2, max_total_send_buffer=1000) as site:
        small, large = await site.polling(), await site.polling()
        answer = await handshake(site.app).answer()
        assert (answer.status, answer.body) == (503, b'{"code":3,"message":"Too many clients"}')
        await site.eio.send(small.sid, "x" * 500)
        await site.eio.send(large.sid, "x" * 800)
        assert await site.event() == ("disconnect", "send buffer full")
        assert await small.poll() == ["4" + "x" * 500]
        await site.polling()
        assert site.eio.stats() == {
            "clients": {"polling": 2, "websocket": 0},
            "send_buffer": 0,
            "connects": {"polling": 3},
            "disconnects": {"send buffer full": 1},
            "refused": {"max_clients": 1},
        }


@in_loop
async def test_a_session_that_ends_as_its_upgrade_is_answered() -> None:
    """Once the second WebSocket of the session was taken for its first: two disconnect events."""
    async with Site() as site:
        client = await site.polling()
        socket = site.eio.sockets[client.sid]
        handler = socket._websocket_handler

        async def disconnect_first(ws: Any) -> None:
            await site.eio.disconnect(client.sid)
            await handler(ws)

        socket._websocket_handler = disconnect_first
        websocket = WebSocket(site.app, sid=client.sid)
        while (await websocket.event())["type"] != "websocket.close":
            pass
        websocket.hang_up()
        await websocket.ended()
        assert await site.event() == ("disconnect", "server disconnect")
        assert site.events.empty()
        assert await client.poll() == ["1"]


@in_loop
async def test_a_handshake_that_fails_as_the_session_ends() -> None:
    class Failing:
        def __init__(self, handler: Any, server: Any) -> None:
            pass

        def check(self, environ: Any) -> None:
            pass

        async def __call__(self, environ: Any) -> Any:
            raise OSError("it has gone")

    async with Site() as site:

        async def connect(sid: str, environ: Any) -> None:
            await site.eio.disconnect(sid)

        site.eio.on("connect", connect)
        site.eio._async = {**site.eio._async, "websocket": Failing}
        websocket = WebSocket(site.app)
        with contextlib.suppress(OSError):
            await websocket.ended()
        assert await site.event() == ("disconnect", "server disconnect")
        assert site.events.empty()
        assert not site.eio.sockets
