"""What is old is deleted in bounded chunks, what is young stays, and what was counted of it stays counted."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, text

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import BatchState, DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.partitions import ZONE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.retention import Kept, RetentionRepo, kept_since
from guestguard_dagster.storage.statistics.computing import StatsRepo
from guestguard_dagster.storage.statistics.reading import StatsReader
from guestguard_dagster.storage.tables.deliveries import delivery_attempts, delivery_batches
from guestguard_dagster.storage.tables.notifications import outgoing_events
from guestguard_dagster.storage.tables.operations import run_heartbeats
from guestguard_dagster.storage.tables.providers import provider_callbacks
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message

A_DAY = timedelta(days=1)


@pytest.fixture
def rows(database: Database) -> RetentionRepo:
    return RetentionRepo(database, chunk=10)


def count(database: Database, table: str, where: str = "true") -> int:
    with database.transaction() as connection:
        found: int = connection.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()  # noqa: S608 - a constant of this test
        return found


def write_attempts(database: Database, *, days_old: int, many: int) -> None:
    at = database.now() - days_old * A_DAY
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENT, send_at=at)
    deliveries = make_deliveries(database, message, make_guests(database, event, many), status=DeliveryStatus.SENT)
    with database.transaction() as connection:
        connection.execute(
            insert(delivery_attempts),
            [
                {
                    "delivery_id": delivery,
                    "round": 1,
                    "provider": "smtp",
                    "account": "smtp:mail.example.com",
                    "outcome": "sent",
                    "attempted_at": at,
                }
                for delivery in deliveries
            ],
        )


def test_old_attempts_go_chunk_by_chunk_and_young_ones_stay(database: Database, rows: RetentionRepo) -> None:
    # in no order: an attempt is written down within its lease, not in the order of its answer
    for days_old, many in ((1, 3), (100, 25), (1, 5)):
        write_attempts(database, days_old=days_old, many=many)

    assert list(rows.delete_attempts(90 * A_DAY)) == [10, 10, 5]
    assert count(database, "delivery_attempts") == 8
    assert list(rows.delete_attempts(90 * A_DAY)) == []


def test_statistics_survive_their_attempts(database: Database, rows: RetentionRepo) -> None:
    write_attempts(database, days_old=100, many=3)
    day = Days.containing(database.now() - 100 * A_DAY, ZONE)
    StatsRepo(database).refresh_providers(day)

    sum(rows.delete_attempts(90 * A_DAY))
    StatsRepo(database).refresh_providers(day)

    assert [row.attempts for row in StatsReader(database).providers(day)] == [3]


def test_what_is_known_to_be_missing_stays_known_when_more_is_kept_later(
    database: Database, rows: RetentionRepo
) -> None:
    sum(rows.delete_attempts(90 * A_DAY))
    sum(rows.delete_attempts(180 * A_DAY))

    with database.transaction() as connection:
        since = kept_since(connection, Kept.ATTEMPTS)
    assert since > database.now() - 91 * A_DAY


def test_old_requests_lose_the_mails_in_them_and_young_ones_can_be_repeated(
    database: Database, rows: RetentionRepo
) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENT)
    with database.transaction() as connection:
        for days_old in (4, 4, 1):
            connection.execute(
                insert(delivery_batches).values(
                    queue_id=message.id,
                    message_id=message.id,
                    size=2,
                    state=BatchState.DONE,
                    provider="resend",
                    account="resend:1234",
                    endpoint="batch",
                    members=[1, 2],
                    body=b"compressed mails",
                    handed_off_at=database.now() - days_old * A_DAY,
                )
            )

    assert sum(rows.empty_batch_bodies(3 * A_DAY)) == 2
    assert count(database, "delivery_batches") == 3
    assert count(database, "delivery_batches", "body IS NOT NULL") == 1


def test_callbacks_that_were_applied_lose_their_text_and_stay_known(database: Database, rows: RetentionRepo) -> None:
    now = database.now()
    with database.transaction() as connection:
        for number, (days_old, applied) in enumerate(((9, True), (9, False), (1, True))):
            connection.execute(
                insert(provider_callbacks).values(
                    provider="resend",
                    callback_key=f"key {number}",
                    payload={"to": "ada@example.com"},
                    received_at=now - days_old * A_DAY,
                    applied_at=now if applied else None,
                )
            )

    assert sum(rows.empty_callbacks(3 * A_DAY)) == 1
    assert count(database, "provider_callbacks") == 3
    assert count(database, "provider_callbacks", "payload IS NOT NULL") == 2


def test_published_events_and_old_heartbeats_go(database: Database, rows: RetentionRepo) -> None:
    now = database.now()
    with database.transaction() as connection:
        for published_at in (now - 9 * A_DAY, now - A_DAY, None):
            connection.execute(
                insert(outgoing_events).values(
                    type="rsvp", payload={}, created_at=now - 10 * A_DAY, published_at=published_at
                )
            )
        for days_old in (30, 1):
            connection.execute(
                insert(run_heartbeats).values(run_id=f"{days_old}", host="h", pid=1, beat_at=now - days_old * A_DAY)
            )

    assert sum(rows.delete_published_events(3 * A_DAY)) == 1
    assert sum(rows.delete_heartbeats()) == 1
    assert count(database, "outgoing_events") == 2
    assert count(database, "run_heartbeats") == 1
