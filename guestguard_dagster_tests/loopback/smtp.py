"""An SMTP server on loopback that records the mail it takes and misbehaves when told to."""

import base64
import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from io import BufferedReader
from types import TracebackType
from typing import Any, Self

from guestguard_dagster_tests.loopback.by_hand import argument_parser, serve_until_stopped
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind, FaultPlan
from guestguard_dagster_tests.loopback.http_server import (
    CONTROL,
    HttpLoopback,
    HttpRequest,
    HttpResponse,
    reset_connection,
)
from guestguard_dagster_tests.loopback.smtp_features import USUAL, AcceptedMail, SmtpFeatures

__all__ = ["AcceptedMail", "SmtpControl", "SmtpFeatures", "SmtpLoopback"]


class SmtpLoopback:
    """Listens on a free port of 127.0.0.1. Use it as a context manager, or `start` and `stop` it."""

    def __init__(self, features: SmtpFeatures = USUAL, port: int = 0) -> None:
        self.features = features
        self.faults = FaultPlan()
        self.accepted: list[AcceptedMail] = []
        self.connections = 0
        self.ended = 0
        self.connections_refused = 0
        self.mails_refused = 0
        self.secure_connections = 0
        self.commands: Counter[str] = Counter()
        self.announced_ahead = 0
        self.deferred: set[str] = set()
        self.lock = threading.Lock()
        self.open_sockets: set[socket.socket] = set()
        self.stopping = threading.Event()
        self._period_began, self._mails_of_period = time.monotonic(), 0
        self._server = _Server(("127.0.0.1", port), self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def recipients(self) -> Counter[str]:
        """How many mails were taken for each recipient."""
        return Counter(recipient for mail in self.accepted for recipient in mail.recipients)

    def report(self) -> dict[str, int]:
        return dict(self.recipients())

    def count_connection(self, connection: socket.socket) -> tuple[int, bool]:
        """Its number, and whether it is one too many."""
        with self.lock:
            self.connections += 1
            self.open_sockets.add(connection)
            most = self.features.most_connections
            is_refused = most is not None and len(self.open_sockets) > most
            self.connections_refused += is_refused
            return self.connections, is_refused

    def refuses_mail(self) -> bool:
        """Whether this mail, which is counted, goes beyond what the server takes in a period."""
        if self.features.mails_per_period is None:
            return False
        most, seconds = self.features.mails_per_period
        with self.lock:
            if time.monotonic() - self._period_began >= seconds:
                self._period_began, self._mails_of_period = time.monotonic(), 0
            is_refused = self._mails_of_period >= most
            self._mails_of_period += not is_refused
            self.mails_refused += is_refused
        return is_refused

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def end_connections(self) -> None:
        """Close every connection, as a server does that goes down; `stop` alone leaves them."""
        with self.lock:
            for each in self.open_sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], loopback: SmtpLoopback) -> None:
        super().__init__(address, _Session)
        self.loopback = loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what this server is for."""


class _Ended(Exception):
    """This connection is over."""


class _Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server
    sender: str | None
    recipients: list[str]
    _refusals_of_early_input: list[str]

    def handle(self) -> None:
        self.loopback = self.server.loopback
        self.features = self.loopback.features
        self.accepted_socket = self.connection
        self.number, is_refused = self.loopback.count_connection(self.accepted_socket)
        self.secure = False
        self.known = not self.features.users
        self.taken = 0
        self._forget_mail()
        with contextlib.suppress(_Ended, OSError):
            if self.features.implicit_tls:
                self._start_tls()
            self.connection.settimeout(self.features.idle_seconds)
            if is_refused:
                self._say("421 4.7.0 too many connections from you")
                raise _Ended
            if not self._struck("connect"):
                self._say("220 loopback.test ESMTP")
            while self._one_command():
                pass

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
            self.connection.close()
        with self.loopback.lock:
            self.loopback.ended += 1
            self.loopback.open_sockets.discard(self.accepted_socket)

    def _one_command(self) -> bool:
        """Answer one command; False after QUIT or the client's end."""
        line = self.rfile.readline(4096)
        if not line:
            return False
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        verb, _, argument = text.partition(" ")
        self.loopback.commands[verb.upper()] += 1
        match verb.upper():
            case "EHLO":
                if not self._struck("ehlo"):
                    self._say_features()
            case "STARTTLS":
                if not self._struck("starttls"):
                    self._say("220 2.0.0 go ahead")
                    self._start_tls()
            case "AUTH":
                self._authenticate(argument)
            case "MAIL":
                self._mail(argument)
            case "RCPT":
                self._rcpt(argument)
            case "DATA":
                self._data()
            case "RSET":
                self._forget_mail()
                if not self._struck("rset"):
                    self._say("250 2.0.0 flushed")
            case "NOOP":
                if not self._struck("noop"):
                    self._say("250 2.0.0 still here")
            case "QUIT":
                self._say("221 2.0.0 bye")
                return False
            case _:
                self._say("500 5.5.2 unknown command")
        return True

    def _say_features(self) -> None:
        offered = ["8BITMIME", "ENHANCEDSTATUSCODES"]
        if self.features.pipelining:
            offered.append("PIPELINING")
        if self.features.smtputf8:
            offered.append("SMTPUTF8")
        if self.features.size_limit is not None:
            offered.append(f"SIZE {self.features.size_limit}")
        if self.features.tls is not None and not self.secure:
            offered.append("STARTTLS")
        if self.features.users:
            offered.append("AUTH PLAIN")
        lines = ["loopback.test", *offered]
        self._say("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _authenticate(self, argument: str) -> None:
        if self._struck("auth"):
            return
        _, user, password = base64.b64decode(argument.partition(" ")[2]).decode().split("\0")
        self.known = (user, password) in self.features.users
        self._say("235 2.7.0 welcome" if self.known else "535 5.7.8 authentication credentials invalid")

    def _mail(self, argument: str) -> None:
        if self._struck("mail", argument):
            return
        if not self.known:
            self._say("530 5.7.0 authentication required")
        elif self.features.mails_per_connection is not None and self.taken >= self.features.mails_per_connection:
            self._say("421 4.7.0 too many mails on this connection")
            raise _Ended
        elif self.loopback.refuses_mail():
            self._say(self.features.over_limit)
            if self.features.over_limit.startswith("421"):
                raise _Ended
        elif self.features.size_limit is not None and _declared_size(argument) > self.features.size_limit:
            self._say("552 5.3.4 message too big")
        else:
            self.sender = _address(argument)
            self._say("250 2.1.0 sender ok")

    def _rcpt(self, argument: str) -> None:
        recipient = _address(argument)
        if self.sender is None:
            self._say("503 5.5.1 MAIL first")
        elif self._struck("rcpt", recipient):
            return
        elif self.features.greylisting and recipient not in self.loopback.deferred:
            self.loopback.deferred.add(recipient)
            self._say("450 4.7.1 greylisted, try again in 60 seconds")
        else:
            self.recipients.append(recipient)
            self._say("250 2.1.5 recipient ok")

    def _data(self) -> None:
        if not self.recipients:
            self._say("503 5.5.1 no valid recipients")
            return
        if self._struck("data", self.recipients[0]):
            return
        self._say("354 go ahead")
        fault = self.loopback.faults.strike("content_start", self.recipients[0])
        if fault is not None:
            self.rfile.read(10)
            self._suffer(fault)
        mail = AcceptedMail(self.sender or "", tuple(self.recipients), self._read_content(), self.number)
        self._forget_mail()
        self._look_at_early_input()
        fault = self.loopback.faults.strike("content", mail.recipients[0])
        if fault is None or fault.do.takes or fault.do is FaultKind.SLOW:
            with self.loopback.lock:
                self.loopback.accepted.append(mail)
            self.taken += 1
        if fault is not None:
            self._suffer(fault)
        if fault is None or fault.do is FaultKind.SLOW:
            self._say("250 2.0.0 taken")
        for refusal in self._refusals_of_early_input:
            self._say(refusal)
            if refusal.startswith("421"):
                raise _Ended

    def _read_content(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise _Ended
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def _look_at_early_input(self) -> None:
        if not isinstance(self.rfile, BufferedReader):
            raise TypeError("the input of a session is not buffered")
        self.connection.setblocking(False)
        try:
            early = self.rfile.peek()
        except ssl.SSLWantReadError:
            early = b""
        if early:
            with self.loopback.lock:
                self.loopback.announced_ahead += 1
        self._refusals_of_early_input = []
        if self.features.early_input != "taken":
            thrown_away = self.rfile.read(len(early)) if early else b""
            if self.features.early_input != "silence":
                self._refusals_of_early_input = [self.features.early_input] * thrown_away.count(b"\n")
        self.connection.settimeout(self.features.idle_seconds)

    def _struck(self, stage: str, subject: str = "") -> bool:
        """Whether a fault answered in place of the server."""
        fault = self.loopback.faults.strike(stage, subject)
        if fault is not None:
            self._suffer(fault)
        return fault is not None and fault.do is not FaultKind.SLOW

    def _suffer(self, fault: Fault) -> None:
        match fault.do:
            case FaultKind.REPLY | FaultKind.TAKE_THEN_REPLY:
                self._say(fault.reply)
                if fault.reply.startswith("421"):
                    raise _Ended
            case FaultKind.SLOW:
                self.loopback.stopping.wait(fault.seconds)
            case FaultKind.HANG | FaultKind.TAKE_THEN_HANG:
                self.loopback.stopping.wait(fault.seconds)
                raise _Ended
            case FaultKind.RESET | FaultKind.TAKE_THEN_RESET:
                self.rfile.close()
                reset_connection(self.connection)
                raise _Ended
            case FaultKind.DROP | FaultKind.TAKE_THEN_DROP:
                raise _Ended

    def _start_tls(self) -> None:
        if self.features.tls is None:
            raise _Ended
        self.connection = self.features.tls.wrap_socket(self.connection, server_side=True)
        self.request = self.connection
        self.rfile = self.connection.makefile("rb")
        self.secure = True
        with self.loopback.lock:
            self.loopback.open_sockets.discard(self.accepted_socket)
            self.loopback.open_sockets.add(self.connection)
            self.accepted_socket = self.connection
            self.loopback.secure_connections += 1

    def _say(self, reply: str) -> None:
        self.connection.sendall(reply.encode() + b"\r\n")

    def _forget_mail(self) -> None:
        self.sender = None
        self.recipients = []


def _address(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]


def _declared_size(argument: str) -> int:
    declared = argument.partition(" SIZE=")[2].split(" ")[0]
    return int(declared) if declared.isdigit() else 0


class SmtpControl(HttpLoopback):
    """The control endpoints of an SMTP server, on an HTTP port of their own."""

    def __init__(self, controlled: SmtpLoopback, port: int = 0) -> None:
        super().__init__(port)
        self._controlled = controlled
        self.faults = controlled.faults

    def answer(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse.of_json(404, {"error": f"{request.path}: only {CONTROL} is here"})

    def report(self) -> dict[str, int]:
        return self._controlled.report()


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--control-port", type=int, default=0, help="HTTP port of the control endpoints")
    parser.add_argument("--no-pipelining", action="store_true")
    parser.add_argument("--greylisting", action="store_true", help="defer the first RCPT for every recipient")
    parser.add_argument("--idle-seconds", type=float, help="close a connection that says nothing for so long")
    parser.add_argument("--most-connections", type=int, help="greet one more with 421")
    parser.add_argument("--mails-per-minute", type=int, help="answer what goes beyond with 450 at MAIL")
    options = parser.parse_args()
    features = SmtpFeatures(
        pipelining=not options.no_pipelining,
        greylisting=options.greylisting,
        idle_seconds=options.idle_seconds,
        most_connections=options.most_connections,
        mails_per_period=(options.mails_per_minute, 60) if options.mails_per_minute else None,
    )
    with SmtpLoopback(features, options.port) as server, SmtpControl(server, options.control_port) as control:
        server.faults.add(*options.fault)
        serve_until_stopped(f"SMTP on 127.0.0.1:{server.port}, control on {control.url}{CONTROL}")


if __name__ == "__main__":
    main()
