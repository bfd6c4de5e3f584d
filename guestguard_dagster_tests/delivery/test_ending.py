"""How a message ends: by what became of its recipients, and only when nothing is left to do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from guestguard_dagster.delivery.mark_sent import end_settled
from guestguard_dagster.domain.deliveries import ALL_RETRYABLE, DeliveryStatus
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.recording import reopen
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    read_message,
    set_columns,
)
from guestguard_dagster_tests.storage.blocking import wait_until_blocked

Row = tuple[DeliveryStatus, str | None]

SENT: Row = (DeliveryStatus.SENT, None)
REFUSED: Row = (DeliveryStatus.FAILED, "refused")
LOGGED: Row = (DeliveryStatus.SKIPPED, "log_backend")
ANSWERED_SINCE: Row = (DeliveryStatus.SKIPPED, "not_in_audience")
STARTED: Row = (DeliveryStatus.SKIPPED, "event_started")
TOO_LATE: Row = (DeliveryStatus.SKIPPED, "time_passed")
SUPPRESSED: Row = (DeliveryStatus.SUPPRESSED, "suppressed")
UNKNOWN: Row = (DeliveryStatus.UNKNOWN, "answer_lost")


@pytest.fixture
def messages(database: Database) -> MessageRepo:
    return MessageRepo(database)


def a_frozen_message(
    database: Database, event: Event, *rows: Row, channel: MessageChannel = MessageChannel.EMAIL, **columns: Any
) -> Message:
    """A message that is being sent, with one recipient per row."""
    values: dict[str, Any] = {"audience_frozen_at": database.now(), "recipient_count": len(rows)} | columns
    message = make_message(database, event, status=MessageStatus.SENDING, channel=channel, **values)
    for status, reason in rows:
        make_deliveries(database, message, make_guests(database, event), status=status, reason=reason)
    return message


@pytest.mark.parametrize(
    ("rows", "status", "reason"),
    [
        ([], MessageStatus.SENT, None),
        ([SENT, SENT], MessageStatus.SENT, None),
        ([SENT, REFUSED, LOGGED], MessageStatus.SENT, None),
        ([(DeliveryStatus.BOUNCED, None), REFUSED], MessageStatus.SENT, None),
        ([UNKNOWN, REFUSED], MessageStatus.SENT, None),
        ([ANSWERED_SINCE, SUPPRESSED], MessageStatus.SENT, None),
        ([REFUSED, ANSWERED_SINCE, SUPPRESSED], MessageStatus.FAILED, "refused"),
        ([STARTED, TOO_LATE], MessageStatus.FAILED, "event_started"),
        ([TOO_LATE, ANSWERED_SINCE], MessageStatus.FAILED, "time_passed"),
        ([SENT, TOO_LATE], MessageStatus.SENT, None),
        ([LOGGED, LOGGED], MessageStatus.FAILED, "no email provider configured"),
        ([LOGGED, REFUSED], MessageStatus.FAILED, "no email provider configured"),
    ],
)
def test_a_message_ends_by_what_became_of_its_recipients(
    messages: MessageRepo, database: Database, rows: list[Row], status: MessageStatus, reason: str | None
) -> None:
    message = a_frozen_message(database, make_event(database), *rows)

    assert end_settled(messages, [message.id]) == {message.id: status}

    ended = read_message(database, message.id)
    assert (ended.status, ended.status_reason) == (status, reason)
    assert ended.finished_at is not None


def test_the_reason_names_the_channel_without_a_provider(messages: MessageRepo, database: Database) -> None:
    message = a_frozen_message(database, make_event(database), LOGGED, channel=MessageChannel.SMS)
    end_settled(messages, [message.id])
    assert read_message(database, message.id).status_reason == "no sms provider configured"


@pytest.mark.parametrize("open_status", [DeliveryStatus.PENDING, DeliveryStatus.SENDING])
def test_a_message_with_anything_left_to_do_does_not_end(
    messages: MessageRepo, database: Database, open_status: DeliveryStatus
) -> None:
    message = a_frozen_message(database, make_event(database), SENT, (open_status, None))
    assert end_settled(messages, [message.id]) == {}
    assert read_message(database, message.id).status is MessageStatus.SENDING


def test_a_message_whose_audience_is_not_frozen_does_not_end(messages: MessageRepo, database: Database) -> None:
    message = a_frozen_message(database, make_event(database), audience_frozen_at=None)
    assert end_settled(messages, [message.id]) == {}


def test_only_a_message_that_is_being_sent_ends(messages: MessageRepo, database: Database) -> None:
    event = make_event(database)
    for status in set(MessageStatus) - {MessageStatus.SENDING}:
        message = a_frozen_message(database, event, SENT)
        set_columns(database, message, status=status)
        assert end_settled(messages, [message.id]) == {}
        assert read_message(database, message.id).status is status


def test_a_message_that_has_ended_waits_for_nothing(messages: MessageRepo, database: Database) -> None:
    later = database.now() + timedelta(hours=1)
    message = a_frozen_message(
        database,
        make_event(database),
        SENT,
        asked_until=later,
        not_before=later,
        waiting_reason="waiting to try again",
        held_at=later,
        held_by="run",
        held_run_id="a-run",
        held_reason="stopped",
    )
    end_settled(messages, [message.id])
    ended = read_message(database, message.id)
    assert (ended.asked_until, ended.not_before, ended.waiting_reason) == (None, None, None)
    assert (ended.held_at, ended.held_by, ended.held_reason) == (None, None, None)


def test_a_message_that_a_retry_opens_at_the_last_moment_does_not_end(
    messages: MessageRepo, database: Database
) -> None:
    event = make_event(database)
    message = a_frozen_message(database, event, SENT)
    make_deliveries(database, message, make_guests(database, event), status=DeliveryStatus.FAILED, retryable=True)
    with ThreadPoolExecutor(1) as pool, database.transaction() as retry:
        retry.execute(text("UPDATE scheduled_messages SET version = version + 1"))
        finishing = pool.submit(end_settled, messages, [message.id])
        wait_until_blocked(database)
        reopen(retry, message.id, ALL_RETRYABLE, batch_size=1)
        retry.commit()
        assert finishing.result() == {}
    assert read_message(database, message.id).status is MessageStatus.SENDING


def test_many_messages_end_at_once_each_by_its_own_recipients(messages: MessageRepo, database: Database) -> None:
    event = make_event(database)
    sent, failed = a_frozen_message(database, event, SENT), a_frozen_message(database, event, REFUSED)
    unfinished = a_frozen_message(database, event, (DeliveryStatus.PENDING, None))
    ids = [sent.id, failed.id, unfinished.id, uuid4()]

    assert end_settled(messages, ids) == {sent.id: MessageStatus.SENT, failed.id: MessageStatus.FAILED}
    assert read_message(database, unfinished.id).status is MessageStatus.SENDING


def test_what_left_after_all_is_never_marked_failed(messages: MessageRepo, database: Database) -> None:
    message = a_frozen_message(database, make_event(database), UNKNOWN, REFUSED)
    assert messages.mark_failed({message.id: "refused"}) == []
    assert messages.mark_sent([message.id]) == [message.id]


def test_thousands_of_messages_fail_each_for_its_own_reason(messages: MessageRepo, database: Database) -> None:
    event = make_event(database)
    first, second = a_frozen_message(database, event, REFUSED), a_frozen_message(database, event, LOGGED)
    reasons = {first.id: "refused", second.id: "no email provider configured"} | {uuid4(): "gone" for _ in range(5000)}
    assert set(messages.mark_failed(reasons)) == {first.id, second.id}
    for message in (first, second):
        assert read_message(database, message.id).status_reason == reasons[message.id]
