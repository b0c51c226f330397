"""Two processes share their clients through python-socketio's Redis manager, and a real Redis."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropin_servers import JAVASCRIPT, PATIENCE, python, redis_server, serve
from rigs import free_port

REDIS = redis_server()

pytestmark = pytest.mark.skipif(REDIS is None, reason="needs redis-server")

OUTSIDE = """
import sys, socketio
manager = socketio.RedisManager(sys.argv[1], write_only=True)
manager.emit("outside", b"from outside", room="both")
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis server of our own, without a disk."""
    assert REDIS is not None
    port = free_port()
    folder: Path = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [REDIS, *options, "--dir", str(folder), "--logfile", str(folder / "log")]
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    "modes", [("threading", "threading"), ("gevent", "asgi"), ("eventlet", "aiohttp")], ids="+".join
)
def test_two_processes(redis: str, modes: tuple[str, str]) -> None:
    with serve(modes[0], redis=redis) as one, serve(modes[1], redis=redis) as other:
        client = subprocess.Popen(
            ["node", str(JAVASCRIPT / "socketio_redis.mjs"), one.url, other.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n", client.communicate(timeout=PATIENCE)
            outside = [str(python()), "-c", OUTSIDE, redis]
            subprocess.run(outside, check=True, timeout=PATIENCE)
            _, errors = client.communicate(timeout=PATIENCE)
        finally:
            client.kill()
            client.wait()
        assert (client.returncode, errors) == (0, "")
        assert not one.trouble()
        assert not other.trouble()
