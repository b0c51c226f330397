"""What a hostile case is, and what is checked after each: the answer, its time, and the server.

A case is a function that attacks a `Target`.  It raises AssertionError for a wrong answer; a read
that waits in vain raises TimeoutError.  The `Runner` looks at everything else: other clients go on,
nothing is left behind, the log has little and only what a log may have.

The same cases can be pointed at `/floor/`, a plain echo under the same web server: what fails there
too is that server's own.
"""

import contextlib
import json
import re
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import rigs
import wire

# Each of these is one line of rigs.Spec that a case may need.
Needs = tuple[str, ...]

CRASH, HANG, LEAK, WRONG, LOG, OTHERS = "crash", "hang", "leak", "wrong", "log", "others"
KINDS = (CRASH, HANG, LEAK, WRONG, LOG, OTHERS)

ATTEMPTS = 3  # a machine may stall once; what is slow each time is slow
MOST_LINE = 300  # characters of a line in the log, without what logging puts before it
FORMAT = re.compile(r"LOG \w+ [\w.]+: ")
THEIR_LINES = 3  # for a request: of what was wrong, the request, and its answer
OUR_LINE = re.compile(r"LOG \w+ engineio\b")
ROUNDS = 3  # of a family, when its memory is looked at
MEMORY_SHARE, MEMORY_BYTES = 0.05, 2_000_000  # that may be more after the last round

MESSAGES = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    5: "Unsupported protocol version",
}
BAD_ORIGIN = "Not an accepted origin"


class Outcome(NamedTuple):
    """What a case may say besides that all is well."""

    # Seconds that the answer took, when the case does other things that take long.
    seconds: float | None = None


Attack = Callable[["Target"], "Outcome | None"]
AttackWith = Callable[["Target", Any], "Outcome | None"]


@dataclass(frozen=True)
class Case:
    """One attack."""

    family: str
    name: str
    attack: Attack
    # Seconds in which it has to be over.
    limit: float = 1.0
    # It needs WebSocket.
    websocket: bool = False
    # Lines that the log may get from us.
    lines: int = 1
    # How many requests the web server may have something to say about.
    requests: int = 1
    # What the answers through `Target.request` and `raw` may be; None: anything below 500.
    statuses: tuple[int, ...] | None = None
    # The set of options, one of SERVERS in contract_common.py.
    server: str = "engine.io"
    # It says something about the web server alone.
    floor: bool = False
    # Features of the server, see rigs.Spec.
    needs: Needs = ()

    @property
    def is_long(self) -> bool:
        """Whether it needs more than a second."""
        return self.limit > 1.0

    @property
    def key(self) -> str:
        return f"{self.family}.{self.name}"

    def applies(self, spec: rigs.Spec, floor: bool = False) -> bool:
        """Whether it says something about a server."""
        if self.websocket and not spec.websocket:
            return False
        if floor and (not self.floor or (self.websocket and spec.own_frames)):
            return False  # where we read the frames, the floor has no WebSocket
        return all(getattr(spec, feature) for feature in self.needs)


CASES: dict[str, Case] = {}


def case(family: str, name: str | None = None, **options: Any) -> Callable[[Attack], Attack]:
    """Register an attack; the options are Case's.  By default the name is the function's."""

    def register(attack: Attack) -> Attack:
        _add(Case(family, name or _words(attack), attack, **options))
        return attack

    return register


def variants(
    family: str, values: Mapping[str, Any] | Iterable[Any], name: str | None = None, **options: Any
) -> Callable[[AttackWith], AttackWith]:
    """Register an attack once for each value, which it gets as its second argument."""
    named = values if isinstance(values, Mapping) else {_short(value): value for value in values}

    def register(attack: AttackWith) -> AttackWith:
        for key, value in named.items():
            _add(Case(family, f"{name or _words(attack)}: {key}", _bind(attack, value), **options))
        return attack

    return register


def _bind(attack: AttackWith, value: Any) -> Attack:
    return lambda target: attack(target, value)


def _add(new: Case) -> None:
    assert new.key not in CASES, f"{new.key} is there twice"
    CASES[new.key] = new


def _words(function: Callable[..., Any]) -> str:
    return function.__name__.replace("_", " ")


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    text = text if text.isprintable() and text.isascii() else ascii(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)})"


