"""Upgrades that nobody finishes, or that are none (protocol.md, Upgrade).

Whatever becomes of the WebSocket, the polling session goes on and may try again.
"""

import contextlib
import time

import rigs
import wire
from hostile.cases_websocket import bounded
from hostile.harness import Target, case, variants
from wire import BINARY, PING, TEXT, frame

FAMILY = "upgrades"
LINES = 2  # the second where an upgrade is tried again too early
PROBE, UPGRADE = wire.text_frame("2probe"), wire.text_frame("5")


def open_upgrade(session: wire.Polling) -> wire.WebSocket:
    """A WebSocket for that session, with nothing said over it yet."""
    return wire.WebSocket(session.endpoint, wire.websocket_query(session.sid))


def refusal(session: wire.Polling, headers: wire.Headers | None = None) -> wire.Response:
    """The answer to an upgrade that must be refused."""
    try:
        wire.WebSocket(session.endpoint, wire.websocket_query(session.sid), headers)
    except wire.Refused as refused:
        return refused.response
    raise AssertionError("there is a second WebSocket")


def wait_until_free(session: wire.Polling) -> wire.WebSocket:
    """As `open_upgrade`; the server may not have seen the end of the last one yet."""
    deadline = time.monotonic() + rigs.WAIT
    while True:
        try:
            return open_upgrade(session)
        except wire.Refused:
            assert time.monotonic() < deadline


def can_upgrade(session: wire.Polling) -> None:
    """The session is untouched, and an upgrade succeeds."""
    session.send("4still here")
    assert session.receive(1) == ["4still here"]
    websocket = wait_until_free(session)
    websocket.send(PROBE + UPGRADE + wire.text_frame("4upgraded"))
    assert websocket.receive_text(2) == ["3probe", "4upgraded"]


def half_way(session: wire.Polling, probed: bool) -> wire.WebSocket:
    websocket = open_upgrade(session)
    if probed:
        websocket.send(PROBE)
        assert websocket.receive() == "3probe"
    return websocket


WRONG = {
    "message": wire.text_frame("4early"),
    "ping": wire.text_frame("2"),
    "another ping": wire.text_frame("2probes"),
    "long ping": wire.text_frame("2probe" + "x" * 900_000),
    "pong": wire.text_frame("3probe"),
    "close packet": wire.text_frame("1"),
    "open packet": wire.text_frame('0{"sid":"x"}'),
    "noop": wire.text_frame("6"),
    "nothing": wire.text_frame(""),
    "no packet": wire.text_frame("garbage\r\n"),
    "digit of another script": wire.text_frame("٢probe"),
    "binary": frame(BINARY, b"2probe"),
    "unmasked": frame(TEXT, b"2probe", mask=None),
    "not UTF-8": frame(TEXT, b"2probe\xff"),
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "zeros": bytes(1000),
    "ones": b"\xff" * 1000,
    "close frame": wire.close_frame(1000),
    "longer than the limit": frame(TEXT, b"", length=1 << 40, form=127),
}


@variants(
    FAMILY,
    {
        f"{name}, {'instead of 5' if probed else 'first'}": (WRONG[name], probed)
        for probed in (False, True)
        for name in WRONG
    },
    websocket=True,
    lines=LINES,
)
def wrong(target: Target, how: tuple[bytes, bool]) -> None:
    data, probed = how
    session = target.polling()
    websocket = half_way(session, probed)
    websocket.send(data + wire.text_frame("4behind it"))
    target.closed(websocket, 1000, 1002, 1007, 1009)
    websocket.close()  # or the server waits for that
    can_upgrade(session)
    assert target.server.messages(session.sid) == ["still here", "upgraded"]


@variants(
    FAMILY,
    {"at once": False, "after the probe": True},
    server="upgrade_timeout",
    websocket=True,
    lines=LINES,
    limit=2.0,
)
def silence(target: Target, probed: bool) -> None:
    session = target.polling()
    websocket = half_way(session, probed)
    target.closed(websocket, 1000)
    can_upgrade(session)


