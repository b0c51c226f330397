"""AsyncClient against a real server: what has to do with tasks, event loops, cancellation, SIGINT.

What both clients do alike is in tests/client.
"""

import asyncio
import contextvars
import copy
import functools
import gc
import os
import signal
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any

import aiohttp
import pytest

import engineio
import hostile_server as hostile
import peers
import rigs
from engineio import base_client
from engineio.exceptions import ConnectionError

WAIT = 20.0  # seconds that something may take that a test waits for
POLLING = ["polling"]
WEBSOCKET = ["websocket"]
UPGRADE = ["polling", "websocket"]
each_transport = pytest.mark.parametrize("transports", [POLLING, WEBSOCKET, UPGRADE], ids="+".join)


@pytest.fixture(scope="module")
def host() -> Iterator[rigs.Rig]:
    rig = rigs.Rig(rigs.SPECS["aiohttp"])
    rig.start()
    yield rig
    rig.stop()


@pytest.fixture
def url(host: rigs.Rig) -> Iterator[str]:
    yield f"http://127.0.0.1:{host.address[1]}"
    host.check_log()


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def run(main: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
    """asyncio.run, after which nothing may be left: no task, no warning, no file."""
    complaints: list[Any] = []

    async def watched() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        return await main(*args)

    before, handler = fds(), signal.getsignal(signal.SIGINT)
    gc.freeze()  # what is there now is not looked at again and again
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        result = asyncio.run(watched())
        gc.collect()
    gc.unfreeze()
    assert complaints == []
    assert [str(each.message) for each in caught] == []
    assert fds() <= before
    assert base_client.connected_clients == []
    assert signal.getsignal(signal.SIGINT) is handler
    return result


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine function as a test; no task may be left when it returns."""

    @functools.wraps(test)
    def runs(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            await test(*args, **kwargs)
            await no_other_task()

        run(main)

    return runs


async def no_other_task() -> None:
    for _ in range(3):  # some are just about to end
        await asyncio.sleep(0)
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    assert not rest


async def until(condition: Callable[[], object], message: object = "") -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in time: {message}"
        await asyncio.sleep(0.002)


class Recorder(engineio.AsyncClient):
    """A client that keeps what its handlers got."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.events: list[Any] = []
        self.messages: list[Any] = []
        self.on("connect", self.connected)
        self.on("message", self.messages.append)
        self.on("disconnect", self.disconnected)

    async def connected(self) -> None:
        await asyncio.sleep(0)  # if this is cancelled, there has been no connection
        self.events.append("connect")

    async def disconnected(self, reason: str) -> None:
        self.events.append((reason, self.state))
        await asyncio.sleep(0)

    async def receives(self, *messages: Any) -> None:
        await until(lambda: len(self.messages) >= len(messages), self.messages)
        assert self.messages == list(messages)
        self.messages.clear()

    async def works(self, url: str, transports: list[str]) -> None:
        """Connect, get an echo, disconnect."""
        self.events.clear()
        self.messages.clear()
        self.on("message", self.messages.append)
        await self.connect(url, transports=transports)
        await self.send("hello")
        await self.receives("hello")
        await self.disconnect()
        assert self.events == ["connect", ("client disconnect", "disconnecting")]


class Steps(Coroutine[Any, Any, Any]):
    """A coroutine that calls a function each time it waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], count: Callable[[], Any]) -> None:
        self._coroutine = coroutine
        self._count = count

    def send(self, value: Any) -> Any:
        waits_for = self._coroutine.send(value)
        self._count()
        return waits_for

    def throw(self, *error: Any) -> Any:
        waits_for = self._coroutine.throw(*error)
        self._count()
        return waits_for

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


async def cancelled_at(step: int, coroutine: Coroutine[Any, Any, Any]) -> bool:
    """Run a coroutine in a task, and cancel it where it waits for the n-th time."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            task.cancel()

    task = asyncio.create_task(Steps(coroutine, count))
    await asyncio.wait([task], timeout=WAIT)
    assert task.done()
    if not task.cancelled():
        task.result()
    return task.cancelled()


# Cancellation


@each_transport
def test_connecting_is_cancelled_at_every_await(url: str, transports: list[str]) -> None:
    was_cancelled: list[bool] = []

    async def main(step: int) -> None:
        client = Recorder()
        was_cancelled.append(await cancelled_at(step, client.connect(url, transports=transports)))
        assert client.state == ("disconnected" if was_cancelled[-1] else "connected")
        await client.disconnect()
        await no_other_task()
        # A connect handler that was cancelled itself has seen no connection.
        assert client.events in (
            [],
            ["connect", ("client disconnect", "disconnecting")],
        )
        await client.works(url, transports)
        await no_other_task()

    for step in range(1, 100):
        run(main, step)
        if not was_cancelled[-1]:
            break
    assert not was_cancelled[-1]
    assert sum(was_cancelled) >= 3


@each_transport
def test_disconnecting_is_cancelled_at_every_await(url: str, transports: list[str]) -> None:
    was_cancelled: list[bool] = []

    async def main(step: int) -> None:
        client = Recorder()
        await client.connect(url, transports=transports)
        was_cancelled.append(await cancelled_at(step, client.disconnect()))
        await client.wait()
        assert client.events == ["connect", ("client disconnect", "disconnecting")]
        assert client.state == "disconnected"
        await no_other_task()
        await client.works(url, transports)

    for step in range(1, 100):
        run(main, step)
        if not was_cancelled[-1]:
            break
    assert not was_cancelled[-1]
    assert sum(was_cancelled) >= 2


@each_transport
def test_the_event_loop_ends_at_every_step(url: str, transports: list[str]) -> None:
    """asyncio.run returns at any time, and another one goes on with the same client."""

    async def scenario(client: Recorder) -> None:
        @client.on("message")
        async def message(data: str) -> None:
            client.messages.append(data)
            await asyncio.Event().wait()

        await client.connect(url, transports=transports)
        for number in range(5):
            await client.send(number)
        await until(lambda: len(client.messages) == 5)
        await client.disconnect()

    async def main(client: Recorder, step: int) -> bool:
        loop = asyncio.get_running_loop()
        reached = loop.create_future()
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                reached.set_result(None)

        loop.set_task_factory(
            lambda loop, coroutine, **options: asyncio.Task(
                Steps(coroutine, count), loop=loop, **options
            )
        )
        task = loop.create_task(scenario(client))
        await asyncio.wait([task, reached], return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    is_done = False
    step = 0
    while not is_done:
        step += 1
        client = Recorder()
        is_done = run(main, client, step)
        names = [event if event == "connect" else "disconnect" for event in client.events]
        assert names in ([], ["connect", "disconnect"]), (step, client.events)
        run(client.works, url, transports)
    assert step > 20


def test_the_event_loop_ends_while_a_disconnect_handler_waits_for_ever(url: str) -> None:
    client = Recorder(request_timeout=0.3)
    began = False

    async def main() -> None:
        @client.on("disconnect")
        async def disconnect(reason: str) -> None:
            nonlocal began
            began = True
            await asyncio.Event().wait()

        await client.connect(url)

    run(main)
    assert began
    client.on("disconnect", client.disconnected)
    run(client.works, url, UPGRADE)


def test_an_event_loop_that_was_closed_under_a_client(url: str) -> None:
    """Nobody could tell the client; it connects again all the same."""
    script = """
import asyncio, sys
import engineio

client = engineio.AsyncClient()
client.on("disconnect", print)
for _ in range(2):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.connect(sys.argv[1], transports="websocket"))
    loop.close()
    print(client.state)
"""
    command = [sys.executable, "-c", script, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    # On stderr aiohttp tells of its connections.
    assert (done.returncode, done.stdout.split()) == (0, ["connected"] * 2), done.stderr
    assert "engineio" not in done.stderr


# Ends


@each_transport
@in_loop
async def test_handlers_that_wait_for_ever(url: str, transports: list[str]) -> None:
    """They keep nobody waiting, and nothing open."""
    client = Recorder()
    for end in ("close", None):
        waiting: list[Any] = []

        @client.on("message")
        async def message(data: str, waiting: list[Any] = waiting) -> None:
            waiting.append(asyncio.current_task())
            await asyncio.Event().wait()

        client.events.clear()
        await client.connect(url, transports=transports)
        for number in range(3):
            await client.send(number)
        await until(lambda waiting=waiting: len(waiting) == 3)  # type: ignore[misc]
        task = client.read_loop_task
        before = fds()
        if end is not None:
            await client.send(end)
            await client.wait()
            assert client.events == ["connect", ("server disconnect", "disconnecting")]
        else:
            await client.disconnect()
            assert client.events == ["connect", ("client disconnect", "disconnecting")]
        assert (client.state, client.http) == ("disconnected", None)
        assert fds() < before
        rest = {*asyncio.all_tasks(), task} - {asyncio.current_task()}
        assert rest <= set(waiting)
        for handler in rest:
            handler.cancel()
        await asyncio.wait(rest)
    await client.works(url, transports)


@in_loop
async def test_the_server_falls_silent() -> None:
    """Also while handlers wait; the disconnect handler has the context of the connection."""
    silent: dict[str, hostile.Step] = dict.fromkeys(("poll", "post", "upgrade"), hostile.silence)
    quick = hostile.opening(pingInterval=200, pingTimeout=100)

    def accept(exchange: hostile.Exchange) -> None:
        exchange.accept()
        exchange.text(quick)
        exchange.text("4hello")
        exchange.hang()

    steps = {**silent, "open": hostile.answer(quick), "socket": accept}
    mark = contextvars.ContextVar("mark", default="none")
    mark.set("connecting")
    for transport in ("polling", "websocket"):
        with hostile.Hostile(steps) as server:
            client = Recorder()
            contexts: list[str] = []

            @client.on("message")
            async def message(data: str, contexts: list[str] = contexts) -> None:
                contexts.append(mark.get())
                await asyncio.sleep(0.6)
                contexts.append(mark.get())

            @client.on("disconnect")
            async def disconnect(
                reason: str, client: Recorder = client, contexts: list[str] = contexts
            ) -> None:
                contexts.append(f"{reason} {mark.get()}")
                await client.disconnected(reason)

            await client.connect(server.url(), transports=transport)
            await client.wait()
            assert client.events == ["connect", ("ping timeout", "connected")]
            assert contexts.pop(0 if transport == "polling" else 1) == "ping timeout connecting"
            await until(lambda: all(t is asyncio.current_task() for t in asyncio.all_tasks()))
            assert set(contexts) <= {"connecting"}


@each_transport
@in_loop
async def test_whoever_cancels_the_reader_ends_the_connection(
    url: str, transports: list[str]
) -> None:
    client = Recorder()
    await client.connect(url, transports=transports)
    client.read_loop_task.cancel()
    await client.wait()
    assert client.events == ["connect", ("transport error", "connected")]
    await client.works(url, transports)


@in_loop
async def test_whoever_cancels_the_sender_ends_the_connection() -> None:
    with hostile.Hostile({"post": hostile.silence}) as server:
        client = Recorder()
        await client.connect(server.url(), transports=POLLING)
        await client.send("hello")
        await asyncio.sleep(0)
        client.write_loop_task.cancel()
        await client.wait()
        assert client.events == ["connect", ("transport error", "connected")]


@in_loop
async def test_wait_in_a_disconnect_handler(url: str) -> None:
    client = Recorder()
    client.on("disconnect", client.wait)
    await client.connect(url)
    await client.send("close")
    await asyncio.wait_for(client.wait(), WAIT)


@in_loop
async def test_connecting_again_at_once(url: str) -> None:
    """What is left of the connection before does not close the session of the next."""
    client = Recorder()
    for transport in (POLLING, WEBSOCKET, POLLING):
        client.events.clear()
        await client.connect(url, transports=transport)
        await client.disconnect(abort=True)
        await client.works(url, transport)
        assert client.http is None
    await until(lambda: len(asyncio.all_tasks()) == 1)


@in_loop
async def test_async_with(url: str) -> None:
    client = Recorder()
    async with client as entered:
        assert entered is client
        await client.connect(url)
        with pytest.raises(ValueError, match="not in a disconnected state"):
            await client.connect(url)
    assert client.events == ["connect", ("client disconnect", "disconnecting")]


# Handlers


@each_transport
@in_loop
async def test_a_handlers_task_may_be_cancelled(url: str, transports: list[str]) -> None:
    """As far as it waits for something, it is the handler that ends, not the connection."""
    client = Recorder()
    tasks: dict[str, Any] = {}

    @client.on("message")
    async def message(data: str) -> None:
        client.messages.append(data)
        tasks[data] = asyncio.current_task()
        if data.startswith("wait"):
            await asyncio.Event().wait()

    await client.connect(url, transports=transports)
    for name in ("wait1", "wait2", "more"):
        await client.send(name)
    await client.receives("wait1", "wait2", "more")
    await asyncio.sleep(0.01)  # somebody else has taken over
    if not hasattr(asyncio.Task, "cancelling"):  # Python 3.10 can't tell who was meant
        await client.disconnect()
        for task in tasks.values():
            task.cancel()
        await until(lambda: len(asyncio.all_tasks()) == 1)
        return
    tasks["wait1"].cancel()
    tasks["wait2"].cancel()
    await client.send("after")
    await client.receives("after")
    await client.disconnect()
    assert client.events == ["connect", ("client disconnect", "disconnecting")]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@in_loop
async def test_a_handler_of_what_came_with_the_open_packet_waits(transport: str) -> None:
    """For a message that comes later, which somebody has to read."""
    first = hostile.opening(upgrades=[])

    def poll(exchange: hostile.Exchange) -> None:
        if exchange.server.received.is_set():
            exchange.hang()
        exchange.server.received.set()
        exchange.answer("4second")

    def accept(exchange: hostile.Exchange) -> None:
        exchange.accept()
        exchange.send(hostile.frame(1, first.encode()) + hostile.frame(1, b"4first"))
        time.sleep(0.2)
        exchange.text("4second")
        exchange.hang()

    steps: dict[str, hostile.Step] = {
        "open": hostile.answer(f"{first}\x1e4first"),
        "poll": poll,
        "socket": accept,
    }
    client = Recorder(request_timeout=1)
    second = asyncio.Event()

    @client.on("message")
    async def message(data: str) -> None:
        if data == "first":
            await asyncio.wait_for(second.wait(), WAIT)
            client.messages.append("first")
        else:
            second.set()

    with hostile.Hostile(steps) as server:
        await client.connect(server.url(), transports=transport)
        await client.receives("first")
        await client.disconnect()


@in_loop
async def test_what_a_handler_awaits_was_cancelled(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That is an error of the handler like others."""
    client = Recorder()
    cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cancelled.cancel()

    @client.on("message")
    async def message(data: str) -> None:
        client.messages.append(data)
        if data == "cancelled":
            await cancelled

    @client.on("disconnect")
    async def disconnect() -> None:
        client.events.append("disconnect")
        await cancelled

    await client.connect(url, transports=WEBSOCKET)
    if not hasattr(asyncio.Task, "cancelling"):  # Python 3.10 can't tell it from a cancelled task
        await client.disconnect()
        return
    for data in ("cancelled", "after"):
        await client.send(data)
    await client.receives("cancelled", "after")
    await client.disconnect()
    assert client.events == ["connect", "disconnect"]
    assert [record.message for record in caplog.records] == [
        "message handler error",
        "disconnect handler error",
    ]


@in_loop
async def test_handlers_keep_the_context_of_connect(url: str) -> None:
    mark = contextvars.ContextVar("mark", default="none")
    mark.set("mine")
    client = Recorder()
    seen: list[str] = []
    first = asyncio.Event()

    @client.on("message")
    async def message(data: str) -> None:
        seen.append(mark.get())
        if data == "first":
            await first.wait()  # the next one runs in another task
        else:
            first.set()

    @client.on("disconnect")
    def disconnect() -> None:
        seen.append(mark.get())

    for transports in (POLLING, WEBSOCKET, UPGRADE):
        first.clear()
        await client.connect(url, transports=transports)
        await client.send("first")
        await client.send("second")
        await asyncio.wait_for(first.wait(), WAIT)
        await contextvars.Context().run(asyncio.create_task, client.send("close"))
        await client.wait()
    assert seen == ["mine"] * 9


@each_transport
@in_loop
async def test_a_message_is_queued_before_send_waits(url: str, transports: list[str]) -> None:
    """Order is that of the calls, whenever they are awaited."""
    client = Recorder()

    @client.on("connect")
    async def connect() -> None:
        await client.send("from the connect handler")

    await client.connect(url, transports=transports)
    calls = [client.send(number) for number in range(50)]
    for call in calls:
        with pytest.raises(StopIteration):  # at its first step it is done
            call.send(None)
    await client.receives("from the connect handler", *map(str, range(50)))
    await client.disconnect()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@in_loop
async def test_a_server_that_does_not_read(transport: str) -> None:
    """What waits is bounded, and the event loop goes on."""

    def accept(exchange: hostile.Exchange) -> None:
        exchange.accept()
        exchange.text(hostile.opening(upgrades=[]))
        exchange.server.stopped.wait(WAIT)

    def stall(exchange: hostile.Exchange) -> None:
        exchange.server.stopped.wait(WAIT)

    with hostile.Hostile({"socket": accept, "post": stall}) as server:
        client = Recorder(max_send_buffer=5_000_000)
        await client.connect(server.url(), transports=transport)
        sent = 0
        while client.state == "connected":
            assert sent < 100
            await client.send(b"x" * 1_000_000)
            sent += 1
            await asyncio.sleep(0)
        await client.wait()
        assert sent >= 5
        assert client.events == ["connect", ("send buffer full", "connected")]


# What lies between: TLS, options, sessions


@pytest.fixture(scope="module")
def tls(host: rigs.Rig) -> Iterator[peers.Listener]:
    forward = peers.forward(host.address[1])
    with peers.Listener(forward, context=peers.server_context()) as front:
        yield front


@functools.cache
def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=peers.CA)


def trusting() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust()))


@in_loop
async def test_100_connects_over_tls_with_traffic(url: str, tls: peers.Listener) -> None:
    transports = [UPGRADE, WEBSOCKET, WEBSOCKET, POLLING]
    client = Recorder(http_session=trusting)
    steady = Recorder(http_session=trusting)
    address = tls.url(scheme="wss")
    path = "cors_any"
    await steady.connect(address, transports=WEBSOCKET, engineio_path=path)
    sent = 0

    async def keep_sending() -> None:
        nonlocal sent
        while True:
            await steady.send(sent)
            sent += 1
            await asyncio.sleep(0.001)

    sender = asyncio.create_task(keep_sending())
    for number in range(100):
        await client.connect(address, transports=transports[number % 4], engineio_path=path)
        await client.send("burst:5")
        await client.send(f"echo {number}")
        await client.receives(*(f"burst-{n}" for n in range(5)), f"echo {number}")
        await client.disconnect()
    assert len(client.events) == 200
    sender.cancel()
    await asyncio.wait([sender])
    await steady.receives(*map(str, range(sent)))
    await steady.disconnect()


@in_loop
async def test_websocket_extra_options(url: str, host: rigs.Rig, tls: peers.Listener) -> None:
    options: dict[str, Any] = {
        "headers": {"X-Mine": "1", "x-both": "option"},
        "origin": "http://elsewhere.example",
        "protocols": ("one", "two"),
        "params": {"extra": "yes"},
        "max_msg_size": 0,  # as aiohttp has it: no limit
        # Engine.IO's own business, and so ignored.
        "heartbeat": 0.001,
        "autoping": False,
        "receive_timeout": 0.001,
        "timeout": aiohttp.ClientTimeout(total=0.001),
    }
    before = copy.deepcopy(options)
    client = Recorder(websocket_extra_options=options)
    for transports in (WEBSOCKET, UPGRADE):
        with peers.Watcher(host.address[1]) as watcher:
            headers = {"X-Both": "connect"}
            await client.connect(watcher.url(), headers, transports, "cors_any")
            await asyncio.sleep(0.01)
            await client.send("hello")
            await client.receives("hello")
            await client.disconnect()
        (head,) = (head for head in watcher.heads if head.is_websocket)
        assert head.headers["x-mine"] == "1"
        assert head.headers["x-both"] == "option"
        assert head.headers["origin"] == options["origin"]
        assert head.headers["sec-websocket-protocol"] == "one,two"
        assert head.query["extra"] == "yes"
    assert options == before

    client = Recorder(websocket_extra_options={"ssl": trust()})
    await client.connect(tls.url(), transports=WEBSOCKET, engineio_path="cors_any")
    await client.send("hello")
    await client.receives("hello")
    await client.disconnect()

    with peers.Proxy() as proxy:
        client = Recorder(websocket_extra_options={"proxy": proxy.url("")})
        await client.works(url, WEBSOCKET)
        assert len(proxy.seen) == 1

    client = Recorder(websocket_extra_options={"max_msg_size": 1000})
    await client.connect(url, transports=WEBSOCKET)
    await client.send("size:1001")
    await client.wait()
    assert client.events == ["connect", ("transport error", "connected")]

    client = Recorder(websocket_extra_options={"hearbeat": 1, "proxy": None})
    for transports in (WEBSOCKET, POLLING, UPGRADE):
        with pytest.raises(TypeError, match=r"ws_connect: hearbeat$"):
            await client.connect(url, transports=transports)
        assert (client.state, client.http, client.events) == ("disconnected", None, [])


@in_loop
async def test_compression(url: str) -> None:
    """Both sides compress; the same server without that does not."""
    client = Recorder(websocket_extra_options={"compress": 15})
    text = "abc" * 30_000
    for path, is_compressed in (("deflate", True), ("engine.io", False)):
        for transports in (WEBSOCKET, UPGRADE):
            await client.connect(url, transports=transports, engineio_path=path)
            assert client.ws.is_compressed is is_compressed
            for data in (text, text.encode(), {"a": text}, "short"):
                await client.send(data)
            await client.receives(text, text.encode(), {"a": text}, "short")
            await client.disconnect()
    client = Recorder(websocket_extra_options={"compress": 15}, max_http_buffer_size=50_000)
    await client.connect(url, transports=WEBSOCKET, engineio_path="deflate")
    await client.send("size:60000")  # small in the network, but not for us
    await client.wait()
    assert client.events == ["connect", ("transport error", "connected")]


@in_loop
async def test_sessions(url: str) -> None:
    async with aiohttp.ClientSession(headers={"X": "1"}, raise_for_status=True) as session:
        client = Recorder(http_session=session)
        for transports in (POLLING, WEBSOCKET, UPGRADE):
            await client.works(url, transports)
            assert client.http is session
            assert not session.closed
        # An answer has its body, whatever the session does with an error.
        with pytest.raises(ConnectionError, match="status code 401") as caught:
            await client.connect(f"{url}?answer=json", transports=POLLING)
        assert caught.value.args[1] == {"because": "of this"}
    with pytest.raises(ConnectionError):
        await client.connect(url)

    made: list[aiohttp.ClientSession] = []

    def make() -> aiohttp.ClientSession:
        made.append(aiohttp.ClientSession())
        return made[-1]

    async def make_soon() -> aiohttp.ClientSession:
        await asyncio.sleep(0)
        return make()

    for factory in (make, make_soon):
        client = Recorder(http_session=factory)
        for transports in (POLLING, WEBSOCKET, UPGRADE):
            await client.works(url, transports)
            assert client.http is None
        with pytest.raises(ConnectionError):
            await client.connect(f"{url}?answer=false")
    assert len(made) == 8
    assert all(session.closed for session in made)


@in_loop
async def test_cookies(url: str, host: rigs.Rig) -> None:
    """One of the jar, one of a header, and that of a load balancer, on an IP address."""
    with peers.Watcher(host.address[1]) as watcher:
        async with aiohttp.ClientSession(cookies={"jar": "1"}) as session:
            for given in (None, session):
                client = Recorder(http_session=given)
                headers = {"cookie": "header=2"}
                await client.connect(watcher.url(), headers, engineio_path="cookie")
                await client.send("hello")
                await client.receives("hello")
                await client.disconnect()
    for head in watcher.heads:
        cookies = set(head.headers["cookie"].split("; "))
        assert "header=2" in cookies
        if "sid" in head.query and "jar=1" not in cookies:
            assert cookies == {"header=2", f"io={head.query['sid']}"}
    assert {"jar=1", "header=2"} in [set(h.headers["cookie"].split("; ")) for h in watcher.heads]
    assert {head.is_websocket for head in watcher.heads} == {True, False}


@in_loop
async def test_redirects_of_a_websocket_with_options(host: rigs.Rig) -> None:
    """Another origin is not told what was said for the first one."""
    options = {
        "headers": {"authorization": "Bearer token", "X-Mine": "1"},
        "params": {"once": "1"},
    }
    client = Recorder(websocket_extra_options=options)
    with (
        peers.Watcher(host.address[1]) as watcher,
        peers.Redirector(watcher.url("")) as redirector,
    ):
        await client.works(redirector.url(), WEBSOCKET)
    assert redirector.seen[0]["authorization"] == "Bearer token"
    (head,) = watcher.heads
    assert "authorization" not in head.headers
    assert head.headers["x-mine"] == "1"
    assert head.target.count("once=1") == 1
    assert options["headers"]["authorization"] == "Bearer token"


@in_loop
async def test_redirects_share_the_time_of_a_request() -> None:
    def slow(exchange: hostile.Exchange) -> None:
        time.sleep(0.4)
        exchange.answer("", "302 Found", Location=exchange.head.target)

    with hostile.Hostile({"open": slow, "socket": slow}) as server:
        client = Recorder(request_timeout=1)
        for transport in ("polling", "websocket"):
            started = time.monotonic()
            with pytest.raises(ConnectionError, match="did not answer in time"):
                await client.connect(server.url(), transports=transport)
            assert time.monotonic() - started < 3.5  # ten redirects would take 4


# Interruption

INTERRUPTED = """
import asyncio, signal, sys, time
import engineio

url, how = sys.argv[1:]
clients = [engineio.AsyncClient(handle_sigint=how != "not handled") for _ in range(2)]
over = None

async def connect():
    global over
    over = asyncio.Event()
    for client, transport in zip(clients, ["polling", "websocket"]):
        client.on("disconnect", lambda reason: (print(reason, flush=True), over.set()))
        await client.connect(url, transports=transport)
    if how == "blocked":
        print("ready", flush=True)
    else:  # when the event loop has nothing to do any more
        asyncio.get_running_loop().call_later(0.1, lambda: print("ready", flush=True))

def states():
    return " ".join(client.state for client in clients)

async def main():
    await connect()
    try:
        if how == "wait":
            await clients[1].wait()
        elif how == "ends":
            await over.wait()
            return
        elif how == "blocked":
            time.sleep(60)
        else:
            await asyncio.sleep(60)
        print("went on", flush=True)
    except asyncio.CancelledError:
        print("cancelled", states(), flush=True)
        raise

def own(number=None, frame=None):
    print("own handler", states(), flush=True)
    loop.call_soon_threadsafe(loop.stop)

if how.startswith("own"):
    loop = asyncio.new_event_loop()
    if how == "own":
        signal.signal(signal.SIGINT, own)
    else:
        loop.add_signal_handler(signal.SIGINT, own)
    loop.run_until_complete(connect())
    loop.run_forever()
    print("second", flush=True)
    signal.raise_signal(signal.SIGINT)
    loop.run_forever()
    loop.close()
else:
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted", states(), flush=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
BOTH = ["client disconnect"] * 2
GONE = "disconnected disconnected"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("wait", [*BOTH, "cancelled " + GONE, "interrupted " + GONE]),
        ("sleep", [*BOTH, "cancelled " + GONE, "interrupted " + GONE]),
        ("ends", BOTH),  # by itself, when it hears of the end
        ("own", [*BOTH, "own handler " + GONE, "second", "own handler " + GONE]),
        ("own of the loop", [*BOTH, "own handler " + GONE, "second", "own handler " + GONE]),
        (
            "not handled",
            ["cancelled connected connected", *["transport error"] * 2, "interrupted " + GONE],
        ),
    ],
)
def test_interruption(url: str, how: str, expected: list[str]) -> None:
    assert interrupted(url, how) == expected


def test_interruption_while_the_event_loop_is_blocked(url: str) -> None:
    lines = interrupted(url, "blocked", times=3)
    assert lines[-1] == "interrupted " + GONE
    assert "went on" not in lines


def interrupted(url: str, how: str, times: int = 1) -> list[str]:
    """What a program prints after its SIGINTs."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", INTERRUPTED, url, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line == "ready\n":
                break
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.2 if times > 1 else 0)  # they would become one
        output, _ = process.communicate(timeout=WAIT)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output
    return output.splitlines()
