"""The eventlet worker in real gunicorn processes: the newest gunicorn, and 25.3."""

import http.client
import json
import os
import re
import resource
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

from environments import ROOT, environment

DATA = Path(__file__).parent / "data"
CERTIFICATE = DATA / "gunicorn_tls.pem"  # self-signed: key, certificate and authority in one
CONF = ROOT / "deploy" / "gunicorn" / "gunicorn.conf.py"
OURS = "engineio.gunicorn.EventletWorker"
PATIENCE = 30.0  # seconds; a bound for what must happen, never a measurement

QUIET = re.compile(r"\[[^]]+\] \[\d+\] \[INFO\] ")


class Gunicorn:
    """A gunicorn with `gunicorn_app` in it, and what it writes."""

    def __init__(self, python: Path, *args: str, files: int | None = None, **env: str) -> None:
        command = [str(python), "-m", "gunicorn", "--no-control-socket", "--chdir", str(DATA)]
        if not any(arg in ("-b", "--bind") for arg in args):
            command += ["-b", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, *args, "gunicorn_app:app"],
            env={**os.environ, "PYTHONWARNINGS": "default", "PYTHONPATH": "", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if files is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (files, files))
        self.out: list[str] = []
        self.err: list[str] = []
        self._written = threading.Condition()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._written:
                    lines.append(line.rstrip("\n"))
                    self._written.notify_all()

    def wait_line(self, pattern: str, count: int = 1) -> re.Match[str]:
        """The match of the count-th line, of both streams, in which `pattern` is found."""
        found: list[re.Match[str]] = []

        def is_written() -> bool:
            found[:] = [m for line in self.err + self.out if (m := re.search(pattern, line))]
            return len(found) >= count

        with self._written:
            assert self._written.wait_for(is_written, PATIENCE), (pattern, self.err, self.out)
        return found[count - 1]

    @property
    def port(self) -> int:
        return int(self.wait_line(r"Listening at: https?://127\.0\.0\.1:(\d+)")[1])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def info(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.get("/info"))
        return answer

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def noise(self, *allowed: str) -> list[str]:
        """What is on stderr besides gunicorn's information, and lines with one of `allowed`."""
        return [
            line
            for line in self.err
            if not QUIET.match(line) and not any(part in line for part in allowed)
        ]


@pytest.fixture(scope="module", params=["newest", "25.3"])
def python(request: pytest.FixtureRequest) -> Path:
    if request.param == "newest":
        return Path(sys.executable)
    return environment("gunicorn-25.3", "gunicorn==25.3.*", "eventlet", "packaging")


class Start:
    """Starts servers, and kills what a failed test has left."""

    def __init__(self, python: Path) -> None:
        self.python = python
        self.started: list[Gunicorn] = []

    def __call__(self, *args: str, files: int | None = None, **env: str) -> Gunicorn:
        self.started.append(Gunicorn(self.python, *args, files=files, **env))
        return self.started[-1]


@pytest.fixture
def start(python: Path) -> Iterator[Start]:
    starter = Start(python)
    yield starter
    for server in starter.started:
        server.kill()


@pytest.fixture(scope="module")
def server(python: Path) -> Iterator[Gunicorn]:
    """One server for the tests that leave it as it was; it must have been quiet in the end."""
    running = Gunicorn(python, "-k", OURS, "--access-logfile", "-")
    try:
        yield running
        assert running.stop() == 0
        assert running.noise("Invalid request from ip=127.0.0.1") == []
    finally:
        running.kill()


