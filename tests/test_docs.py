"""The site builds without a warning, and the code in the documentation works.

For writers: the code blocks of each page (docs/*.md, README.md) are tried in a folder of their own.

    ```python       A block that imports engineio or names its file in the first line (`# app.py`)
                    is a program.  It is run, and if it leaves an `app` or `application`, served.
                    Clients connect, send all kinds of messages and go, and nothing alarming may be
                    printed meanwhile.
                    A program that makes a Client talks to a server that sends everything back and,
                    soon after the first message, says goodbye; then the program must end.
                    Any other block goes on from what is above it, as if it stood in the same file.
    ```sh           Web servers are started in that folder, and clients connect; an `app.py` and
                    a `main.py` (for asyncio) are there if the page has none above.  Of other
                    commands the names are checked: extras, make targets, options.
    ```js           Run by Node, against that server that sends everything back; must end.
    ```html         The same for the script in it, with a stand-in for the page.  Saved under the
                    name in its first line (`<!-- index.html -->`).
    anything else   Not looked at.

The ports 5000 to 5002 and 8000 are replaced by free ones.  `python not-run` and `sh not-run` are
for what cannot be tried here; such Python must still compile.
"""

import ast
import configparser
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

import engineio
import rigs
import wire
from engineio.settings import NEW_OPTIONS, Settings
from environments import ROOT, environment

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")

PATIENCE = 60.0  # seconds; what is started here takes two
ALARMING = re.compile(r"Traceback|(?<!Deprecation)Warning|handler error|\berror\b", re.IGNORECASE)
PORTS = re.compile(r"\b(5000|5001|5002|8000)\b")

# What a page's connect handler wants to see.
CREDENTIALS = {"security.md": {"Authorization": "Bearer alice:correct horse battery staple"}}

SERVE = """
import inspect
import runpy
import sys

names = runpy.run_path(sys.argv[1], run_name="__main__")
app = names.get("app") or names.get("application")
port = int(sys.argv[2])
if app is None:
    pass
elif type(app).__module__.startswith("aiohttp."):
    from aiohttp import web

    web.run_app(app, port=port)
elif inspect.iscoroutinefunction(type(app).__call__):
    import uvicorn

    uvicorn.run(app, port=port, log_level="warning")
elif names["eio"].async_mode == "eventlet":
    from eventlet import listen, wsgi

    wsgi.server(listen(("127.0.0.1", port)), app, log_output=False)
elif names["eio"].async_mode == "gevent":
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", port), app, log=None).serve_forever()
else:
    import logging
    from werkzeug.serving import run_simple

    logging.getLogger("werkzeug").setLevel("ERROR")
    run_simple("127.0.0.1", port, app, threaded=True)
"""

ECHO = """
import engineio

eio = engineio.Server(async_mode="threading", cors_allowed_origins="*")
app = engineio.WSGIApp(eio)


@eio.on("connect")
def connect(sid, environ):
    eio.start_background_task(say_goodbye, sid, 10)


@eio.on("message")
def message(sid, data):
    eio.send(sid, data)
    eio.start_background_task(say_goodbye, sid, 2)


def say_goodbye(sid, seconds):
    eio.sleep(seconds)
    eio.disconnect(sid)
"""

FILES = {
    "app.py": """
import engineio

eio = engineio.Server()
app = engineio.WSGIApp(eio)
""",
    "main.py": """
import engineio

eio = engineio.AsyncServer(async_mode="asgi")
app = engineio.ASGIApp(eio)
""",
}

# How a web server is told its port, if the line does not say it.
SERVERS = {
    "gunicorn": "-b 127.0.0.1:{port}",
    "uvicorn": "--port {port}",
    "hypercorn": "-b 127.0.0.1:{port}",
    "daphne": "-p {port}",
    "granian": "--port {port}",
    "flask": "--port {port}",
    "uwsgi": "",
}
COMMANDS = {*SERVERS, "cd", "curl", "echo", "engineio", "make", "npm", "pip", "python"}
SHELL = ("sh", "bash", "shell", "console")


ENVIRON = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "GUNICORN_CMD_ARGS": "--no-control-socket",  # it is in the home folder, one for all
}


@dataclass(frozen=True)
class Block:
    """A fenced or indented code block."""

    page: Path
    line: int
    language: str
    flags: tuple[str, ...]
    code: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        return "not-run" not in self.flags

    @property
    def is_program(self) -> bool:
        imports = re.search(r"^(import|from) engineio\b", self.code, re.MULTILINE)
        return bool(imports or self.filename)

    @property
    def filename(self) -> str | None:
        named = re.match(r"(?:# |<!-- )([\w.-]+\.\w+)(?: -->)?\n", self.code)
        return named[1] if named else None


