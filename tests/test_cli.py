"""The command `engineio`, run as a person or a script runs it, against servers of its own."""

import json
import os
import pty
import re
import shlex
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import make_server

import pytest
from click.testing import CliRunner
from websockets.sync.client import connect

import engineio
from engineio.cli.bench import histogram, summary
from engineio.cli.commands import engineio_command
from engineio.cli.connect import parse_line
from engineio.cli.output import milliseconds, printable
from engineio.cli.ping import Statistics
from engineio.cli.serve import QuietHandler, ThreadingServer
from engineio.cli.session import Failure, Status
from test_browser import CHROMIUM, FLAGS, Process, Tab

COMMAND = [sys.executable, "-W", "error", "-m", "engineio"]
PATIENCE = 30.0  # seconds; no command that is meant to end takes a tenth of it
# Outside the checkout, where an installed package is meant.
HOME = Path(__file__).parent


class Command:
    """The command with pipes for all its streams, or terminals."""

    def __init__(self, *args: str, **streams: Any) -> None:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen([*COMMAND, *args], cwd=HOME, **{**pipes, **streams})

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def read_line(self, stream: str = "stdout") -> str:
        line: bytes = getattr(self.process, stream).readline()
        return line.decode()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Close its stdin: the exit status, and what it wrote that has not been read."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, (out or b"").decode(), (err or b"").decode()