class Target:
    """The server under attack, as a case sees it."""

    limit = 1_000_000  # its max_http_buffer_size in bytes

    def __init__(self, server: rigs.Server, is_floor: bool = False) -> None:
        self.server = server
        self.spec = server.spec
        self.address = server.endpoint.address
        # No Engine.IO is behind it: it answers a GET without a sid with an OPEN packet, any other
        # at once with a noop, and a POST with "ok".
        self.is_floor = is_floor
        self.endpoint = wire.Endpoint(self.address, "/floor/") if is_floor else server.endpoint
        self.responses: list[wire.Response] = []

    # What can be sent

    def polling(self, headers: wire.Headers | None = None, **query: str) -> wire.Polling:
        """A new session over polling."""
        return wire.Polling(self.endpoint, query, headers)

    def websocket(self, headers: wire.Headers | None = None, **query: str) -> wire.EngineWebSocket:
        """A new session over a WebSocket."""
        return wire.EngineWebSocket(self.endpoint, query, headers)

    def request(
        self,
        method: str,
        query: wire.Query | str | None = None,
        headers: wire.Headers | None = None,
        body: bytes | None = None,
    ) -> wire.Response:
        """One request.  A query given as text is sent as it is."""
        target = self.target(query)
        return self._seen(wire.request(self.address, method, target, headers, body))

    def target(self, query: wire.Query | str | None = None) -> str:
        """The path, with a query; as it is, if it is text."""
        if isinstance(query, str):
            return f"{self.endpoint.path}?{query}"
        return self.endpoint.target(query)

    def raw(self, data: bytes) -> wire.Response:
        """The answer to these bytes on a connection of their own; EOFError: it ended without."""
        connection = self.connect()
        try:
            # A server may answer and close before it has everything.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(data)
            return self._seen(connection.read_response())
        finally:
            connection.close()

    def answer(self, data: bytes) -> wire.Response | None:
        """As `raw`; None when the connection ended without an answer."""
        try:
            return self.raw(data)
        except (EOFError, ConnectionResetError):
            return None

    def connect(self) -> wire.HTTPConnection:
        """A connection on which nothing has been sent."""
        return wire.HTTPConnection(self.address)

    def _seen(self, response: wire.Response) -> wire.Response:
        self.responses.append(response)
        return response

    # What has to come of it

    def refused(
        self, response: wire.Response, code: int | None = None, message: str | None = None
    ) -> None:
        """A refusal: ours with that code, or with None anybody's."""
        if self.is_floor:
            return
        if response.status == 403 and not self.spec.refusal:
            return  # all that such a server says of a WebSocket
        assert 400 <= response.status < 500 or response.status in (501, 505), response
        if code is not None:
            assert response.status == 400, response
            assert response.json() == {"code": code, "message": message or MESSAGES[code]}, response

    def ours(self, response: wire.Response, status: int) -> None:
        """An answer with that status, which the floor gives otherwise."""
        assert self.is_floor or response.status == status, response

    def closed(self, websocket: wire.WebSocket, *codes: int) -> None:
        """The server closes the WebSocket with one of the codes, and the connection.

        Where it is the server that reads the frames, it may also end it without a code.
        """
        if self.spec.own_frames and not self.is_floor:
            code = websocket.answer_close()
            assert code in codes, code
            return
        with contextlib.suppress(EOFError, ConnectionError):
            while (got := websocket.read_frame()).opcode != wire.CLOSE:
                pass
            if codes and got.payload:
                code = struct.unpack("!H", got.payload[:2])[0]
                assert code in codes, code
            websocket.send(wire.frame(wire.CLOSE, got.payload[:2]))
            websocket.read_to_eof()

    def gone(self, stream: wire.Stream) -> None:
        """The server ends the connection without an answer."""
        try:
            rest = stream.read_to_eof()
        except ConnectionResetError:
            return
        assert rest == b"", rest[:200]

    def reason(self, sid: str, *reasons: str) -> None:
        """The session has ended, once, for one of the reasons."""
        if self.is_floor:
            return
        self.server.wait(sid, "disconnect")
        ends = [event for event in self.server.events(sid) if event[0] == "disconnect"]
        assert ends in [[["disconnect", reason]] for reason in reasons], ends

    def alive(self, session: wire.Polling) -> None:
        """The session still answers over polling."""
        if not self.is_floor:
            self.server.assert_alive(session)


class Witness:
    """Clients that have nothing to do with the attacks, and must not notice them."""

    def __init__(self, server: rigs.Server) -> None:
        self._number = 0
        self._polling = server.polling()
        self._websocket = server.websocket() if server.spec.websocket else None

    @property
    def streams(self) -> set[wire.Stream]:
        return {self._websocket} if self._websocket else set()

    @property
    def sids(self) -> set[str]:
        sids = {self._polling.sid}
        return sids | {self._websocket.sid} if self._websocket else sids

    def look(self) -> None:
        """Have something echoed."""
        self._number += 1
        packet = f"4witness-{self._number}"
        self._polling.send(packet)
        received: list[str] = []
        while packet not in received:
            received = self._polling.poll()
            if "2" in received:
                self._polling.send("3")
        if self._websocket:
            self._websocket.send_text(packet)
            while (got := self._websocket.read_frame()).payload != packet.encode():
                # Some servers send pings of their own.
                assert got.opcode == wire.PING or got.payload == b"2", got
                answer = wire.text_frame("3") if got.payload == b"2" else b""
                self._websocket.send(answer or wire.frame(wire.PONG, got.payload))

    def leave(self) -> None:
        self._polling.send("1")
        if self._websocket:
            self._websocket.send_text("1")
            self._websocket.close()


