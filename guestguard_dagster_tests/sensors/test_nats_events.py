"""The sensor for events on NATS, as the daemon ticks it: it asks when something waits, and never twice at once."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dagster import DagsterInstance, DagsterRunStatus, SensorResult, SkipReason
from dagster._core.test_utils import create_run_for_test

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.domain.notifications import Arrival
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.notifications.registry import declare_stream, definition_of
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.notifications.types.fraud_alert import FRAUD_ALERT
from guestguard_dagster.notifications.types.invitation import INVITATION
from guestguard_dagster.senders.picker import pick_senders
from guestguard_dagster.settings import load_settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.notifications.repo import Incoming, NotificationRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.tables.providers import breakers
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.dagster_rooms import environment
from guestguard_dagster_tests.factories import make_event, make_guests
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.notifications.events import notifications_of
from guestguard_dagster_tests.sensors.ticks import tick
from guestguard_dagster_tests.streams.events import (
    connect,
    fraud_scored,
    invitation_send,
    rsvp_confirmed,
    stream_settings,
)

RSVP = CONFIRMATION.type
SENSOR = "nats_events"


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture(autouse=True)
def the_rest_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, database_url: str, nats_server: NatsServer, mail_server: SmtpLoopback
) -> Iterator[None]:
    """A mail server, and names in NATS that no other test uses."""
    nats = {"NATS_URL": nats_server.url, "NATS_LINGER_SECONDS": "0"}
    with environment(monkeypatch, database_url, mail_server), monkeypatch.context() as patched:
        for name, value in (stream_settings() | nats).items():
            patched.setenv(name.upper(), value)
        yield


@pytest.fixture
def stream(nats_server: NatsServer) -> Iterator[JetStream]:
    with connect(nats_server.url, declare_stream(load_settings())) as stream:
        stream.survey()
        yield stream


def test_events_of_each_type_get_one_run_of_their_job(
    instance: DagsterInstance, database: Database, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    assert "nothing waits in NATS" in _skipped(instance)
    stream.publish(RSVP, rsvp_confirmed(guest, event))
    stream.publish(FRAUD_ALERT.type, fraud_scored(guest, event))
    stream.publish(INVITATION.type, invitation_send(guest, event))

    asked = _asked(instance)
    assert sorted(asked) == ["fraud_alert", "invitation", "rsvp_confirmation"]
    for job in asked:
        assert build_defs().resolve_job_def(job).execute_in_process(instance=instance).success

    assert mail_server.recipients().total() == 3
    assert {row.status for row in notifications_of(database)} == {"sent"}
    assert "nothing waits in NATS" in _skipped(instance)


def test_one_run_at_a_time_is_in_flight_for_each_type(
    instance: DagsterInstance, database: Database, stream: JetStream
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    stream.publish(RSVP, rsvp_confirmed(guest, event))
    starting = create_run_for_test(instance, job_name="rsvp_confirmation", status=DagsterRunStatus.STARTING)
    assert "confirmation" in _skipped(instance)
    instance.delete_run(starting.run_id)

    started = create_run_for_test(instance, job_name="rsvp_confirmation", status=DagsterRunStatus.STARTED)
    RunRepo(database).beat(started.run_id, host="here", pid=1)
    assert "runs are at work on confirmation" in _skipped(instance)


def test_a_run_whose_process_is_gone_holds_nothing_up(
    instance: DagsterInstance, database: Database, stream: JetStream
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    stream.publish(RSVP, rsvp_confirmed(guest, event))
    dead = create_run_for_test(instance, job_name="rsvp_confirmation", status=DagsterRunStatus.STARTED)
    RunRepo(database).beat(dead.run_id, host="here", pid=1)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE run_heartbeats SET beat_at = now() - interval '1 minute'")
    assert _asked(instance) == ["rsvp_confirmation"]


def test_what_a_dead_run_had_fetched_is_asked_for_every_half_minute(
    instance: DagsterInstance, database: Database, stream: JetStream
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    stream.publish(RSVP, rsvp_confirmed(guest, event))
    stream.fetch(RSVP, size=1, wait=timedelta(seconds=1))
    result = tick(instance, SENSOR)
    assert isinstance(result, SensorResult)
    assert "1 events wait for their next delivery" in _skipped(instance, cursor=result.cursor)


def test_rows_that_were_left_unfinished_are_asked_for_though_nats_is_away(
    instance: DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave_a_pending_row(database)
    with monkeypatch.context() as away:
        away.setenv("NATS_URL", "nats://127.0.0.1:1")
        assert _asked(instance) == ["rsvp_confirmation"]


def test_while_the_provider_takes_nothing_only_a_probe_is_asked_for(
    instance: DagsterInstance, database: Database
) -> None:
    _leave_a_pending_row(database)
    _open_breaker(database, for_seconds=60)
    assert "nothing waits" in _skipped(instance)
    _open_breaker(database, for_seconds=-1)
    assert _asked(instance) == ["rsvp_confirmation"]


def test_a_server_that_is_away_is_told_within_two_seconds_and_found_again_by_itself(
    instance: DagsterInstance,
    database: Database,
    stream: JetStream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    stream.publish(RSVP, rsvp_confirmed(guest, event))
    with monkeypatch.context() as away:
        away.setenv("NATS_URL", "nats://127.0.0.1:1")
        started = time.monotonic()
        assert "NATS at 127.0.0.1:1 cannot be reached" in _skipped(instance)
        assert time.monotonic() - started < 4
    assert _asked(instance) == ["rsvp_confirmation"]


def test_drift_is_told_in_every_tick(
    instance: DagsterInstance, stream: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = stream.declaration.consumers[RSVP].name
    monkeypatch.setenv("NATS_SUBJECT_RSVP_CONFIRMED", "somewhere.else")
    assert f"consumer {consumer} has filter_subject" in _skipped(instance)
    assert "does not take in somewhere.else" in _skipped(instance)


def _asked(instance: DagsterInstance) -> list[str]:
    result = tick(instance, SENSOR)
    assert isinstance(result, SensorResult), result
    return [request.job_name or "" for request in result.run_requests or []]


def _skipped(instance: DagsterInstance, cursor: str | None = None) -> str:
    result = tick(instance, SENSOR, cursor=cursor)
    assert isinstance(result, SkipReason), result
    return result.skip_message or ""


def _leave_a_pending_row(database: Database) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    data = rsvp_confirmed(guest, event)
    payload = definition_of(RSVP).payload.read(data)
    arrival = Arrival("S", "subject", 1, datetime(2030, 1, 1, tzinfo=UTC), 1, None, data)
    NotificationRepo(database).record(RSVP, [Incoming(arrival, payload, payload.identity(None), None)])


def _open_breaker(database: Database, *, for_seconds: int) -> None:
    now = database.now()
    senders = pick_senders(load_settings())
    with database.transaction() as connection:
        connection.execute(breakers.delete())
        connection.execute(
            breakers.insert().values(
                account=senders.email.account,
                reason="smtp takes nothing at the moment",
                opened_at=now,
                open_until=now + timedelta(seconds=for_seconds),
                open_seconds=60,
            )
        )
    senders.close()