def run(*args: str, given: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
    """Run to the end.  There is never a traceback, and the exit status is the one expected."""
    done = subprocess.run(
        [*COMMAND, *args], input=given, capture_output=True, timeout=PATIENCE, cwd=HOME, check=False
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def lines_of(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@contextmanager
def serving(*args: str) -> Iterator[tuple[Command, str]]:
    """`engineio serve` on a free port, and its URL.  It ends as it should."""
    with Command("serve", "--port", "0", *args) as command:
        url = command.read_line().strip()
        assert url.startswith("http://"), command.end()
        yield command, url
        if command.process.poll() is None:
            command.interrupt()
            status, _, err = command.end()
            assert status == 0
            assert "Traceback" not in err


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as (command, url):
        # Nobody may be kept waiting because a pipe is full.
        stderr = command.process.stderr
        reader = threading.Thread(target=lambda: [None for _ in stderr or ()], daemon=True)
        reader.start()
        yield url


class Odd:
    """A server that does what `engineio serve` does not: each path has its own way."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.eio = engineio.Server(async_mode="threading", logger=False)
        self.eio.on("connect", self.connect)
        self.eio.on("message", self.message)
        self.http = make_server("127.0.0.1", 0, self.app, ThreadingServer, QuietHandler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # Each connection's own thread does the handshake, at its first read.
            self.http.socket = context.wrap_socket(
                self.http.socket, server_side=True, do_handshake_on_connect=False
            )
            self.url = self.url.replace("http", "https")
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def app(self, environ: Any, start_response: Any) -> Any:
        return self.eio.handle_request(environ, start_response)

    def connect(self, sid: str, environ: dict[str, Any]) -> object:
        self.eio.save_session(sid, {"way": environ["PATH_INFO"].strip("/")})
        if environ["PATH_INFO"] == "/refuse/":
            return {"message": "members only\x1b[2J"}
        return None

    def message(self, sid: str, data: Any) -> None:
        way = self.eio.get_session(sid)["way"]
        if way == "pong":
            self.eio.send(sid, "pong")
        elif way == "leave":
            self.eio.disconnect(sid)

    def stop(self) -> None:
        self.eio.shutdown()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    server = Odd()
    yield server.url
    server.stop()


# -- what there is to type


def test_help_names_commands_and_exit_statuses() -> None:
    said = run("--help").stdout.decode()
    for word in ("connect", "ping", "serve", "bench", "3    could not connect"):
        assert word in said
    assert "Exit status" in run("ping", "--help").stdout.decode()
    assert run("--version").stdout.decode() == f"python-engineio {engineio.__version__}\n"


@pytest.mark.parametrize(
    "args",
    [
        ("ping", "http://"),
        ("ping", "ftp://localhost"),
        ("ping", "localhost:port"),
        ("ping", "localhost", "--timeout", "0"),
        ("ping", "localhost", "--timeout", "nan"),
        ("ping", "localhost", "-i", "inf"),
        ("connect", "localhost", "-H", "no colon"),
        ("connect", "localhost", "-t", "pigeon"),
        ("nothing",),
    ],
)
def test_wrong_usage_is_status_2(args: tuple[str, ...]) -> None:
    done = CliRunner().invoke(engineio_command, args)
    assert done.exit_code == Status.USAGE
    assert "Error: " in done.output


def test_missing_packages_are_named() -> None:
    program = (
        "import sys; sys.modules['click'] = None\n"
        "import runpy; runpy.run_module('engineio', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"pip install 'python-engineio[cli]'" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["connect", "ping", "bench"])
def test_nobody_listens(command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    args = ("-n", "2") if command == "bench" else ()
    done = run(command, f"127.0.0.1:{port}", *args, status=3)
    assert b"cannot connect to http://127.0.0.1" in done.stdout + done.stderr


def test_a_refusal_is_shown_without_control_characters(odd: str) -> None:
    done = run("connect", odd, "--path", "refuse", status=3)
    assert rb"members only\x1b[2J" in done.stderr
    assert b"\x1b" not in done.stderr


def test_certificates_are_checked_unless_told_otherwise() -> None:
    server = Odd(HOME / "data" / "tls" / "server.pem")
    try:
        assert b"certificate" in run("ping", "-c", "1", server.url, status=3).stderr
        done = run("ping", "-c", "1", "-k", "--path", "pong", server.url)
        assert b"transport=websocket time=" in done.stdout
    finally:
        server.stop()


def test_headers_are_sent(url: str) -> None:
    run("connect", url, "-H", "Origin: http://elsewhere", status=3)
    run("connect", url, "-H", f"Origin: {url.rstrip('/')}", "--wait", "0")


# -- connect


@pytest.mark.parametrize("transports", [("polling",), ("websocket",), ("polling", "websocket")])
def test_a_pipe_gets_messages_as_they_were_sent(
    url: str, transports: tuple[str, ...], tmp_path: Path
) -> None:
    blob = bytes(range(256)) * 100
    (tmp_path / "blob").write_bytes(blob)
    text = 'grüße\n{"a":  1}\n"quoted"\n\n42\ntrue\n@@at\n\x1b[31mred\n'
    given = f"{text}@{tmp_path / 'blob'}\nlast without a line end"
    options = [word for transport in transports for word in ("-t", transport)]
    done = run("connect", url, "-n", "10", *options, given=given.encode())
    expected = text.replace("@@", "@").encode() + blob + b"last without a line end\n"
    assert done.stdout == expected
    notes = done.stderr.decode()
    assert f"connected over {transports[0]} in" in notes
    assert ("upgraded to websocket after" in notes) == (len(transports) > 1)
    assert "disconnected: client disconnect" in notes


def test_json_lines_of_connect(url: str, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"\xff\x00")
    given = f'{{"a": 1}}\n@{tmp_path / "blob"}\n'.encode()
    done = run("connect", "--json", "-n", "2", url, given=given)
    assert done.stderr == b""
    opened, upgraded, first, second, closed = lines_of(done.stdout)
    assert (opened["type"], opened["transport"]) == ("open", "polling")
    assert len(opened["sid"]) == 20
    assert (upgraded["type"], upgraded["transport"]) == ("upgrade", "websocket")
    assert 0 < opened["ms"] < upgraded["ms"]
    assert (first["type"], first["text"]) == ("message", '{"a": 1}')
    assert (second["type"], second["base64"]) == ("message", "/wA=")
    assert closed == {"type": "close", "reason": "client disconnect"}


def test_answers_are_awaited_after_the_input_has_ended(url: str) -> None:
    assert run("connect", url, "--wait", "0.5", given=b"hello\n").stdout == b"hello\n"


def test_ten_thousand_lines_arrive_in_order(url: str) -> None:
    given = b"".join(b"line %d\n" % number for number in range(10_000))
    assert run("connect", url, "-n", "10000", given=given).stdout == given


def test_a_file_that_cannot_be_read(url: str) -> None:
    assert b"cannot read 'nothing'" in run("connect", url, given=b"@nothing\n", status=1).stderr
    assert b"not UTF-8" in run("connect", url, given=b"\xff\n", status=1).stderr


def test_the_server_ends_it(odd: str) -> None:
    options = ("--path", "leave", "--json")
    done = run("connect", odd, "--wait", "inf", *options, given=b"bye\n")
    assert lines_of(done.stdout)[-1] == {"type": "close", "reason": "server disconnect"}
    with Command("connect", odd, *options) as command:  # while there may be more to send
        command.write("bye\n")
        assert command.process.wait(PATIENCE) == 4


def test_a_killed_server_is_a_lost_connection() -> None:
    with serving() as (server, url), Command("connect", url, "--json") as command:
        assert json.loads(command.read_line())["type"] == "open"
        assert json.loads(command.read_line())["type"] == "upgrade"
        server.process.kill()
        assert json.loads(command.read_line())["type"] == "close"
        assert command.process.wait(PATIENCE) == 4


def test_ctrl_c_ends_connect(url: str) -> None:
    with Command("connect", url) as command:
        assert "connected over" in command.read_line("stderr")
        command.interrupt()
        status, out, err = command.end()
        assert (status, out) == (130, "")
        assert "Traceback" not in err


class Terminal:
    """A terminal, as what a program writes to or reads from."""

    def __init__(self) -> None:
        self.outside, self.inside = pty.openpty()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.outside)
        os.close(self.inside)

    def type(self, text: str) -> None:
        os.write(self.outside, text.encode())

    def read_until(self, text: str) -> str:
        shown = ""
        deadline = time.monotonic() + PATIENCE
        while text not in shown:
            assert time.monotonic() < deadline, shown
            shown += os.read(self.outside, 65536).decode()
        return shown


def test_a_terminal_gets_no_control_characters(url: str, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"\x1b]0;title\x07" + bytes(20))
    given = f"\x1b[2J\u202etxt.exe\rfake\n@{tmp_path / 'blob'}\nlast\n"
    with Terminal() as terminal, Command("connect", url, "-n", "3", stdout=terminal.inside) as it:
        it.write(given)
        shown = terminal.read_until("last")
        assert it.end()[0] == 0
    assert r"\x1b[2J\u202etxt.exe\rfake" in shown
    assert "<30 bytes: 1b 5d 30 3b" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_person_types(url: str) -> None:
    with Terminal() as terminal:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.inside)
        with Command("connect", url, **streams) as command:
            terminal.read_until("Ctrl-D ends")
            terminal.type("@nothing\n")
            terminal.read_until("cannot read 'nothing'")
            terminal.type("hello\n")
            terminal.read_until("round trip")
            terminal.type("\x04")
            terminal.read_until("disconnected: client disconnect")
            assert command.process.wait(PATIENCE) == 0


# -- ping


def test_ping_prints_what_ping_prints(url: str) -> None:
    done = run("ping", "-c", "3", "-i", "0.05", url)
    first, *pings, empty, title, counts, times = done.stdout.decode().splitlines()
    assert first.startswith(f"PING {url} over ")
    assert len(pings) == 3
    for seq, line in enumerate(pings, 1):
        assert re.fullmatch(rf"seq={seq} transport=(polling|websocket) time=[\d.,]+ ms", line)
    assert empty == ""
    assert title == f"--- {url} ping statistics ---"
    assert counts == "3 sent, 3 received, 0 % lost"
    assert re.fullmatch(r"round trip min/avg/max/stddev = ([\d.]+/){3}[\d.]+ ms", times)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("option", ["--handshake", None])
def test_json_lines_of_ping(url: str, transport: str, option: str | None) -> None:
    options = [option] if option else []
    done = run("ping", "-c", "2", "-i", "0", "-t", transport, "--json", url, *options)
    *opened, first, second, last = lines_of(done.stdout)
    assert [event["type"] for event in opened] == ([] if option else ["open"])
    assert [(ping["seq"], ping["transport"]) for ping in (first, second)] == [
        (1, transport),
        (2, transport),
    ]
    assert (last["type"], last["sent"], last["received"], last["lost"]) == ("summary", 2, 2, 0)
    assert last["min"] <= last["avg"] <= last["max"]
    assert last["max"] == max(first["ms"], second["ms"])


def test_ctrl_c_ends_ping_with_the_summary(url: str) -> None:
    with Command("ping", "-i", "60", url) as command:
        assert command.read_line().startswith("PING")
        assert command.read_line().startswith("seq=1 ")
        command.interrupt()
        status, out, err = command.end()
        assert status == 0
        assert "1 sent, 1 received" in out
        assert err == ""


def test_ping_takes_pong_and_tells_a_silent_server(odd: str) -> None:
    assert b"2 received" in run("ping", "-c", "2", "-i", "0", odd, "--path", "pong").stdout
    options = ("-c", "3", "-i", "0", "--timeout", "0.2", "--path", "silent")
    done = run("ping", odd, *options, status=5)
    assert done.stdout.count(b"no answer") == 3
    assert b"100 % lost" in done.stdout
    assert b"--handshake" in done.stderr
    assert b'"ms": null' in run("ping", odd, *options, "--json", status=5).stdout
    run("ping", odd, *options, "--handshake")


def test_ping_loses_the_connection(odd: str) -> None:
    done = run("ping", odd, "--path", "leave", "--json", status=4)
    assert lines_of(done.stdout)[-2] == {"type": "close", "reason": "server disconnect"}
    assert lines_of(done.stdout)[-1]["lost"] == 1
    done = run("ping", odd, "--path", "leave", status=4)
    assert b"connection lost: server disconnect" in done.stderr
    assert b"1 sent, 0 received" in done.stdout


@pytest.mark.parametrize("args", [("ping", "-i", "0.01"), ("connect", "--json")])
def test_a_broken_pipe_is_silent(url: str, args: tuple[str, ...]) -> None:
    with Command(*args, url) as command:
        assert command.process.stdout is not None
        command.read_line()
        command.process.stdout.close()
        command.process.stdout = None
        if args[0] == "connect":
            command.write("hello\nhello\n")
        status, _, err = command.end()
        assert status == 141
        assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_and_closed_streams(url: str) -> None:
    with open("/dev/full", "w") as full, Command("ping", "-c", "1", url, stdout=full) as command:
        status, _, err = command.end()
        assert (status, err) == (1, "Error: [Errno 28] No space left on device\n")
    shell = f"exec {shlex.join(COMMAND)} connect --wait 0 {url} <&- >&- 2>&-"
    assert (
        subprocess.run(["sh", "-c", shell], cwd=HOME, timeout=PATIENCE, check=False).returncode == 0
    )


# -- serve


def test_the_page_and_a_port_that_is_taken(url: str) -> None:
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        assert response.headers["Content-Type"] == "text/html"
        assert b"<title>engineio serve</title>" in response.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}nothing", timeout=PATIENCE)
    port = url.rstrip("/").rpartition(":")[2]
    assert b"cannot listen on 127.0.0.1" in run("serve", "--port", port, status=1).stderr


def test_json_lines_of_serve_and_sigterm() -> None:
    with Command("serve", "--port", "0", "--json") as command:
        listening = json.loads(command.read_line())
        run("connect", listening["url"], given=b"hello\n")
        connected, disconnected = (json.loads(command.read_line()) for _ in range(2))
        command.process.terminate()
        assert command.end() == (0, "", "")
    assert connected == {"type": "connect", "sid": disconnected["sid"]}
    assert disconnected["reason"] in ("client disconnect", "transport close")


def test_serve_on_ipv6() -> None:
    with serving("--host", "::1") as (_, url):
        assert url.startswith("http://[::1]:")
        assert run("connect", url, "-n", "1", given=b"hello\n").stdout == b"hello\n"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_in_a_browser(url: str, tmp_path: Path) -> None:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path}", "about:blank"]
    chromium = Process(command, r"DevTools listening on ws://([^/]+)/", tmp_path)
    try:
        with open_tab(chromium.found, url) as tab:
            status = "document.getElementById('status').textContent"
            for transport in ("websocket", "polling"):
                tab.click(f"[name=transport][value={transport}]")
                tab.wait(f"{status}.startsWith('Connected')")
                tab.js(f"document.getElementById('text').value = '<b>{transport}'")
                tab.click("form button")
                tab.wait(f"document.getElementById('log').textContent.includes('← <b>{transport}')")
            tab.wait("document.getElementById('latency').textContent.endsWith('ms')")
            assert tab.errors == []
    finally:
        chromium.stop(signal.SIGTERM)


@contextmanager
def open_tab(devtools: str, url: str) -> Iterator[Tab]:
    request = urllib.request.Request(f"http://{devtools}/json/new?about:blank", method="PUT")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        address = json.load(response)["webSocketDebuggerUrl"]
    with connect(address, max_size=None, compression=None) as ws:
        yield Tab(ws, url)


# -- bench


def test_bench_as_text_with_a_plot(url: str, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    done = run("bench", "-n", "10", "-d", "0.5", "--plot", str(plot), url)
    said = done.stdout.decode()
    assert "connected   10 of 10" in said
    assert re.search(r"messages +[\d,]+ in [\d.]+ s: [\d,]+ per second", said)
    assert re.search(r"latency +min .* ms  p50 .* ms  p90 .* ms  p99 .* ms  max .* ms", said)
    assert "\N{FULL BLOCK}" in said
    assert re.search(r"unanswered +0$", said, re.MULTILINE)
    assert done.stderr == b""  # no progress bar without a terminal
    assert "10 clients over websocket" in plot.read_text()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_json_of_bench(url: str, transport: str) -> None:
    options = ("-n", "5", "-d", "0.3", "--in-flight", "3", "--size", "1000", "-t", transport)
    [result] = lines_of(run("bench", "--json", url, *options).stdout)
    assert (result["clients"], result["connected"], result["lost_connections"]) == (5, 5, 0)
    assert result["sent"] == result["received"] > 15
    assert (result["unanswered"], result["errors"]) == (0, {})
    assert result["per_second"] == pytest.approx(result["received"] / result["seconds"], rel=0.01)
    for name in ("connect_ms", "latency_ms"):
        assert list(result[name]) == ["min", "p50", "p90", "p99", "max"]
        assert sorted(result[name].values()) == list(result[name].values())


def test_bench_of_a_server_that_does_not_answer(odd: str) -> None:
    options = ("-n", "3", "-d", "0.2", "--timeout", "0.2", "--json")
    [result] = lines_of(run("bench", odd, "--path", "silent", *options, status=5).stdout)
    assert (result["sent"], result["received"], result["unanswered"]) == (3, 0, 3)
    [result] = lines_of(run("bench", odd, "--path", "leave", *options, status=4).stdout)
    assert result["errors"] == {"connection lost: server disconnect": 3}
    [result] = lines_of(run("bench", odd, "--path", "refuse", *options, status=3).stdout)
    assert result["connected"] == 0
    assert sum(result["errors"].values()) == 3


def test_ctrl_c_ends_bench_with_what_it_has(url: str) -> None:
    with Terminal() as terminal:
        with Command("bench", "-n", "5", "-d", "60", url, stderr=terminal.inside) as command:
            terminal.read_until("messages/s")  # the progress bar
            command.interrupt()
            status, out, _ = command.end()
        assert status == 130
        assert "connected   5 of 5" in out
        assert re.search(r"messages +[\d,]+ in", out)


def test_plot_is_checked_before_the_load(url: str, tmp_path: Path) -> None:
    name = str(tmp_path / "plot.nothing")
    assert b"not a picture's name" in run("bench", url, "--plot", name, status=1).stderr
    program = "import sys; sys.modules['matplotlib'] = None; import runpy; sys.argv[0] = 'engineio'"
    program += "; runpy.run_module('engineio', run_name='__main__', alter_sys=False)"
    command = [sys.executable, "-c", program, "bench", url, "--plot", "plot.png"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert b"pip install matplotlib" in done.stderr
    assert b"Traceback" not in done.stderr


# -- by values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 世界", "plain é 世界"),
        ("\x1b[31m\x07\x9b", r"\x1b[31m\x07\x9b"),
        ("a\nb\tc\r", "a\nb\tc\\r"),
        ("\u202e\u2028\ud800", r"\u202e\u2028\ud800"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text, keep="\n\t") == shown


def test_a_note_is_one_line() -> None:
    assert printable("a\nb") == r"a\nb"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0000421, "0.042 ms"), (0.00123, "1.23 ms"), (0.0456, "45.6 ms"), (1.2345, "1,234 ms")],
)
def test_milliseconds(seconds: float, shown: str) -> None:
    assert milliseconds(seconds) == shown


def test_statistics() -> None:
    values = [0.001, 0.004, 0.0025, 0.1]
    found = Statistics()
    for value in values:
        found.add(value)
    assert (found.received, found.least, found.most) == (4, 0.001, 0.1)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.deviation == pytest.approx(statistics.pstdev(values))


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x00\r\n")
    assert parse_line(b"text\r") == "text"
    assert parse_line(b"@@text") == "@text"
    assert parse_line(f"@{tmp_path / 'file'}".encode()) == b"\x00\r\n"
    for bad in (b"@", b"@/nothing", b"@\x00", b"\xff"):
        with pytest.raises(Failure):
            parse_line(bad)


def test_summary_and_histogram() -> None:
    values = [number / 1000 for number in range(1, 101)]
    assert summary(reversed(values)) == {
        "min": 0.001,
        "p50": 0.051,
        "p90": 0.09,
        "p99": 0.099,
        "max": 0.1,
    }
    assert (summary([]), histogram([], 80, "#")) == ({}, [])
    bars = histogram([0.0015, 0.0015, 0.03], 80, "#")
    assert [re.sub("#+", "#", " ".join(bar.split())) for bar in bars] == [
        "under 2.00 ms 2 #",
        "under 5.00 ms 0",
        "under 10.0 ms 0",
        "under 20.0 ms 0",
        "under 50.0 ms 1 #",
    ]
    assert len(bars[0]) <= 80
    assert bars[0].count("#") == 2 * bars[-1].count("#")
