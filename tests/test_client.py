"""Client against real servers: what has to do with threads, TLS, signals, forks and ends.

What both clients do alike is in tests/client.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import engineio
import hostile_server as hostile
import peers
import rigs
from engineio import base_client
from engineio.exceptions import ConnectionError

WAIT = 20.0  # seconds that something may take that a test waits for
each_transport = pytest.mark.parametrize(
    "transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="+".join
)
PATCHES = {
    "threads": "",
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
each_patch = pytest.mark.parametrize("patch", PATCHES)


def until(condition: Callable[[], Any], message: object = "") -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.01)


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def run_rig(spec: rigs.Spec) -> Iterator[rigs.Rig]:
    rig = rigs.Rig(spec)
    try:
        rig.start()
    except LookupError as error:
        pytest.skip(str(error))
    try:
        yield rig
    finally:
        rig.stop()


@pytest.fixture(scope="module")
def plain() -> Iterator[rigs.Rig]:
    yield from run_rig(rigs.SPECS["gevent"])


@pytest.fixture(scope="module")
def tls_rig() -> Iterator[rigs.Rig]:
    spec = rigs.over_tls("gevent")
    assert spec is not None
    yield from run_rig(spec)


@pytest.fixture
def url(plain: rigs.Rig) -> str:
    return f"http://127.0.0.1:{plain.address[1]}"


@pytest.fixture
def tls_url(tls_rig: rigs.Rig) -> str:
    return f"https://localhost:{tls_rig.address[1]}"


@pytest.fixture(autouse=True)
def _no_leak() -> Iterator[None]:
    """No test leaves a thread, a file descriptor or a connected client behind."""
    threads, files = set(threading.enumerate()), fds()
    yield
    until(lambda: set(threading.enumerate()) <= threads, threading.enumerate())
    until(lambda: fds() <= files, "file descriptors")
    assert base_client.connected_clients == []


class Recorder(engineio.Client):
    """A client that keeps what its handlers got."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.events: list[Any] = []
        self.messages: list[Any] = []
        self.on("connect", lambda: self.events.append(("connect", self.state, self.sid)))
        self.on("message", self.messages.append)
        self.on("disconnect", lambda why: self.events.append((why, self.state)))

    def receives(self, *messages: Any) -> None:
        until(lambda: len(self.messages) >= len(messages), self.messages)
        assert self.messages == list(messages)


@pytest.fixture
def client() -> Iterator[Recorder]:
    client = Recorder()
    yield client
    client.disconnect()


def keeper(logged: list[str]) -> Callable[[logging.LogRecord], bool]:
    """What keeps the messages of a logger in a list, and nobody else gets them."""

    def keep(record: logging.LogRecord) -> bool:
        logged.append(record.getMessage())
        return False

    return keep


def trusting() -> requests.Session:
    session = requests.Session()
    session.verify = peers.CA
    return session


# One connection


@each_transport
def test_a_connection(client: Recorder, url: str, transports: list[str]) -> None:
    before = threading.active_count()
    returned = client.connect(url, transports=transports)
    assert returned is (True if transports[0] == "websocket" else None)
    assert client.transport() == transports[-1]
    assert client.state == "connected"
    assert client.read_loop_task.is_alive()
    assert (client.ws is not None) is (transports[-1] == "websocket")
    # Two of its own, and one that all clients share.
    assert threading.active_count() - before <= 3
    sent = ["text", b"\0\xff", {"a": [1]}, *(f"number {n}" for n in range(1000))]
    for message in sent:
        client.send(message)
    client.receives(*sent)
    sid = client.sid
    client.disconnect()
    assert (client.state, client.sid, client.queue.empty()) == ("disconnected", None, True)
    assert client.events == [("connect", "connected", sid), ("client disconnect", "disconnecting")]
    assert threading.active_count() == before  # at once
    client.disconnect()
    client.send("nothing happens")
    client.wait()
    client.connect(url, transports=transports)
    client.send("again")
    until(lambda: client.messages[-1] == "again")


@each_transport
def test_many_clients_share_their_third_thread(url: str, transports: list[str]) -> None:
    before = threading.active_count()
    clients = [Recorder() for _ in range(5)]
    for client in clients:
        client.connect(url, transports=transports)
        client.send("hello")
    for client in clients:
        client.receives("hello")
    assert threading.active_count() - before <= 2 * len(clients) + 1
    # Who posts is a thread for as long as there is something to post, and a second longer.
    until(lambda: threading.active_count() - before <= len(clients) + 1)
    for client in clients:
        client.disconnect()


