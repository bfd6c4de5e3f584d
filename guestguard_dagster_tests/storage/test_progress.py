"""How a message ends: by what became of its recipients, and only when nothing is left to do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from guestguard_dagster.domain.deliveries import BatchState, DeliveryStatus, RetryFilter
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.storage import deliveries
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.progress import ProgressRepo
from guestguard_dagster_tests.factories import (
    make_batch,
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
SUPPRESSED: Row = (DeliveryStatus.SUPPRESSED, "suppressed")
UNKNOWN: Row = (DeliveryStatus.UNKNOWN, "answer_lost")


@pytest.fixture
def progress(database: Database) -> ProgressRepo:
    return ProgressRepo(database)


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
        ([LOGGED, LOGGED], MessageStatus.FAILED, "no email provider configured"),
        ([LOGGED, REFUSED], MessageStatus.FAILED, "no email provider configured"),
    ],
)
def test_a_message_ends_by_what_became_of_its_recipients(
    progress: ProgressRepo, database: Database, rows: list[Row], status: MessageStatus, reason: str | None
) -> None:
    message = a_frozen_message(database, make_event(database), *rows)

    assert progress.finish([message.id]) == {message.id: status}

    ended = read_message(database, message.id)
    assert (ended.status, ended.status_reason) == (status, reason)
    assert ended.finished_at is not None


def test_the_reason_names_the_channel_without_a_provider(progress: ProgressRepo, database: Database) -> None:
    message = a_frozen_message(database, make_event(database), LOGGED, channel=MessageChannel.SMS)
    progress.finish([message.id])
    assert read_message(database, message.id).status_reason == "no sms provider configured"


@pytest.mark.parametrize("open_status", [DeliveryStatus.PENDING, DeliveryStatus.SENDING])
def test_a_message_with_anything_left_to_do_does_not_end(
    progress: ProgressRepo, database: Database, open_status: DeliveryStatus
) -> None:
    message = a_frozen_message(database, make_event(database), SENT, (open_status, None))
    assert progress.finish([message.id]) == {}
    assert read_message(database, message.id).status is MessageStatus.SENDING


def test_a_message_with_a_batch_that_somebody_may_be_at_does_not_end(
    progress: ProgressRepo, database: Database
) -> None:
    message = a_frozen_message(database, make_event(database), SENT)
    make_batch(database, message, state=BatchState.SENDING)
    assert progress.finish([message.id]) == {}


def test_a_message_whose_audience_is_not_frozen_does_not_end(progress: ProgressRepo, database: Database) -> None:
    message = a_frozen_message(database, make_event(database), audience_frozen_at=None)
    assert progress.finish([message.id]) == {}


def test_only_a_message_that_is_being_sent_ends(progress: ProgressRepo, database: Database) -> None:
    event = make_event(database)
    for status in set(MessageStatus) - {MessageStatus.SENDING}:
        message = a_frozen_message(database, event, SENT)
        set_columns(database, message, status=status)
        assert progress.finish([message.id]) == {}
        assert read_message(database, message.id).status is status


def test_a_message_that_has_ended_waits_for_nothing(progress: ProgressRepo, database: Database) -> None:
    later = database.now() + timedelta(hours=1)
    message = a_frozen_message(
        database,
        make_event(database),
        SENT,
        asked_until=later,
        not_before=later,
        waiting_reason="waiting to try again",
        held_at=later,
        held_reason="stopped",
    )
    progress.finish([message.id])
    ended = read_message(database, message.id)
    assert (ended.asked_until, ended.not_before, ended.waiting_reason) == (None, None, None)
    assert (ended.held_at, ended.held_reason) == (None, None)


def test_a_message_that_a_retry_opens_at_the_last_moment_does_not_end(
    progress: ProgressRepo, database: Database
) -> None:
    event = make_event(database)
    message = a_frozen_message(database, event, SENT)
    make_deliveries(database, message, make_guests(database, event), status=DeliveryStatus.FAILED, retryable=True)
    with ThreadPoolExecutor(1) as pool, database.transaction() as retry:
        retry.execute(text("UPDATE guestguard.scheduled_messages SET version = version + 1"))
        finishing = pool.submit(progress.finish, [message.id])
        wait_until_blocked(database)
        assert deliveries.reopen(retry, message.id, RetryFilter(), batch_size=10) == 1
        retry.commit()
        assert finishing.result() == {}
    assert read_message(database, message.id).status is MessageStatus.SENDING


def test_many_messages_end_at_once_each_by_its_own_recipients(progress: ProgressRepo, database: Database) -> None:
    event = make_event(database)
    sent, failed = a_frozen_message(database, event, SENT), a_frozen_message(database, event, REFUSED)
    unfinished = a_frozen_message(database, event, (DeliveryStatus.PENDING, None))
    ids = [sent.id, failed.id, unfinished.id, uuid4()]

    assert progress.finish(ids) == {sent.id: MessageStatus.SENT, failed.id: MessageStatus.FAILED}
    assert progress.statuses(ids) == {
        sent.id: MessageStatus.SENT,
        failed.id: MessageStatus.FAILED,
        unfinished.id: MessageStatus.SENDING,
    }
    assert progress.outcomes(ids) == {
        DeliveryStatus.SENT: 1,
        DeliveryStatus.FAILED: 1,
        DeliveryStatus.PENDING: 1,
    }


def test_what_is_under_way_is_told_apart_from_what_waits(progress: ProgressRepo, database: Database) -> None:
    message = a_frozen_message(database, make_event(database), (DeliveryStatus.SENDING, None), SENT)
    assert progress.outcomes([message.id]) == {DeliveryStatus.SENDING: 1, DeliveryStatus.SENT: 1}
