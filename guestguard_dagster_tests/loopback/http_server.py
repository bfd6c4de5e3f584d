"""A small HTTP/1.1 server with keep-alive for loopback providers: faults, and control endpoints under /_control/."""

import json
import socket
import struct
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from guestguard_dagster_tests.loopback.faults import Fault, FaultKind, FaultPlan

CONTROL = "/_control/"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, content: object, headers: dict[str, str] | None = None) -> "HttpResponse":
        body = json.dumps(content).encode()
        return cls(status, body, {"content-type": "application/json; charset=utf-8", **(headers or {})})


class HttpLoopback(ABC):
    """A provider on a free port of 127.0.0.1. Use it as a context manager, or `start` and `stop` it.

    By hand: GET `/_control/accepted` shows what was taken; POST a Fault as JSON to `/_control/faults`, GET lists those
    still to come, DELETE clears them.
    """

    def __init__(self, port: int = 0) -> None:
        self.faults = FaultPlan()
        self.connections = 0
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @abstractmethod
    def answer(self, request: HttpRequest) -> HttpResponse:
        """What the real provider would answer."""

    @abstractmethod
    def report(self) -> object:
        """What was taken so far, fit for JSON."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def control(self, request: HttpRequest) -> HttpResponse:
        return answer_control(request, self.faults, self.report)


def answer_control(request: HttpRequest, faults: FaultPlan, report: Any) -> HttpResponse:
    """The control endpoints, the same for every loopback provider."""
    what = request.path.removeprefix(CONTROL)
    if what == "accepted" and request.method == "GET":
        return HttpResponse.of_json(200, report())
    if what != "faults":
        return HttpResponse.of_json(404, {"error": "there are /_control/accepted and /_control/faults"})
    if request.method == "POST":
        try:
            faults.add(Fault.model_validate_json(request.body))
        except ValidationError as error:
            return HttpResponse.of_json(422, {"error": str(error)})
    elif request.method == "DELETE":
        faults.clear()
    return HttpResponse.of_json(200, [fault.model_dump(mode="json") for fault in faults.pending()])


def reset_connection(connection: socket.socket) -> None:
    """Close with a TCP reset instead of a goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], loopback: HttpLoopback) -> None:
        super().__init__(address, _Handler)
        self.loopback = loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what these servers are for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.loopback.connections += 1

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _serve(self) -> None:
        loopback = self.server.loopback
        request = self._read()
        if request.path.startswith(CONTROL):
            self._send(loopback.control(request))
            return
        fault = loopback.faults.strike(request.path, request.body.decode("utf-8", "replace"))
        if fault is None:
            self._send(loopback.answer(request))
            return
        response = loopback.answer(request) if fault.do.takes else None
        match fault.do:
            case FaultKind.REPLY | FaultKind.TAKE_THEN_REPLY:
                self._send(HttpResponse(fault.status, fault.reply.encode(), fault.headers))
            case FaultKind.SLOW:
                loopback.stopping.wait(fault.seconds)
                self._send(response or loopback.answer(request))
            case FaultKind.HANG | FaultKind.TAKE_THEN_HANG:
                loopback.stopping.wait(fault.seconds)
                self.close_connection = True
            case FaultKind.RESET | FaultKind.TAKE_THEN_RESET:
                self.close_connection = True
                self.rfile.close()
                reset_connection(self.connection)
            case FaultKind.DROP | FaultKind.TAKE_THEN_DROP:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_DELETE = do_PUT = _serve  # noqa: N815 - the names that http.server looks for

    def _read(self) -> HttpRequest:
        target = urlsplit(self.path)
        length = int(self.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return HttpRequest(self.command, target.path, parse_qs(target.query), headers, self.rfile.read(length))

    def _send(self, response: HttpResponse) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)