@case(FAMILY, server="upgrade_timeout", websocket=True, lines=LINES, limit=3.0)
def probes_without_end(target: Target) -> None:
    """More probes do not buy more time."""
    session = target.polling()
    websocket = half_way(session, probed=True)
    deadline = time.monotonic() + 2
    with contextlib.suppress(OSError, EOFError, AssertionError):
        while time.monotonic() < deadline:
            websocket.send(PROBE)
            assert websocket.receive() == "3probe"
            time.sleep(0.02)
    assert time.monotonic() < deadline, "it may probe for ever"
    websocket.close()
    can_upgrade(session)


@case(
    FAMILY, server="upgrade_timeout", websocket=True, lines=LINES, needs=("own_frames",), limit=3.0
)
def answers_to_probes_unread(target: Target) -> None:
    """As many probes as go into the time, and their answers stay where they are."""
    session = target.polling()
    websocket = open_upgrade(session)
    with bounded(target):
        websocket.pour(PROBE * 1000, 0.4)
    websocket.reset()
    can_upgrade(session)


@case(FAMILY, server="upgrade_timeout", websocket=True, lines=LINES, limit=3.0)
def one_byte_at_a_time(target: Target) -> None:
    """Nor do bytes: the time limit is for the whole upgrade."""
    session = target.polling()
    websocket = half_way(session, probed=False)
    start = time.monotonic()
    with contextlib.suppress(OSError):
        for byte in frame(TEXT, b"2probe", length=6) + UPGRADE[:-1]:
            websocket.send(bytes((byte,)))
            time.sleep(0.05)
    assert time.monotonic() - start < 2
    target.closed(websocket, 1000)
    can_upgrade(session)


@case(FAMILY, websocket=True, lines=LINES)
def parallel(target: Target) -> None:
    """Of fifty at once one is accepted, and goes on undisturbed."""
    session = target.polling()
    crowd = []
    headers = wire.websocket_headers()
    for _ in range(50):
        crowd.append(target.connect())
        request = target.endpoint.target(wire.websocket_query(session.sid))
        crowd[-1].send_request("GET", request, headers)
    answers = [connection.read_response() for connection in crowd]
    accepted = [crowd[at] for at, answer in enumerate(answers) if answer.status == 101]
    assert len(accepted) == 1, [answer.status for answer in answers]
    for answer in answers:
        if answer.status != 101:
            target.refused(answer, 3)
    accepted[0].send(PROBE + UPGRADE + wire.text_frame("4hello"))
    got = accepted[0].read_exactly(2 + len("3probe") + 2 + len("4hello"))
    assert got == b"\x81\x063probe\x81\x064hello"


@variants(
    FAMILY,
    {
        f"{end}, {'after the probe' if probed else 'at once'}": (end, probed)
        for probed in (False, True)
        for end in ("FIN", "RST")
    },
    websocket=True,
    lines=LINES,
)
def abandoned(target: Target, how: tuple[str, bool]) -> None:
    end, probed = how
    session = target.polling()
    websocket = half_way(session, probed)
    (websocket.close if end == "FIN" else websocket.reset)()
    can_upgrade(session)


@case(FAMILY, websocket=True, lines=LINES, limit=3.0)
def abandoned_again_and_again(target: Target) -> None:
    session = target.polling()
    for number in range(20):
        websocket = wait_until_free(session)
        websocket.send(PROBE if number % 2 else PROBE[:5])
        (websocket.reset if number % 3 else websocket.close)()
    can_upgrade(session)


@case(FAMILY, websocket=True, lines=2)
def a_second_upgrade(target: Target) -> None:
    """Refused while the first is under way, and when it is done; the first does not notice."""
    session = target.polling()
    websocket = open_upgrade(session)
    target.refused(refusal(session), 3)
    websocket.send(PROBE)
    assert websocket.receive() == "3probe"
    target.refused(refusal(session), 3)
    websocket.send(UPGRADE + wire.text_frame("4hello"))
    assert websocket.receive() == "4hello"
    target.refused(refusal(session), 3)
    websocket.send(PROBE)  # nor over the same connection
    target.closed(websocket, 1002)
    target.reason(session.sid, "parse error")


