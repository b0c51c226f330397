"""python-socketio's admin instrumentation, which replaces methods of this package's classes."""

import pytest

from dropin_servers import run_javascript, serve


@pytest.mark.parametrize("mode", ["development", "production"])
@pytest.mark.parametrize("server", ["threading", "gevent", "asgi"])
def test_admin(server: str, mode: str) -> None:
    admin = {"mode": mode, "server_stats_interval": 0.2}
    with serve(server, admin=admin, options={"ping_interval": 0.3}) as running:
        run_javascript("socketio_admin.mjs", running.url, mode)
        assert not running.trouble()
