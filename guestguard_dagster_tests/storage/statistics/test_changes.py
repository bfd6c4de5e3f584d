"""What changed is found once, on the days it belongs to, and nothing is missed."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, text

from guestguard_dagster.domain.deliveries import LEASE_TIME, DeliveryReport, DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.statistics import changes as storage_of_changes
from guestguard_dagster.storage.statistics.changes import Change, ChangeRepo, Changes, Source
from guestguard_dagster.storage.tables.deliveries import delivery_attempts
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message

BERLIN = ZoneInfo("Europe/Berlin")
# late in the evening in Berlin is the same day there, and still the day before in New York
SEND_AT = datetime(2026, 3, 10, 22, 30, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def changes(database: Database, monkeypatch: pytest.MonkeyPatch) -> ChangeRepo:
    """News count at once: no transaction of a test is open before it writes."""
    monkeypatch.setattr(storage_of_changes, "YOUNG", timedelta())
    return ChangeRepo(database)


def sent_deliveries(database: Database, count: int, *, send_at: datetime = SEND_AT) -> list[int]:
    """Deliveries of one sent message, the last news of which is old."""
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENT, send_at=send_at, updated_at=LONG_AGO)
    guests = make_guests(database, event, count)
    return make_deliveries(database, message, guests, status=DeliveryStatus.SENT, updated_at=LONG_AGO)


def days(found: Changes, source: Source) -> Sequence[date]:
    return [change.day for change in found.found if change.source is source]


def test_the_first_look_finds_nothing_and_says_where_the_next_begins(database: Database, changes: ChangeRepo) -> None:
    sent_deliveries(database, 1)

    first = changes.look(None, BERLIN)

    assert first.found == ()
    assert first.until <= database.now()


def test_a_late_callback_touches_the_day_of_its_batch_and_no_other(database: Database, changes: ChangeRepo) -> None:
    [old, *_] = sent_deliveries(database, 3)
    sent_deliveries(database, 1, send_at=SEND_AT + timedelta(days=1))
    since = changes.look(None, BERLIN).until

    MessageRepo(database).record_delivery(old, DeliveryReport(DeliveryStatus.BOUNCED))

    found = changes.look(since, BERLIN)
    assert found.found == (Change(Source.DELIVERIES, date(2026, 3, 10), 1),)


def test_what_was_found_is_not_found_again(database: Database, changes: ChangeRepo) -> None:
    [delivery] = sent_deliveries(database, 1)
    since = changes.look(None, BERLIN).until
    MessageRepo(database).record_delivery(delivery, DeliveryReport(DeliveryStatus.DELIVERED))

    first = changes.look(since, BERLIN)
    second = changes.look(first.until, BERLIN)

    assert days(first, Source.DELIVERIES) == [date(2026, 3, 10)]
    assert second.found == ()


def test_the_day_is_that_of_the_operators_zone(database: Database, changes: ChangeRepo) -> None:
    [delivery] = sent_deliveries(database, 1, send_at=datetime(2026, 3, 11, 1, 0, tzinfo=UTC))
    since = changes.look(None, BERLIN).until
    MessageRepo(database).record_delivery(delivery, DeliveryReport(DeliveryStatus.DELIVERED))

    assert days(changes.look(since, ZoneInfo("America/New_York")), Source.DELIVERIES) == [date(2026, 3, 10)]
    assert days(changes.look(since, BERLIN), Source.DELIVERIES) == [date(2026, 3, 11)]


def test_a_transaction_that_commits_after_a_look_is_found_by_the_next(database: Database, changes: ChangeRepo) -> None:
    [slow, quick] = sent_deliveries(database, 2)
    since = changes.look(None, BERLIN).until
    touch = text("UPDATE message_deliveries SET updated_at = clock_timestamp() WHERE id = :id")

    with database.engine.begin() as open_for_long:
        open_for_long.execute(touch, {"id": slow})
        MessageRepo(database).record_delivery(quick, DeliveryReport(DeliveryStatus.DELIVERED))
        meanwhile = changes.look(since, BERLIN)
    afterwards = changes.look(meanwhile.until, BERLIN)

    rows = sum(change.rows for change in (*meanwhile.found, *afterwards.found))
    assert rows == 2


def test_a_message_that_begins_touches_its_day(database: Database, changes: ChangeRepo) -> None:
    message = make_message(database, make_event(database), send_at=SEND_AT, updated_at=LONG_AGO)
    since = changes.look(None, BERLIN).until

    MessageRepo(database).claim_for_sending([message.id])

    assert changes.look(since, BERLIN).found == (Change(Source.MESSAGES, date(2026, 3, 10), 1),)


def test_an_attempt_counts_though_it_is_written_down_as_late_as_its_lease_allows(
    database: Database, changes: ChangeRepo
) -> None:
    [delivery] = sent_deliveries(database, 1)
    since = changes.look(None, BERLIN).until
    answered_at = since - LEASE_TIME + timedelta(seconds=1)
    with database.transaction() as connection:
        connection.execute(
            insert(delivery_attempts).values(
                delivery_id=delivery,
                round=1,
                provider="smtp",
                account="smtp:mail.example.com",
                outcome="sent",
                attempted_at=answered_at,
            )
        )

    assert days(changes.look(since, BERLIN), Source.ATTEMPTS) == [answered_at.astimezone(BERLIN).date()]
