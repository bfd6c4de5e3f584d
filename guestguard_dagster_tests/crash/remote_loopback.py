"""A provider on loopback in a process of its own, fast, and with room for any number of mails: it only counts them."""

import contextlib
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeVar

from guestguard_dagster_tests.crash.providers import SMTP_PASSWORD, SMTP_USER, Provider
from guestguard_dagster_tests.loopback.http_server import HttpRequest
from guestguard_dagster_tests.loopback.resend import AcceptedEmail, ResendLoopback
from guestguard_dagster_tests.loopback.smtp import AcceptedMail, SmtpFeatures, SmtpLoopback

Taken = TypeVar("Taken")

_PROCESSES = multiprocessing.get_context("spawn")


class RemoteLoopback:
    """SMTP or Resend on loopback. Use it as a context manager."""

    def __init__(self, provider: Provider) -> None:
        self._connection, servers_end = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(provider, servers_end), daemon=True)
        self._process.start()
        servers_end.close()
        self.port: int = self._connection.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def mails(self) -> int:
        """How many mails were taken."""
        self._connection.send("mails")
        mails: int = self._connection.recv()
        return mails

    def recipients(self) -> Counter[str]:
        """How many mails were taken for each address."""
        self._connection.send("recipients")
        recipients: Counter[str] = self._connection.recv()
        return recipients


class _Counted(list[Taken]):
    """Keeps who got how many mails, and not the mails."""

    def __init__(self, addresses: Callable[[Taken], Iterable[str]]) -> None:
        super().__init__()
        self.mails = 0
        self.recipients: Counter[str] = Counter()
        self._addresses = addresses

    def append(self, taken: Taken) -> None:
        self.mails += 1
        self.recipients.update(self._addresses(taken))


def _serve(provider: Provider, connection: Connection) -> None:
    match provider:
        case Provider.SMTP:
            with SmtpLoopback(SmtpFeatures(users=((SMTP_USER, SMTP_PASSWORD),))) as mail_server:
                mail_server.accepted = mails = _Counted[AcceptedMail](lambda mail: mail.recipients)
                _answer(connection, mail_server.port, mails)
        case Provider.RESEND:
            with ResendLoopback() as resend_server:
                resend_server.accepted = emails = _Counted[AcceptedEmail](lambda email: email.to)
                resend_server.requests = _Counted[HttpRequest](lambda _: ())
                _answer(connection, resend_server.port, emails)
        case _:
            raise ValueError(f"{provider} is not offered in a process of its own; take smtp or resend")


def _answer(connection: Connection, port: int, counted: _Counted[Any]) -> None:
    connection.send(port)
    with contextlib.suppress(EOFError):
        while True:
            question = connection.recv()
            connection.send(counted.mails if question == "mails" else counted.recipients.copy())
