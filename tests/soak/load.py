"""Thousands of clients of a soak run, in one process: they come, send, and leave in every way.

Started by run_soak.py; the one argument is JSON, see `main`.  What each client will do is drawn
from the seed and its number alone (`make_plan`), so a run can be repeated.  Lines of JSON go to
stdout: how a client ended, and the counts of each second.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import math
import random
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import wire

LIFE = 60.0  # seconds that a client may take beyond its own pauses
REUSE = 0.5  # seconds after which a server may be about to close a connection it was done with
MOST = 300_000  # bytes of a message
READ_LIMIT = 2**20
ARRIVALS = 200  # clients a second, at the beginning
COUNTED = ("clients", "connects", "sent", "received")

CLIENT, SERVER = "client disconnect", "server disconnect"
CLOSED, BROKEN, SILENT = "transport close", "transport error", "ping timeout"

# How a client may leave, how often, and the reasons that the server may then give.  A clean one has
# heard everything before.  Where a request of a client that polls breaks off, the server may see
# that or not: its answer may be on its way.
CLEAN = {"close", "frame", "leave"}
POLLING_ENDS: dict[str, tuple[int, set[str]]] = {
    "close": (45, {CLIENT}),
    "leave": (15, {SERVER}),
    "reset a poll": (12, {BROKEN, SILENT}),
    "reset a POST": (8, {BROKEN, SILENT}),
    "forget": (6, {SILENT}),
    "vanish": (6, {SILENT}),
    "reset the handshake": (4, {BROKEN, SILENT, CLOSED}),
}
WEBSOCKET_ENDS: dict[str, tuple[int, set[str]]] = {
    "close": (35, {CLIENT}),
    "frame": (15, {CLOSED}),
    "leave": (15, {SERVER}),
    "reset": (12, {CLOSED}),
    "reset in a frame": (6, {CLOSED}),
    "end": (8, {CLOSED}),
    "vanish": (5, {SILENT}),
    "reset the handshake": (4, {BROKEN, SILENT, CLOSED}),
}


class Trouble(Exception):  # noqa: N818 - what a client must not see
    """Something that is the server's fault."""


class BrokenError(Trouble, OSError):
    """A connection ended before its time; some clients mean that to happen."""


class End(Exception):  # noqa: N818 - no error
    """The server has ended the connection."""


@dataclass(frozen=True)
class Message:
    """What a client sends, and gets back."""

    number: int
    size: int
    is_binary: bool

    @property
    def data(self) -> str | bytes:
        text = f"{self.number} ".ljust(self.size, "abcdefghijklmnopqrstuvwxyz"[self.number % 26])
        return text.encode() if self.is_binary else text

    @property
    def packet(self) -> str:
        """As a packet of a polling payload, or of a text frame."""
        data = self.data
        return "b" + base64.b64encode(data).decode() if isinstance(data, bytes) else "4" + data


@dataclass(frozen=True)
class Step:
    """Wait, then send these; `waits` tells the server's handler to wait too."""

    pause: float  # seconds
    messages: tuple[Message, ...]
    waits: bool


@dataclass(frozen=True)
class Plan:
    """What a client will do."""

    transport: str  # polling, websocket
    end: str
    steps: tuple[Step, ...]
    upgrades_at: int | None  # before which step
    # Before which step a WebSocket is begun and given up, and how.
    gives_up_at: int | None
    gives_up: str

    @property
    def reasons(self) -> set[str]:
        ends = WEBSOCKET_ENDS if self.ends_on_websocket else POLLING_ENDS
        return ends[self.end][1]

    @property
    def ends_on_websocket(self) -> bool:
        return self.transport == "websocket" or self.upgrades_at is not None