@each_transport
def test_the_server_ends_it(client: Recorder, url: str, transports: list[str]) -> None:
    client.connect(url, transports=transports)
    client.send("close")
    client.wait()
    assert client.events[1:] == [("server disconnect", "disconnecting")]
    assert client.state == "disconnected"


def test_with(url: str) -> None:
    client = Recorder()
    with client as entered:
        assert entered is client
        client.connect(url)
        client.send("hello")
    assert client.events[1:] == [("client disconnect", "disconnecting")]
    with client:
        pass


@each_transport
def test_a_handler_waits_for_a_later_message(
    client: Recorder, url: str, transports: list[str]
) -> None:
    seen: list[str] = []
    second = threading.Event()

    @client.on("message")
    def message(data: str) -> None:
        seen.append(data)
        if data == "first":
            assert second.wait(WAIT)
            seen.append("first has waited")
        elif data == "second":
            second.set()

    client.connect(url, transports=transports)
    for data in ("first", "second", "third"):
        client.send(data)
    until(lambda: len(seen) == 4, seen)
    assert seen[:2] == ["first", "second"]


def test_a_handler_of_what_came_with_the_open_packet_waits(client: Recorder) -> None:
    """For a message that comes later, which somebody has to read."""

    def poll(exchange: hostile.Exchange) -> None:
        if exchange.server.received.is_set():
            exchange.hang()
        exchange.server.received.set()
        exchange.answer("4second")

    second = threading.Event()

    @client.on("message")
    def message(data: str) -> None:
        if data == "first" and second.wait(WAIT):
            client.messages.append("first")
        elif data == "second":
            second.set()

    first = hostile.answer(f"{hostile.opening(upgrades=[])}\x1e4first")
    with hostile.Hostile({"open": first, "poll": poll}) as server:
        client.connect(server.url(), transports=["polling"])
        client.receives("first")
        client.disconnect()


@each_transport
def test_a_handler_disconnects(client: Recorder, url: str, transports: list[str]) -> None:
    states = []

    @client.on("message")
    def message(data: str) -> None:
        started = time.monotonic()
        client.disconnect()
        states.append((client.state, time.monotonic() - started < 4))

    client.connect(url, transports=transports)
    client.send("hello")
    client.wait()
    until(lambda: states)
    assert states == [("disconnected", True)]
    assert client.events[1:] == [("client disconnect", "disconnecting")]


@each_transport
def test_the_disconnect_handler_disconnects(
    client: Recorder, url: str, transports: list[str]
) -> None:
    ended = threading.Event()

    @client.on("disconnect")
    def disconnect() -> None:
        client.disconnect()
        ended.set()

    client.connect(url, transports=transports)
    client.send("close")
    assert ended.wait(WAIT)


@each_transport
def test_the_connect_handler_disconnects(client: Recorder, url: str, transports: list[str]) -> None:
    client.on("connect", client.disconnect)
    client.connect(url, transports=transports)
    assert client.state == "disconnected"
    assert client.events == [("client disconnect", "disconnecting")]


@each_transport
def test_the_connect_handler_raises(
    client: Recorder, plain: rigs.Rig, url: str, transports: list[str]
) -> None:
    logged: list[Any] = []
    client.logger = logging.Logger("tests", logging.ERROR)
    client.logger.addFilter(keeper(logged))

    def connect() -> None:
        raise KeyError("why")

    client.on("connect", connect)
    with pytest.raises(ConnectionError, match="Connect handler failed: 'why'"):
        client.connect(url, transports=transports)
    assert (client.state, client.events) == ("disconnected", [])
    assert logged == ["connect handler error"]
    until(lambda: not plain.control("sids"))


def test_a_handler_that_raises_ends_nothing(client: Recorder, url: str) -> None:
    logged: list[Any] = []
    client.logger = logging.Logger("tests", logging.ERROR)
    client.logger.addFilter(keeper(logged))
    got: list[Any] = []

    @client.on("message")
    def message(data: str) -> None:
        got.append(data)
        raise KeyError(data)

    client.connect(url)
    client.send("a")
    client.send("b")
    until(lambda: len(logged) == 2)
    assert got == ["a", "b"]
    assert logged == ["message handler error"] * 2


