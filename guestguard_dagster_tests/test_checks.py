"""Every check passes on rows as the engine leaves them, and fails once they are broken."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from uuid import UUID, uuid4

import pytest
from dagster import AssetCheckEvaluation, AssetCheckSeverity, DagsterInstance, JobDefinition
from sqlalchemy import insert, text

from guestguard_dagster.checks import CHECKS
from guestguard_dagster.definitions import build_defs
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import Message, MessageChannel, MessageStatus
from guestguard_dagster.domain.suppressions import EVERY_HOST, for_host, for_sending_number
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.checks import LATE, STUCK
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.storage.tables.deliveries import message_deliveries
from guestguard_dagster.storage.tables.notifications import dead_letters
from guestguard_dagster.storage.tables.people import suppressions
from guestguard_dagster.storage.tables.statistics import provider_health
from guestguard_dagster_tests.dagster_rooms import environment
from guestguard_dagster_tests.factories import (
    make_deliveries,
    make_event,
    make_guests,
    make_message,
    make_notification,
    set_columns,
)
from guestguard_dagster_tests.storage.handing_off import batches_of, set_batch

A_MINUTE = timedelta(minutes=1)
AN_HOUR = timedelta(hours=1)
NUMBER = "+15005550006"


@pytest.fixture(autouse=True)
def the_environment(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[None]:
    """Checks find their database in the environment, as in production."""
    with environment(monkeypatch, database_url, None):
        monkeypatch.setenv("TWILIO_FROM_NUMBER", NUMBER)
        yield


@pytest.fixture
def message(database: Database) -> Message:
    """A message that was sent to three guests an hour ago."""
    return send(database, make_event(database))


def send(database: Database, event: Event, *, channel: MessageChannel = MessageChannel.EMAIL) -> Message:
    an_hour_ago = database.now() - AN_HOUR
    message = make_message(
        database, event, status=MessageStatus.SENT, send_at=an_hour_ago, recipient_count=3, channel=channel
    )
    guests = make_guests(database, event, 3, phone="+4915112345678")
    make_deliveries(database, message, guests, status=DeliveryStatus.SENT, handed_off_at=an_hour_ago + A_MINUTE)
    return message


def check(name: str) -> AssetCheckEvaluation:
    """The verdict of one check, found by the job that production runs."""
    return checked()[name]


@cache
def job() -> JobDefinition:
    return build_defs().resolve_job_def("delivery_checks")


def checked() -> dict[str, AssetCheckEvaluation]:
    with DagsterInstance.ephemeral() as instance:
        result = job().execute_in_process(instance=instance)
    return {verdict.check_name: verdict for verdict in result.get_asset_check_evaluations()}


def test_every_check_passes_on_what_the_engine_leaves(database: Database) -> None:
    send(database, make_event(database))
    make_message(database, make_event(database), send_in=timedelta(hours=1))

    verdicts = checked()

    assert len(verdicts) == len(CHECKS)
    assert {name for name, verdict in verdicts.items() if not verdict.passed} == set()


def test_every_check_passes_when_nothing_was_ever_sent() -> None:
    assert all(verdict.passed for verdict in checked().values())


def test_a_delivery_that_is_missing_from_an_audience_fails(database: Database, message: Message) -> None:
    with database.transaction() as connection:
        connection.execute(
            text(
                "DELETE FROM message_deliveries WHERE id = "
                "(SELECT min(id) FROM message_deliveries WHERE message_id = :id)"
            ),
            {"id": message.id},
        )

    verdict = check("audiences_match_their_deliveries")

    assert not verdict.passed
    assert verdict.metadata["found"].value == 1
    assert str(message.id) in str(verdict.metadata["examples"].value)


def test_a_second_delivery_for_a_guest_fails(database: Database, message: Message) -> None:
    with database.transaction() as connection:
        connection.execute(
            text("ALTER TABLE message_deliveries DROP CONSTRAINT uq_message_deliveries_message_id_guest_id_channel")
        )
        connection.execute(
            text(
                "INSERT INTO message_deliveries (message_id, event_id, guest_id, channel) "
                "SELECT message_id, event_id, guest_id, channel FROM message_deliveries "
                "WHERE message_id = :id LIMIT 1"
            ),
            {"id": message.id},
        )

    assert not check("no_delivery_is_doubled").passed


def suppress(
    database: Database, message: Message, scope: str, *, before_hand_off: timedelta = timedelta(hours=1)
) -> None:
    """Suppress the address of one guest of the message, so long before the hand-off."""
    with database.transaction() as connection:
        address, handed_off_at = connection.execute(
            text(
                "SELECT CASE d.channel WHEN 'email' THEN lower(g.email) ELSE g.phone END, d.handed_off_at "
                "FROM message_deliveries d JOIN guests g ON g.id = d.guest_id "
                "WHERE d.message_id = :id ORDER BY d.id LIMIT 1"
            ),
            {"id": message.id},
        ).one()
        connection.execute(
            insert(suppressions).values(
                channel=message.channel,
                address=address,
                scope=scope,
                reason="unsubscribe",
                source="test",
                created_at=handed_off_at - before_hand_off,
            )
        )


@pytest.mark.parametrize("scope", ["every host", "this host"])
def test_a_hand_off_to_a_suppressed_address_fails(database: Database, message: Message, scope: str) -> None:
    host = EventRepo(database).host_of(message.event_id)
    suppress(database, message, EVERY_HOST if scope == "every host" else for_host(host.id))

    verdict = check("no_suppressed_address_is_written_to")

    assert not verdict.passed
    assert verdict.metadata["found"].value == 1


def test_a_text_after_a_stop_fails(database: Database) -> None:
    message = send(database, make_event(database), channel=MessageChannel.SMS)
    suppress(database, message, for_sending_number(NUMBER))

    assert not check("no_suppressed_address_is_written_to").passed


def test_what_was_suppressed_afterwards_or_for_somebody_else_is_no_failure(
    database: Database, message: Message
) -> None:
    suppress(database, message, EVERY_HOST, before_hand_off=-A_MINUTE)
    suppress(database, message, for_host(uuid4()))
    suppress(database, message, for_sending_number(NUMBER))

    assert check("no_suppressed_address_is_written_to").passed


def test_an_unsubscribe_spares_confirmations_and_a_bounce_does_not(database: Database, message: Message) -> None:
    host = EventRepo(database).host_of(message.event_id)
    confirm(database, message, minutes_ago=30)
    suppress(database, message, for_host(host.id), before_hand_off=-A_MINUTE)

    assert check("no_suppressed_address_is_written_to").passed

    suppress(database, message, EVERY_HOST, before_hand_off=-A_MINUTE)

    assert not check("no_suppressed_address_is_written_to").passed


def confirm(database: Database, message: Message, *, minutes_ago: int) -> None:
    """The confirmation of the message's first guest, handed off."""
    with database.transaction() as connection:
        guest_id: UUID = connection.execute(
            text("SELECT guest_id FROM message_deliveries WHERE message_id = :id ORDER BY id LIMIT 1"),
            {"id": message.id},
        ).scalar_one()
    notification_id = make_notification(database, CONFIRMATION.type, message.event_id, guest_id)
    with database.transaction() as connection:
        connection.execute(
            insert(message_deliveries).values(
                notification_id=notification_id,
                event_id=message.event_id,
                guest_id=guest_id,
                channel=MessageChannel.EMAIL,
                status=DeliveryStatus.SENT,
                handed_off_at=database.now() - minutes_ago * A_MINUTE,
            )
        )


