"""A small burst of events, NATS restarted, event runs killed. The large one: `python -m benchmarks.event_burst`."""

from pathlib import Path

from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.crash.event_burst import BurstStage, make_burst
from guestguard_dagster_tests.crash.killing import new_seed
from guestguard_dagster_tests.crash.providers import Access, Provider
from guestguard_dagster_tests.loopback.resend import ResendLoopback
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.streams.events import declare, impatient

PATIENCE = 150


def test_over_resend_every_event_of_a_burst_is_exactly_one_mail(
    database: Database, resend: ResendLoopback, tmp_path: Path
) -> None:
    seed = new_seed()
    burst = make_burst(database, 1500, seed)
    access = Access(Provider.RESEND, resend.port)
    stage = BurstStage(database, resend, access, tmp_path, impatient(declare()), lease_seconds=2, linger_seconds=1)

    verdict = stage.run(burst, kills=3, restarts=2, seed=seed, patience=PATIENCE)

    print(verdict)
    assert (verdict.doubled, verdict.missing, verdict.stray) == (0, 0, 0)
    assert verdict.statuses == {"sent": len(burst.addresses), "duplicate": burst.duplicates}
    assert verdict.dead_letters == burst.malformed
    assert (verdict.pending, verdict.unacked, verdict.unsettled) == (0, 0, 0)
    assert (verdict.kills, verdict.restarts) == (3, 2)


def test_over_smtp_no_event_of_a_burst_is_two_mails_and_each_missing_one_is_said_to_be_unknown(
    database: Database, slow_mail_server: SmtpLoopback, tmp_path: Path
) -> None:
    seed = new_seed()
    burst = make_burst(database, 1500, seed)
    access = Access(Provider.SMTP, slow_mail_server.port)
    stage = BurstStage(
        database, slow_mail_server, access, tmp_path, impatient(declare()), lease_seconds=2, linger_seconds=1
    )

    verdict = stage.run(burst, kills=3, restarts=2, seed=seed, patience=PATIENCE)

    print(verdict)
    assert (verdict.doubled, verdict.stray) == (0, 0)
    assert verdict.missing == verdict.missing_and_unknown
    assert (verdict.kills, verdict.restarts) == (3, 2)
    assert verdict.statuses["sent"] + verdict.statuses["unknown"] == len(burst.addresses)
    assert verdict.statuses["duplicate"] == burst.duplicates
    assert verdict.dead_letters == burst.malformed
    assert (verdict.pending, verdict.unacked, verdict.unsettled) == (0, 0, 0)
