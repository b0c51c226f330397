"""Everything at once on one server, in stress mode: `exerciser.py MODE [--seconds N] [--seed N]`.

Clients connect over either transport, upgrade, send and go, politely or not. Meanwhile threads (or
greenlets) of the application send, broadcast, look, disconnect, and shut the server down. At the
end it prints what happened as JSON, and every promise that was broken; none: exit status 0.

MODE: gevent, eventlet, threading (handlers are overtaken a lot) or threading-in-order (never).
"""

import argparse
import json
import logging
import random
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engineio

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "apps")]

import stress  # noqa: E402
import wire  # noqa: E402

TRANSPORTS = ("polling", "websocket", "upgrade")
CLIENTS = 6
OPERATORS = 4
TROUBLE = (OSError, EOFError, AssertionError, wire.Refused)
MESSAGES = 12  # of one client, each way
WAIT = 20.0  # seconds until something counts as lost, on a machine that does other things too


class Application:
    """The server, and what its handlers have seen."""

    def __init__(self, async_mode: str, in_order: bool) -> None:
        self.eio = engineio.Server(
            async_mode=async_mode, ping_interval=0.5, ping_timeout=WAIT, async_handlers=not in_order
        )
        self.in_order = in_order
        self.connects: Counter[str] = Counter()
        self.ends: dict[str, list[str]] = defaultdict(list)
        self.got: dict[str, list[Any]] = defaultdict(list)
        self.eio.on("connect", self.connect)
        self.eio.on("message", self.message)
        self.eio.on("disconnect", self.disconnect)

    def connect(self, sid: str, environ: Any) -> None:
        self.connects[sid] += 1
        self.eio.send(sid, "welcome")

    def message(self, sid: str, data: Any) -> None:
        self.got[sid].append((int(data), bool(self.ends.get(sid))))
        if random.random() < 0.05:
            self.eio.sleep(random.random() * 0.03)
        self.eio.send(sid, f"echo-{data}")

    def disconnect(self, sid: str, reason: str) -> None:
        self.ends[sid].append(reason)
        if random.random() < 0.3:
            self.eio.sleep(0.01)


