"""PostgreSQL goes away while mail is leaving: what was answered is written down when it is back."""

import random
from collections.abc import Iterator

import pytest

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.gates import Point, Stop
from guestguard_dagster_tests.crash.killing import new_seed
from guestguard_dagster_tests.crash.providers import Access, Provider
from guestguard_dagster_tests.crash.stage import Stage, due_messages
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.crash.worker import Ending
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


@pytest.fixture
def postgres() -> Iterator[FragilePostgres]:
    with FragilePostgres() as server:
        yield server


@pytest.fixture
def own_database(postgres: FragilePostgres) -> Iterator[Database]:
    with postgres.new_database() as database:
        yield database


def test_answers_that_came_while_the_database_was_gone_are_written_down_when_it_is_back(
    postgres: FragilePostgres, own_database: Database, mail_server: SmtpLoopback
) -> None:
    access = Access(Provider.SMTP, mail_server.port)
    stage = Stage(own_database, mail_server, access, due_messages(own_database, guests=120))
    no_such_mailbox = Fault(at="rcpt", do=FaultKind.REPLY, reply="550 5.1.1 no such user")
    mail_server.faults.add(no_such_mailbox)

    with stage.start_worker(stop=Stop(Point.AFTER_CALL)) as worker:
        worker.wait_at_gate()
        postgres.kill()
        worker.open_gate()
        postgres.start_again()
        assert worker.wait() in {Ending.DONE, Ending.DATABASE_AWAY}
    after_the_first_run = stage.judge()
    stage.settle()

    assert after_the_first_run.states[DeliveryStatus.SENT] >= 49
    assert stage.judge().states == {DeliveryStatus.SENT: 119, DeliveryStatus.FAILED: 1}
    assert stage.judge().breaches == {}


def test_a_database_killed_at_any_instant_leaves_nobody_unknown(
    postgres: FragilePostgres, own_database: Database, slow_mail_server: SmtpLoopback
) -> None:
    access = Access(Provider.SMTP, slow_mail_server.port)
    stage = Stage(own_database, slow_mail_server, access, due_messages(own_database, guests=500))
    chance = random.Random(new_seed())  # noqa: S311 - chooses instants, guards nothing

    for _ in range(3):
        some_more = stage.mails() + chance.randint(1, 80)
        with stage.start_worker() as worker:
            wait_until(lambda: stage.mails() >= some_more or not worker.is_running, "more mails leave")  # noqa: B023
            postgres.kill()
            postgres.start_again()
            assert worker.wait() in {Ending.DONE, Ending.DATABASE_AWAY}
    stage.settle()

    assert stage.judge().states == {DeliveryStatus.SENT: 500}
    assert stage.judge().breaches == {}
