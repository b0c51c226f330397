"""Cost of one WebSocket message on the server: parse a masked frame, encode the reply.

    python bench/micro/frames.py

Nanoseconds per message, CPython 3.11, 2 cores in use by others, websockets 17.4, wsproto 1.3.2
(CPython 3.13 is within 10 % for small messages):

                         engineio  websockets  wsproto
         32 bytes             580        3320     9040
         32 bytes, 16 a read  360        2870     8440
        200 bytes             750        3660     9900
      4,096 bytes            1240        4470    14480
    100,000 bytes            7990       13670    99260

Where 32 bytes go: apply_mask 50, the slice it takes 30, decode 25, the header 48, encode_frame 115,
an empty receive() 55. And what was tried:

- The header by Struct.unpack_from, against indexing and a slice for the mask: 48 to 65 alone. In
  a sketch of the whole loop 326 to 306 for a single frame, but 260 to 277 for 16 in a read. Taken
  for the batches. For a 16-bit length and its mask: 50 to 90. Taken.
- A memoryview for the payload, against a slice: with apply_mask 214 to 111 for 32 bytes, 276 to
  231 for 4,000, but 1270 to 1732 for 60,000. Taken for frames with a 64-bit length only.
- Unmasking as one big integer, as the library does without its compiled part: 418 to 50.
- str(payload, "utf-8"), against payload.decode(): 50 to 24.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.utils import apply_mask

from engineio.websocket import WebSocketProtocol, encode_frame

try:
    from wsproto import ConnectionType
    from wsproto.connection import Connection
    from wsproto.events import TextMessage
except ImportError:
    Connection = None

MASK = b"\x12\x34\x56\x78"


def masked(payload: bytes) -> bytes:
    """Return a text frame as a client sends it."""
    server = encode_frame(payload.decode())
    header = server[: len(server) - len(payload)]
    return header[:1] + bytes((header[1] | 128,)) + header[2:] + MASK + apply_mask(payload, MASK)


def ours() -> Callable[[bytes], None]:
    protocol = WebSocketProtocol(1_000_000)

    def echo(data: bytes) -> None:
        for message in protocol.receive(data):
            encode_frame(message)

    return echo


def library() -> Callable[[bytes], None]:
    protocol = Protocol(Side.SERVER, max_size=1_000_000)

    def echo(data: bytes) -> None:
        protocol.receive_data(data)
        for frame in protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                protocol.send_text(bytes(frame.data).decode().encode())
                protocol.data_to_send()

    return echo


def wsproto() -> Callable[[bytes], None]:
    connection = Connection(ConnectionType.SERVER)

    def echo(data: bytes) -> None:
        connection.receive_data(data)
        for event in connection.events():
            connection.send(TextMessage(event.data))

    return echo


def nanoseconds(function: Callable[[bytes], None], data: bytes, number: int) -> float:
    return min(timeit.repeat(lambda: function(data), number=number, repeat=5)) / number * 1e9


def main() -> None:
    contenders = [ours, library] + ([wsproto] if Connection else [])
    print(f"{'ns per message':22}", *(f"{contender.__name__:>10}" for contender in contenders))
    for size, batch in [(32, 1), (32, 16), (200, 1), (4096, 1), (100_000, 1)]:
        data = masked(b"4" + b"x" * (size - 1)) * batch
        number = max(200, 200_000 // batch // (1 + size // 200))
        row = [nanoseconds(make(), data, number) / batch for make in contenders]
        print(f"{size:7} bytes, {batch:2} a read", *(f"{value:10.0f}" for value in row))


if __name__ == "__main__":
    main()
