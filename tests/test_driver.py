"""What every driver supplies, on its own loop; and how a server comes by its driver.

The scenarios of loops and streams are the same for all drivers.  Each runs in a thread of its own,
which has a hub of its own with eventlet and gevent, over TCP on the loopback interface.
"""

import io
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import engineio
from engineio.driver import Driver, Loop, Stream, choose, load
from engineio.exceptions import DriverError

MODES = ["threading", "gevent", "eventlet"]
WAIT = 8.0  # seconds an event may take that a test waits for
BIG = 8_000_000  # bytes; more than the buffers of a connection hold
CERTIFICATE = Path(__file__).parent / "data" / "gunicorn_tls.pem"


class Rig:
    """A driver, a loop of it, and connections whose one end is a stream."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.driver: Driver = load(mode)
        self.loop: Loop = self.driver.loop()
        self._sockets: list[socket.socket] = []

    def pair(self, receive_buffer: int | None = None) -> tuple[Any, socket.socket]:
        """A connection: our end as the driver's servers hold it, and the peer's."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            peer = socket.socket()
            if receive_buffer is not None:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            peer.settimeout(WAIT)
            peer.connect(listener.getsockname())
            ours = self.own(listener.accept()[0])
        self._sockets += [ours, peer]
        return ours, peer

    def own(self, sock: socket.socket) -> Any:
        """A socket of the library's own kind, as its servers accept them."""
        if self.mode == "gevent":
            import gevent.socket

            return gevent.socket.socket(fileno=sock.detach())
        if self.mode == "eventlet":
            import eventlet.greenio

            return eventlet.greenio.GreenSocket(sock)
        return sock

    def wrap_tls(self, sock: Any) -> Any:
        """The server's end of TLS, as the library has it."""
        names = {"gevent": "gevent.ssl", "eventlet": "eventlet.green.ssl", "threading": "ssl"}
        library: Any = import_module(names[self.mode])
        context = library.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        wrapped = context.wrap_socket(sock, server_side=True)
        self._sockets.append(wrapped)
        return wrapped

    def stream(self, sock: Any) -> Stream:
        """A socket in the loop's care."""

        class Server:
            loop = self.loop

        stream: Stream = self.driver.websocket(None, Server).stream(sock)
        return stream

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in one of the driver's threads; `join()` it."""
        thread = self.driver.thread(target=function, args=args)
        thread.start()
        return thread

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is so; only for what no event tells."""
        for _ in range(int(WAIT / 0.005)):
            if condition():
                return
            self.driver.sleep(0.005)
        pytest.fail("did not happen in time")

    def close(self) -> None:
        self.loop.stop()
        for sock in self._sockets:
            sock.close()
        if self.mode == "gevent":
            import gevent

            gevent.get_hub().destroy(destroy_loop=True)


Run = Callable[[Callable[[Rig], None]], None]


@pytest.fixture(params=MODES)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a scenario with a driver, in a thread."""
    mode = request.param
    pytest.importorskip("threading" if mode == "threading" else mode)
    load(mode)  # not in the thread: what is imported there belongs to it
    before = threading.active_count()

    def run(scenario: Callable[[Rig], None]) -> None:
        outcome: Future[None] = Future()

        def body() -> None:
            rig = Rig(mode)
            try:
                scenario(rig)
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(None)
            finally:
                rig.close()

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        outcome.result(60)
        thread.join(WAIT)

    yield run
    assert threading.active_count() == before


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(min(262144, size - len(data)))
        assert chunk, f"the end after {len(data)} of {size} bytes"
        data += chunk
    return bytes(data)