class Result(NamedTuple):
    """How a case ended.  `kind` is one of KINDS, or nothing."""

    case: str
    kind: str
    note: str
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.kind


@dataclass
class Runner:
    """Plays cases on a rig that runs, and looks after it."""

    rig: rigs.Rig
    is_floor: bool = False
    tell: Callable[[Result], None] = lambda result: None
    # So many times its limit each case may take: who looks for mistakes on a busy machine does not
    # measure.
    patience: float = 1.0
    _cases: list[Case] = field(default_factory=list)
    _witness: Witness | None = None
    _baseline: dict[str, int] = field(default_factory=dict)
    _pid: int = 0
    _read_to: int = 0

    def play(self, cases: Iterable[Case], rounds: int = ROUNDS) -> list[Result]:
        """Play the cases of one family; with several rounds, its memory is looked at too."""
        cases = [each for each in cases if each.applies(self.rig.spec, self.is_floor)]
        results = []
        self._cases = cases
        self._prepare()
        try:
            for each in cases:
                results.append(self._play_one(each))
                self.tell(results[-1])
            if rounds > 1 and cases:
                results.append(self._memory(cases, {r.case for r in results if r.passed}, rounds))
                self.tell(results[-1])
        finally:
            self._leave()
        return results

    # One case

    def _play_one(self, each: Case) -> Result:
        self.rig.control("start_afresh")
        self._log_lines()
        try:
            seconds = self._attack(each)
            problem = None
        except (AssertionError, OSError, EOFError, ValueError, wire.Refused) as error:
            seconds, problem = 0.0, _judge(error)
        try:
            found = self._clean_up(each)
        except (OSError, EOFError, AssertionError) as error:
            said = self.rig.log()[-300:]
            self._restart()
            return Result(each.key, CRASH, f"the server is gone: {error!r}; {said}", seconds)
        kind, note = problem or found or ("", "")
        return Result(each.key, kind, note, seconds)

    def _attack(self, each: Case) -> float:
        """Returns the seconds its answer took; TimeoutError: more than its limit, each time."""
        for attempt in range(ATTEMPTS):
            target = self._target(each)
            start = time.monotonic()
            try:
                outcome = each.attack(target)
            except TimeoutError:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            seconds = time.monotonic() - start
            if outcome is not None and outcome.seconds is not None:
                seconds = outcome.seconds
            _check_statuses(each, target.responses)
            if seconds <= each.limit * self.patience:
                return seconds
        raise TimeoutError(f"took {seconds:.2f} s, {ATTEMPTS} times")

    def _target(self, each: Case) -> Target:
        return Target(self.rig.server(each.server), self.is_floor)

    def _clean_up(self, each: Case) -> tuple[str, str] | None:
        """End what the case left open; returns what the server still holds, or said."""
        assert self._witness is not None
        wire.close_all(self._witness.streams)
        try:
            self._witness.look()
        except (AssertionError, OSError, EOFError) as error:
            assert self.rig.is_running, "it has ended"
            assert self.rig.control("pid") == self._pid, "the process has ended, there is another"
            self._restart()
            return OTHERS, f"another client was disturbed: {error!r}"
        left = self._wait_until_clean()
        lines = self._log_lines()
        if left:
            return LEAK, left
        return _check_log(lines, each.lines, THEIR_LINES * max(each.lines, each.requests))

    def _wait_until_clean(self) -> str:
        """Returns what did not go away."""
        self._end_sessions()
        deadline = time.monotonic() + rigs.WAIT + self.rig.spec.lingers
        while leaked := rigs.settings_of(self.rig.control("counts"), self._baseline):
            if time.monotonic() > deadline:
                had, self._baseline = self._baseline, self.rig.control("counts")
                names = {what: self.rig.control(what) for what in ("threads", "tasks", "files")}
                return f"{leaked}, had {had}; {names}"
            time.sleep(0.02)
            if self.rig.spec.litters:
                self.rig.control("collect_garbage")
            self._end_sessions()
        return ""

    def _end_sessions(self) -> None:
        """A session that polls is there until somebody says that it ends."""
        assert self._witness is not None
        for name, sid in self.rig.control("sids"):
            if sid not in self._witness.sids:
                endpoint = self.rig.server(name).endpoint
                endpoint.request("POST", wire.polling_query(sid), None, b"1")

    def _log_lines(self) -> list[str]:
        """What the server wrote since the last look."""
        data = self.rig.log_bytes()
        new, self._read_to = data[self._read_to :], len(data)
        return [line for line in new.decode(errors="replace").split("\n") if line]

    # A family

    def _memory(self, cases: list[Case], passed: set[str], rounds: int) -> Result:
        """Play those that passed again and again, and see whether memory grows."""
        key = f"{cases[0].family}.memory"
        sizes = []
        start = time.monotonic()
        try:
            for number in range(rounds):
                if number:
                    for each in cases:
                        if each.key in passed:
                            self._play_again(each)
                self._wait_until_clean()
                self.rig.control("forget")
                sizes.append(self.rig.control("memory"))
        except (OSError, EOFError, AssertionError, wire.Refused) as error:
            self._restart()
            return Result(key, CRASH, f"in a later round: {error!r}", 0.0)
        finally:
            self._log_lines()
        seconds = time.monotonic() - start
        most = sizes[0] * (1 + MEMORY_SHARE) + MEMORY_BYTES
        if sizes[-1] > most:
            megabytes = ", ".join(f"{size / 1e6:.1f}" for size in sizes)
            return Result(key, LEAK, f"memory in MB: {megabytes}", seconds)
        return Result(key, "", "", seconds)

    def _play_again(self, each: Case) -> None:
        assert self._witness is not None
        with contextlib.suppress(TimeoutError):
            each.attack(self._target(each))
        wire.close_all(self._witness.streams)
        self._end_sessions()

    def _prepare(self) -> None:
        """Start everything that stays, and take what is there then for what has to be there."""
        if not self.rig.is_running:
            self.rig.start()
        for name in sorted({"engine.io", *(each.server for each in self._cases)}):
            self.rig.server(name)
        if self.rig.spec.serves_files:  # in a thread, perhaps, which stays
            wire.request(self.rig.address, "GET", "/static/launch.py")
        self._witness = Witness(self.rig.server())
        self._witness.look()
        self._pid = self.rig.control("pid")
        self._baseline = self._settled()
        self._read_to = len(self.rig.log_bytes())

    def _settled(self) -> dict[str, int]:
        deadline = time.monotonic() + rigs.WAIT
        seen: list[dict[str, int]] = []
        while time.monotonic() < deadline:
            seen.append(self.rig.control("counts"))
            if seen[-3:] == [seen[-1]] * 3:
                break
            time.sleep(0.03)
        return seen[-1]

    def _restart(self) -> None:
        wire.close_all()
        self.rig.stop()
        self._prepare()

    def _leave(self) -> None:
        if self._witness is not None:
            with contextlib.suppress(OSError, EOFError, AssertionError):
                self._witness.leave()
        wire.close_all()
        self.rig.skip_log()