def test_a_row_that_stays_sending_fails(database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING)
    make_deliveries(database, message, make_guests(database, make_event(database)), status=DeliveryStatus.SENDING)
    [stuck] = batches_of(database, message)
    set_batch(database, stuck.id, lease_expires_at=database.now() - STUCK + A_MINUTE)
    assert check("nothing_is_stuck_in_a_hand_off").passed

    set_batch(database, stuck.id, lease_expires_at=database.now() - STUCK - A_MINUTE)

    assert not check("nothing_is_stuck_in_a_hand_off").passed


def test_a_message_that_should_have_left_fails(database: Database) -> None:
    late = make_message(database, make_event(database), send_in=-LATE + A_MINUTE)
    assert check("nothing_is_overdue").passed

    set_columns(database, late, send_at=database.now() - LATE - A_MINUTE)
    assert not check("nothing_is_overdue").passed

    set_columns(database, late, held_at=database.now(), held_reason="stopped by the host")
    assert check("nothing_is_overdue").passed


def test_a_sending_message_that_nobody_works_on_fails(database: Database) -> None:
    message = make_message(database, make_event(database), status=MessageStatus.SENDING, send_in=-AN_HOUR)
    set_columns(database, message, asked_until=database.now() + A_MINUTE)
    assert check("nothing_is_overdue").passed

    set_columns(database, message, asked_until=database.now() - LATE - A_MINUTE)
    assert not check("nothing_is_overdue").passed


