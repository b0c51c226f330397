"""What the pure core costs per message, poll, beat and request.

    python bench/micro/session.py

Nanoseconds, CPython 3.11, one core of a shared machine:

    send, and a poll that fetches it                  933
    a poll that waits, and a send                    1260
    one ping and its pong                             872
    heartbeat of 10,000: move one                     343
    heartbeat of 10,000: nothing due                  189
    Request.parse                                    4234
    route                                            1092
    choose_encoding                                   883
    finish, small                                    1055
    finish, 2.6 kB through gzip                      7750
"""

import threading
import timeit
from collections.abc import Callable
from typing import Any

from engineio import packet as wire
from engineio.heartbeat import Heartbeat
from engineio.manager import Manager
from engineio.packet import Packet
from engineio.request import Request, route
from engineio.response import choose_encoding, finish, text
from engineio.session import Session
from engineio.settings import Settings


class Client(Session):
    """A session for the table of sessions."""

    def push(self, pkt: Packet) -> bool:
        with self.lock:
            self.enqueue(pkt)
        return True


def show(name: str, call: Callable[..., object], *args: Any, number: int = 20_000) -> None:
    best = min(timeit.repeat(lambda: call(*args), number=number, repeat=7)) / number
    print(f"    {name:44}{best * 1e9:9.0f}")


def nothing() -> None:
    pass


settings = Settings()
client = Client("A" * 20, settings, threading.Lock())
client.open()
manager: Manager[Client] = Manager()
manager.add(client)
packet = Packet(wire.MESSAGE, "hello, this is thirty-two bytes.")


def send_and_poll() -> None:
    client.push(packet)
    client.start_poll()
    client.answer_poll(None, nothing)
    client.end_poll()


def poll_that_waits() -> None:
    client.start_poll()
    client.answer_poll(None, nothing)
    client.push(packet)
    client.answer_poll(None, nothing)
    client.end_poll()


def ping() -> None:
    client.plan_ping(0.0)
    client.beat(25.0)
    client.pinged(25.0)
    client.ponged()


show("send, and a poll that fetches it", send_and_poll)
show("a poll that waits, and a send", poll_that_waits)
show("one ping and its pong", ping)

heartbeat = Heartbeat(threading.Lock())
for number in range(10_000):
    heartbeat.push(float(number), str(number))
show("heartbeat of 10,000: move one", heartbeat.push, 20_000.0, "5000")
show("heartbeat of 10,000: nothing due", heartbeat.pop_due, -1.0)

environ = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/engine.io/",
    "QUERY_STRING": f"EIO=4&transport=polling&t=abcdefg&sid={client.sid}",
    "wsgi.url_scheme": "http",
    "HTTP_HOST": "example.com",
    "HTTP_ORIGIN": "http://example.com",
    "HTTP_USER_AGENT": "Mozilla/5.0",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
}
request = Request.parse(environ)
show("Request.parse", Request.parse, environ)
show("route", route, request, settings, manager)
show("choose_encoding", choose_encoding, environ["HTTP_ACCEPT_ENCODING"])
small, big = text("4hello"), text("4" + "hello, world " * 200)
show("finish, small", finish, small, environ, settings)
show("finish, 2.6 kB through gzip", finish, big, environ, settings, number=1000)