def _judge(error: Exception) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return HANG, str(error)
    text = f"{type(error).__name__}: {error}"
    return (CRASH if "status=500" in text else WRONG), text[:500]


def _check_statuses(each: Case, responses: list[wire.Response]) -> None:
    for response in responses:
        if each.statuses is not None:
            assert response.status in each.statuses, response
        else:
            assert response.status < 500 or response.status in (501, 505), response


def _check_log(lines: list[str], ours: int, theirs: int) -> tuple[str, str] | None:
    """What is wrong with what a server wrote: too many lines, or what is in them."""
    shown = json.dumps(lines)[:500]
    for number, line in enumerate(lines):
        if line.startswith("Traceback"):
            return LOG, f"a traceback: {json.dumps(lines[number:])[:500]}"
    found = sum(OUR_LINE.match(line) is not None for line in lines)
    if found > ours or len(lines) - found > theirs:
        return LOG, f"{len(lines)} lines: {shown}"
    for line in lines:
        if len(FORMAT.sub("", line)) > MOST_LINE:
            return LOG, f"{len(line)} characters: {shown}"
        if any(is_control(character) for character in line):
            return LOG, f"control characters: {shown}"
    return None


def is_control(character: str) -> bool:
    """Whether a terminal or a reader of logs may take it for something else than text."""
    number = ord(character)
    return number < 32 or 127 <= number < 160 or character in "\u2028\u2029"


def families() -> dict[str, list[Case]]:
    """The cases by family, in the order they were registered."""
    found: dict[str, list[Case]] = {}
    for each in CASES.values():
        found.setdefault(each.family, []).append(each)
    return found