def blocks_of(page: Path) -> list[Block]:
    """The code blocks of a page, from top to bottom."""
    blocks = []
    lines = page.read_text().splitlines()
    position = 0
    while position < len(lines):
        line = lines[position]
        start = position + 1
        if fence := re.match(r"( *)(```+)(.*)", line):
            indent, marks, info = fence.groups()
            position = start
            while not lines[position].strip().startswith(marks):
                position += 1
            words = info.split() or [""]
            code = [each.removeprefix(indent) for each in lines[start:position]]
            blocks.append(Block(page, start, words[0], tuple(words[1:]), "\n".join(code) + "\n"))
        elif line.startswith("    ") and not lines[position - 1].strip():
            while position + 1 < len(lines) and lines[position + 1].startswith("    "):
                position += 1
            shown = "".join(f"{each.strip()}\n" for each in lines[start - 1 : position + 1])
            # Shell, unless it is a picture, or the second paragraph of a list.
            if shown.startswith("$ "):
                blocks.append(Block(page, start, "console", (), shown))
            elif all(each.split()[0] in COMMANDS for each in shown.splitlines()):
                blocks.append(Block(page, start, "sh", (), shown))
        position += 1
    return blocks


@dataclass(frozen=True)
class Run:
    """Something to start: a Python program, or a shell command in a folder with files."""

    block: Block
    command: str  # "" for Python
    files: dict[str, str]
    code: str = ""

    def __str__(self) -> str:
        return f"{self.block} {self.command}".strip()


def runs_of(page: Path) -> list[Run]:
    """What is to be started of a page."""
    runs: list[Run] = []
    files = FILES
    for block, source in sources_of(page):
        runs.append(Run(block, "", {}, source))
    for block in blocks_of(page):
        if block.filename:
            files = {**files, block.filename: block.code}
        if block.language in SHELL and block.is_run:
            servers = [command for command in commands_of(block) if name_of(command) in SERVERS]
            runs += [Run(block, command, files) for command in servers]
    return runs


def sources_of(page: Path) -> list[tuple[Block, str]]:
    """The Python programs of a page, with the blocks that go on from them."""
    blocks = [block for block in blocks_of(page) if block.language == "python" and block.is_run]
    sources: list[tuple[Block, str]] = []
    source = ""
    for block, following in zip_longest(blocks, blocks[1:]):
        if block.is_program:
            source = block.code
        else:
            assert source, f"{block}: no program stands above it"
            source += f"\n\n# {block}\n{block.code if is_plain(block) else in_function(block.code)}"
        # The handlers of each block are called; what else goes on is run once.
        is_last = following is None or following.is_program
        if block.is_program or is_last or ".on(" in block.code:
            sources.append((block, source))
    return sources


def is_plain(block: Block) -> bool:
    """Whether a block has no await outside of a function."""
    try:
        compile(block.code, str(block), "exec")
    except SyntaxError:
        return False
    return True


def in_function(code: str) -> str:
    return "async def fragment():\n" + textwrap.indent(code, "    ")


def commands_of(block: Block) -> list[str]:
    """The commands of a shell block, without comments and what they print."""
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if shlex.split(line, comments=True)]


def name_of(command: str) -> str:
    return shlex.split(command, comments=True)[0]


class Process:
    """A child process in a folder, with ports of its own."""

    def __init__(self, run: Run, folder: Path, echo_port: int) -> None:
        self.run = run
        self.port = rigs.free_port()
        self.is_client = "Client(" in run.code
        ports: dict[str, int] = {}

        def replace(found: "re.Match[str]") -> str:
            if self.is_client:
                return str(echo_port)
            # The clients use the first; what else is named only must not be taken.
            port = ports.setdefault(found[0], rigs.free_port() if ports else self.port)
            return str(port)

        command = self._command(PORTS.sub(replace, run.command), bool(PORTS.search(run.command)))
        code = PORTS.sub(replace, run.code)
        folder.mkdir()
        for name, text in run.files.items():
            (folder / name).write_text(PORTS.sub(replace, text))
        (folder / "block.py").write_text(code)
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                command,
                cwd=folder,
                env=ENVIRON,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _command(self, command: str, has_port: bool) -> list[str]:
        if not command:
            return [sys.executable, "-c", SERVE, "block.py", str(self.port)]
        words = shlex.split(command)
        return words if has_port else [*words, *SERVERS[words[0]].format(port=self.port).split()]

    def wait(self) -> bool:
        """Wait until it listens or ends.  Tells whether it listens."""
        end = time.monotonic() + PATIENCE
        while self.popen.poll() is None:
            if not self.is_client and answers(self.port):
                return True
            assert time.monotonic() < end, f"{self.run}: neither listens nor ends\n{self.text()}"
            time.sleep(0.05)
        return False

    def text(self) -> str:
        return self.log.read_text()

    def stop(self) -> None:
        """End it and everything it has started."""
        for how in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(self.popen.pid, how)
                self.popen.wait(PATIENCE / 3)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.popen.wait()


