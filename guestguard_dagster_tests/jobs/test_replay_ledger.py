"""A restore in operators' hands: the sensor stops; doctor, metrics and an alert say why; job or command helps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dagster import DagsterInstance, ExecuteInProcessResult, SensorResult, SkipReason

from guestguard_dagster.cli import cli
from guestguard_dagster.definitions import build_defs
from guestguard_dagster.delivery.ledger import check
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.operations.health import Level, examine
from guestguard_dagster.operations.metrics import exposition
from guestguard_dagster.settings import load_settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.alerts import AlertRepo
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.dagster_rooms import environment
from guestguard_dagster_tests.factories import make_event, make_guests, make_message
from guestguard_dagster_tests.ledger.sending import Arrived, Process
from guestguard_dagster_tests.sensors.ticks import tick
from guestguard_dagster_tests.streams.events import stream_settings

GUESTS = 20


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def ledger(
    monkeypatch: pytest.MonkeyPatch, database_url: str, nats_server: NatsServer, tmp_path: Path
) -> Iterator[Ledger]:
    """Everything that reads the environment finds this ledger."""
    monkeypatch.chdir(tmp_path)
    with environment(monkeypatch, database_url, None), monkeypatch.context() as patched:
        for name, value in (stream_settings() | {"NATS_URL": nats_server.url}).items():
            patched.setenv(name.upper(), value)
        with Ledger.from_settings(load_settings()) as ledger:
            yield ledger


@pytest.fixture
def forgotten(database: Database, database_url: str, ledger: Ledger) -> Message:
    """A message that has left, and of whose batches the database knows nothing any more."""
    event = make_event(database)
    make_guests(database, event, GUESTS)
    message = make_message(database, event)
    process = Process(database_url, ledger, Arrived())
    process.freeze(message)
    process.send()
    process.close()
    with database.transaction() as connection:
        # As a restore leaves them: not deleted, but never there.
        connection.exec_driver_sql("ALTER TABLE delivery_batches DISABLE TRIGGER USER")
        connection.exec_driver_sql("DELETE FROM delivery_batches")
        connection.exec_driver_sql("UPDATE message_deliveries SET status = 'pending', batch_id = NULL")
        connection.exec_driver_sql("UPDATE ledger_position SET sequence = 0")
        connection.exec_driver_sql("ALTER TABLE delivery_batches ENABLE TRIGGER USER")
    return message


def test_the_sensor_asks_for_no_run_and_says_why(
    instance: DagsterInstance, database: Database, ledger: Ledger, forgotten: Message
) -> None:
    make_message(database, make_event(database))
    skipped = tick(instance, "due_messages")
    assert isinstance(skipped, SkipReason)
    assert "nothing is sent until `guestguard replay-ledger`" in (skipped.skip_message or "")
    assert _run(instance, {}).success
    assert isinstance(tick(instance, "due_messages"), SensorResult)
    assert check(database, ledger).may_send
    assert forgotten.id


@pytest.mark.usefixtures("forgotten")
def test_doctor_metrics_and_an_alert_say_it(instance: DagsterInstance, database: Database) -> None:
    tick(instance, "due_messages")
    finding = next(each for each in examine(database, load_settings()).findings if each.name == "ledger")
    assert finding.level is Level.ERROR
    assert "has forgotten at least 4 batches" in finding.sentence
    assert "guestguard_behind_ledger 1.0\n" in exposition(database, load_settings())
    tick(instance, "alerts")
    assert [alert.title for alert in AlertRepo(database).open()] == [
        "nothing is sent: the database is behind its ledger"
    ]
    assert _run(instance, {}).success
    tick(instance, "alerts")
    assert AlertRepo(database).open() == []
    assert "guestguard_behind_ledger 0.0\n" in exposition(database, load_settings())


def test_the_job_says_by_message_what_became_of_it(instance: DagsterInstance, forgotten: Message) -> None:
    for config in ({"dry_run": True}, {}):
        metadata = _metadata(_run(instance, config))
        assert metadata["dry run"].value is bool(config)
        assert metadata["batches that had left"].value == 4
        assert metadata["deliveries now unknown"].value == GUESTS
        assert [record.data for record in metadata["messages"].records] == [
            {"message": str(forgotten.id), "guests who have it": GUESTS, "now unknown": GUESTS, "held": False}
        ]
    again = _run(instance, {})
    assert not again.success
    assert "not behind its ledger" in str(again.failure_data_for_node("replay_what_left"))


@pytest.mark.usefixtures("ledger")
def test_the_command_does_the_same(forgotten: Message) -> None:
    looked = CliRunner().invoke(cli, ["replay-ledger", "--dry-run"])
    done = CliRunner().invoke(cli, ["replay-ledger", "--lost-at", "2031-01-01T12:00:00+0100"])
    again = CliRunner().invoke(cli, ["replay-ledger"])
    assert looked.exit_code == 0, looked.output
    assert "would be unknown now" in looked.output
    assert done.exit_code == 0, done.output
    assert f"message {forgotten.id}: {GUESTS} guests have it" in done.output
    assert "Now run the job replay_events" in done.output
    assert (again.exit_code, "not behind its ledger" in again.output) == (1, True)


@pytest.mark.usefixtures("forgotten")
def test_events_are_not_read_again_before_the_ledger_is_replayed(instance: DagsterInstance) -> None:
    config = {"ops": {"read_again": {"config": {"first_sequence": 1, "last_sequence": 9}}}}
    job = build_defs().resolve_job_def("replay_events")
    result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert not result.success
    assert "replay-ledger" in str(result.failure_data_for_node("read_again"))


def _run(instance: DagsterInstance, config: dict[str, Any]) -> ExecuteInProcessResult:
    definition = build_defs().resolve_job_def("replay_ledger")
    run_config = {"ops": {"replay_what_left": {"config": config}}}
    return definition.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)


def _metadata(result: ExecuteInProcessResult) -> Any:
    assert result.success
    (output,) = (event for event in result.events_for_node("replay_what_left") if event.is_successful_output)
    return output.step_output_data.metadata