class Exerciser:
    """The clients, those who work for the application, and the promises."""

    def __init__(self, application: Application, address: wire.Address, seconds: float) -> None:
        self.application = application
        self.eio = application.eio
        self.endpoint = wire.Endpoint(address)
        self.deadline = time.monotonic() + seconds
        self.is_over = False
        self.broken: list[str] = []
        self.done: Counter[str] = Counter()
        self.lock = threading.Lock()

    def count(self, what: str) -> None:
        with self.lock:
            self.done[what] += 1

    def check(self, holds: object, what: str) -> None:
        if not holds:
            with self.lock:
                self.broken.append(what)

    # -- the application's threads

    def operate(self, name: int) -> None:
        eio = self.eio
        sent: Counter[str] = Counter()
        while not self.is_over:
            sids = list(eio.sids)
            what = random.random()
            if sids and what < 0.7:
                sid = random.choice(sids)
                for _ in range(random.randint(1, 4)):
                    eio.send(sid, f"op-{name}-{sent[sid]}")
                    sent[sid] += 1
                self.count("sends")
            elif what < 0.8:
                eio.broadcast({"to": "all"})
                eio.stats()
                self.count("broadcasts")
            elif sids and what < 0.83:
                sid = random.choice(sids)
                others = [eio.start_background_task(eio.disconnect, sid) for _ in range(2)]
                eio.disconnect(sid)
                for each in others:
                    each.join()
                self.count("server disconnects")
            elif name == 0 and what < 0.832:
                eio.shutdown()
                self.count("shutdowns")
            eio.sleep(random.random() * 0.004)

    # -- clients

    def visit(self) -> None:
        while time.monotonic() < self.deadline or not all(self.done[each] for each in TRANSPORTS):
            try:
                client = Client(self)
            except TROUBLE as error:
                # A WebSocket may be disconnected before its client knows its sid.
                self.check(self.done["shutdowns"] or self.done["server disconnects"], repr(error))
            except BaseException as error:
                self.check(False, repr(error))
                raise
            else:
                self.play(client)

    def play(self, client: "Client") -> None:
        self.count(client.transport)
        try:
            client.talk()
        except TROUBLE as error:
            wanted = self.was_ended(client)
            trouble = "" if wanted else "".join(traceback.format_exception(error))
            self.check(wanted, f"{client.sid} over {client.transport}: {trouble}")
        else:
            client.check_all()
        finally:
            client.leave()
        self.wait_for(lambda: self.application.ends.get(client.sid), f"{client.sid}: never ended")
        self.check_end(client)

    def was_ended(self, client: "Client") -> bool:
        """Whether the application has ended a session."""
        application, sid = self.application, client.sid
        self.wait_for(lambda: application.ends.get(sid), f"{sid}: broken, but not ended")
        reason = (application.ends.get(sid) or [""])[0]
        # Who connects during a shutdown may find that time limits of the old loop end at once.
        is_late = self.done["shutdowns"] > client.shutdowns
        return is_late or reason in ("server disconnect", "server shutdown")

    def wait_for(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = time.monotonic() + WAIT
        while not condition():
            if time.monotonic() > deadline:
                self.check(False, otherwise)
                return
            time.sleep(0.005)

    def check_end(self, client: "Client") -> None:
        application, sid = self.application, client.sid
        got = application.got[sid][:]
        self.check(application.connects[sid] == 1, f"{sid}: {application.connects[sid]} connects")
        numbers = [data for data, _ in got]
        if application.in_order:
            self.check(numbers == list(range(len(numbers))), f"{sid}: handlers got {numbers}")
        self.check(len(set(numbers)) == len(numbers), f"{sid}: handlers got twice: {numbers}")
        if client.is_polite:
            self.check(
                sorted(numbers) == list(range(MESSAGES)), f"{sid}: said 1, and got {numbers}"
            )
        # A thread may have been on its way into a handler when another called disconnect().
        late = [data for data, is_late in got if is_late]
        reason = application.ends[sid][0]
        if reason not in ("server disconnect", "server shutdown") and application.in_order:
            self.check(not late, f"{sid}: {late} after its disconnect event ({reason})")

    # -- the whole

    def run(self) -> None:
        clients = [threading.Thread(target=self.visit) for _ in range(CLIENTS)]
        for each in clients:
            each.start()
        for each in clients:
            each.join()
        self.is_over = True

    def check_rest(self) -> None:
        application, eio = self.application, self.eio
        for sid, ends in application.ends.items():
            self.check(len(ends) == 1, f"{sid}: disconnect events {ends}")
        self.check(set(application.ends) == set(application.connects), "not all have ended")
        self.check(not eio.sockets, f"left: {eio.sockets}")
        self.check(eio.admission._clients == 0, f"admitted: {eio.admission._clients}")
        deadlines = set(eio.heartbeat._due) - set(eio.manager._leaving)
        self.check(not deadlines, f"deadlines left: {deadlines}")
        self.wait_for(lambda: not our_threads(), f"threads left: {our_threads()}")


class Client:
    """One session, on one of the ways it can go."""

    def __init__(self, exerciser: Exerciser) -> None:
        self.exerciser = exerciser
        self.transport = random.choice(TRANSPORTS)
        self.is_polite = False
        self.shutdowns = exerciser.done["shutdowns"]
        self.heard: list[str] = []
        self.session: Any = None
        self.websocket: Any = None
        if self.transport == "websocket":
            self.websocket = wire.EngineWebSocket(exerciser.endpoint)
            self.sid = self.websocket.sid
        else:
            self.session = wire.Polling(exerciser.endpoint)
            self.sid = self.session.sid
            self.take(self.session.early)
        self.sent = 0

    def talk(self) -> None:
        self.send(3)
        if self.transport == "upgrade":
            self.websocket, before = wire.upgrade(self.session)
            self.take(before)
        while self.sent < MESSAGES:
            self.send(random.randint(1, 5))
            if random.random() < 0.3:
                self.receive()
        deadline = time.monotonic() + WAIT
        while self.echoes() < MESSAGES:
            assert time.monotonic() < deadline, f"{self.heard} is all it has heard"
            self.receive()
        if random.random() < 0.6:
            self.say("1")
            self.is_polite = True

    def send(self, count: int) -> None:
        numbers = range(self.sent, min(self.sent + count, MESSAGES))
        self.sent += len(numbers)
        if numbers:
            self.say(*(f"4{number}" for number in numbers))

    def say(self, *packets: str) -> None:
        if self.websocket is not None:
            self.websocket.send_text(*packets)
        else:
            self.session.send(*packets)

    def receive(self) -> None:
        if self.websocket is not None:
            packet = self.websocket.receive()
            assert isinstance(packet, str), packet
            self.take([packet])
        else:
            self.take(self.session.poll())

    def take(self, packets: list[str]) -> None:
        for packet in packets:
            if packet == "2":
                self.say("3")
            assert packet != "1", "the server said goodbye"
            if packet.startswith("4"):
                self.heard.append(packet[1:])

    def echoes(self) -> int:
        return sum(each.startswith("echo-") for each in self.heard)

    def check_all(self) -> None:
        """What the server has sent came in order, each message once, and none is missing."""
        check, sid = self.exerciser.check, self.sid
        check(self.heard[:1] == ["welcome"], f"{sid}: heard first {self.heard[:1]}")
        echoes = [each for each in self.heard if each.startswith("echo-")]
        expected = [f"echo-{number}" for number in range(MESSAGES)]
        in_order = self.exerciser.application.in_order
        check(echoes == expected if in_order else sorted(echoes) == sorted(expected), f"{echoes}")
        for operator in range(OPERATORS):
            start = f"op-{operator}-"
            numbers = [each.removeprefix(start) for each in self.heard if each.startswith(start)]
            check(
                numbers == [str(number) for number in range(len(numbers))],
                f"{sid}: heard of {operator}: {numbers}",
            )

    def leave(self) -> None:
        """Go: after a CLOSE packet, or just so."""
        if not self.is_polite and self.websocket is None:
            # Nobody would notice for a minute that it has gone.
            self.session.endpoint.request("POST", wire.polling_query(self.sid), None, b"1")
        if self.websocket is not None:
            self.websocket.close()


def our_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("engineio")]


