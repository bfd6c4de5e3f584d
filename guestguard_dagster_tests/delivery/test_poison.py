"""What cannot be composed stops nobody but itself: not the batch it is in, and not the other messages of its run."""

from collections.abc import Sequence

import pytest

from guestguard_dagster.delivery.composing import MessageComposer
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.senders.base import HandOff, Mail
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.contexts import MessageContext
from guestguard_dagster_tests.delivery.rows import delivery_of, statuses_of
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.delivery.watched import WatchedSmtp
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener

POISON = "poison@example.com"


class ChokingSmtp(WatchedSmtp):
    """Breaks over a mail to one address, as over one that nobody has thought of."""

    def prepare(self, items: Sequence[Mail]) -> list[HandOff]:
        if any(mail.to_email == POISON for mail in items):
            raise OverflowError("a text that must not be repeated")
        return super().prepare(items)


def test_a_recipient_whom_no_mail_can_be_made_for_fails_alone_with_a_reason(
    open_sending: SendContextOpener, database: Database, mail_server: SmtpLoopback, caplog: pytest.LogCaptureFixture
) -> None:
    sending = open_sending(senders=ChokingSmtp(mail_server).senders())
    event = make_event(database)
    make_guests(database, event, 60)
    [poisoned] = make_guests(database, event, 1, email=POISON)
    message = make_message(database, event)

    send(sending, [message.id])

    assert statuses_of(database, message) == {"sent": 60, "failed": 1}
    row = delivery_of(database, message, poisoned)
    assert "cannot be composed (OverflowError)" in row.reason
    assert str(row.id) in caplog.text
    assert POISON not in caplog.text
    assert "must not be repeated" not in caplog.text
    assert read_message(database, message.id).status is MessageStatus.SENT


def test_a_message_that_breaks_whatever_composes_it_fails_and_its_neighbours_leave(
    open_sending: SendContextOpener,
    database: Database,
    mail_server: SmtpLoopback,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = make_event(database)
    make_guests(database, event, 5)
    broken, sound = make_message(database, event), make_message(database, event)
    original = MessageComposer._template

    def choke(self: MessageComposer, context: MessageContext) -> object:
        if context.message.id == broken.id:
            raise ZeroDivisionError
        return original(self, context)

    monkeypatch.setattr(MessageComposer, "_template", choke)
    sending = open_sending(senders=WatchedSmtp(mail_server).senders())

    send(sending, [broken.id, sound.id])

    assert statuses_of(database, broken) == {"failed": 5}
    assert read_message(database, broken.id).status is MessageStatus.FAILED
    assert statuses_of(database, sound) == {"sent": 5}
    assert len(mail_server.accepted) == 5
