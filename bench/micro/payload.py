"""What joining and splitting polling payloads costs.

    python bench/micro/payload.py                  this checkout
    OTHER/bin/python bench/micro/payload.py        another python-engineio, if OTHER has it

Microseconds, CPython 3.11, one core of a shared machine; 4.15.1 in the first column:

                                        4.15.1   5.0.0   split()
    1 text: make packets, encode           0.7     0.9
    1 text: decode                         4.9     1.4     0.6
    16 texts: make packets, encode         5.4     6.4
    16 texts: decode                      67.8    10.9     6.8
    1,000 texts: make packets, encode    288.4   328.9
    1,000 texts: decode                 4135.9   607.0   395.9
    1 MB of separators                  6709.3   292.1
    1 MB of text, JSONP                  324.0  3350.4

4.15.1 is quicker with JSONP because it escapes nothing but quotes.
"""

import timeit
from collections.abc import Callable
from typing import Any

from engineio import payload
from engineio.packet import MESSAGE, Packet
from engineio.payload import Payload

TEXT = "hello, this is thirty-two bytes."


def show(name: str, number: int, call: Callable[..., object], *args: Any) -> None:
    best = min(timeit.repeat(lambda: call(*args), number=number, repeat=5)) / number
    print(f"    {name:42}{best * 1e6:9.1f}")


def encode(texts: list[str], jsonp_index: int | None = None) -> bytes:
    return Payload([Packet(MESSAGE, text) for text in texts]).encode(jsonp_index).encode()


def decode(encoded: str) -> Payload | None:
    try:
        return Payload(encoded_payload=encoded)
    except ValueError:
        return None


def split(body: bytes) -> None:
    for _ in payload.split(body):
        pass


Payload.max_decode_packets = 10**9  # 4.15.1 allows 16
for count in (1, 16, 1000):
    texts = [TEXT] * count
    body = encode(texts)
    number = 20_000 // count
    show(f"{count} texts: make packets, encode", number, encode, texts)
    show(f"{count} texts: Payload(encoded_payload=)", number, decode, body.decode())
    if hasattr(payload, "split"):
        show(f"{count} texts: split()", number, split, body)
show("1 MB of separators", 5, decode, "\x1e" * 10**6)
show("1 MB of text, JSONP", 20, encode, ["x" * 10**6], 1)