def make_plan(seed: int, number: int, pause: float, websocket: bool) -> Plan:
    """What the client of that number does; `pause`: seconds between its messages on average."""
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choice(("polling", "upgrade", "websocket")) if websocket else "polling"
    steps: list[Step] = []
    count = 0
    for _ in range(1 + int(chance.expovariate(1 / 8))):
        # Mostly small, at times as long as messages get; often alone, at times a burst.
        burst = 1 if chance.random() < 0.7 else chance.randint(2, 12)
        largest = MOST if chance.random() < 0.01 else 2000
        messages = []
        for _ in range(burst):
            count += 1
            size = int(math.exp(chance.uniform(1, math.log(largest))))
            messages.append(Message(count, size, chance.random() < 0.3))
        wait = 0.0 if chance.random() < 0.3 else chance.expovariate(1 / pause)
        steps.append(Step(min(wait, 5 * pause), tuple(messages), chance.random() < 0.1))
    upgrades_at = chance.randrange(len(steps)) if kind == "upgrade" else None
    gives_up_at = None
    if websocket and kind != "websocket" and chance.random() < 0.2:
        latest = len(steps) - 1 if upgrades_at is None else upgrades_at
        gives_up_at = chance.randint(0, latest)
    ends = POLLING_ENDS if kind == "polling" else WEBSOCKET_ENDS
    (end,) = chance.choices(list(ends), [often for often, _ in ends.values()])
    return Plan(
        "websocket" if kind == "websocket" else "polling",
        end,
        tuple(steps),
        upgrades_at,
        gives_up_at,
        chance.choice(("in silence", "with a FIN", "probed", "probed, with a FIN")),
    )


class Connection:
    """A TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.used = time.monotonic()
        self.answers = 0  # that have come

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read_head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of a response."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text[:-4].split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(first.split(" ", 2)[1]), headers

    async def read_body(self, headers: dict[str, str]) -> bytes:
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.read()
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with a TCP RST."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Load:
    """What all clients of this process share."""

    address: tuple[str, int]
    seed: int
    pause: float
    websocket: bool
    holds: float  # seconds that a client which vanished keeps its connections
    is_over: bool = False
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    holding: set["asyncio.Task[None]"] = field(default_factory=set)

    def say(self, **what: Any) -> None:
        print(json.dumps(what), flush=True)


class Http:
    """A connection for one request after the other."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self.connection: Connection | None = None
        self._is_free = False

    async def start(self, method: str, body: bytes | None = None, length: int = 0) -> Connection:
        """Send a request; with `length`, of a body that is longer than what is sent."""
        headers = {"Content-Length": str(length)} if length else None
        request = wire.request_bytes(method, self._client.target("polling"), headers, body)
        connection = self.connection
        age = time.monotonic() - connection.used if connection else 0.0
        if connection is None or not self._is_free or age > REUSE:
            if connection:
                connection.close()
            connection = self.connection = await self._client.open()
        self._is_free = False
        connection.send(request)
        return connection

    async def request(self, method: str, body: bytes | None = None) -> tuple[int, str]:
        connection = await self.start(method, body)
        try:
            status, headers = await connection.read_head()
            answer = await connection.read_body(headers)
        except (OSError, EOFError) as error:
            kind = type(error).__name__
            raise BrokenError(
                f"no answer to {method}, after {connection.answers} on this connection: {kind}"
            ) from error
        connection.answers += 1
        connection.used = time.monotonic()
        self._is_free = headers.get("connection", "").lower() != "close" and (
            "content-length" in headers or "transfer-encoding" in headers
        )
        if not self._is_free:
            connection.close()
            self.connection = None
        return status, answer.decode()


def place(task: "asyncio.Task[None]") -> str:
    """Where a task waits, outermost function first."""
    names = []
    waits: Any = task.get_coro()
    while hasattr(waits, "cr_frame") and waits.cr_frame is not None:
        names.append(f"{waits.__name__}:{waits.cr_frame.f_lineno}")
        waits = waits.cr_await
    return ">".join(names)


