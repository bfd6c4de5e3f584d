"""The sensor for system mail asks when something may leave, and only then."""

from dagster import DagsterInstance, DagsterRunStatus, SensorResult
from dagster._core.test_utils import create_run_for_test  # no public way to write a run that never ran

from guestguard_dagster.domain.system_mail import SystemMail, SystemMailKind
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.operations.system_mail import post
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster_tests.sensors.ticks import tick


def write(database: Database) -> None:
    with database.transaction() as connection:
        post(
            connection,
            [SystemMail(SystemMailKind.ALERT, "check:x", "ops@example.com", "Olga", "Alert", "Look.", "<p>Look.</p>")],
        )


def asks(instance: DagsterInstance) -> bool:
    return isinstance(tick(instance, "system_mail"), SensorResult)


def test_a_run_is_asked_for_when_system_mail_waits(instance: DagsterInstance, database: Database) -> None:
    assert not asks(instance)

    write(database)

    assert asks(instance)


def test_one_run_at_a_time(instance: DagsterInstance, database: Database) -> None:
    write(database)
    create_run_for_test(instance, job_name="send_system_mail", status=DagsterRunStatus.STARTED)

    assert not asks(instance)


def test_a_run_whose_process_is_gone_holds_nothing_up(instance: DagsterInstance, database: Database) -> None:
    write(database)
    dead = create_run_for_test(instance, job_name="send_system_mail", status=DagsterRunStatus.STARTED)
    RunRepo(database).beat(dead.run_id, host="here", pid=1)
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE run_heartbeats SET beat_at = now() - interval '1 minute'")

    assert asks(instance)


def test_no_run_is_asked_for_while_the_provider_takes_nothing(instance: DagsterInstance, database: Database) -> None:
    write(database)
    BreakerRepo(database).open("log:email", reason="the key is not valid")

    assert not asks(instance)
