"""Resend recognises a repeat: whatever happens to the run, every guest gets one mail and nobody is unknown."""

from datetime import timedelta

import pytest

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.gates import Point, Stop
from guestguard_dagster_tests.crash.killing import kill_among_racing, kill_one_after_the_other, new_seed
from guestguard_dagster_tests.crash.passing_time import let_a_day_pass_over_batches
from guestguard_dagster_tests.crash.providers import Access, Provider, batch_size
from guestguard_dagster_tests.crash.stage import Stage, due_messages
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.crash.worker import Ending
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.resend import ResendLoopback

BATCH = batch_size(Provider.RESEND)


@pytest.fixture
def stage(database: Database, resend: ResendLoopback) -> Stage:
    """250 guests: three batches."""
    return Stage(database, resend, Access(Provider.RESEND, resend.port), due_messages(database, guests=250))


@pytest.mark.parametrize("point", Point)
def test_a_run_killed_around_its_call_leaves_everyone_with_one_mail(stage: Stage, point: Point) -> None:
    with stage.start_worker(stop=Stop(point, passes=1)) as worker:
        worker.wait_at_gate()
        worker.kill()
    stage.settle()

    assert stage.judge().states == {DeliveryStatus.SENT: 250}
    assert stage.judge().breaches == {}


def test_a_run_killed_while_the_provider_keeps_its_answer_leaves_everyone_with_one_mail(stage: Stage) -> None:
    stage.server.faults.add(Fault(at="/emails/batch", do=FaultKind.TAKE_THEN_HANG))
    with stage.start_worker() as worker:
        wait_until(lambda: stage.mails() == BATCH, "the provider has the first batch")
        worker.kill()
    stage.settle()

    assert stage.judge().states == {DeliveryStatus.SENT: 250}
    assert stage.judge().breaches == {}


def test_runs_killed_at_any_instant_leave_everyone_with_one_mail(database: Database, resend: ResendLoopback) -> None:
    resend.processing_seconds = 0.02
    stage = Stage(database, resend, Access(Provider.RESEND, resend.port), due_messages(database, guests=800))

    killed = kill_one_after_the_other(stage, new_seed(), kills=12)
    stage.settle()

    print(f"{killed} kills: {stage.judge()}")
    assert stage.judge().states == {DeliveryStatus.SENT: 800}
    assert stage.judge().breaches == {}


def test_racing_runs_that_are_killed_leave_everyone_with_one_mail(database: Database, resend: ResendLoopback) -> None:
    resend.processing_seconds = 0.02
    ids = due_messages(database, guests=200, messages=3)
    stage = Stage(database, resend, Access(Provider.RESEND, resend.port), ids)

    killed = kill_among_racing(stage, new_seed(), kills=8, lease_seconds=2)
    stage.settle()

    print(f"{killed} kills: {stage.judge()}")
    assert stage.judge().states == {DeliveryStatus.SENT: 600}
    assert stage.judge().breaches == {}


@pytest.mark.parametrize("point", Point)
def test_a_run_frozen_past_its_lease_around_its_call_leaves_everyone_with_one_mail(stage: Stage, point: Point) -> None:
    with stage.start_worker(stop=Stop(point)) as frozen:
        frozen.wait_at_gate()
        assert frozen.freeze()
        frozen.open_gate()
        stage.settle()
        frozen.go_on()
        # Frozen between two statements, it wakes up without its connection: how it ends then is not the point.
        assert frozen.wait() in {Ending.DONE, Ending.DATABASE_AWAY}

    assert stage.judge().states == {DeliveryStatus.SENT: 250}
    assert stage.judge().breaches == {}


def test_a_batch_whose_key_the_provider_may_have_forgotten_is_unknown_and_not_repeated(
    stage: Stage, resend: ResendLoopback
) -> None:
    with stage.start_worker(stop=Stop(Point.AFTER_CALL)) as worker:
        worker.wait_at_gate()
        worker.kill()
    resend.move_clock(timedelta(days=1).total_seconds())
    let_a_day_pass_over_batches(stage.database)
    stage.settle()

    verdict = stage.judge()
    assert verdict.states == {DeliveryStatus.SENT: 150, DeliveryStatus.UNKNOWN: BATCH}
    assert verdict.arrived_unknown == BATCH
    assert verdict.breaches == {}
