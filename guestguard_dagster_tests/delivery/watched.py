"""A real sender that lets a test act between the steps of a hand-off."""

from collections.abc import Callable, Sequence
from itertools import count

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.outcomes import Outcome
from guestguard_dagster.senders.base import HandOff, Mail, Permit
from guestguard_dagster.senders.log import LogSender
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.smtp.connect import SmtpAccess
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


def do_nothing() -> None:
    """The default between two steps."""


class WatchedSmtp(SmtpSender):
    """`prepared` is called when the mails are composed and nothing is marked, `before` and `after` around the call."""

    def __init__(self, server: SmtpLoopback, *, mails_per_second: float | None = None) -> None:
        super().__init__(
            SmtpAccess("127.0.0.1", server.port, "none", greeting_name="guestguard.example"),
            MailComposer("events@guestguard.example"),
            mails_per_second=mails_per_second,
        )
        self.prepared: Callable[[], None] = do_nothing
        self.before: Callable[[], None] = do_nothing
        self.after: Callable[[], None] = do_nothing

    def prepare(self, items: Sequence[Mail]) -> list[HandOff]:
        requests = super().prepare(items)
        self.prepared()
        return requests

    def hand_off(self, request: HandOff, permit: Permit) -> list[Outcome | None]:
        self.before()
        outcomes = super().hand_off(request, permit)
        self.after()
        return outcomes

    def senders(self) -> Senders:
        return Senders(self, LogSender(MessageChannel.SMS))


def once(act: Callable[[], object]) -> Callable[[], None]:
    """Acts the first time it is called."""
    done: list[bool] = []

    def act_once() -> None:
        if not done:
            done.append(True)
            act()

    return act_once


def at_call(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """Acts when it is called for the `number`th time."""
    calls = count(1)

    def act_then() -> None:
        if next(calls) == number:
            act()

    return act_then
