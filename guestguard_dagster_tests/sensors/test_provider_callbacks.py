"""Callbacks of providers lead to a run: announced on NATS, or found in their table when nobody could announce them."""

from datetime import timedelta
from uuid import uuid4

import pytest
from dagster import DagsterInstance, DagsterRunStatus, SensorResult, SkipReason
from dagster._core.test_utils import create_run_for_test  # no public way to write a run that never ran
from sqlalchemy import text

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.domain.callbacks import ProviderEvent, tags_of
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.senders.resend.provider import RESEND
from guestguard_dagster.settings import load_settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.installation import InstallationRepo
from guestguard_dagster.storage.providers.callbacks import CallbackRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message
from guestguard_dagster_tests.sensors.ticks import tick

_SENSOR, _JOB = "provider_callbacks", "apply_provider_callbacks"


@pytest.fixture
def nats(monkeypatch: pytest.MonkeyPatch, nats_server: NatsServer) -> None:
    name = f"T{uuid4().hex}"
    monkeypatch.setenv("NATS_URL", nats_server.url)
    monkeypatch.setenv("NATS_STREAM", name)
    monkeypatch.setenv("NATS_SUBJECT_PROVIDER_CALLBACK", f"{name}.callback")
    monkeypatch.setenv("NATS_LINGER_SECONDS", "0.2")


def _store(database: Database, delivery_id: int, *, ago: timedelta = timedelta()) -> None:
    tags = tags_of(delivery_id, InstallationRepo(database).id)
    event = {"type": "email.delivered", "data": {"email_id": "m", "tags": tags}}
    CallbackRepo(database).store(RESEND.name, f"msg_{uuid4().hex}", event)
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE provider_callbacks SET next_try_at = next_try_at - CAST(:ago AS interval)"),
            {"ago": ago},
        )


@pytest.fixture
def delivery_id(database: Database) -> int:
    event = make_event(database)
    message = make_message(database, event)
    return make_deliveries(database, message, make_guests(database, event), status=DeliveryStatus.SENT)[0]


@pytest.mark.usefixtures("nats")
def test_without_callbacks_nothing_is_asked_for(instance: DagsterInstance) -> None:
    assert isinstance(tick(instance, _SENSOR), SkipReason)


@pytest.mark.usefixtures("nats")
def test_an_announced_callback_is_asked_for_at_once_and_its_run_applies_it(
    instance: DagsterInstance, database: Database, delivery_id: int
) -> None:
    _store(database, delivery_id)
    given = load_settings()
    with JetStream(NatsAccess.from_settings(given), StreamDeclaration.of_callbacks(given)) as stream:
        stream.survey()
        stream.publish(ProviderEvent.CALLBACK_STORED, b"{}")
    asked = tick(instance, _SENSOR)
    assert isinstance(asked, SensorResult)
    assert len(asked.run_requests or []) == 1

    assert build_defs().resolve_job_def(_JOB).execute_in_process(instance=instance).success
    with database.transaction() as connection:
        assert connection.execute(text("SELECT status FROM message_deliveries")).scalar_one() == "delivered"
    assert isinstance(tick(instance, _SENSOR), SkipReason)


def test_what_nobody_could_announce_is_swept_up(
    instance: DagsterInstance, database: Database, delivery_id: int
) -> None:
    _store(database, delivery_id)
    assert isinstance(tick(instance, _SENSOR), SkipReason), "it may be announced yet"
    _store(database, delivery_id, ago=timedelta(minutes=1))
    assert isinstance(tick(instance, _SENSOR), SensorResult)
    assert build_defs().resolve_job_def(_JOB).execute_in_process(instance=instance).success
    assert CallbackRepo(database).waiting() == []


def test_one_run_at_a_time(instance: DagsterInstance, database: Database, delivery_id: int) -> None:
    _store(database, delivery_id, ago=timedelta(minutes=1))
    create_run_for_test(instance, job_name=_JOB, status=DagsterRunStatus.STARTED)
    assert isinstance(tick(instance, _SENSOR), SkipReason)
