"""SIGSTOP past the lease, and then SIGCONT: a process that wakes up late does no harm."""

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.gates import Point, Stop
from guestguard_dagster_tests.crash.killing import freeze_one_after_the_other, new_seed
from guestguard_dagster_tests.crash.passing_time import let_leases_run_out, live_leases
from guestguard_dagster_tests.crash.providers import Access, Provider, batch_size
from guestguard_dagster_tests.crash.stage import Stage, due_messages
from guestguard_dagster_tests.crash.verdict import Verdict
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.crash.worker import Ending
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback

BATCH = batch_size(Provider.SMTP)


def freeze_past_the_lease(stage: Stage, stop: Stop) -> tuple[Verdict, Verdict]:
    """Freeze a worker at this point, for longer than its lease lasts.

    Returns the verdicts before it wakes up, when another run has done the rest, and after it has ended.
    """
    with stage.start_worker(stop=stop, lease_seconds=2) as frozen:
        frozen.wait_at_gate()
        assert frozen.freeze()
        frozen.open_gate()
        wait_until(lambda: live_leases(stage.database) == 0, "the leases run out")
        stage.run_hastily()
        meanwhile = stage.judge()
        frozen.go_on()
        assert frozen.wait() is Ending.DONE
    return meanwhile, stage.judge()


def test_a_batch_that_was_taken_over_before_it_was_marked_is_left_to_the_other_run(
    database: Database, mail_server: SmtpLoopback
) -> None:
    stage = Stage(database, mail_server, Access(Provider.SMTP, mail_server.port), due_messages(database, guests=120))

    with stage.start_worker(stop=Stop(Point.PREPARED)) as frozen:
        frozen.wait_at_gate()
        assert frozen.freeze()
        frozen.open_gate()
        # Its own clock will say that the lease still holds: the rows alone must stop it.
        let_leases_run_out(database)
        stage.run_hastily()
        frozen.go_on()
        assert frozen.wait() is Ending.DONE

    assert stage.judge().states == {DeliveryStatus.SENT: 120}
    assert stage.judge().breaches == {}


def test_a_run_frozen_before_it_hands_off_hands_nothing_off_when_it_wakes_up_late(
    database: Database, mail_server: SmtpLoopback
) -> None:
    stage = Stage(database, mail_server, Access(Provider.SMTP, mail_server.port), due_messages(database, guests=120))

    meanwhile, afterwards = freeze_past_the_lease(stage, Stop(Point.BEFORE_CALL))

    assert meanwhile.states == {DeliveryStatus.SENT: 120 - BATCH, DeliveryStatus.UNKNOWN: BATCH}
    assert afterwards == meanwhile
    assert afterwards.mails == 120 - BATCH
    assert afterwards.breaches == {}


def test_a_run_frozen_at_its_last_look_at_the_lease_lets_only_that_mail_leave_when_it_wakes_up_late(
    database: Database, mail_server: SmtpLoopback
) -> None:
    access = Access(Provider.SMTP, mail_server.port, connections=1)
    stage = Stage(database, mail_server, access, due_messages(database, guests=120))

    # It looks before it connects, before it begins with the first mail, and before that mail's content.
    meanwhile, afterwards = freeze_past_the_lease(stage, Stop(Point.PERMITTED, passes=2))

    assert meanwhile.mails == 120 - BATCH
    assert afterwards.mails == 120 - BATCH + 1
    assert afterwards.states == {DeliveryStatus.SENT: 120 - BATCH + 1, DeliveryStatus.UNKNOWN: BATCH - 1}
    assert afterwards.breaches == {}


def test_a_run_frozen_with_its_answers_in_hand_writes_them_down_when_it_wakes_up_late(
    database: Database, mail_server: SmtpLoopback
) -> None:
    stage = Stage(database, mail_server, Access(Provider.SMTP, mail_server.port), due_messages(database, guests=120))

    meanwhile, afterwards = freeze_past_the_lease(stage, Stop(Point.AFTER_CALL))

    assert meanwhile.states == {DeliveryStatus.SENT: 120 - BATCH, DeliveryStatus.UNKNOWN: BATCH}
    assert meanwhile.arrived_unknown == BATCH
    assert afterwards.states == {DeliveryStatus.SENT: 120}
    assert afterwards.breaches == {}


def test_runs_frozen_at_any_instant_never_send_twice(database: Database, slow_mail_server: SmtpLoopback) -> None:
    access = Access(Provider.SMTP, slow_mail_server.port)
    stage = Stage(database, slow_mail_server, access, due_messages(database, guests=500))

    frozen = freeze_one_after_the_other(stage, new_seed(), freezes=6)

    verdict = stage.judge()
    print(f"{frozen} frozen: {verdict}")
    assert verdict.breaches == {}
    assert verdict.states.keys() <= {DeliveryStatus.SENT, DeliveryStatus.UNKNOWN}


def test_a_run_frozen_in_the_middle_of_a_transaction_holds_nobody_up_for_long(
    database: Database, mail_server: SmtpLoopback
) -> None:
    stage = Stage(database, mail_server, Access(Provider.SMTP, mail_server.port), due_messages(database, guests=120))

    with stage.start_worker(stop=Stop(Point.PREPARED, passes=1), lease_seconds=2) as frozen:
        frozen.wait_at_gate()
        with database.transaction() as in_its_way:
            in_its_way.execute(
                text(
                    "SELECT FROM message_deliveries WHERE batch_id = "
                    "(SELECT id FROM delivery_batches WHERE state = 'sending') LIMIT 1 FOR UPDATE"
                )
            )
            frozen.open_gate()
            wait_until(lambda: "active" in transactions_of_runs(database), "the run waits to write its answers down")
            assert frozen.freeze()
        wait_until(lambda: "idle in transaction" in transactions_of_runs(database), "its locks are held")
        wait_until(lambda: live_leases(database) == 0, "the leases run out")
        stage.run_hastily()
        assert stage.judge().breaches == {}
        frozen.go_on()
        assert frozen.wait() is Ending.DONE

    assert stage.judge().states == {DeliveryStatus.SENT: 120}
    assert stage.judge().breaches == {}


def transactions_of_runs(database: Database) -> list[str]:
    """The state of each connection of a worker that has a transaction open and waits for a lock or for its client."""
    with database.transaction() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT state FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name LIKE 'run-%' AND xact_start IS NOT NULL "
                    "AND wait_event_type IN ('Lock', 'Client')"
                )
            ).scalars()
        )
