"""Polls and POSTs that overlap, are aborted or never come.

Each answer is the one of protocol.md, Answers to bad requests and Polling.
"""

import time
from collections.abc import Callable

import rigs
import wire
from hostile.harness import Target, case, variants

FAMILY = "polls"
ENDS = {"FIN": wire.Stream.close, "RST": wire.Stream.reset}


def head(session: wire.Polling, method: str = "GET", length: int | None = None) -> bytes:
    """The head of a request of that session."""
    fields = {} if length is None else {"Content-Length": str(length)}
    target = session.endpoint.target(wire.polling_query(session.sid))
    return wire.request_bytes(method, target, fields)


def wait_for_polls(target: Target, count: int = 1) -> None:
    """Wait until the server holds so many."""
    rigs.until(lambda: target.server.call("waiting_polls") >= count)


def waiting_poll(target: Target, session: wire.Polling) -> wire.HTTPConnection:
    """A poll that the server has begun to hold."""
    poll = session.start_poll()
    wait_for_polls(target)
    return poll


def still_polls(session: wire.Polling) -> None:
    """The session is untouched."""
    session.send("4still here")
    packets = session.receive(1)
    assert packets == ["4still here"], packets


@case(FAMILY)
def two_polls(target: Target) -> None:
    session = target.polling()
    first = waiting_poll(target, session)
    target.refused(session.request("GET"))
    response = first.read_response()
    assert (response.status, response.body) == (200, b"1"), response
    target.reason(session.sid, "transport error")


@case(FAMILY, limit=3.0, lines=2)
def a_thousand_polls(target: Target) -> None:
    """One holds the server, the others come on ten connections, pipelined."""
    session = target.polling()
    first = waiting_poll(target, session)
    crowd = [target.connect() for _ in range(10)]
    for connection in crowd:
        connection.send(head(session) * 100)
    assert first.read_response().body == b"1"
    for connection in crowd:
        # A server that does not keep connections alive answers the first one only.
        for _ in range(100 if target.spec.keep_alive else 1):
            target.refused(connection.read_response())
    target.reason(session.sid, "transport error")


@case(FAMILY, limit=3.0, lines=2)
def a_hundred_polls_at_once(target: Target) -> None:
    session = target.polling()
    polls = [session.start_poll() for _ in range(100)]
    statuses = sorted(poll.read_response().status for poll in polls)
    assert statuses == [200] + [400] * 99, statuses
    target.reason(session.sid, "transport error")


@case(FAMILY)
def a_poll_in_each_spelling(target: Target) -> None:
    """To a script tag it is the same poll."""
    session = target.polling()
    first = waiting_poll(target, session)
    target.refused(target.request("GET", wire.polling_query(session.sid, j="0", b64="1")))
    assert first.read_response().body == b"1"
    target.reason(session.sid, "transport error")


@case(FAMILY, needs=("streams_bodies",))
def two_posts(target: Target) -> None:
    session = target.polling()
    first = session.start_post(100)
    first.send(b"4incomplete")
    rigs.until(lambda: session.post("4second").status == 400)
    target.reason(session.sid, "transport error")


@variants(
    FAMILY,
    {
        f"{moment}, {end}": (moment, end)
        for moment in ("request line", "headers", "sent", "waiting")
        for end in ENDS
    },
    limit=3.0,
)
def aborted_poll(target: Target, how: tuple[str, str]) -> None:
    moment, end = how
    session = target.polling()
    request = head(session)
    if moment == "waiting":
        poll: wire.Stream = waiting_poll(target, session)
    else:
        poll = target.connect()
        size = {"request line": 9, "headers": len(request) - 3, "sent": len(request)}[moment]
        poll.send(request[:size])
    ENDS[end](poll)
    if moment in ("request line", "headers"):
        still_polls(session)
    elif target.spec.sees_socket and (moment, end) != ("sent", "RST"):
        # After a reset the server may never see the request.
        target.reason(session.sid, "transport error")


# Each byte is a case of its own, and may have a line in the log.
@variants(FAMILY, ENDS, limit=5.0, lines=1000)
def polls_cut_off_at_every_byte(target: Target, end: Callable[[wire.Stream], None]) -> None:
    session = target.polling()
    request = head(session)
    for size in range(len(request)):
        connection = target.connect()
        connection.send(request[:size])
        end(connection)
    still_polls(session)


@variants(FAMILY, ENDS, limit=5.0, lines=1000)
def posts_cut_off_at_every_byte(target: Target, end: Callable[[wire.Stream], None]) -> None:
    session = target.polling()
    request = head(session, "POST", length=100)
    for size in range(len(request)):
        connection = target.connect()
        connection.send(request[:size])
        end(connection)
    still_polls(session)


@variants(
    FAMILY,
    {f"{size} bytes of 100, {end}": (size, end) for size in (0, 1, 50, 99) for end in ENDS},
    limit=3.0,
    needs=("streams_bodies",),
)
def aborted_body(target: Target, how: tuple[int, str]) -> None:
    size, end = how
    session = target.polling()
    post = session.start_post(100)
    post.send(b"4" + b"x" * (size - 1) if size else b"")
    assert not post.has_input(0.1)
    ENDS[end](post)
    target.reason(session.sid, "transport error")
    assert target.server.messages(session.sid) == []