@case(FAMILY, websocket=True, server="small", lines=2)
def sids_of_others(target: Target) -> None:
    """Of another server of this process, of a WebSocket, of nobody, of one that has gone."""
    elsewhere = rigs.Server(target.server.rig, "engine.io").polling()
    gone = target.polling()
    gone.send("1")
    websocket = target.websocket()
    for sid, code in ((elsewhere.sid, 1), (gone.sid, 1), ("A" * 20, 1), (websocket.sid, 3)):
        try:
            wire.WebSocket(target.endpoint, wire.websocket_query(sid))
        except wire.Refused as refused:
            target.refused(refused.response, code)
        else:
            raise AssertionError(f"an upgrade of {sid}")
    websocket.send_text("4hello")
    assert websocket.receive() == "4hello"
    elsewhere.send("4hello")
    assert elsewhere.poll() == ["4hello"]


# Each byte is a case of its own, and may have a line in the log.
@case(FAMILY, websocket=True, limit=5.0, lines=1000)
def cut_off_at_every_byte_of_the_handshake(target: Target) -> None:
    session = target.polling()
    query = target.endpoint.target(wire.websocket_query(session.sid))
    request = wire.request_bytes("GET", query, wire.websocket_headers())
    for size in range(len(request)):
        connection = target.connect()
        connection.send(request[:size])
        (connection.reset if size % 2 else connection.close)()
    can_upgrade(session)


@case(FAMILY, websocket=True, lines=LINES, limit=5.0)
def cut_off_at_every_byte_of_its_frames(target: Target) -> None:
    data = PROBE + UPGRADE
    for size in range(len(data) + 1):
        session = target.polling()
        websocket = open_upgrade(session)
        websocket.send(data[:size])
        if size >= len(PROBE):
            assert websocket.receive() == "3probe"
        (websocket.reset if size % 2 else websocket.close)()
        if size < len(data):
            can_upgrade(session)
        else:
            target.reason(session.sid, "transport close")


@case(FAMILY, websocket=True, lines=LINES)
def everything_in_one_segment(target: Target) -> None:
    """The handshake, the probe, the upgrade, and its end."""
    session = target.polling()
    query = target.endpoint.target(wire.websocket_query(session.sid))
    request = wire.request_bytes("GET", query, wire.websocket_headers())
    connection = target.connect()
    early = PROBE + UPGRADE + wire.text_frame("4quiet") + wire.text_frame("1")
    connection.send(request + early)
    assert connection.read_response().status == 101
    if target.spec.early_frame:
        target.reason(session.sid, "client disconnect")
        assert target.server.messages(session.sid) == ["quiet"]


@case(FAMILY, websocket=True, lines=LINES)
def the_session_ends_meanwhile(target: Target) -> None:
    session = target.polling()
    websocket = half_way(session, probed=True)
    session.send("1")
    websocket.send(UPGRADE)
    target.closed(websocket, 1000)
    target.reason(session.sid, "client disconnect")


@case(FAMILY, websocket=True, lines=LINES)
def upgraded_while_it_posts(target: Target) -> None:
    """The body of a POST that began before the upgrade ends behind it."""
    session = target.polling()
    post = session.start_post(8)
    post.send(b"4qui")
    websocket = half_way(session, probed=True)
    websocket.send(UPGRADE + wire.text_frame("4quiet 2"))
    rigs.until(lambda: "quiet 2" in target.server.messages(session.sid))
    post.send(b"et 1")
    assert post.read_response().status in (200, 400)
    websocket.send(wire.text_frame("4hello"))
    assert websocket.receive() == "4hello"


@variants(
    FAMILY,
    {"pings": frame(PING, b"x" * 125), "fragments": b""},
    server="upgrade_timeout",
    websocket=True,
    lines=LINES,
    needs=("own_frames",),
    limit=3.0,
)
def flooded(target: Target, data: bytes) -> None:
    """Control frames, or fragments without end, where a probe belongs."""
    session = target.polling()
    websocket = open_upgrade(session)
    with bounded(target):
        if not data:
            websocket.pour(frame(TEXT, b"2", fin=False), 0.0)
            data = frame(0, b"", fin=False)
        websocket.pour(data * 1000, 0.4)
    with contextlib.suppress(OSError):
        websocket.reset()
    can_upgrade(session)