def test_two_connects_at_a_time(client: Recorder, url: str) -> None:
    errors: list[Exception] = []

    @client.on("connect")
    def connect() -> None:
        with pytest.raises(ValueError, match="not in a disconnected state") as caught:
            client.connect(url)
        errors.append(caught.value)

    client.connect(url)
    with pytest.raises(ValueError, match="not in a disconnected state"):
        client.connect(url)
    assert len(errors) == 1


def test_what_is_sent_and_cannot_be(client: Recorder, url: str) -> None:
    client.connect(url, transports=["websocket"])
    for data in ({"a": object()}, "\ud800", [float("nan"), {1, 2}]):
        with pytest.raises((TypeError, ValueError)):
            client.send(data)
    client.send("fine")
    client.receives("fine")


# TLS


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_threads_and_tls(tls_url: str, transport: str) -> None:
    """Many threads send at once while others read: no TLS object is used by two at a time."""
    client = Recorder(http_session=trusting())
    client.connect(tls_url, transports=transport)

    def send(name: int) -> None:
        for number in range(1000):
            client.send(f"{name}-{number}")

    threads = [client.start_background_task(send, name) for name in range(5)]
    for thread in threads:
        thread.join()
    until(lambda: len(client.messages) == 5000)
    for name in range(5):
        own = [message for message in client.messages if message.startswith(f"{name}-")]
        assert own == [f"{name}-{n}" for n in range(1000)]
    client.send("x" * 900_000)
    until(lambda: client.messages[-1] == "x" * 900_000)
    client.disconnect()


def test_300_connects_over_tls_with_traffic(tls_url: str) -> None:
    session = trusting()
    steady = Recorder(http_session=session)
    steady.connect(tls_url, transports=["websocket"])
    stop = threading.Event()
    sent: Counter[int] = Counter()

    def keep_sending(name: int) -> None:
        while not stop.is_set():
            steady.send(f"{name}")
            sent[name] += 1
            stop.wait(0.005)

    threads = [steady.start_background_task(keep_sending, name) for name in range(3)]
    client = Recorder(http_session=session)
    for number in range(300):
        client.messages.clear()
        client.connect(tls_url, transports=["websocket"])
        client.send("burst:5")
        client.send(f"echo {number}")
        client.receives(*(f"burst-{n}" for n in range(5)), f"echo {number}")
        client.disconnect()
    assert len(client.events) == 600
    stop.set()
    for thread in threads:
        thread.join()
    until(lambda: len(steady.messages) == sum(sent.values()))
    assert Counter(map(int, steady.messages)) == sent
    steady.disconnect()


