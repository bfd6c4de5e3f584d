"""Notifications and system mails: written down again after a restore, they are the same, and do not leave twice."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from guestguard_dagster.delivery.ledger import Verdict, check
from guestguard_dagster.domain.ledger import LedgerGap
from guestguard_dagster.domain.notifications import Arrival, NotificationStatus
from guestguard_dagster.domain.system_mail import SystemMail, SystemMailKind
from guestguard_dagster.notifications.registry import definition_of
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.operations.ledger_replay import replay
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.ledger.position import LEFT_BEFORE_RESTORE, MAY_HAVE_LEFT
from guestguard_dagster.storage.notifications.repo import Fate, Incoming, NotificationRepo
from guestguard_dagster.storage.operations import system_mail
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.factories import make_event, make_guests
from guestguard_dagster_tests.ledger.conftest import BackUp, Start
from guestguard_dagster_tests.ledger.sending import Arrived
from guestguard_dagster_tests.streams.events import rsvp_confirmed

RSVP = CONFIRMATION.type
REPORT = SystemMail(
    SystemMailKind.REPORT, "report on 2026-03-01", "Ops@example.com", "Ops", "Report", "text", "<p>html</p>"
)


def arrival(data: bytes, sequence: int, published_at: datetime) -> Arrival:
    return Arrival("S", "subject", sequence, published_at, 1, None, data)


def incoming(event: Arrival) -> Incoming:
    payload = definition_of(RSVP).payload.read(event.data)
    return Incoming(event, payload, payload.identity(None), None)


@pytest.fixture
def events(database: Database) -> list[Arrival]:
    """Three answers."""
    event = make_event(database)
    guests = make_guests(database, event, 3)
    now = datetime.now(UTC)
    return [arrival(rsvp_confirmed(guest, event), number, now) for number, guest in enumerate(guests)]


def statuses(database: Database) -> dict[tuple[str, str | None], int]:
    with database.transaction() as connection:
        rows = connection.execute(text("SELECT status, reason, count(*) AS n FROM notifications GROUP BY 1, 2"))
        return {(row.status, row.reason): row.n for row in rows}


def test_what_an_event_or_an_occasion_becomes_has_the_same_id_whenever_it_is_written_down() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    event = arrival(b"{}", 7, moment)
    assert event.notification_id == UUID("58ec2a48-5ac6-504c-9ab6-eb8b56c6995d")
    assert arrival(b"{}", 7, moment + timedelta(microseconds=1)).notification_id != event.notification_id
    shouted = SystemMail(SystemMailKind.REPORT, REPORT.occasion, REPORT.address.upper(), "", "", "", "")
    assert shouted.id == REPORT.id
    assert SystemMail(SystemMailKind.REPORT, "report on 2026-03-02", REPORT.address, "", "", "", "").id != REPORT.id


def test_events_that_are_read_again_after_a_restore_send_nothing_that_had_left(
    database: Database,
    ledger: Ledger,
    arrived: Arrived,
    start: Start,
    back_up: BackUp,
    database_url: str,
    events: list[Arrival],
) -> None:
    process = start(database_url)
    assert process.guard.may_send()
    NotificationRepo(database).record(RSVP, [incoming(events[0])])
    backup_url = back_up(database_url)
    NotificationRepo(database).record(RSVP, [incoming(events[1])])
    assert process.send() == 2

    restored = start(backup_url)
    assert restored.send() == 0
    report = replay(restored.database, ledger)
    restored = start(backup_url)
    assert (report.others_left, report.others_changed) == (2, 1)
    fates = NotificationRepo(restored.database).record(RSVP, [incoming(event) for event in events])
    assert fates == [Fate.KNOWN, Fate.RECORDED, Fate.RECORDED]
    assert statuses(restored.database) == {
        (NotificationStatus.UNKNOWN, LEFT_BEFORE_RESTORE): 2,
        (NotificationStatus.PENDING, None): 1,
    }
    restored.send()
    assert set(arrived.mails.values()) == {1}
    assert {id for _, id in arrived.mails} == {event.notification_id for event in events}


def test_a_report_that_had_left_is_not_mailed_again(
    database: Database,
    ledger: Ledger,
    arrived: Arrived,
    start: Start,
    back_up: BackUp,
    database_url: str,
) -> None:
    process = start(database_url)
    assert process.guard.may_send()
    backup_url = back_up(database_url)
    with database.transaction() as connection:
        assert system_mail.post(connection, [REPORT]) == 1
    assert process.send() == 1

    restored = start(backup_url)
    replay(restored.database, ledger)
    restored = start(backup_url)
    with restored.database.transaction() as connection:
        assert system_mail.post(connection, [REPORT]) == 1
    restored.send()
    assert arrived.mails == {(None, REPORT.id): 1}


def test_what_answers_to_events_of_a_gap_is_unknown(
    database: Database,
    ledger: Ledger,
    start: Start,
    back_up: BackUp,
    database_url: str,
    events: list[Arrival],
) -> None:
    process = start(database_url)
    assert process.guard.may_send()
    NotificationRepo(database).record(RSVP, [incoming(events[0])])
    backup_url = back_up(database_url)
    now = database.now()
    ledger.write([LedgerGap(now, now)])
    NotificationRepo(database).record(RSVP, [incoming(events[1])])
    assert process.send() == 2
    restored = start(backup_url)
    report = replay(restored.database, ledger)
    restored = start(backup_url)
    assert len(report.gaps) == 1
    later = arrival(events[2].data, 9, database.now())
    NotificationRepo(restored.database).record(RSVP, [incoming(events[2]), incoming(later)])
    assert statuses(restored.database)[(NotificationStatus.UNKNOWN, MAY_HAVE_LEFT)] == 1
    assert check(restored.database, ledger).verdict is Verdict.KNOWN


def test_operators_get_the_alert_about_it_while_nothing_else_leaves(
    database: Database, ledger: Ledger, arrived: Arrived, start: Start, back_up: BackUp, database_url: str
) -> None:
    alert = SystemMailKind.ALERT
    old, new = (SystemMail(alert, f"alerts from {number}", "ops@example.com", "", "", "", "") for number in (1, 2))
    process = start(database_url)
    assert process.guard.may_send()
    with database.transaction() as connection:
        system_mail.post(connection, [old, REPORT])
    backup_url = back_up(database_url)
    process.send()
    restored = start(backup_url)
    assert check(restored.database, ledger).verdict is Verdict.BEHIND
    with restored.database.transaction() as connection:
        system_mail.post(connection, [new])
    restored.send(queue_id=alert.queue_id)
    assert arrived.mails == {(None, old.id): 1, (None, REPORT.id): 1, (None, new.id): 1}
    replay(restored.database, ledger)
    restored = start(backup_url)
    restored.send()
    assert arrived.doubled == []