def answers(port: int) -> bool:
    try:
        wire.request(("127.0.0.1", port), "GET", "/")
    except (OSError, EOFError):
        return False
    return True


def talk(run: Run, port: int) -> None:
    """Be a client over polling and one over WebSocket, with all kinds of messages."""
    # What stands last is what is served.
    *_, last = re.split(r"WSGIApp\(|ASGIApp\(|attach\(", run.code)
    path = re.search(r'^.*engineio_path="([\w/]+)"', last)
    endpoint = wire.Endpoint(("127.0.0.1", port), f"/{path[1]}/" if path else "/engine.io/")
    headers = CREDENTIALS.get(run.block.page.name)
    if headers:
        assert endpoint.request("GET", wire.polling_query()).status == 401
    polling = wire.Polling(endpoint, headers=headers)
    polling.send("4hello", '4{"a":[1,true,null]}', "4", "4-1", "bAAEC")
    polling.send("1")
    if polling.opening["upgrades"]:
        headers = {**wire.websocket_headers(), **(headers or {})}
        websocket = wire.EngineWebSocket(endpoint, headers=headers)
        websocket.send_text("4hello", "4[]")
        websocket.send_binary(b"\x00\x01")
        websocket.send_text("1")
        while websocket.read_frame().opcode != wire.CLOSE:
            pass
        websocket.close()