@variants(FAMILY, ENDS, limit=3.0)
def aborted_in_the_answer(target: Target, end: Callable[[wire.Stream], None]) -> None:
    """The answer is larger than what the kernel takes."""
    session = target.polling()
    session.send("4size:900000", "4size:900000", "4size:900000", "4size:900000")
    target.server.wait(session.sid, "message", count=4)
    poll = wire.HTTPConnection(target.address, receive_buffer=4096)
    poll.send(head(session))
    assert poll.read_exactly(9) == b"HTTP/1.1 "
    end(poll)
    other = target.polling()
    still_polls(other)


@case(FAMILY, limit=3.0)
def answers_that_nobody_reads(target: Target) -> None:
    for _ in range(5):
        session = target.polling()
        session.send("4size:900000", "4size:900000", "4size:900000")
        poll = wire.HTTPConnection(target.address, receive_buffer=4096)
        poll.send(head(session))
    still_polls(target.polling())


@case(FAMILY, server="send_buffer", limit=3.0)
def never_fetched(target: Target) -> None:
    session = target.polling()
    deadline = time.monotonic() + 2
    while session.post("4size:20000").status == 200:
        assert time.monotonic() < deadline, "its buffer grows without end"
    target.reason(session.sid, "send buffer full")


@case(FAMILY, server="drop", limit=3.0)
def pings_never_fetched(target: Target) -> None:
    session = target.polling()
    target.reason(session.sid, "ping timeout")


@case(FAMILY, server="drop", limit=3.0)
def pings_never_answered(target: Target) -> None:
    """Messages do not count as an answer, nor do polls."""
    session = target.polling()
    assert session.poll() == ["2"]
    deadline = time.monotonic() + 2.5
    while session.post("4quiet").status == 200:
        assert time.monotonic() < deadline, "it lives without a pong"
        time.sleep(0.02)
    target.reason(session.sid, "ping timeout")


@case(FAMILY)
def pipelined(target: Target) -> None:
    """A POST and a poll, in one segment: answered in their order, or only the first."""
    session = target.polling()
    connection = target.connect()
    connection.send(head(session, "POST", length=6) + b"4hello" + head(session))
    assert connection.read_response().body == b"ok"
    if target.spec.keep_alive:
        assert connection.read_response().body == b"4hello"


@case(FAMILY, limit=3.0)
def pipelined_and_aborted(target: Target) -> None:
    """A hundred polls in one segment, of which the first waits; then the peer is gone.

    Servers on asyncio do not read until the first is answered, and so do not see the end before
    ping_timeout.
    """
    session = target.polling()
    connection = target.connect()
    connection.send(head(session) * 100)
    wait_for_polls(target)
    connection.reset()
    if target.spec.sees_socket and not target.spec.asyncio:
        target.reason(session.sid, "transport error")


@case(FAMILY)
def head_instead_of_get(target: Target) -> None:
    session = target.polling()
    poll = waiting_poll(target, session)
    assert session.request("HEAD").status == 405
    session.send("4hello")
    assert poll.read_response().body == b"4hello"


@case(FAMILY)
def post_while_closing(target: Target) -> None:
    session = target.polling()
    target.server.call("disconnect", sid=session.sid)
    for _ in range(3):
        target.refused(session.post("4late"), 1)
    assert session.poll() == ["1"]
    target.refused(session.request("GET"), 1)
    target.reason(session.sid, "server disconnect")
    assert target.server.messages(session.sid) == []


@case(FAMILY)
def post_behind_its_close(target: Target) -> None:
    session = target.polling()
    session.send("1", *["4late"] * 1000)
    target.refused(session.post("4later"), 1)
    target.reason(session.sid, "client disconnect")
    assert target.server.messages(session.sid) == []


@case(FAMILY, websocket=True)
def two_polls_during_an_upgrade(target: Target) -> None:
    session = target.polling()
    websocket = wire.WebSocket(session.endpoint, wire.websocket_query(session.sid))
    first = waiting_poll(target, session)
    target.refused(session.request("GET"))
    assert first.read_response().body == b"1"
    target.closed(websocket, 1000)
    target.reason(session.sid, "transport error")


@case(FAMILY, websocket=True, limit=3.0)
def polls_during_an_upgrade(target: Target) -> None:
    """Each gets its noop; none of them waits, and none is an answer to a probe."""
    session = target.polling()
    websocket = wire.probe(session)
    for _ in range(10):
        assert session.request("GET").body == b"6"
    websocket.send_text("5", "4hello")
    assert websocket.receive() == "4hello"
    target.refused(session.request("GET"), 3)


@case(FAMILY)
def a_poll_with_a_body(target: Target) -> None:
    """It is no packet, and no request of its own either."""
    session = target.polling()
    session.send("4one")
    request = head(session, "GET", length=len(head(session, "POST")) + 7)
    connection = target.connect()
    connection.send(request + head(session, "POST") + b"4hidden")
    assert connection.read_response().body == b"4one"
    connection.close()
    assert target.server.messages(session.sid) == ["one"]
    still_polls(session)


@case(FAMILY, limit=3.0, lines=100)
def a_hundred_halves_of_requests(target: Target) -> None:
    """Connections that are silent within a head hold nobody up."""
    session = target.polling()
    request = head(session)
    for number in range(100):
        target.connect().send(request[: number % (len(request) - 1) + 1])
    still_polls(session)


@case(FAMILY, limit=3.0, requests=30)
def thirty_waiting_clients_leave(target: Target) -> None:
    """Fewer than any of the servers has threads for."""
    sessions = [target.polling() for _ in range(30)]
    polls = [session.start_poll() for session in sessions]
    wait_for_polls(target, 30)
    for poll in polls:
        poll.reset()
    if target.spec.sees_socket:
        for session in sessions:
            target.reason(session.sid, "transport error")