@each_transport
def test_certificates_are_checked(tls_url: str, transports: list[str]) -> None:
    client = Recorder()
    with pytest.raises(ConnectionError):
        client.connect(tls_url, transports=transports)
    assert client.state == "disconnected"
    client = Recorder(ssl_verify=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # urllib3 warns of what was asked for
        client.connect(tls_url, transports=transports)
        client.send("hello")
        client.receives("hello")
        client.disconnect()


def test_a_redirect_of_a_websocket_with_options(plain: rigs.Rig) -> None:
    """Another origin is not told what was said for the first one."""
    options = {
        "header": ["authorization: Bearer token", "X-Mine: 1"],
        "cookie": "a=1",
    }
    client = Recorder(websocket_extra_options=options)
    with (
        peers.Watcher(plain.address[1]) as watcher,
        peers.Redirector(watcher.url("")) as redirector,
    ):
        client.connect(redirector.url(), transports=["websocket"])
        client.send("hello")
        client.receives("hello")
        client.disconnect()
    assert redirector.seen[0]["authorization"] == "Bearer token"
    assert redirector.seen[0]["cookie"] == "a=1"
    (head,) = watcher.heads
    assert not {"authorization", "cookie"} & head.headers.keys()
    assert head.headers["x-mine"] == "1"


# Failures


def silent(sock: socket.socket) -> None:
    """Take whatever comes, and never answer."""
    while sock.recv(65536):
        pass


def trickling(sock: socket.socket) -> None:
    """Send a header that never ends, a byte at a time."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(b"x")
            time.sleep(0.05)


def endless(sock: socket.socket) -> None:
    """Send a body that never ends."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(b"x" * 65536)


@pytest.mark.parametrize("answer", [silent, trickling, endless])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_servers_that_never_come_to_an_end(
    answer: Callable[[socket.socket], None], transport: str
) -> None:
    client = Recorder(request_timeout=0.5, max_http_buffer_size=1_000_000)
    with peers.Listener(answer) as listener:
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            client.connect(listener.url(), transports=[transport])
        assert time.monotonic() - started < WAIT
    assert client.state == "disconnected"
    assert client.events == []


def test_there_is_no_server(client: Recorder) -> None:
    port = rigs.free_port()
    for transport in ("polling", "websocket"):
        with pytest.raises(ConnectionError):
            client.connect(f"http://127.0.0.1:{port}", transports=[transport])


OPENING = b'0{"sid":"abc","upgrades":[],"pingInterval":%d,"pingTimeout":%d}'


def half_dead(interval: int, timeout: int) -> Callable[[socket.socket], None]:
    """A server that lets clients in and then falls silent."""

    def answer(sock: socket.socket) -> None:
        head = peers.Head(sock)
        if "sid" not in head.query:
            sock.sendall(peers.response("200 OK", OPENING % (interval, timeout)))
            return
        silent(sock)

    return answer


def test_a_server_that_falls_silent(client: Recorder) -> None:
    with peers.Listener(half_dead(300, 200)) as listener:
        client.connect(listener.url(), transports=["polling"])
        client.wait()
    assert client.events[1:] == [("ping timeout", "connected")]
    assert client.state == "disconnected"


def test_disconnecting_from_a_server_that_does_not_answer() -> None:
    with peers.Listener(half_dead(25000, 20000)) as listener:
        client = Recorder(request_timeout=0.5)
        client.connect(listener.url(), transports=["polling"])
        started = time.monotonic()
        client.send("hello")
        client.disconnect()
        assert time.monotonic() - started < WAIT
        assert client.events[1:] == [("client disconnect", "disconnecting")]


def test_aborting(client: Recorder, url: str) -> None:
    for transport in ("polling", "websocket"):
        client.connect(url, transports=[transport])
        client.send("hello")
        client.disconnect(abort=True)
        assert client.state == "disconnected"


def test_a_session_that_somebody_has_extended(url: str) -> None:
    class Session(requests.Session):
        used = 0

        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            self.used += 1
            return super().request(*args, **kwargs)

    session = Session()
    client = Recorder(http_session=session)
    client.connect(url)
    client.send("hello")
    client.receives("hello")
    client.disconnect()
    assert session.used >= 2
    assert client.http is session
    session.close()


# Processes


def run(script: str, *arguments: str, patch: str = "threads") -> "subprocess.Popen[str]":
    whole = f"{PATCHES[patch]}\nimport sys\nurl, transport = sys.argv[1:3]\n{script}"
    return subprocess.Popen(
        [sys.executable, "-c", whole, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "EVENTLET_TESTS": "1"},  # no notice that it is deprecated
        start_new_session=True,
    )


def outcome(process: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    try:
        output, _ = process.communicate(timeout=WAIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # and what it has forked
        output, _ = process.communicate()
        pytest.fail(f"the process did not end: {output}")
    return process.returncode, output.splitlines()


def wait_for_line(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found.strip() == line:
            return
    pytest.fail(f"it ended before {line!r}")


def test_a_full_send_buffer_over_polling_ends_it_at_once() -> None:
    with peers.Listener(half_dead(25000, 20000)) as listener:
        client = engineio.Client(max_send_buffer=1_000_000)
        reasons = []

        def disconnected(reason: str) -> None:
            client.wait()  # which has nothing to wait for but this
            reasons.append(reason)

        client.on("disconnect", disconnected)
        client.connect(listener.url(), transports=["polling"])
        client.send("x" * 2_000_000)
        started = time.monotonic()
        client.wait()
        assert reasons == ["send buffer full"]
        assert time.monotonic() - started < WAIT  # and not as long as a GET may wait


# The signal may come at once: then a print that is under way would not let the handlers print.
INTERRUPTED = """
import os, signal, time, engineio
if transport == "own":
    def own(number, frame):
        print("own handler", flush=True)
        raise SystemExit(7)
    signal.signal(signal.SIGINT, own)
clients = [engineio.Client(), engineio.Client()]
for client, transport in zip(clients, ["polling", "websocket"]):
    client.on("disconnect", lambda reason: print(reason, flush=True))
    client.connect(url, transports=[transport])
try:
    os.write(1, b"ready\\n")
    clients[0].wait()
    print("went on", flush=True)
except KeyboardInterrupt:
    print("interrupted", *[client.state for client in clients], flush=True)
"""


@each_patch
def test_interruption(plain: rigs.Rig, url: str, patch: str) -> None:
    process = run(INTERRUPTED, url, "default", patch=patch)
    wait_for_line(process, "ready")
    process.send_signal(signal.SIGINT)
    expected = ["client disconnect"] * 2 + ["interrupted disconnected disconnected"]
    assert outcome(process) == (0, expected)
    until(lambda: not plain.control("sids"))


@each_patch
def test_interruption_reaches_the_programs_own_handler(url: str, patch: str) -> None:
    process = run(INTERRUPTED, url, "own", patch=patch)
    wait_for_line(process, "ready")
    process.send_signal(signal.SIGINT)
    assert outcome(process) == (7, ["client disconnect"] * 2 + ["own handler"])


def test_interruption_that_is_ignored(url: str) -> None:
    script = """
import signal, time, engineio
signal.signal(signal.SIGINT, signal.SIG_IGN)
client = engineio.Client()
client.connect(url, transports=[transport])
signal.raise_signal(signal.SIGINT)
print(client.state)
client.disconnect()
"""
    assert outcome(run(script, url, "websocket")) == (0, ["connected"])


@each_patch
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_process_ends_while_connected(url: str, transport: str, patch: str) -> None:
    script = """
import engineio
client = engineio.Client()
client.connect(url, transports=[transport])
client.send("hello")
print("end")
"""
    assert outcome(run(script, url, transport, patch=patch)) == (0, ["end"])


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_forked_process(url: str, transport: str) -> None:
    script = """
import os, threading, engineio
client = engineio.Client()
got = threading.Event()
client.on("message", lambda data: got.set())
client.connect(url, transports=[transport])
pid = os.fork()
if not pid:
    print(client.state, client.sid)
    client.send("nothing")
    client.disconnect()
    client.wait()
    client.connect(url, transports=[transport])
    client.send("hello")
    print(got.wait(20))
    client.disconnect()
    sys.stdout.flush()
    os._exit(0)
os.waitpid(pid, 0)
client.send("hello")
print(got.wait(20), client.state)
client.disconnect()
"""
    expected = ["disconnected None", "True", "True connected"]
    assert outcome(run(script, url, transport)) == (0, expected)


TRAFFIC = """
import threading, requests, engineio
session = requests.Session()
session.verify = transport
for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
    client = engineio.Client(http_session=session)
    messages = []
    client.on("message", messages.append)
    client.connect(url, transports=transports)
    senders = [
        client.start_background_task(lambda: [client.send("x") for _ in range(500)])
        for _ in range(4)
    ]
    for sender in senders:
        sender.join()
    for _ in range(1000):
        if len(messages) == 2000:
            break
        client.sleep(0.02)
    print(len(messages), client.transport())
    client.disconnect()
"""


@each_patch
def test_tls_with_greenlets_and_threads(tls_url: str, patch: str) -> None:
    process = run(TRAFFIC, tls_url, peers.CA, patch=patch)
    assert outcome(process) == (0, ["2000 polling", "2000 websocket", "2000 websocket"])


# Imports


@pytest.mark.parametrize("missing", ["requests", "websocket"])
def test_a_package_that_is_not_there(missing: str) -> None:
    script = f"""
import sys
sys.modules["{missing}"] = None
import engineio
print(engineio.Client.reason.SERVER_DISCONNECT)
try:
    engineio.Client()
except engineio.exceptions.DriverError as error:
    print(error)
"""
    code, lines = outcome(run(script, "", ""))
    advice = f"Client needs {missing}: pip install 'python-engineio[client]'"
    assert (code, lines) == (0, ["server disconnect", advice])


def test_the_package_does_not_load_it() -> None:
    script = """
import engineio
print([name for name in ("requests", "websocket", "aiohttp") if name in sys.modules])
print(engineio.base_client.BaseClient.reason.CLIENT_DISCONNECT, "Client" in dir(engineio))
from engineio import *
print(Client is engineio.Client is engineio.client.Client)
try:
    engineio.nothing
except AttributeError as error:
    print(error)
"""
    assert outcome(run(script, "", "")) == (
        0,
        ["[]", "client disconnect True", "True", "module 'engineio' has no attribute 'nothing'"],
    )