def serve_threading(exercise: Callable[[wire.Address], None], app: Any) -> None:
    import werkzeug.serving

    class Handler(werkzeug.serving.WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, type: str, message: str, *args: Any) -> None:
            pass

    server = werkzeug.serving.make_server(
        "127.0.0.1", 0, app, threaded=True, request_handler=Handler
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    exercise(("127.0.0.1", server.server_port))
    server.shutdown()
    thread.join()
    server.server_close()


def serve_gevent(exercise: Callable[[wire.Address], None], app: Any) -> None:
    from gevent.pywsgi import WSGIServer

    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
    server.start()
    exercise(server.socket.getsockname()[:2])
    server.stop(1)


def serve_eventlet(exercise: Callable[[wire.Address], None], app: Any) -> None:
    import eventlet
    import eventlet.wsgi

    listener = eventlet.listen(("127.0.0.1", 0))
    thread = eventlet.spawn(eventlet.wsgi.server, listener, app, log_output=False)
    exercise(listener.getsockname()[:2])
    thread.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["threading", "threading-in-order", "gevent", "eventlet"])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    async_mode, _, order = arguments.mode.partition("-")
    logging.getLogger("engineio.server").setLevel(logging.CRITICAL)
    random.seed(arguments.seed)
    application = Application(async_mode, in_order=bool(order))
    stress.start(arguments.seed, async_mode)
    found: list[Exerciser] = []

    def exercise(address: wire.Address) -> None:
        exerciser = Exerciser(application, address, arguments.seconds)
        found.append(exerciser)
        operators = [
            application.eio.start_background_task(exerciser.operate, name)
            for name in range(OPERATORS)
        ]
        thread = threading.Thread(target=exerciser.run)
        thread.start()
        while thread.is_alive():
            application.eio.sleep(0.02)
        for each in operators:
            each.join()
        for _ in range(2):  # a request may still have been on its way
            application.eio.shutdown()
            application.eio.sleep(0.3)

    globals()[f"serve_{async_mode}"](exercise, application.eio.handle_request)
    exerciser = found[0]
    exerciser.check_rest()
    print(json.dumps({"sessions": len(application.connects), **exerciser.done}), flush=True)
    for each in exerciser.broken:
        print(f"broken: {each}")
    return 1 if exerciser.broken else 0


if __name__ == "__main__":
    sys.exit(main())
