"""The engine itself beside the ledger, through a real mail server: a database that is replaced under a run's feet."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from guestguard_dagster.delivery.ledger import Verdict, check
from guestguard_dagster.domain.ledger import LedgerEntry
from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.operations.ledger_replay import replay
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.ledger.position import LEFT_BEFORE_RESTORE
from guestguard_dagster.streams.declaration import LedgerDeclaration
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.delivery.steps import send
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.ledger.conftest import BackUp
from guestguard_dagster_tests.ledger.sending import outcomes
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.send_contexts import SendContextOpener, smtp_settings

GUESTS = 120


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture
def ledger_settings(nats_server: NatsServer, declaration: LedgerDeclaration) -> dict[str, Any]:
    return {
        "nats_url": nats_server.url,
        "nats_ledger_stream": declaration.name,
        "nats_subject_ledger": declaration.subject,
    }


@pytest.fixture
def open_sending(database_url: str) -> Iterator[SendContextOpener]:
    opener = SendContextOpener(database_url)
    with opener.opened:
        yield opener


def message_to_guests(database: Database) -> Message:
    event = make_event(database)
    make_guests(database, event, GUESTS)
    return make_message(database, event)


def test_every_mail_is_in_the_ledger_and_no_run_is_stopped_by_its_own(
    database: Database,
    ledger: Ledger,
    mail_server: SmtpLoopback,
    open_sending: SendContextOpener,
    ledger_settings: dict[str, Any],
) -> None:
    sending = open_sending(smtp_settings(mail_server), ledger_settings)
    messages = [message_to_guests(database) for _ in range(3)]
    send(sending, [message.id for message in messages])

    entries = [each.content for page in ledger.read(0) for each in page if isinstance(each.content, LedgerEntry)]
    recorded = [(entry.message_id, guest) for entry in entries for guest in entry.recipients]
    assert len(recorded) == len(set(recorded)) == 3 * GUESTS
    assert {message_id for message_id, _ in recorded} == {message.id for message in messages}
    assert {entry.installation_id for entry in entries} == {entries[0].installation_id} != {None}
    with database.transaction() as connection:
        unrecorded = connection.execute(
            text("SELECT count(*) FROM delivery_batches WHERE recorded_at IS NULL")
        ).scalar_one()
    assert unrecorded == 0
    assert check(database, ledger).verdict is Verdict.KNOWN


def test_a_run_whose_database_is_replaced_by_a_backup_sends_nothing_twice(
    database: Database,
    ledger: Ledger,
    mail_server: SmtpLoopback,
    open_sending: SendContextOpener,
    ledger_settings: dict[str, Any],
    back_up: BackUp,
    database_url: str,
) -> None:
    first, second, third = (message_to_guests(database) for _ in range(3))
    settings = smtp_settings(mail_server), ledger_settings
    sending = open_sending(*settings)
    send(sending, [first.id])
    backup_url = back_up(database_url)
    send(open_sending(*settings), [second.id])
    assert mail_server.recipients().total() == 2 * GUESTS
    _swap(database_url, backup_url)

    # The run that was there before goes on, with whatever connections it has.
    report = send(sending, [first.id, second.id, third.id])
    assert mail_server.recipients().total() == 2 * GUESTS
    assert any("replay-ledger" in reason for reason in report.deferred)
    assert sending.ledger_guard.standing.verdict is Verdict.BEHIND

    replay(database, ledger)
    send(open_sending(*settings), [first.id, second.id, third.id])
    assert set(mail_server.recipients().values()) == {1}
    assert mail_server.recipients().total() == 3 * GUESTS
    assert outcomes(database, second) == {("unknown", LEFT_BEFORE_RESTORE): GUESTS}
    assert outcomes(database, third) == {("sent", None): GUESTS}
    assert {read_message(database, each.id).status for each in (first, second, third)} == {MessageStatus.SENT}


def _swap(live_url: str, backup_url: str) -> None:
    """The backup takes the place of the database, which everybody is disconnected from."""
    live, backup = (url.rpartition("/")[2] for url in (live_url, backup_url))
    with Database(live_url.rpartition("/")[0] + "/postgres") as server, server.engine.connect() as admin:
        admin = admin.execution_options(isolation_level="AUTOCOMMIT")
        admin.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (:live, :backup)"),
            {"live": live, "backup": backup},
        )
        for old, new in ((live, "aside"), (backup, live), ("aside", backup)):
            admin.execute(text(f'ALTER DATABASE "{old}" RENAME TO "{new}"'))
