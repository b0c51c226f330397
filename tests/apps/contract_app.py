"""The application behind the contract suite, under WSGI; see contract_common.py."""

import base64
import json
import time
from collections.abc import Iterable
from typing import Any

from contract_common import (
    CONFIG,
    LIMIT,
    SERVERS,
    STATIC_FILES,
    BaseControl,
    ContractError,
    Recorder,
    connect_answer,
    floor_answer,
    stop,
)

import engineio


class Application(Recorder):
    """One server and its handlers."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        self.eio = engineio.Server(**options)
        self.wsgi = engineio.WSGIApp(self.eio, engineio_path=name)
        self.eio.on("connect", self.connect)
        self.eio.on("message", self.message)
        self.eio.on("disconnect", self.record_disconnect)

    def connect(self, sid: str, environ: dict[str, Any]) -> object:
        query = self.record_connect(sid, environ)
        if "slow" in query:
            self.eio.sleep(float(query["slow"]))
        for number in range(int(query.get("welcome", 0))):
            self.eio.send(sid, f"welcome-{number}")
        return connect_answer(query)

    def message(self, sid: str, data: Any) -> None:
        self.record_message(sid, data)
        command, _, argument = data.partition(":") if isinstance(data, str) else ("", "", "")
        match command:
            case _ if command.startswith("quiet"):
                pass
            case "sleep":
                seconds = argument.partition(":")[0]
                self.eio.sleep(float(seconds))
                self.eio.send(sid, f"slept:{argument}")
            case "hold":
                event = self.held[sid, argument] = self.eio.create_event()
                event.wait(60)
                self.eio.send(sid, f"held:{argument}")
            case "raise":
                raise ContractError("message handler")
            case "burst":
                for number in range(int(argument)):
                    self.eio.send(sid, f"burst-{number}")
            case "close":
                self.eio.disconnect(sid)
            case "stop":
                for other in self.to_be_told():
                    self.eio.send(other, "last")
                stop(argument)
            case "size":
                self.eio.send(sid, "x" * int(argument))
            case "bytes":
                self.eio.send(sid, bytes(int(argument)))
            case "transport":
                self.eio.send(sid, self.eio.transport(sid))
            case _:
                self.eio.send(sid, data)


class Control(BaseControl):
    """The calls that wait, or send."""

    def __init__(self, applications: dict[str, Application]) -> None:
        super().__init__(applications)
        self._applications = applications

    def wait(self, server: str, sid: str, event: list[object], count: int, timeout: float) -> bool:
        """Wait until `count` events that begin like `event` were recorded."""
        application = self._applications[server]
        deadline = time.monotonic() + timeout
        while True:
            if application.count(sid, event) >= count:
                return True
            if time.monotonic() > deadline:
                return False
            application.eio.sleep(0.005)

    def token(self, server: str, token: str, timeout: float) -> str | None:
        """The sid whose connect handler began with this token in its query."""
        application = self._applications[server]
        deadline = time.monotonic() + timeout
        while token not in application.tokens and time.monotonic() < deadline:
            application.eio.sleep(0.005)
        return application.tokens.get(token)

    def send(self, server: str, sid: str, data: Any = None, binary: str | None = None) -> None:
        self._applications[server].eio.send(
            sid, data if binary is None else base64.b64decode(binary)
        )

    def burst(self, server: str, sid: str, count: int, size: int = 0) -> float:
        """Send `count` messages without a pause; returns the seconds it took."""
        eio = self._applications[server].eio
        start = time.monotonic()
        for number in range(count):
            eio.send(sid, f"burst-{number}" + "x" * size)
        return time.monotonic() - start

    def broadcast(self, server: str, sids: list[str], count: int, binary: bool) -> None:
        """Send the same Packet objects to all sids."""
        eio = self._applications[server].eio
        for number in range(count):
            data = b"cast-%d" % number if binary else f"cast-{number}"
            packet = engineio.packet.Packet(engineio.packet.MESSAGE, data=data)
            for sid in sids:
                eio.send_packet(sid, packet)

    def disconnect(self, server: str, sid: str | None = None) -> float:
        """Disconnect one client or all; returns the seconds it took."""
        start = time.monotonic()
        self._applications[server].eio.disconnect(sid)
        return time.monotonic() - start


instances = {
    name: Application(name, {"async_mode": CONFIG.get("async_mode"), **options})
    for name, options in SERVERS.items()
}
static = engineio.WSGIApp(instances["engine.io"].eio, static_files=STATIC_FILES)
control = Control(instances)
eio = instances["engine.io"].eio


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Send the request to the server its path names, or to the control calls."""
    name = environ.get("PATH_INFO", "").strip("/").partition("/")[0]
    if name in instances:
        result: Iterable[bytes] = instances[name].wsgi(environ, start_response)
        return result
    if name == "static":
        return static(environ, start_response)
    if name == "floor":
        return floor(environ, start_response)
    if name != "control":
        start_response("404 Not Found", [("Content-Length", "0")])
        return []
    arguments = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    body = json.dumps(getattr(control, arguments.pop("call"))(**arguments)).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def floor(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """A plain echo: what happens here is the web server's doing."""
    length = environ.get("CONTENT_LENGTH")
    chunked = "HTTP_TRANSFER_ENCODING" in environ
    size = int(length) if length and length.isdecimal() else LIMIT if chunked else 0
    if size:
        environ["wsgi.input"].read(min(size, LIMIT))
    body = floor_answer(environ["REQUEST_METHOD"], environ["QUERY_STRING"])
    fields = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", fields)
    return [body]