def request_bytes(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    return data


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def test_the_application_is_loaded_patched(server: Gunicorn) -> None:
    info = server.info()
    assert info["sleep"] == "eventlet.greenthread"
    assert info["early"] == "eventlet.lock"
    assert info["multithread"] is True
    assert "GreenSocket" in info["socket"]


def test_keep_alive(server: Gunicorn) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    used = connection.sock
    connection.request("POST", "/echo", b"z" * 1_000_000)
    assert connection.getresponse().read() == b"z" * 1_000_000
    connection.request("POST", "/echo", iter([b"in ", b"chunks"]), encode_chunked=True)
    assert connection.getresponse().read() == b"in chunks"
    assert connection.sock is used
    connection.close()


def test_pipelined_requests_are_answered_in_order(server: Gunicorn) -> None:
    with server.connect() as sock:
        post = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nbody1"
        last = request_bytes("/").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        sock.sendall(post + request_bytes("/") + post.replace(b"body1", b"body2") + last)
        bodies = re.findall(rb"\r\n\r\n(.{5})", read_all(sock))
    assert bodies == [b"body1", b"hello", b"body2", b"hello"]


def test_a_slow_request_holds_up_no_other(server: Gunicorn) -> None:
    with server.connect() as sock:
        sock.sendall(request_bytes("/slow"))
        read_until(sock, b"begun \r\n")
        assert server.get("/") == b"hello"
        assert server.get("/release") == b"hello"
        assert b"done" in read_until(sock, b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "byte", "size"), [("/stream", b"x", 320 * 65536), ("/file", b"y", 12_000_000)]
)
def test_a_slow_reader_holds_up_no_other(
    server: Gunicorn, path: str, byte: bytes, size: int
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.read(1) == byte
    assert server.get("/") == b"hello"  # while megabytes wait
    rest = response.read()
    assert len(rest) == size - 1
    assert rest.strip(byte) == b""
    connection.close()


def test_a_socket_can_be_taken_over(server: Gunicorn) -> None:
    with server.connect() as sock:
        sock.sendall(request_bytes("/takeover"))
        read_until(sock, b"\r\n\r\n")
        for message in (b"GET / HTTP/1.1\r\n\r\n", b"\x81\x02hi"):
            sock.sendall(message)
            assert read_until(sock, message) == message
        sock.sendall(b"bye")
        assert read_all(sock) == b""
    server.wait_line(r'"GET /takeover HTTP/1.1" 101')


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", request_bytes("/stream"), request_bytes("/takeover")]
)
def test_a_peer_may_vanish(server: Gunicorn, sent: bytes) -> None:
    sock = server.connect()
    sock.sendall(sent)
    if sent.endswith(b"\r\n\r\n"):
        sock.recv(100)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()  # with a reset
    assert server.get("/") == b"hello"


def test_what_is_not_http_is_refused(server: Gunicorn) -> None:
    with server.connect() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400 ")