@pytest.fixture(scope="module")
def echo_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that sends everything back."""
    block = Block(ROOT / "echo", 1, "python", (), ECHO)
    process = Process(Run(block, "", {}, ECHO), tmp_path_factory.mktemp("echo") / "run", 0)
    assert process.wait(), process.text()
    yield process.port
    process.stop()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page: Path, tmp_path: Path, echo_port: int) -> None:
    def check(numbered: tuple[int, Run]) -> str | None:
        number, run = numbered
        process = Process(run, tmp_path / str(number), echo_port)
        try:
            if process.wait():
                talk(run, process.port)
            else:
                assert process.popen.returncode == 0, "it failed"
                assert process.is_client or not run.command, "it is no server any more"
            assert not ALARMING.search(process.text())
        except Exception as error:  # of any of them; all are reported
            return f"{run}: {error!r}\n{process.text()}"
        finally:
            process.stop()
        return None

    with ThreadPoolExecutor(3) as pool:
        failures = list(filter(None, pool.map(check, enumerate(runs_of(page)))))
    wire.close_all()
    assert not failures, "\n\n".join(failures)


CDN = "https://cdn.jsdelivr.net/npm/engine.io-client@6/"
NODE_MODULES = ROOT / "tests" / "javascript" / "node_modules"

# Enough of a browser for a script that connects to its own server and shows text in elements.
BROWSER = """
globalThis.location = {{ protocol: "http:", hostname: "localhost", port: "{port}" }};
const elements = {{}};
globalThis.document = {{
  getElementById: (id) => (elements[id] ??= {{ textContent: "" }}),
}};
process.on("exit", () => console.log(elements));
"""


SCRIPTS = [
    block
    for page in PAGES
    for block in blocks_of(page)
    if block.is_run and (block.language == "js" or "<script" in block.code)
]


@pytest.mark.skipif(not (NODE_MODULES / ".installed").exists(), reason="needs npm's packages")
@pytest.mark.parametrize("block", SCRIPTS, ids=str)
def test_javascript_runs(block: Block, tmp_path: Path, echo_port: int) -> None:
    code = PORTS.sub(str(echo_port), block.code)
    if block.language == "html":
        [script] = re.findall(r"<script type=\"module\">\n(.*?)</script>", code, re.DOTALL)
        # The bundle for browsers is there, and the code in it is that of the package.
        [bundle] = re.findall(rf'"{CDN}(.+?)"', script)
        assert (NODE_MODULES / "engine.io-client" / bundle).exists()
        (tmp_path / "browser.mjs").write_text(BROWSER.format(port=echo_port))
        code = 'import "./browser.mjs";\n' + script.replace(CDN + bundle, "engine.io-client")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "block.mjs").write_text(code)
    done = subprocess.run(
        ["node", "block.mjs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hello" in done.stdout
    assert done.stderr == ""


PYTHON_BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.language == "python"]


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.code, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_python_has_the_right_types(tmp_path: Path) -> None:
    """Handlers that no client reaches are checked as well."""
    for page in PAGES:
        for block, source in sources_of(page):
            (tmp_path / f"{page.stem.replace('-', '_')}_{block.line}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=E9,F", "--ignore=F811"]
    mypy = [
        *(sys.executable, "-m", "mypy", "--check-untyped-defs", "--config-file=/dev/null"),
        *("--ignore-missing-imports", "--disable-error-code=no-redef", "--no-error-summary"),
        *("--disable-error-code=import-untyped", "--disable-error-code=method-assign"),
        f"--cache-dir={ROOT / '.mypy_cache' / 'docs'}",
    ]
    for command in (ruff, mypy):
        done = subprocess.run(
            [*command, str(tmp_path)],
            cwd=tmp_path,
            env={**os.environ, "MYPYPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


SHELL_COMMANDS = [
    pytest.param(command, id=f"{block} {command}")
    for page in PAGES
    for block in blocks_of(page)
    if block.language in SHELL and block.is_run
    for command in commands_of(block)
]


@pytest.mark.parametrize("command", SHELL_COMMANDS)
def test_commands_name_what_there_is(command: str) -> None:
    name, *words = shlex.split(command, comments=True)
    assert name in COMMANDS, "mark the block `sh not-run`, or teach this test what it is"
    if name == "pip":
        for word in words:
            for extra in re.findall(r"python-engineio\[([\w,-]+)\]", word):
                assert set(extra.split(",")) <= set(CONFIG["options.extras_require"])
    elif name == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(targets)
    elif name == "npm":
        dependencies = json.loads((ROOT / "tests" / "javascript" / "package.json").read_text())
        named = {word for word in words[1:] if not word.startswith("-")}
        assert named <= set(dependencies["devDependencies"])
    elif name == "python" and words[0] != "-m":
        assert (ROOT / words[0]).exists()
    for subcommand, arguments in re.findall(r"\bengineio (\w+) ([^|>]*)", command):
        known = cli_help(subcommand)
        for option in re.findall(r"(?<!\S)-[-\w]+", arguments):
            assert re.search(rf"(?<![-\w]){option}(?![-\w])", known), f"{subcommand} {option}"


@cache
def cli_help(subcommand: str) -> str:
    command = [sys.executable, "-m", "engineio", subcommand, "--help"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout


# What `make docs` makes


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    requirements = CONFIG["options.extras_require"]["docs"].split("\n")
    python = environment("docs", *filter(None, requirements))
    site = tmp_path / "site"
    done = subprocess.run(
        [str(python), "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(site)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = {path.stem for path in site.glob("*.html")}
    assert {page.stem for page in PAGES[1:]} <= made
    reference = (site / "api.html").read_text()
    assert 'id="engineio.AsyncServer.send"' in reference


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text())
    files = [link for link in links if "://" not in link]
    assert files
    assert [link for link in files if not (ROOT / link).exists()] == []


def test_the_table_of_options_is_true() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| ", (DOCS / "server.md").read_text(), re.MULTILINE)
    told = {name: ast.literal_eval(default) for name, default in rows}
    signature = inspect.signature(engineio.Server).parameters
    true = {name: each.default for name, each in signature.items() if name != "kwargs"}
    settings = vars(Settings)
    true |= {name: settings[name] for name in NEW_OPTIONS}
    assert told == {**true, "client_manager": None}


def test_the_table_of_client_options_is_whole() -> None:
    page = (DOCS / "client.md").read_text()
    options = page[page.index("## Options") : page.index("## HTTP settings")]
    told = re.findall(r"^\| `(\w+)` \|", options, re.MULTILINE)
    for kind in (engineio.Client, engineio.AsyncClient):
        assert told == list(inspect.signature(kind).parameters)


# Methods without an underscore that only this package's own modules are to call.
INTERNAL = {
    "forget",
    *("find_connection", "handle_message", "log_fault", "log_packet", "plan_farewell", "wake_at"),
    *("driver", "loop"),
}


@pytest.mark.parametrize("name", ["Server", "AsyncServer", "Client", "AsyncClient"])
def test_the_reference_has_every_method(name: str) -> None:
    kind = getattr(engineio, name)
    text = (DOCS / "api.md").read_text()
    [part] = re.findall(rf"^\.\. autoclass:: {name}\n((?: .*\n|\n)*)", text, re.MULTILINE)
    named = set(re.findall(r"^   \.\. auto(?:method|property):: (\w+)", part, re.MULTILINE))
    methods = {
        name
        for name, value in inspect.getmembers(kind)
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }
    assert methods - INTERNAL <= named
    assert [name for name in named if not inspect.getdoc(getattr(kind, name))] == []


def test_the_reference_has_every_name_of_the_package() -> None:
    text = (DOCS / "api.md").read_text()
    named = set(re.findall(r"\.\. auto(?:class|function|module|data):: (?:engineio\.)?(\w+)", text))
    assert set(engineio.__all__) <= named
