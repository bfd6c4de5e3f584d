"""The demo invents an event with guests of every answer, and is not content with less than every mail."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from guestguard_dagster.domain.deliveries import DeliveryStatus, Recipient
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.local.demo import Party, check_arrivals, invite
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.mail_store import MailSummary
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo


@pytest.fixture
def party(database: Database) -> Party:
    return invite(database)


@pytest.fixture
def sent(party: Party) -> Message:
    return replace(party.broadcast, status=MessageStatus.SENT)


@pytest.fixture
def recipients(party: Party) -> list[Recipient]:
    return [
        Recipient(
            delivery_id=number,
            guest_id=guest.id,
            channel=MessageChannel.EMAIL,
            status=DeliveryStatus.SENT,
            reason=None,
            round=1,
            name=guest.name,
            email=guest.email,
            phone=None,
            rsvp_status=guest.rsvp_status,
            rsvp_token=guest.rsvp_token,
            removed_at=None,
        )
        for number, guest in enumerate(party.guests)
    ]


def test_the_party_has_guests_of_every_answer_and_four_reminders_to_come(database: Database, party: Party) -> None:
    assert {guest.rsvp_status for guest in party.guests} == set(RsvpStatus)
    messages = MessageRepo(database).list_by_event(party.event.id)
    assert {message.kind for message in messages} == set(MessageKind)
    assert all(message.status is MessageStatus.SCHEDULED for message in messages)


def test_two_demos_in_one_database_are_two_parties(database: Database, party: Party) -> None:
    assert invite(database).event.id != party.event.id


def test_a_mail_for_every_guest_is_enough(sent: Message, recipients: list[Recipient]) -> None:
    check_arrivals(sent, recipients, _mails(recipients))


def test_a_mail_that_did_not_arrive_is_named_by_its_guest(sent: Message, recipients: list[Recipient]) -> None:
    arrived = _mails(recipients)
    del arrived["ben@example.com"]
    with pytest.raises(LocalServiceError, match=r"not arrived: Ben$"):
        check_arrivals(sent, recipients, arrived)


def test_a_delivery_that_failed_is_named_by_its_guest(sent: Message, recipients: list[Recipient]) -> None:
    failed = [replace(each, status=DeliveryStatus.FAILED) if each.name == "Eva" else each for each in recipients]
    with pytest.raises(LocalServiceError, match="not sent: Eva, "):
        check_arrivals(sent, failed, _mails(recipients))


def test_a_guest_who_was_not_written_down_is_missed(sent: Message, recipients: list[Recipient]) -> None:
    with pytest.raises(LocalServiceError, match="6 guests should have a mail; 5 were written down"):
        check_arrivals(sent, recipients[1:], _mails(recipients))


def test_a_broadcast_that_failed_says_why(sent: Message, recipients: list[Recipient]) -> None:
    failed = replace(sent, status=MessageStatus.FAILED, status_reason="no email provider configured")
    with pytest.raises(LocalServiceError, match="the broadcast ended failed: no email provider configured"):
        check_arrivals(failed, recipients, {})


def _mails(recipients: list[Recipient]) -> dict[str, MailSummary]:
    now = datetime.now(UTC)
    return {
        each.email: MailSummary(1, now, "hello@guestguard.localhost", (each.email,), "News", "")
        for each in recipients
        if each.email
    }
