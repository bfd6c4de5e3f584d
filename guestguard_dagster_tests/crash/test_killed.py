"""SIGKILL at any instant: nobody gets two mails, and whoever got none is known by name."""

import pytest
from dagster import DagsterInstance

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.gates import Point, Stop
from guestguard_dagster_tests.crash.killing import kill_among_racing, kill_one_after_the_other, new_seed
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out
from guestguard_dagster_tests.crash.providers import Access, Provider, batch_size
from guestguard_dagster_tests.crash.stage import Stage, due_messages
from guestguard_dagster_tests.dagster_rooms import environment, run_send_job
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback

BATCH = batch_size(Provider.SMTP)


def test_a_killed_run_never_sends_twice(database: Database, slow_mail_server: SmtpLoopback) -> None:
    access = Access(Provider.SMTP, slow_mail_server.port)
    stage = Stage(database, slow_mail_server, access, due_messages(database, guests=800))

    killed = kill_one_after_the_other(stage, new_seed(), kills=12)
    slow_mail_server.faults.clear()
    stage.settle()

    verdict = stage.judge()
    print(f"{killed} kills: {verdict}")
    assert verdict.breaches == {}
    assert verdict.states.keys() <= {DeliveryStatus.SENT, DeliveryStatus.UNKNOWN}


@pytest.mark.parametrize(
    ("point", "arrived"), [(Point.BEFORE_CALL, 0), (Point.PERMITTED, 0), (Point.AFTER_CALL, BATCH)]
)
def test_a_batch_that_was_leaving_when_its_run_was_killed_is_unknown_and_nobody_else(
    database: Database, mail_server: SmtpLoopback, point: Point, arrived: int
) -> None:
    stage = Stage(database, mail_server, Access(Provider.SMTP, mail_server.port), due_messages(database, guests=120))

    with stage.start_worker(stop=Stop(point)) as worker:
        worker.wait_at_gate()
        worker.kill()
    stage.settle()

    verdict = stage.judge()
    assert verdict.states == {DeliveryStatus.SENT: 120 - BATCH, DeliveryStatus.UNKNOWN: BATCH}
    assert verdict.arrived_unknown == arrived
    assert verdict.breaches == {}


def test_a_batch_that_was_only_leased_when_its_run_was_killed_is_sent_by_the_next_one(
    database: Database, mail_server: SmtpLoopback
) -> None:
    stage = Stage(database, mail_server, Access(Provider.SMTP, mail_server.port), due_messages(database, guests=120))

    with stage.start_worker(stop=Stop(Point.PREPARED)) as worker:
        worker.wait_at_gate()
        worker.kill()
    stage.settle()

    assert stage.judge().states == {DeliveryStatus.SENT: 120}
    assert stage.judge().breaches == {}


def test_runs_racing_for_the_same_messages_never_send_twice_while_they_are_killed(
    database: Database, slow_mail_server: SmtpLoopback
) -> None:
    access = Access(Provider.SMTP, slow_mail_server.port)
    stage = Stage(database, slow_mail_server, access, due_messages(database, guests=200, messages=3))

    killed = kill_among_racing(stage, new_seed(), kills=8, lease_seconds=2)
    stage.settle()

    verdict = stage.judge()
    print(f"{killed} kills: {verdict}")
    assert verdict.breaches == {}
    assert verdict.states.keys() <= {DeliveryStatus.SENT, DeliveryStatus.UNKNOWN}


def test_the_dagster_job_finishes_what_a_killed_run_left(
    database: Database, mail_server: SmtpLoopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(database, mail_server, Access(Provider.SMTP, mail_server.port), due_messages(database, guests=120))
    with stage.start_worker(stop=Stop(Point.AFTER_CALL)) as worker:
        worker.wait_at_gate()
        worker.kill()
    let_leases_run_out(database)

    url = database.engine.url.render_as_string(hide_password=False)
    with DagsterInstance.ephemeral() as instance, environment(monkeypatch, url, mail_server):
        result = run_send_job(instance, list(stage.message_ids))

    assert result.success
    assert stage.judge().states == {DeliveryStatus.SENT: 120 - BATCH, DeliveryStatus.UNKNOWN: BATCH}
    assert stage.judge().breaches == {}