def test_usr1_opens_the_logs_again(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    server = start("-k", OURS, "--access-logfile", str(log))
    server.get("/")
    log.rename(tmp_path / "rotated.log")
    server.signal(signal.SIGUSR1)
    server.wait_line("Handling signal: usr1")
    while not log.exists() or "/info" not in log.read_text():
        server.info()
    assert server.stop() == 0
    assert server.noise() == []


def test_the_applications_errors_are_answered_and_logged(start: Start) -> None:
    server = start("-k", OURS)
    assert b"Internal Server Error" in server.get("/fail")
    server.wait_line("ValueError: the application's own mistake")


@pytest.mark.parametrize(
    "args",
    [
        ["-k", "egg:python-engineio#eventlet"],
        ["-c", "python:engineio.gunicorn", "-k", "eventlet"],
        ["-c", str(CONF), "-k", "eventlet"],
        ["-c", str(CONF)],
    ],
    ids=["entry point", "python:engineio.gunicorn", "conf -k eventlet", "conf"],
)
def test_names(start: Start, args: list[str]) -> None:
    server = start(*args)
    assert server.info()["socket"][0] == "Socket"
    assert server.stop() == 0
    assert server.noise() == []


def test_the_command_line_wins_over_the_conf(start: Start) -> None:
    server = start("-c", str(CONF), "-k", "gthread")
    assert server.info()["sleep"] == "time"
    with server.connect() as sock:  # a request that waits does not hold up another: 100 threads
        sock.sendall(request_bytes("/slow"))
        read_until(sock, b"begun \r\n")
        assert server.get("/release") == b"hello"
        read_until(sock, b"0\r\n\r\n")
    assert server.stop() == 0


def test_preload_patches_before_the_application_is_loaded(start: Start) -> None:
    server = start("-k", OURS, "--preload")
    info = server.info()
    assert info["early"] == "eventlet.lock"
    server.signal(signal.SIGHUP)
    server.wait_line(r"Worker exiting")
    assert server.info()["pid"] != info["pid"]
    assert server.stop() == 0
    assert server.noise() == []


def client_context(certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    if certificate:
        context.load_cert_chain(CERTIFICATE)
    return context


def test_tls(start: Start) -> None:
    # fmt: off
    server = start(
        "-k", OURS, "--certfile", str(CERTIFICATE), "--ca-certs", str(CERTIFICATE),
        "--cert-reqs", "2", "--keep-alive", "60",
    )
    # fmt: on
    silent = server.connect()  # never says a word; others are served
    refused = client_context(certificate=False)
    # They end with an alert, a reset or just the end, depending on what arrives first.
    with suppress(OSError), server.connect() as plain:
        plain.sendall(request_bytes("/"))
        assert not plain.recv(100).startswith(b"HTTP")
    with (
        suppress(OSError),
        refused.wrap_socket(server.connect(), server_hostname="localhost") as secure,
    ):
        secure.sendall(request_bytes("/"))
        assert secure.recv(100) == b""
    context = client_context(certificate=True)
    with context.wrap_socket(server.connect(), server_hostname="localhost") as secure:
        secure.sendall(request_bytes("/info"))
        info = json.loads(read_until(secure, b"}").partition(b"\r\n\r\n")[2])
        assert info["scheme"] == "https"
        assert "GreenSSLSocket" in info["socket"]
        secure.sendall(request_bytes("/takeover"))
        read_until(secure, b"\r\n\r\n")
        secure.sendall(b"hello")
        assert read_until(secure, b"hello") == b"hello"
        secure.sendall(b"bye")
        assert read_all(secure) == b""
    with context.wrap_socket(server.connect(), server_hostname="localhost") as secure:
        secure.sendall(request_bytes("/file"))
        response = http.client.HTTPResponse(secure)
        response.begin()
        assert len(response.read()) == 12_000_000
        server.signal(signal.SIGTERM)
        assert read_all(secure) == b""  # idle: closed at once
    with silent:
        assert silent.recv(1) == b""
    assert server.wait() == 0
    assert server.noise() == []


def test_several_addresses(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "gunicorn.sock")
    server = start("-k", OURS, "-b", "127.0.0.1:0", "-b", f"unix:{path}", "--worker-connections=1")
    assert server.get("/") == b"hello"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        sock.sendall(request_bytes("/"))
        assert read_until(sock, b"hello").startswith(b"HTTP/1.1 200")
        server.signal(signal.SIGTERM)
        assert sock.recv(1) == b""
    assert server.wait() == 0
    assert server.noise() == []


def test_sigterm(start: Start) -> None:
    server = start("-k", OURS, "--keep-alive", "60", "--graceful-timeout", "60")
    with server.connect() as idle, server.connect() as slow, server.connect() as fresh:
        idle.sendall(request_bytes("/"))
        read_until(idle, b"hello")
        slow.sendall(request_bytes("/slow"))
        read_until(slow, b"begun \r\n")
        server.signal(signal.SIGTERM)
        assert idle.recv(1) == b""  # at once
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        # A connection that has not had its first request is served, and lets the slow one end.
        fresh.sendall(request_bytes("/release"))
        answer = read_all(fresh)
        assert b"Connection: close" in answer
        assert answer.endswith(b"hello")
        assert read_all(slow).endswith(b"done\r\n0\r\n\r\n")
    assert server.wait() == 0
    assert server.noise() == []


def test_sigterm_with_a_connection_that_never_asks(start: Start) -> None:
    server = start("-k", OURS, "--keep-alive", "60", "--graceful-timeout", "60")
    with server.connect() as fresh:
        server.get("/")
        server.signal(signal.SIGTERM)
        assert fresh.recv(1) == b""
    assert server.wait() == 0
    assert server.noise() == []


def test_sigterm_kills_what_takes_too_long(start: Start) -> None:
    server = start("-k", OURS, "--graceful-timeout", "4")
    with server.connect() as stuck, server.connect() as taken, server.connect():
        stuck.sendall(request_bytes("/stuck"))
        read_until(stuck, b"begun \r\n")
        taken.sendall(request_bytes("/takeover"))
        read_until(taken, b"\r\n\r\n")
        server.signal(signal.SIGTERM)
        assert read_all(stuck) == b""
        assert read_all(taken) == b""  # no HTTP response into what is no longer HTTP
    assert server.wait() == 0
    assert server.noise("Worker graceful timeout") == []
    assert len(server.noise()) == 1
    assert server.out == ["cleaned up"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_sigint_kills_at_once(start: Start, number: signal.Signals, tmp_path: Path) -> None:
    conf = tmp_path / "conf.py"
    conf.write_text("def worker_int(worker):\n    print('worker_int', flush=True)\n")
    server = start("-k", OURS, "-c", str(conf), "--keep-alive", "60", "--graceful-timeout", "60")
    with server.connect() as stuck, server.connect() as idle, server.connect() as fresh:
        idle.sendall(request_bytes("/"))
        read_until(idle, b"hello")
        stuck.sendall(request_bytes("/stuck"))
        read_until(stuck, b"begun \r\n")
        server.signal(number)
        assert read_all(idle) == read_all(stuck) == read_all(fresh) == b""
    assert server.wait() == 0
    assert server.noise() == []
    assert server.out == ["worker_int", "cleaned up"]


def test_sighup_reloads(start: Start) -> None:
    server = start("-k", OURS, "--keep-alive", "60")
    with server.connect() as idle:
        idle.sendall(request_bytes("/info"))
        old = json.loads(read_until(idle, b"}").partition(b"\r\n\r\n")[2])["pid"]
        server.signal(signal.SIGHUP)
        assert idle.recv(1) == b""
    server.wait_line(rf"Worker exiting \(pid: {old}\)")
    assert server.info()["pid"] != old
    assert server.stop() == 0
    assert server.noise() == []


def test_max_requests(start: Start) -> None:
    server = start("-k", OURS, "--max-requests", "1")
    first = server.info()["pid"]
    server.wait_line(rf"Worker exiting \(pid: {first}\)")
    assert server.info()["pid"] != first
    assert server.stop() == 0
    assert server.noise() == []


def test_an_idle_connection_is_closed_after_keep_alive(start: Start) -> None:
    server = start("-k", OURS, "--keep-alive", "1")
    with server.connect() as sock:
        sock.sendall(request_bytes("/"))
        read_until(sock, b"hello")
        assert sock.recv(1) == b""
    assert server.stop() == 0
    assert server.noise() == []


def test_without_keep_alive(start: Start) -> None:
    server = start("-k", OURS, "--keep-alive", "0")
    with server.connect() as sock, server.connect() as silent:
        sock.sendall(request_bytes("/"))
        assert read_all(sock).endswith(b"hello")
        server.signal(signal.SIGTERM)
        assert silent.recv(1) == b""
    assert server.wait() == 0
    assert server.noise() == []


def test_worker_connections_is_a_limit(start: Start) -> None:
    server = start("-k", OURS, "--worker-connections", "1")
    with server.connect() as first, server.connect() as second:
        first.sendall(request_bytes("/takeover"))
        read_until(first, b"\r\n\r\n")
        second.sendall(request_bytes("/"))
        assert not select.select([second], [], [], 0.2)[0]
        first.sendall(b"bye")
        read_until(second, b"hello")
    assert server.stop() == 0
    assert server.noise() == []


def test_too_few_file_descriptors(start: Start) -> None:
    server = start("-k", OURS, "--worker-connections", "1000", files=40)
    held = [server.connect() for _ in range(60)]
    server.wait_line("Cannot accept a connection: .*Too many open files", count=2)
    for sock in held:
        sock.close()
    assert server.get("/") == b"hello"
    assert server.stop() == 0
    assert server.noise("Cannot accept a connection") == []
    assert len(server.noise()) < 20  # one a second, not as fast as it can


def test_a_missing_package_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "eventlet.py").write_text("raise ImportError(\"No module named 'eventlet'\")")
    server = start("-k", OURS, PYTHONPATH=str(tmp_path))
    assert server.wait() == 1
    server.wait_line(r"DriverError: .*No module named 'eventlet'.*pip install 'python-engineio\[")


def test_no_name_of_the_module_is_taken_for_a_setting(python: Path) -> None:
    """It serves as -c python:engineio.gunicorn, which must set nothing."""
    code = (
        "import engineio.gunicorn, gunicorn.config\n"
        "print(vars(engineio.gunicorn).keys() & gunicorn.config.Config().settings.keys())"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
