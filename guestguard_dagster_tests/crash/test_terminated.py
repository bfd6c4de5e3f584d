"""SIGTERM: the batch that is leaving is led to its end and written down, and the next run goes on from there."""

import random

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.killing import new_seed
from guestguard_dagster_tests.crash.passing_time import live_leases
from guestguard_dagster_tests.crash.providers import Access, Provider
from guestguard_dagster_tests.crash.stage import Stage, due_messages
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.crash.worker import Ending
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


def test_a_terminated_run_writes_down_all_that_it_sent(database: Database, slow_mail_server: SmtpLoopback) -> None:
    access = Access(Provider.SMTP, slow_mail_server.port)
    stage = Stage(database, slow_mail_server, access, due_messages(database, guests=400))
    chance = random.Random(new_seed())  # noqa: S311 - chooses instants, guards nothing

    for _ in range(5):
        some_more = stage.mails() + chance.randint(1, 40)
        with stage.start_worker() as worker:
            wait_until(lambda: stage.mails() >= some_more or not worker.is_running, "more mails leave")  # noqa: B023
            worker.terminate()
            assert worker.wait() in {Ending.TERMINATED, Ending.DONE}
        verdict = stage.judge()
        assert verdict.states.keys() <= {DeliveryStatus.PENDING, DeliveryStatus.SENT}
        assert verdict.states[DeliveryStatus.SENT] == verdict.mails
        assert live_leases(database) == 0

    with stage.start_worker() as worker:
        assert worker.wait() is Ending.DONE
    assert stage.judge().states == {DeliveryStatus.SENT: 400}
    assert stage.judge().breaches == {}
