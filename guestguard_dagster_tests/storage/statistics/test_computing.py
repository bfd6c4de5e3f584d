"""Statistics count what the rows say, by the day on which a batch was due on the operator's clock."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, text

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import STORED_STATUSES, DeliveryStatus
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.operations.retention import Kept
from guestguard_dagster.storage.statistics.computing import StatsRepo
from guestguard_dagster.storage.statistics.reading import ProviderRow, StatsReader
from guestguard_dagster.storage.tables.deliveries import delivery_attempts, message_deliveries
from guestguard_dagster.storage.tables.operations import retention_marks
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    make_notification,
    set_columns,
)

BERLIN = ZoneInfo("Europe/Berlin")
DAY = Days.only(date(2026, 3, 10), BERLIN)
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def stats(database: Database) -> StatsRepo:
    return StatsRepo(database)


@pytest.fixture
def reader(database: Database) -> StatsReader:
    return StatsReader(database)


def sent(
    database: Database, outcomes: dict[DeliveryStatus, int], *, send_at: datetime = NOON, **event_columns: Any
) -> Message:
    """A message of an event of its own, with so many deliveries of each status, all handed off two seconds late."""
    event = make_event(database, **{"starts_at": NOON + timedelta(days=9)} | event_columns)
    message = make_message(database, event, status=MessageStatus.SENT, send_at=send_at)
    for status, count in outcomes.items():
        make_deliveries(
            database,
            message,
            make_guests(database, event, count),
            status=status,
            provider="smtp",
            account="smtp:mail.example.com",
            handed_off_at=send_at + timedelta(seconds=2),
            settled_at=send_at + timedelta(seconds=30),
        )
    return message


def attempt(database: Database, delivery_id: int, at: datetime, outcome: str, **columns: object) -> None:
    values = {
        "delivery_id": delivery_id,
        "round": 1,
        "provider": "smtp",
        "account": "smtp:mail.example.com",
        "outcome": outcome,
        "attempted_at": at,
        "duration_ms": 40,
    }
    with database.transaction() as connection:
        connection.execute(insert(delivery_attempts).values(values | columns))


def newest_attempt(database: Database, delivery_id: int, at: datetime, outcome: str) -> None:
    """The attempt that settled the delivery: it lives in the delivery itself."""
    set_columns(
        database,
        delivery_id,
        attempted_at=at,
        outcome=outcome,
        duration_ms=40,
        provider="smtp",
        account="smtp:mail.example.com",
    )


def test_a_message_is_counted_by_where_its_deliveries_stand(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    outcomes: dict[DeliveryStatus, int] = {status: number for number, status in enumerate(STORED_STATUSES, start=1)}
    message = sent(database, outcomes)

    assert stats.refresh_messages(DAY) == 1

    [row] = reader.messages(DAY, limit=10)
    assert row.message_id == message.id
    assert row.recipients == sum(outcomes.values())
    assert row.outcomes == outcomes
    assert row.hand_off_p50 == 2


def test_a_message_for_nobody_is_counted_too(database: Database, stats: StatsRepo, reader: StatsReader) -> None:
    sent(database, {})

    stats.refresh_messages(DAY)

    assert [(row.recipients, row.outcomes) for row in reader.messages(DAY, limit=10)] == [(0, {})]


def test_what_has_not_begun_is_not_counted(database: Database, stats: StatsRepo) -> None:
    event = make_event(database)
    for status in (MessageStatus.DRAFT, MessageStatus.SCHEDULED, MessageStatus.CANCELLED):
        make_message(database, event, status=status, send_at=NOON)

    assert stats.refresh_messages(DAY) == 0


def test_a_day_begins_and_ends_at_midnight_of_the_operators_zone(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    first = datetime(2026, 3, 10, 0, 0, tzinfo=BERLIN)
    inside = [first, first + timedelta(hours=23, minutes=59, seconds=59)]
    outside = [first - timedelta(microseconds=1), first + timedelta(days=1)]
    within = {sent(database, {}, send_at=moment).id for moment in inside}
    for moment in outside:
        sent(database, {}, send_at=moment)

    stats.refresh_messages(DAY)

    assert {row.message_id for row in reader.messages(DAY, limit=10)} == within


def test_a_refresh_replaces_what_was_counted_before(database: Database, stats: StatsRepo, reader: StatsReader) -> None:
    message = sent(database, {DeliveryStatus.SENT: 2})
    [first, _] = delivery_ids(database, message)
    for refresh in (stats.refresh_messages, stats.refresh_events, stats.refresh_days, stats.refresh_providers):
        refresh(DAY)

    set_columns(database, first, status=DeliveryStatus.BOUNCED)
    for refresh in (stats.refresh_messages, stats.refresh_events, stats.refresh_days, stats.refresh_providers):
        refresh(DAY)

    now = {DeliveryStatus.SENT: 1, DeliveryStatus.BOUNCED: 1}
    assert [row.outcomes for row in reader.messages(DAY, limit=9)] == [now]
    assert [row.outcomes for row in reader.events(DAY, limit=9)] == [now]
    assert reader.outcomes_by_day(DAY) == {DAY.first: now}
    assert [(row.handed_off, row.bounced) for row in reader.providers(DAY)] == [(2, 1)]


def test_a_refresh_leaves_other_days_alone(database: Database, stats: StatsRepo, reader: StatsReader) -> None:
    sent(database, {DeliveryStatus.SENT: 1})
    next_day = Days.only(date(2026, 3, 11), BERLIN)
    stats.refresh_days(DAY)

    stats.refresh_days(next_day)

    assert reader.outcomes_by_day(DAY.widened(1)) == {DAY.first: {DeliveryStatus.SENT: 1}}


def test_notifications_are_counted_by_their_kind(database: Database, stats: StatsRepo, reader: StatsReader) -> None:
    event = make_event(database)
    [guest] = make_guests(database, event)
    write_notification(database, event.id, guest.id, CONFIRMATION.type, created_at=NOON)

    stats.refresh_messages(DAY)
    stats.refresh_events(DAY)
    stats.refresh_days(DAY)

    [row] = reader.daily(DAY)
    assert (row.kind, row.outcome, row.deliveries) == ("confirmation", DeliveryStatus.DELIVERED, 1)
    assert row.delivered_p50 == 60
    assert [(e.event_id, e.messages, e.recipients) for e in reader.events(DAY, limit=9)] == [(event.id, 0, 1)]


def test_an_event_sums_up_its_messages_and_notifications(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    message = sent(database, {DeliveryStatus.SENT: 3})
    [guest] = make_guests_of(database, message)
    write_notification(database, message.event_id, guest, INVITATION.type, created_at=NOON)
    stats.refresh_messages(DAY)

    stats.refresh_events(DAY)

    [row] = reader.events(DAY, limit=9)
    assert (row.messages, row.recipients) == (1, 4)
    assert row.outcomes == {DeliveryStatus.SENT: 3, DeliveryStatus.DELIVERED: 1}


def test_latencies_count_from_the_due_instant_and_leave_retries_out(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENT, send_at=NOON)
    for late in (1, 2, 3, 4, 10):
        make_deliveries(
            database,
            message,
            make_guests(database, event),
            status=DeliveryStatus.SENT,
            handed_off_at=NOON + timedelta(seconds=late),
        )
    make_deliveries(
        database,
        message,
        make_guests(database, event),
        status=DeliveryStatus.SENT,
        round=2,
        handed_off_at=NOON + timedelta(hours=5),
    )
    make_deliveries(database, message, make_guests(database, event, 5), status=DeliveryStatus.FAILED)

    stats.refresh_days(DAY)

    [row] = reader.latencies(DAY)
    assert (row.channel, row.handed_off, row.delivered) == (MessageChannel.EMAIL, 5, 0)
    assert row.hand_off_p50 == 3
    assert row.hand_off_p95 == pytest.approx(8.8)
    assert row.delivered_p50 is None


def test_provider_health_counts_answers_on_the_day_they_were_given(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    message = sent(database, {DeliveryStatus.DELIVERED: 1, DeliveryStatus.COMPLAINED: 1})
    [first, second] = delivery_ids(database, message)
    attempt(database, first, NOON, "transient", error_class="recipient_deferred")
    newest_attempt(database, first, NOON, "sent")
    newest_attempt(database, second, NOON + timedelta(days=1), "sent")

    stats.refresh_providers(DAY)

    assert reader.providers(DAY) == [
        ProviderRow(
            day=DAY.first,
            provider="smtp",
            account="smtp:mail.example.com",
            attempts=2,
            taken=1,
            permanent=0,
            transient=1,
            provider_wide=0,
            unknown=0,
            answer_p50=0.04,
            answer_p95=0.04,
            commonest_error="recipient_deferred",
            handed_off=2,
            delivered=1,
            bounced=0,
            complained=1,
            refused_mailboxes=0,
        )
    ]


def test_every_attempt_is_counted_once_wherever_it_is_kept(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    # to be tried again it has to be for an event to come
    message = sent(database, {DeliveryStatus.FAILED: 3}, starts_at=database.now() + timedelta(days=9))
    for delivery_id in delivery_ids(database, message):
        attempt(database, delivery_id, NOON, "transient")
        newest_attempt(database, delivery_id, NOON, "permanent")
        set_columns(database, delivery_id, retryable=True)
    stats.refresh_providers(DAY)
    assert [(row.attempts, row.transient, row.permanent) for row in reader.providers(DAY)] == [(6, 3, 3)]

    # a retry keeps the newest attempt in a row of its own, and the next one is not answered yet
    assert MessageRepo(database).retry_failed(message.id) == 3
    stats.refresh_providers(DAY)
    assert [(row.attempts, row.transient, row.permanent) for row in reader.providers(DAY)] == [(6, 3, 3)]


def test_an_answer_counts_on_its_day_whenever_its_delivery_changes(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    message = sent(database, {DeliveryStatus.SENT: 1})
    [delivery_id] = delivery_ids(database, message)
    newest_attempt(database, delivery_id, NOON, "sent")
    set_columns(database, delivery_id, updated_at=NOON)
    next_day = Days.only(date(2026, 3, 11), BERLIN)
    for updated_at in (NOON, NOON + timedelta(days=1, hours=3)):
        set_columns(database, delivery_id, updated_at=updated_at)
        for day in (DAY, next_day):
            stats.refresh_providers(day)
        assert [(row.day, row.attempts) for row in reader.providers(DAY.widened(1)) if row.attempts] == [(DAY.first, 1)]


def test_a_day_whose_attempts_were_deleted_keeps_what_was_counted(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    message = sent(database, {DeliveryStatus.SENT: 1})
    attempt(database, delivery_ids(database, message)[0], NOON, "transient")
    newest_attempt(database, delivery_ids(database, message)[0], NOON, "sent")
    stats.refresh_providers(DAY)
    before = reader.providers(DAY)
    with database.transaction() as connection:
        connection.execute(text("DELETE FROM delivery_attempts"))
        connection.execute(insert(retention_marks).values(what=Kept.ATTEMPTS, kept_since=NOON + timedelta(days=30)))

    assert stats.refresh_providers(DAY) is None

    assert reader.providers(DAY) == before


def test_statistics_outlive_the_event(database: Database, stats: StatsRepo, reader: StatsReader) -> None:
    message = sent(database, {DeliveryStatus.SENT: 2})
    stats.refresh_messages(DAY)

    with database.transaction() as connection:
        connection.execute(text("DELETE FROM events WHERE id = :id"), {"id": message.event_id})

    assert [(row.event_name, row.recipients) for row in reader.messages(DAY, limit=9)] == [(None, 2)]


def test_a_message_counts_once_after_the_operators_zone_has_changed(
    database: Database, stats: StatsRepo, reader: StatsReader
) -> None:
    message = sent(database, {DeliveryStatus.SENT: 1}, send_at=datetime(2026, 3, 10, 23, 30, tzinfo=BERLIN))
    stats.refresh_messages(DAY)

    in_tokyo = Days.only(date(2026, 3, 11), ZoneInfo("Asia/Tokyo"))
    stats.refresh_messages(in_tokyo)

    rows = reader.messages(in_tokyo.widened(1), limit=9)
    assert [row.message_id for row in rows] == [message.id]


def delivery_ids(database: Database, message: Message) -> list[int]:
    with database.transaction() as connection:
        query = text("SELECT id FROM message_deliveries WHERE message_id = :id ORDER BY id")
        return list(connection.execute(query, {"id": message.id}).scalars())


def write_notification(
    database: Database, event_id: UUID, guest_id: UUID, kind: NotificationType, *, created_at: datetime
) -> None:
    """The delivery of one notification, delivered a minute after it was written down."""
    notification_id = make_notification(database, kind, event_id, guest_id)
    with database.transaction() as connection:
        connection.execute(
            insert(message_deliveries).values(
                notification_id=notification_id,
                event_id=event_id,
                guest_id=guest_id,
                channel=MessageChannel.EMAIL,
                status=DeliveryStatus.DELIVERED,
                created_at=created_at,
                handed_off_at=created_at + timedelta(seconds=1),
                settled_at=created_at + timedelta(minutes=1),
            )
        )


def make_guests_of(database: Database, message: Message) -> list[UUID]:
    with database.transaction() as connection:
        query = text("SELECT id FROM guests WHERE event_id = :id LIMIT 1")
        return list(connection.execute(query, {"id": message.event_id}).scalars())
