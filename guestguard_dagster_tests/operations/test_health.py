"""What keeps this service from its work is named, with what to do; what is fine is said to be."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import insert, text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.operations.health import DUE_MESSAGES_SENSOR, Health, Level, examine
from guestguard_dagster.senders.picker import pick_senders
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.alerts import AlertRepo, NewAlert
from guestguard_dagster.storage.operations.ticks import TickRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster.storage.tables.notifications import dead_letters
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message

AN_HOUR = timedelta(hours=1)
SMTP: dict[str, Any] = {"smtp_host": "mail.example.com", "smtp_from_email": "events@guestguard.example"}
TWILIO: dict[str, Any] = {
    "twilio_account_sid": "AC0",
    "twilio_auth_token": "secret-token",
    "twilio_from_number": "+15005550006",
}


@pytest.fixture(autouse=True)
def ticking(database: Database) -> None:
    TickRepo(database).note(DUE_MESSAGES_SENSOR)


def health(database: Database, **settings: Any) -> Health:
    return examine(database, Settings(**{**SMTP, **TWILIO, **settings}))


def finding(health: Health, name: str) -> tuple[Level, str]:
    [found] = [(finding.level, finding.sentence) for finding in health.findings if finding.name == name]
    return found


def test_a_service_that_works_is_well(database: Database) -> None:
    well = health(database)

    assert well.level is Level.OK
    assert {finding.level for finding in well.findings} == {Level.OK}


def test_a_daemon_that_does_not_tick_is_noticed(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE sensor_ticks SET ticked_at = ticked_at - interval '10 minutes'"))
    level, sentence = finding(health(database), "daemon")
    assert level is Level.ERROR
    assert "has not ticked for 10 minutes; check that dagster-daemon" in sentence

    with database.transaction() as connection:
        connection.execute(text("DELETE FROM sensor_ticks"))
    assert "has never ticked" in finding(health(database), "daemon")[1]


def test_a_queue_that_is_late_is_noticed(database: Database) -> None:
    make_message(database, make_event(database), send_in=-AN_HOUR)

    level, sentence = finding(health(database), "queue")

    assert level is Level.ERROR
    assert "1 messages or notifications are more than 5 minutes late" in sentence


def test_a_hand_off_that_is_stuck_is_noticed(database: Database) -> None:
    event = make_event(database)
    message = make_message(
        database, event, status=MessageStatus.SENDING, asked_until=database.now() + timedelta(minutes=1)
    )
    make_deliveries(
        database,
        message,
        make_guests(database, event),
        status=DeliveryStatus.SENDING,
        lease_expires_at=database.now() - AN_HOUR,
    )

    assert finding(health(database), "hand_offs")[0] is Level.ERROR


def test_an_open_breaker_is_noticed_with_its_reason(database: Database) -> None:
    account = pick_senders(Settings(**SMTP)).email.account
    BreakerRepo(database).open(account, reason="smtp takes nothing at the moment: login_refused")
    BreakerRepo(database).open("resend:an-old-key", reason="resend takes nothing")

    levels = [finding.sentence for finding in health(database).findings if finding.name == "breakers"]

    assert len(levels) == 1
    assert "login_refused" in levels[0]


def test_missing_migrations_are_noticed(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        level, sentence = finding(health(database), "migrations")

    assert level is Level.ERROR
    assert "run `guestguard migrate`" in sentence


def test_a_database_that_is_away_is_noticed() -> None:
    with Database("postgresql://nobody@127.0.0.1:1/nothing") as database:
        away = health(database)

    assert finding(away, "database")[0] is Level.ERROR
    assert away.level is Level.ERROR


def test_a_provider_that_is_configured_by_half_is_noticed(database: Database) -> None:
    level, sentence = finding(health(database, smtp_from_email=None), "providers")

    assert level is Level.ERROR
    assert "SMTP_FROM_EMAIL is not set" in sentence


def test_a_channel_without_a_provider_is_a_warning(database: Database) -> None:
    unset = dict.fromkeys((*SMTP, *TWILIO))

    without = health(database, **unset)

    assert without.level is Level.WARNING
    assert "no provider for email" in finding(without, "email_provider")[1]
    assert "no provider for sms" in finding(without, "sms_provider")[1]


def test_dead_letters_and_alerts_are_warnings(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            insert(dead_letters).values(
                type=INVITATION.type,
                stream="S",
                subject="s",
                sequence=1,
                published_at=database.now(),
                payload=b"",
                reason="no JSON",
                deliveries=1,
            )
        )
    AlertRepo(database).raise_all([NewAlert("job:x", "a run of x failed", "Run 1")])

    ill = health(database)

    assert finding(ill, "dead_letters")[0] is Level.WARNING
    assert "a run of x failed" in finding(ill, "alerts")[1]


def test_nats_is_asked_when_that_is_wanted(database: Database, nats_server: NatsServer) -> None:
    settings = Settings(**SMTP, nats_url=SecretStr(nats_server.url), nats_stream="HEALTH")
    away = Settings(**SMTP, nats_url=SecretStr("nats://127.0.0.1:1"))

    assert finding(examine(database, settings, stream=declare_stream(settings)), "nats")[0] is Level.OK
    assert finding(examine(database, away, stream=declare_stream(settings)), "nats")[0] is Level.ERROR
    assert not [each for each in health(database).findings if each.name == "nats"]


def test_monitors_see_levels_and_operators_see_sentences(database: Database) -> None:
    well = health(database)

    assert well.as_json(detailed=False)["status"] == "ok"
    assert well.as_json(detailed=False)["findings"] == {finding.name: "ok" for finding in well.findings}
    assert "the database answers" in str(well.as_json(detailed=True))
    assert "secret-token" not in str(well)
