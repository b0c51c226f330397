"""python-socketio's servers, unchanged, on this package: in every mode, seen by real clients."""

from collections.abc import Iterator

import pytest

from dropin_servers import SERVE, Server, each, run_javascript, run_python, serve


@pytest.fixture(scope="module", params=each(SERVE))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(request.param) as server:
        yield server
        assert not server.trouble()


def test_javascript_client(server: Server) -> None:
    run_javascript("socketio.mjs", server.url)


def test_python_client(server: Server) -> None:
    run_python("sio_client.py", server.url)


def test_asyncio_client(server: Server) -> None:
    run_python("sio_async_client.py", server.url)