# Bytes that tell when some are missing, doubled or moved.
DATA = b"".join(struct.pack("!I", number) for number in range(BIG // 4))


# -- loops


def test_spawn(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        done = rig.driver.event()
        seen: list[Any] = []

        def task(*args: Any) -> None:
            seen.append(args)
            done.set()

        rig.loop.spawn(task, 1, "two")
        assert done.wait(WAIT)
        assert seen == [(1, "two")]

    run(scenario)


def test_call_later(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        done = rig.driver.event()
        called: list[str] = []
        rig.loop.call_later(0.06, done.set)
        rig.loop.call_later(0.03, lambda: called.append("second"))
        rig.loop.call_later(0.0, lambda: called.append("first"))
        assert done.wait(WAIT)
        assert called == ["first", "second"]

    run(scenario)


def test_call_later_cancelled(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        done = rig.driver.event()
        called: list[str] = []
        cancel = rig.loop.call_later(0.02, lambda: called.append("cancelled"))
        cancel()
        rig.loop.call_later(0.05, done.set)
        assert done.wait(WAIT)
        assert called == []

    run(scenario)


class Worker:
    """Something that runs handlers."""

    def __init__(self, rig: Rig) -> None:
        self.progress = 0
        self.dispatcher = 0
        self.entries: list[int] = []
        self.overtaken = rig.driver.event()

    def overtake(self, entry: int) -> None:
        self.entries.append(entry)
        self.overtaken.set()


def test_a_worker_that_waits_is_overtaken(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        worker = Worker(rig)
        worker.dispatcher = 7
        rig.loop.enter(worker, 7)
        worker.progress += 1
        assert worker.overtaken.wait(WAIT)
        assert worker.entries[0] == 7

    run(scenario)


def test_two_workers(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        one, two = Worker(rig), Worker(rig)
        one.dispatcher, two.dispatcher = 1, 2
        rig.loop.enter(one, 1)
        rig.loop.enter(two, 2)
        assert one.overtaken.wait(WAIT)
        assert two.overtaken.wait(WAIT)
        assert (one.entries[0], two.entries[0]) == (1, 2)

    run(scenario)


def test_watch_notices_a_hangup(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        gone = rig.driver.event()
        calls: list[None] = []

        def hangup() -> None:
            calls.append(None)
            gone.set()

        rig.loop.watch(ours, hangup)
        peer.close()
        assert gone.wait(WAIT)
        assert calls == [None]

    run(scenario)


def test_watch_takes_the_next_request_for_no_hangup(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        gone = rig.driver.event()
        stop = rig.loop.watch(ours, gone.set)
        peer.sendall(b"GET /pipelined HTTP/1.1\r\n")
        rig.wait_for(lambda: select.select([ours.fileno()], [], [], 0)[0])
        rig.driver.sleep(0.02)  # long enough for the loop to have looked
        assert not gone.is_set()
        peer.close()  # behind bytes that nobody reads
        if sys.platform == "linux":
            assert gone.wait(WAIT)
        stop()

    run(scenario)


def test_watch_that_was_stopped(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        other, other_peer = rig.pair()
        gone, other_gone = rig.driver.event(), rig.driver.event()
        stop = rig.loop.watch(ours, gone.set)
        rig.loop.watch(other, other_gone.set)
        stop()
        peer.close()
        other_peer.close()
        assert other_gone.wait(WAIT)
        assert not gone.is_set()

    run(scenario)


# -- streams


def test_push(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        for text in (b"one ", b"", b"two ", b"three"):
            stream.push(text)
        stream.flush()
        assert stream.size == 0
        assert read_exactly(peer, 13) == b"one two three"
        stream.finish()

    run(scenario)


def test_push_needs_no_flush(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        stream.push(b"one")
        rig.wait_for(lambda: stream.size == 0)
        assert read_exactly(peer, 3) == b"one"
        stream.finish()

    run(scenario)


def test_hold(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        stream.hold()
        stream.push(b"one ")
        stream.push(b"two ")
        assert stream.size == 8
        stream.release()
        stream.push(b"three")
        rig.wait_for(lambda: stream.size == 0)
        assert read_exactly(peer, 13) == b"one two three"
        stream.hold()
        stream.push(b"four")
        stream.flush()
        assert stream.size == 0
        assert read_exactly(peer, 4) == b"four"
        stream.finish()

    run(scenario)


def test_end(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        stream.push(b"last words")
        stream.flush()
        stream.end()
        assert read_exactly(peer, 10) == b"last words"
        assert peer.recv(1) == b""
        peer.sendall(b"answer")  # the other direction stays open
        assert stream.read(100) == b"answer"
        stream.finish()

    run(scenario)


def test_read(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        read: list[bytes] = []
        first = rig.driver.event()

        def reader() -> None:
            while True:
                data = stream.read(4)
                read.append(data)
                first.set()
                if not data:
                    return

        thread = rig.start(reader)
        peer.sendall(b"one")
        assert first.wait(WAIT)
        peer.sendall(b"two three")
        peer.shutdown(socket.SHUT_WR)
        thread.join()
        assert b"".join(read) == b"onetwo three"
        assert read[0] == b"one"
        assert max(map(len, read)) == 4
        assert read[-1] == b""
        stream.finish()

    run(scenario)


def test_two_readers_in_turn(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        read: list[bytes] = []
        for text in (b"one", b"two", b"three"):
            thread = rig.start(lambda: read.append(stream.read(100)))
            peer.sendall(text)
            thread.join()
        assert read == [b"one", b"two", b"three"]
        stream.finish()

    run(scenario)


def test_a_peer_that_does_not_read(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair(receive_buffer=16384)
        stream = rig.stream(ours)
        data = DATA
        for start in range(0, BIG, BIG // 8):
            stream.push(data[start : start + BIG // 8])  # never waits
        stream.flush()
        left = stream.size
        assert 0 < left <= BIG
        received: list[bytes] = []
        peer_thread = threading.Thread(target=lambda: received.append(read_exactly(peer, BIG)))
        peer_thread.start()
        rig.wait_for(lambda: stream.size == 0)
        rig.wait_for(lambda: not peer_thread.is_alive())
        assert received == [data]
        stream.push(b"more")
        stream.flush()
        assert read_exactly(peer, 4) == b"more"
        stream.finish()

    run(scenario)


def test_abort_wakes_the_reader(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        read: list[bytes] = []
        begun = rig.driver.event()

        def reader() -> None:
            begun.set()
            read.append(stream.read(100))

        thread = rig.start(reader)
        assert begun.wait(WAIT)
        rig.driver.sleep(0.01)  # let it get into `read`
        stream.abort()
        thread.join()
        assert read == [b""]
        assert stream.read(100) == b""
        stream.push(b"too late")
        assert stream.size == 0
        assert peer.recv(100) == b""
        stream.abort()
        stream.finish()

    run(scenario)


def test_abort_with_much_left_to_write(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, _ = rig.pair(receive_buffer=16384)
        stream = rig.stream(ours)
        stream.push(DATA)
        stream.flush()
        assert stream.size > 0
        stream.abort()
        stream.flush()
        rig.wait_for(lambda: stream.size == 0)
        stream.finish()

    run(scenario)


def test_a_peer_that_resets(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair(receive_buffer=16384)
        stream = rig.stream(ours)
        stream.push(DATA)
        stream.flush()
        assert stream.size > 0
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        rig.wait_for(lambda: stream.size == 0)
        assert stream.read(100) == b""
        stream.finish()

    run(scenario)


def test_finish_leaves_the_socket_to_its_server(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair(receive_buffer=16384)
        stream = rig.stream(ours)
        stream.push(DATA)
        stream.flush()
        stream.finish()
        assert stream.size == 0
        assert ours.fileno() != -1
        stream.push(b"too late")
        assert stream.size == 0
        ours.close()
        received = 0
        while chunk := peer.recv(262144):
            received += len(chunk)
        assert received < BIG

    run(scenario)


def test_finish_while_the_next_connection_has_its_number(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        for _ in range(20):
            ours, peer = rig.pair(receive_buffer=16384)
            stream = rig.stream(ours)
            stream.push(DATA)
            stream.flush()
            stream.abort()
            stream.finish()
            ours.close()
            peer.close()
        ours, peer = rig.pair()
        stream = rig.stream(ours)
        stream.push(b"hello")
        stream.flush()
        assert read_exactly(peer, 5) == b"hello"
        peer.sendall(b"world")
        assert stream.read(100) == b"world"
        stream.finish()

    run(scenario)


class TLSPeer(threading.Thread):
    """A TLS client that sends and receives at the same time."""

    def __init__(self, sock: socket.socket, data: bytes, expected: int) -> None:
        super().__init__(daemon=True)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._context = context
        self._sock = sock
        self._data = memoryview(data)
        self._expected = expected
        self.received = bytearray()

    def run(self) -> None:
        with self._context.wrap_socket(self._sock) as tls:
            tls.setblocking(False)
            while self._data or len(self.received) < self._expected:
                select.select([tls], [tls] if self._data else [], [], WAIT)
                with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    while chunk := tls.recv(65536):
                        self.received += chunk
                if self._data:
                    with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        self._data = self._data[tls.send(self._data) :]
            tls.setblocking(True)
            tls.settimeout(WAIT)
            # The server's turn to end it.
            assert tls.recv(1) == b""


def test_tls_both_ways_at_once(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        data = DATA[: BIG // 2]
        client = TLSPeer(peer, data, len(data))
        client.start()
        stream = rig.stream(rig.wrap_tls(ours))
        received = bytearray()

        def reader() -> None:
            while len(received) < len(data):
                chunk = stream.read(65536)
                assert chunk
                received.extend(chunk)

        thread = rig.start(reader)
        for start in range(0, len(data), 100_000):
            stream.push(data[start : start + 100_000])
        stream.flush()
        thread.join()
        rig.wait_for(lambda: stream.size == 0)
        rig.wait_for(lambda: len(client.received) == len(data))
        assert received == data
        assert client.received == data
        stream.abort()
        stream.finish()
        rig.wait_for(lambda: not client.is_alive())

    run(scenario)


def test_tls_abort_wakes_the_reader(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, peer = rig.pair()
        client = TLSPeer(peer, b"hello", 0)
        client.start()
        stream = rig.stream(rig.wrap_tls(ours))
        assert stream.read(100) == b"hello"
        read: list[bytes] = []
        thread = rig.start(lambda: read.append(stream.read(100)))
        rig.driver.sleep(0.02)  # let it get into `read`
        stream.abort()
        thread.join()
        assert read == [b""]
        stream.finish()
        rig.wait_for(lambda: not client.is_alive())

    run(scenario)


# -- what applications reach


@pytest.mark.parametrize("mode", MODES)
def test_primitives(mode: str) -> None:
    driver = load(mode)
    primitives = driver.primitives()
    assert set(primitives) == {"thread", "queue", "queue_empty", "event", "sleep", "websocket"}
    module = sys.modules[f"engineio.async_drivers.{mode}"]
    assert module._async == primitives
    server = engineio.Server(async_mode=mode)
    assert server._async == primitives
    assert server.get_queue_empty_exception() is driver.queue_empty


def test_primitives_at_work(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        server = engineio.Server(async_mode=rig.mode)
        queue = server.create_queue()
        event = server.create_event()
        with pytest.raises(server.get_queue_empty_exception()):
            queue.get(block=False)

        def task(first: int, second: int = 0) -> None:
            server.sleep(0)
            queue.put((first, second))
            event.set()

        thread = server.start_background_task(task, 1, second=2)
        assert event.wait(WAIT)
        assert queue.get() == (1, 2)
        thread.join()

    run(scenario)


def test_a_driver_that_forgets_a_field() -> None:
    complete = load("threading")._asdict()
    del complete["loop"]
    with pytest.raises(TypeError, match="loop"):
        Driver(**complete)


# -- choosing


def test_choose_by_name() -> None:
    for mode in MODES:
        assert choose(mode, ["eventlet", "gevent", "threading"]) == (mode, load(mode))
    with pytest.raises(ValueError, match="Invalid async_mode specified"):
        choose("gevent", ["threading"])
    with pytest.raises(ValueError, match="Invalid async_mode specified"):
        choose(None, [])


def test_choose_the_first_that_is_there() -> None:
    assert choose(None, ["gevent_uwsgi", "threading", "gevent"])[0] == "threading"
    assert choose(None, ["gevent_uwsgi", "gevent", "threading"])[0] == "gevent"
    with pytest.raises(ValueError, match="Invalid async_mode specified"):
        choose(None, ["gevent_uwsgi"])


def test_uwsgi_outside_of_uwsgi() -> None:
    with pytest.raises(DriverError, match=r"only inside uWSGI.*async_mode='gevent'"):
        load("gevent_uwsgi")


def python(script: str) -> str:
    """Run a script in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("setup", "mode"),
    [
        ("", "eventlet"),
        ("sys.modules['eventlet'] = None", "gevent"),
        ("sys.modules['eventlet'] = sys.modules['gevent'] = None", "threading"),
        ("import gevent.monkey; gevent.monkey.patch_all()", "gevent"),
        ("import eventlet; eventlet.monkey_patch()", "eventlet"),
        ("import gevent.monkey, eventlet; gevent.monkey.patch_all()", "gevent"),
    ],
)
def test_mode_of_a_process(setup: str, mode: str) -> None:
    script = f"import sys\n{setup}\nimport engineio\nprint(engineio.Server().async_mode)"
    assert python(script) == mode


@pytest.mark.parametrize("mode", ["gevent", "eventlet"])
def test_a_package_that_is_missing(mode: str) -> None:
    script = f"""
import sys
sys.modules[{mode!r}] = None
import engineio
try:
    engineio.Server(async_mode={mode!r})
except engineio.exceptions.DriverError as error:
    print(error)
"""
    message = python(script)
    assert f"async_mode '{mode}' needs {mode}" in message
    assert f"pip install 'python-engineio[{mode}]'" in message


# -- choosing by the first request


class Raw:
    """The end of a chain of readers: what knows the socket."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock


class Reader:
    """The body of a request in gevent.pywsgi."""

    def __init__(self, sock: Any) -> None:
        self.raw = Raw(sock)


class EventletInput:
    """The body of a request in eventlet.wsgi."""

    def __init__(self, sock: Any) -> None:
        self.rfile = io.BytesIO()
        self._sock = sock

    def get_socket(self) -> Any:
        return self._sock


def as_server(mode: str, sock: Any) -> dict[str, Any]:
    """What the server of a mode says of a request."""
    if mode == "gevent":
        return {"SERVER_SOFTWARE": "gevent/26.9 Python/3.11", "wsgi.input": Reader(sock)}
    if mode == "eventlet":
        return {"eventlet.input": EventletInput(sock)}
    return {"werkzeug.socket": sock, "wsgi.input": io.BytesIO()}


NAMES = {"threading": "werkzeug", "gevent": "gevent.pywsgi", "eventlet": "eventlet.wsgi"}


def test_the_first_request_decides(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        server = engineio.Server()
        ours, _ = rig.pair()
        connection = server.find_connection(as_server(rig.mode, ours))
        assert connection.sock is ours
        assert server.async_mode == rig.mode
        assert server.driver is rig.driver
        assert server._async == rig.driver.primitives()
        again, _ = rig.pair()
        assert server.find_connection(as_server(rig.mode, again)).sock is again

    run(scenario)


def test_the_mode_that_was_asked_for_stays(run: Run) -> None:
    def scenario(rig: Rig) -> None:
        ours, _ = rig.pair()
        environ = as_server(rig.mode, ours)
        for mode in MODES:
            server = engineio.Server(async_mode=mode)
            if mode == rig.mode:
                assert server.find_connection(environ).sock is ours
                continue
            with pytest.raises(DriverError) as caught:
                server.find_connection(environ)
            message = str(caught.value)
            assert f"async_mode {mode!r}" in message
            assert NAMES[rig.mode] in message
            assert f"async_mode={rig.mode!r}" in message
            assert server.async_mode == mode

    run(scenario)


def test_the_mode_is_chosen_once() -> None:
    server = engineio.Server()
    ours, peer = socket.socketpair()
    with ours, peer:
        server.find_connection(as_server("threading", ours))
        import gevent.socket

        green = gevent.socket.socket()
        try:
            with pytest.raises(DriverError, match=r"'threading'.*gevent\.pywsgi.*'gevent'"):
                server.find_connection(as_server("gevent", green))
        finally:
            green.close()
    assert server.async_mode == "threading"


def test_a_background_task_settles_the_mode() -> None:
    server = engineio.Server(async_mode="threading")
    server._mode_is_open = True  # as if it had been found and not asked for
    server.start_background_task(lambda: None).join()
    import gevent.socket

    green = gevent.socket.socket()
    try:
        with pytest.raises(DriverError):
            server.find_connection(as_server("gevent", green))
    finally:
        green.close()


def test_a_socket_that_cannot_be_reached() -> None:
    server = engineio.Server(async_mode="threading")
    assert server.find_connection({"wsgi.input": io.BytesIO()}) is None