class Client:
    """One client, from its handshake to its end."""

    def __init__(self, load: Load, number: int) -> None:
        self.load = load
        self.number = number
        self.plan = make_plan(load.seed, number, load.pause, load.websocket)
        self.sid = ""
        self.doing = "its handshake"
        self.expected: deque[Message] = deque()
        self.waits = 0  # of the server's handlers that it has not heard of
        self.accepted = 0  # messages of which the server said that it has them
        self.told = 0
        self.first_cast = self.last_cast = 0
        self.sent = 0
        self.is_done = asyncio.Event()  # it has heard the last words of the server
        self.hears_all = asyncio.Event()  # none of the server's handlers waits for it
        self.hears_all.set()
        self.stops_polling = False
        self.has_stopped_polling = asyncio.Event()
        self.is_upgraded = asyncio.Event()
        self.listening: asyncio.Task[None] | None = None
        self.says_goodbye = False
        self.is_leaving = False
        self.polls = Http(self)
        self.posts = Http(self)
        self.post_lock = asyncio.Lock()
        self.websocket: Connection | None = None
        self.connections: list[Connection] = []

    # -- all of it

    async def run(self) -> None:
        """Live; what goes wrong is said, and raised nowhere."""
        problem = ""
        counts = self.load.counts
        counts["clients"] += 1
        pauses = sum(step.pause for step in self.plan.steps)
        tasks: list[asyncio.Task[None]] = []
        try:
            if self.plan.end == "reset the handshake":
                await self.break_off()
            else:
                await asyncio.wait_for(self.handshake(), LIFE)
                counts["connects"] += 1
                self.listening = asyncio.create_task(self.listen())
                tasks = [asyncio.create_task(self.act()), self.listening]
                done, pending = await asyncio.wait(
                    tasks, timeout=LIFE + pauses, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    if not task.cancelled():
                        task.result()
                if pending:
                    places = ", ".join(map(place, pending))
                    raise Trouble(f"nothing happens any more but in {places}")
        except Trouble as trouble:
            problem = str(trouble)
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            problem = f"{type(error).__name__}: {error}"
        except ValueError as error:
            problem = f"not what a server says: {error}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.plan.end == "vanish" and not problem:
            task = asyncio.create_task(self.hold())
            self.load.holding.add(task)
            task.add_done_callback(self.load.holding.discard)
        else:
            for connection in self.connections:
                connection.close()
        counts["clients"] -= 1
        self.load.say(
            client=self.number,
            sid=self.sid,
            end=self.plan.end,
            reasons=sorted(self.plan.reasons),
            accepted=self.accepted,
            problem=f"{problem}; {self.describe()}" if problem else "",
        )

    def describe(self) -> str:
        """Where it is, for a person who has to find out what went wrong."""
        path = self.plan.transport + (", upgraded" if self.is_upgraded.is_set() else "")
        waits = f"message {self.expected[0].number}" if self.expected else "no message"
        return (
            f"{path}, to end with {self.plan.end!r}, at {self.doing}: waits for {waits} of "
            f"{len(self.expected)}, {self.waits} slow ones, after {self.accepted} accepted"
        )

    async def hold(self) -> None:
        """Neither read nor answer, until the server has had the time to notice."""
        for connection in self.connections:
            with contextlib.suppress(RuntimeError):  # it has been closed
                connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(self.load.holds)
        for connection in self.connections:
            connection.close()

    def target(self, transport: str) -> str:
        sid = f"&sid={self.sid}" if self.sid else ""
        return f"/soak/?EIO=4&transport={transport}&client={self.number}{sid}"

    async def open(self) -> Connection:
        # No wait_for: before Python 3.12 a task that is cancelled in one may go on.
        opening = asyncio.open_connection(*self.load.address, limit=READ_LIMIT)
        connection = Connection(*await opening)
        self.connections = [one for one in self.connections if not one.writer.is_closing()]
        self.connections.append(connection)
        return connection

    async def open_websocket(self) -> Connection:
        connection = await self.open()
        request = wire.request_bytes("GET", self.target("websocket"), wire.websocket_headers())
        connection.send(request)
        status, _ = await connection.read_head()
        if status != 101:
            raise Trouble(f"its WebSocket was answered with {status}")
        return connection

    async def break_off(self) -> None:
        """Be gone before the handshake is answered."""
        connection = await self.open()
        if self.plan.transport == "websocket":
            headers = wire.websocket_headers()
            connection.send(wire.request_bytes("GET", self.target("websocket"), headers))
        else:
            connection.send(wire.request_bytes("GET", self.target("polling")))
        await asyncio.sleep(0 if self.number % 2 else 0.01)
        connection.reset()

    async def handshake(self) -> None:
        if self.plan.transport == "websocket":
            self.websocket = await self.open_websocket()
            _, payload = await self.read_frame(self.websocket)
            opening = payload.decode()
        else:
            status, opening = await self.polls.request("GET")
            if status != 200:
                raise Trouble(f"the handshake was answered with {status}: {opening[:100]}")
        self.sid = json.loads(opening[1:])["sid"]

    # -- what it does

    async def act(self) -> None:
        for position, step in enumerate(self.plan.steps):
            if self.load.is_over:
                break
            self.doing = f"step {position + 1} of {len(self.plan.steps)}"
            await asyncio.sleep(step.pause)
            if position == self.plan.gives_up_at:
                await self.give_up()
            if position == self.plan.upgrades_at:
                await self.upgrade(step)
            else:
                await self.send_step(step)
        if self.plan.upgrades_at is not None and not self.is_upgraded.is_set():
            await self.upgrade(Step(0, (), False))
        self.doing = "its end"
        await self.leave()

    async def send_step(self, step: Step) -> None:
        if not step.messages:
            return
        packets = [message.packet for message in step.messages]
        self.expected.extend(step.messages)
        self.sent += len(step.messages)
        if step.waits:
            self.waits += 1
            self.hears_all.clear()
            packets.insert(len(packets) // 2, "4wait")
        self.load.counts["sent"] += len(packets)
        if self.websocket is None:
            await self.post(packets)
            self.accepted += len(step.messages)
            return
        for packet in packets:
            if packet.startswith("b"):
                data = base64.b64decode(packet[1:])
                self.websocket.send(wire.frame(wire.BINARY, data))
            else:
                self.websocket.send(wire.text_frame(packet))
        await self.websocket.writer.drain()

    async def post(self, packets: list[str]) -> None:
        async with self.post_lock:
            status, body = await self.posts.request("POST", "\x1e".join(packets).encode())
        if (status, body) != (200, "ok"):
            raise Trouble(f"a POST was answered with {status} {body[:100]!r}")

    async def answer_ping(self) -> None:
        try:
            await self.post(["3"])
        except Trouble:
            if not self.says_goodbye:  # or the end of its session came first
                raise

    async def give_up(self) -> None:
        """Begin to upgrade, and have second thoughts."""
        self.doing += f", an upgrade given up {self.plan.gives_up}"
        websocket = await self.open_websocket()
        if "probed" in self.plan.gives_up:
            websocket.send(wire.text_frame("2probe"))
            await self.read_frame(websocket)
        if "FIN" in self.plan.gives_up:
            websocket.close()
        else:
            websocket.reset()

    async def upgrade(self, step: Step) -> None:
        """Upgrade, and POST that step's messages meanwhile."""
        self.doing += ", its upgrade"
        # The server may still be about to notice that the one before was given up.
        for _ in range(100):
            try:
                websocket = await self.open_websocket()
                break
            except Trouble:
                if self.plan.gives_up_at is None:
                    raise
            await asyncio.sleep(0.1)
        else:
            raise Trouble("it may not try again to upgrade")
        websocket.send(wire.text_frame("2probe"))
        await self.send_step(step)
        _, answer = await self.read_frame(websocket)
        if answer != b"3probe":
            raise Trouble(f"its probe was answered with {answer[:100]!r}")
        # The poll that waits ends soon, and no other is begun.
        self.stops_polling = True
        await self.has_stopped_polling.wait()
        websocket.send(wire.text_frame("5"))
        self.websocket = websocket
        self.is_upgraded.set()

    async def leave(self) -> None:
        end = self.plan.end
        if end in CLEAN:
            await self.say_goodbye("leave" if end == "leave" else "bye")
        self.is_leaving = True
        websocket = self.websocket
        if websocket is None:
            await self.leave_polling(end)
        elif end == "close":
            websocket.send(wire.text_frame("1"))
        elif end == "frame":
            websocket.send(wire.close_frame(1000))
        elif end != "leave":
            self.stop_listening()
            if end == "end":
                websocket.close()
            elif end == "reset":
                websocket.reset()
            elif end == "reset in a frame":
                websocket.send(wire.text_frame("4" + "x" * 500)[:100])
                await asyncio.sleep(0)
                websocket.reset()

    async def leave_polling(self, end: str) -> None:
        if end == "close":
            self.stops_polling = True
            await self.post(["1"])
        elif end == "reset a POST":
            async with self.post_lock:
                connection = await self.posts.start("POST", b"4never", 1000)
                await asyncio.sleep(0.01)
                self.stop_listening()
                connection.reset()
        elif end == "reset a poll":
            await asyncio.sleep(0.01)
            self.stop_listening()
            if self.polls.connection:
                self.polls.connection.reset()
        elif end == "forget":
            self.stops_polling = True
            await self.has_stopped_polling.wait()
            self.stop_listening()
        elif end == "vanish":
            self.stop_listening()

    async def say_goodbye(self, word: str) -> None:
        """Hear everything that the server has sent; `check_last_words` sees that it is complete."""
        await self.hears_all.wait()
        self.says_goodbye = True
        if self.websocket is None:
            await self.post([f"4{word}"])
        else:
            self.websocket.send(wire.text_frame(f"4{word}"))
        await self.is_done.wait()

    def stop_listening(self) -> None:
        assert self.listening is not None
        self.listening.cancel()

    # -- what it hears

    async def listen(self) -> None:
        """Read, on whatever transport, until the end that was planned."""
        try:
            if self.websocket is None:
                await self.poll()
                if self.is_leaving:
                    return
                await self.is_upgraded.wait()
            assert self.websocket is not None
            while True:
                opcode, payload = await self.read_frame(self.websocket)
                if opcode == wire.TEXT:
                    await self.take(payload.decode())
                else:
                    await self.take("b", payload)
        except End:
            pass
        except (OSError, EOFError):
            if not self.is_leaving:
                raise

    async def poll(self) -> None:
        """Poll until the upgrade or the end."""
        while not self.stops_polling:
            status, payload = await self.polls.request("GET")
            if status != 200:
                if self.is_leaving:
                    raise End
                raise Trouble(f"a poll was answered with {status}: {payload[:100]}")
            for packet in payload.split("\x1e"):
                await self.take(packet)
        self.has_stopped_polling.set()

    async def take(self, packet: str, binary: bytes | None = None) -> None:
        if packet == "1":
            if not self.is_leaving and self.plan.end != "leave":
                raise Trouble("the server ended the session")
            if self.websocket is None:
                raise End
        elif packet == "2":
            if self.websocket is None:
                await self.answer_ping()
            else:
                self.websocket.send(wire.text_frame("3"))
        elif packet.startswith("b"):
            self.hear(base64.b64decode(packet[1:]) if binary is None else binary)
        elif packet.startswith("4"):
            self.hear(packet[1:])
        elif packet != "6":
            raise Trouble(f"it got {packet[:100]!r}")

    def hear(self, data: str | bytes) -> None:
        """A message."""
        self.load.counts["received"] += 1
        if isinstance(data, bytes) or data[:1].isdigit():
            self.hear_echo(data)
        elif data == "waited":
            self.waits -= 1
            if not self.waits:
                self.hears_all.set()
        elif data.startswith("last "):
            self.check_last_words(*map(int, data.split()[1:]))
            self.is_done.set()
        elif data.startswith("s"):
            self.told += 1
            if data != f"s{self.told}":
                raise Trouble(f"the server sent {data} instead of s{self.told}")
        else:
            number = int(data[1:])
            if self.last_cast and number != self.last_cast + 1:
                raise Trouble(f"broadcast {number} came after {self.last_cast}")
            self.first_cast = self.first_cast or number
            self.last_cast = number

    def check_last_words(self, received: int, told: int, since: int, until: int) -> None:
        """Nothing may be missing of what the server has received and sent; see ledger.LAST."""
        if received != self.sent:
            raise Trouble(f"the server has {received} of {self.sent} messages")
        if self.expected:
            raise Trouble(f"message {self.expected[0].number} has not come back")
        if told != self.told:
            raise Trouble(f"the server sent {told} messages of its own, {self.told} came")
        first, last = self.first_cast, self.last_cast
        if until > since and not (0 < first <= since + 1 and last == until):
            raise Trouble(f"of the broadcasts {since + 1} to {until} came {first} to {last}")

    def hear_echo(self, data: str | bytes) -> None:
        if not self.expected:
            raise Trouble(f"it got {data[:20]!r} once more")
        expected = self.expected.popleft()
        if data != expected.data:
            raise Trouble(
                f"it got {data[:20]!r} of {len(data)} instead of message {expected.number}, "
                f"{expected.data[:20]!r} of {expected.size}"
            )

    async def read_frame(self, websocket: Connection) -> tuple[int, bytes]:
        """The next data frame, whole.  Raises End after a close frame."""
        reader = websocket.reader
        message = b""
        kind = 0
        while True:
            first, second = await reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await reader.readexactly(8))
            payload = await reader.readexactly(size)
            opcode = first & 15
            if opcode == wire.PING:
                websocket.send(wire.frame(wire.PONG, payload))
            elif opcode == wire.CLOSE:
                if self.is_leaving or self.plan.end == "leave":
                    websocket.send(wire.close_frame(1000))
                    raise End
                raise Trouble(f"the server closed the WebSocket: {payload!r}")
            else:
                kind = opcode or kind
                message += payload
                if first & 0x80:
                    return kind, message


async def come_and_go(load: Load, clients: int, numbers: Iterator[int], seconds: float) -> None:
    """Have so many clients at a time, for a while."""

    async def one_after_the_other(position: int) -> None:
        await asyncio.sleep(position / ARRIVALS)  # not all at the same moment
        while not load.is_over:
            await Client(load, next(numbers)).run()

    started = time.monotonic()
    workers = [asyncio.create_task(one_after_the_other(number)) for number in range(clients)]
    waiting = asyncio.gather(*workers)
    second = 0
    while not waiting.done():
        second += 1
        await asyncio.wait([waiting], timeout=max(0.0, started + second - time.monotonic()))
        late = max(0.0, time.monotonic() - started - second)
        load.say(second=second, late=late, **load.counts)
        load.is_over = load.is_over or second >= seconds
    await waiting
    if load.holding:
        await asyncio.wait(load.holding)


def main() -> None:
    given = json.loads(sys.argv[1])
    load = Load(
        tuple(given["address"]),
        given["seed"],
        given["pause"],
        given["websocket"],
        given["holds"],
    )
    numbers = itertools.count(given["first"], given["stride"])
    asyncio.run(come_and_go(load, given["clients"], numbers, given["seconds"]))


if __name__ == "__main__":
    main()
