from datetime import timedelta
from uuid import UUID

from dagster import DagsterInstance, DagsterRunStatus
from sqlalchemy import text

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster_tests.factories import make_event, make_message, read_message
from guestguard_dagster_tests.sensors.ticks import tick, write_run


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def give_sign_of_life(database: Database, run_id: str, *, ago: timedelta) -> None:
    RunRepo(database).beat(run_id, host="a-host", pid=4711)
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE run_heartbeats SET beat_at = beat_at - CAST(:ago AS interval) WHERE run_id = :run_id"),
            {"ago": ago, "run_id": run_id},
        )


def test_a_run_whose_process_is_gone_is_reported_failed(instance: DagsterInstance, database: Database) -> None:
    run = write_run(instance, DagsterRunStatus.STARTED, [])
    give_sign_of_life(database, run.run_id, ago=timedelta(minutes=3))

    tick(instance, "run_watch")

    assert status_of(instance, run.run_id) is DagsterRunStatus.FAILURE


def test_a_run_that_gives_signs_of_life_is_left_alone(instance: DagsterInstance, database: Database) -> None:
    run = write_run(instance, DagsterRunStatus.STARTED, [])
    give_sign_of_life(database, run.run_id, ago=timedelta(seconds=30))

    tick(instance, "run_watch")

    assert status_of(instance, run.run_id) is DagsterRunStatus.STARTED


def test_a_run_that_has_just_started_may_have_given_no_sign_yet(instance: DagsterInstance) -> None:
    run = write_run(instance, DagsterRunStatus.STARTED, [])

    tick(instance, "run_watch")

    assert status_of(instance, run.run_id) is DagsterRunStatus.STARTED


def test_a_terminated_run_whose_process_is_gone_is_reported_canceled(
    instance: DagsterInstance, database: Database
) -> None:
    run = write_run(instance, DagsterRunStatus.CANCELING, [])
    give_sign_of_life(database, run.run_id, ago=timedelta(minutes=3))

    tick(instance, "run_watch")

    assert status_of(instance, run.run_id) is DagsterRunStatus.CANCELED


def hold(database: Database, run_id: str, message_id: UUID, *, terminated_ago: timedelta = timedelta()) -> int:
    return RunRepo(database).hold(
        run_id, [message_id], reason="terminated", terminated_at=database.now() - terminated_ago
    )


def test_a_run_terminated_in_the_queue_holds_its_messages_once(database: Database) -> None:
    message = make_message(database, make_event(database))

    assert hold(database, "run", message.id) == 1
    assert read_message(database, message.id).held_reason == "terminated"

    RunRepo(database).record("another-run", [message.id], repeats=["run"])
    assert hold(database, "run", message.id) == 0
    assert read_message(database, message.id).held_at is None


def test_a_message_that_another_run_took_up_since_is_not_held(database: Database) -> None:
    message = make_message(database, make_event(database))
    RunRepo(database).record("another-run", [message.id])

    assert hold(database, "run", message.id, terminated_ago=timedelta(minutes=1)) == 0