def test_a_notification_that_nobody_sends_fails(database: Database, message: Message) -> None:
    confirm(database, message, minutes_ago=30)
    with database.transaction() as connection:
        connection.execute(
            text(
                "WITH formed AS (INSERT INTO delivery_batches (queue_id, size, created_at) "
                "VALUES (:queue, 1, now() - interval '1 hour') RETURNING id) "
                "UPDATE message_deliveries SET status = 'pending', batch_id = formed.id "
                "FROM formed WHERE message_id IS NULL"
            ),
            {"queue": CONFIRMATION.type.queue_id},
        )
    assert not check("nothing_is_overdue").passed

    with database.transaction() as connection:
        connection.execute(text("UPDATE delivery_batches SET not_before = now() + interval '1 hour' WHERE size = 1"))
    assert check("nothing_is_overdue").passed, "it waits to be tried again"


def count_mails(
    database: Database, *, handed_off: int, bounced: int = 0, complained: int = 0, refused: int = 0
) -> None:
    """What provider_health says of today."""
    with database.transaction() as connection:
        connection.execute(
            insert(provider_health).values(
                day=database.now().date(),
                provider="resend",
                account="resend:1234",
                handed_off=handed_off,
                bounced=bounced,
                complained=complained,
                refused_mailboxes=refused,
                delivered=0,
                **dict.fromkeys(("attempts", "taken", "permanent", "transient", "provider_wide", "unknown"), 0),
            )
        )


@pytest.mark.parametrize(
    ("bounced", "refused", "passes"), [(49, 0, True), (50, 0, False), (25, 26, False), (0, 60, False)]
)
def test_too_many_hard_bounces_fail(database: Database, bounced: int, refused: int, passes: bool) -> None:
    count_mails(database, handed_off=1000 - refused, bounced=bounced, refused=refused)

    assert check("hard_bounces_are_rare").passed is passes


@pytest.mark.parametrize(
    ("complained", "severity"),
    [(0, None), (1, None), (2, AssetCheckSeverity.WARN), (5, AssetCheckSeverity.WARN), (6, AssetCheckSeverity.ERROR)],
)
def test_complaints_warn_first_and_fail_then(
    database: Database, complained: int, severity: AssetCheckSeverity | None
) -> None:
    count_mails(database, handed_off=2000, complained=complained)
    verdict = check("complaints_are_rare")

    assert verdict.passed is (severity is None)
    if severity is not None:
        assert verdict.severity is severity


def test_of_few_mails_rates_say_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    count_mails(database, handed_off=199, bounced=190, complained=190)
    assert check("hard_bounces_are_rare").passed
    assert check("complaints_are_rare").passed

    monkeypatch.setenv("RATE_CHECKS_FROM_VOLUME", "100")
    assert not check("hard_bounces_are_rare").passed


def test_a_dead_letter_that_nobody_looked_at_warns(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            insert(dead_letters).values(
                type=INVITATION.type,
                stream="GUESTGUARD",
                subject="guestguard.invitation.send",
                sequence=7,
                published_at=database.now(),
                payload=b"{",
                reason="the payload is no JSON",
                deliveries=1,
            )
        )
    verdict = check("no_dead_letter_waits")
    assert (verdict.passed, verdict.severity) == (False, AssetCheckSeverity.WARN)

    with database.transaction() as connection:
        connection.execute(text("UPDATE dead_letters SET dismissed_at = now()"))
    assert check("no_dead_letter_waits").passed


def test_no_example_shows_an_address(database: Database, message: Message) -> None:
    suppress(database, message, EVERY_HOST)

    told = str(check("no_suppressed_address_is_written_to").metadata)

    assert "@" not in told
    assert "+49" not in told
