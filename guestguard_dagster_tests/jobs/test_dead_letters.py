"""Dead letters in Dagster's hands: listed, dismissed and replayed by what an operator writes into the Launchpad."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.settings import load_settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster_tests.dagster_rooms import environment
from guestguard_dagster_tests.factories import make_event, make_guests
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.notifications.events import dead_letters_of, notifications_of
from guestguard_dagster_tests.streams.events import connect, rsvp_confirmed, stream_settings

RSVP = CONFIRMATION.type


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture
def stream(
    monkeypatch: pytest.MonkeyPatch, database_url: str, nats_server: NatsServer, mail_server: SmtpLoopback
) -> Iterator[JetStream]:
    nats = {"NATS_URL": nats_server.url, "NATS_LINGER_SECONDS": "0", "NATS_MAX_DELIVERIES": "1"}
    with environment(monkeypatch, database_url, mail_server), monkeypatch.context() as patched:
        for name, value in (stream_settings() | nats).items():
            patched.setenv(name.upper(), value)
        with connect(nats_server.url, declare_stream(load_settings())) as stream:
            stream.survey()
            yield stream


def test_an_operator_lists_dismisses_and_replays(
    instance: DagsterInstance, database: Database, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event, guest_id = make_event(database), uuid4()
    stream.publish(RSVP, rsvp_confirmed(guest_id, event))
    stream.publish(RSVP, b'{"rsvp_id": "ada@example.com"}')
    assert _run(instance, "rsvp_confirmation").success
    unknown, broken = dead_letters_of(database)

    listed = _metadata(_run(instance, "list_dead_letters"), "list_open")
    assert listed["dead letters"].value == 2
    table = listed["table"].records
    assert [record.data["id"] for record in table] == [unknown.id, broken.id]
    assert "after 1 deliveries" in str(table[0].data["reason"])
    assert str(guest_id) in str(table[0].data["payload"])

    (guest,) = make_guests(database, event, id=guest_id)
    replayed = _metadata(_run(instance, "replay_dead_letters", "try_again", {"all": True}), "try_again")
    assert (replayed["replayed"].value, replayed["still dead"].value) == (1, 1)
    _confirm(instance, mail_server, 1)
    assert mail_server.recipients() == {guest.email: 1}

    later = {"since": (broken.created_at + timedelta(days=1)).isoformat()}
    assert _metadata(_run(instance, "dismiss_dead_letters", "dismiss", later), "dismiss")["dismissed"].value == 0
    by_id = {"ids": [broken.id]}
    assert _metadata(_run(instance, "dismiss_dead_letters", "dismiss", by_id), "dismiss")["dismissed"].value == 1
    assert _metadata(_run(instance, "list_dead_letters"), "list_open")["dead letters"].value == 0


def test_an_empty_form_dismisses_and_replays_nothing(instance: DagsterInstance, stream: JetStream) -> None:
    assert stream.survey().drift == ()
    for job, op in (("dismiss_dead_letters", "dismiss"), ("replay_dead_letters", "try_again")):
        result = _run(instance, job, op, {})
        assert not result.success
        assert "nothing is selected" in str(result.failure_data_for_node(op))


def test_events_are_read_from_the_stream_again(
    instance: DagsterInstance, database: Database, stream: JetStream, mail_server: SmtpLoopback
) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 3)
    stream.publish_many([(RSVP, rsvp_confirmed(guest, event), None) for guest in guests])
    _confirm(instance, mail_server, 3)

    again = {"first_sequence": 1, "last_sequence": 1_000_000}
    read = _metadata(_run(instance, "replay_events", "read_again", again), "read_again")
    assert read["events known"].value == 3
    assert _run(instance, "rsvp_confirmation").success
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}
    assert len(notifications_of(database)) == 3


def _confirm(instance: DagsterInstance, mail_server: SmtpLoopback, mails: int) -> None:
    """A run ends when the stream has nothing for it; a loaded server may say so of what it has. Then run once more."""
    while len(mail_server.recipients()) < mails:
        assert _run(instance, "rsvp_confirmation").success


def _run(
    instance: DagsterInstance, job: str, op: str | None = None, config: dict[str, Any] | None = None
) -> ExecuteInProcessResult:
    run_config = {"ops": {op: {"config": config}}} if op else None
    definition = build_defs().resolve_job_def(job)
    return definition.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)


def _metadata(result: ExecuteInProcessResult, op: str) -> Any:
    assert result.success
    (output,) = (event for event in result.events_for_node(op) if event.is_successful_output)
    return output.step_output_data.metadata
