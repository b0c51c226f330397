"""What encoding and decoding one packet costs.

    python bench/micro/packet.py                   this checkout
    OTHER/bin/python bench/micro/packet.py         another python-engineio, if OTHER has it

Nanoseconds, CPython 3.11, one core of a shared machine; 4.15.1 in the first column:

                                        4.15.1   5.0.0   decode_frame()
    receive text, 32 bytes                3958     341     189
    receive text that begins with t       3964     452     288
    receive text that begins with [       4078    2535    2323
    receive a JSON object                 2949    1444    1220
    receive a Socket.IO event              780     345     186
    receive 32 bytes                       232     311     163
    receive 32 bytes as base64             634     708     489
    receive a ping                         746     318     171
    make and encode text                   279     316
    make and encode a dict                2263    1868
    make and encode bytes as base64        508     620
    json.loads, 1,000 integers          109422   38835
    json.loads, 1,000 objects           244873  264233

Servers use decode_frame(); a Packet object costs twice that.  __slots__ and not class attributes as
defaults: making one costs 154 against 140 ns, but making, encoding and framing 178 against 252.
"""

import timeit
from collections.abc import Callable
from typing import Any

from engineio import json, packet
from engineio.packet import MESSAGE, PING, Packet

TEXT = "hello, this is thirty-two bytes."
RECEIVED: dict[str, str | bytes] = {
    "text, 32 bytes": "4" + TEXT,
    "text that begins with t": "4this is text of thirty-two bytes",
    "text that begins with [": "4[info] is text of thirty-two by.",
    "JSON object": '4{"a":1,"b":"x"}',
    "Socket.IO event": '42["event",{"a":1}]',
    "bytes, 32": TEXT.encode(),
    "base64, 32 bytes": "baGVsbG8sIHRoaXMgaXMgdGhpcnR5LXR3byBieXRlcy4=",
    "ping": "2",
}


def show(name: str, call: Callable[..., object], *args: Any, number: int = 50_000) -> None:
    best = min(timeit.repeat(lambda: call(*args), number=number, repeat=7)) / number
    print(f"    {name:50}{best * 1e9:9.0f}")


for name, encoded in RECEIVED.items():
    show(f"Packet(encoded_packet=), {name}", Packet, MESSAGE, None, encoded)
    if hasattr(packet, "decode_frame"):
        show(f"decode_frame(), {name}", packet.decode_frame, encoded)

show("Packet(PING)", Packet, PING)
show("Packet(MESSAGE, text).encode()", lambda: Packet(MESSAGE, TEXT).encode())
show("Packet(MESSAGE, dict).encode()", lambda: Packet(MESSAGE, {"a": 1, "b": "x"}).encode())
show("Packet(MESSAGE, bytes).encode(b64=True)", lambda: Packet(MESSAGE, b"x" * 32).encode(b64=True))
if hasattr(Packet, "wire"):
    show("Packet(MESSAGE, text).wire", lambda: Packet(MESSAGE, TEXT).wire)

# What the guard against long integers costs: once per text, or once per integer.
integers = json.dumps(list(range(1000, 2000)))
texts = json.dumps([{"name": "hello world", "value": number * 1.5} for number in range(1000)])
show("json.loads, 1,000 integers", json.loads, integers, number=500)
show("json.loads, 1,000 objects", json.loads, texts, number=100)
