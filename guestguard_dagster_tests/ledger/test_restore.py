"""A restored backup sends nothing twice: found out, stopped, replayed, and then the rest leaves."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import select, text

from guestguard_dagster.delivery.ledger import Verdict, check, keep
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.operations.ledger_replay import ReplayRefused, replay
from guestguard_dagster.storage.conditions import NOTHING_IS_STOPPED
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.ledger import position as ledger_rows
from guestguard_dagster.storage.ledger.position import LEFT_BEFORE_RESTORE, LedgerRepo
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.ledger.conftest import BackUp, Start
from guestguard_dagster_tests.ledger.sending import Arrived, outcomes

GUESTS = 20


def message_to_guests(database: Database, guests: int = GUESTS) -> Message:
    event = make_event(database)
    make_guests(database, event, guests)
    return make_message(database, event)


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What left is written into the ledger by the next tick, however fresh it is."""
    monkeypatch.setattr(ledger_rows, "_SETTLES_WITHIN", timedelta(0))


def test_after_a_restore_nobody_gets_a_message_twice_and_the_rest_leaves(
    database: Database, ledger: Ledger, arrived: Arrived, start: Start, back_up: BackUp, database_url: str
) -> None:
    before, halfway, after, later = (message_to_guests(database) for _ in range(4))
    first = start(database_url)
    assert keep(database, ledger).verdict is Verdict.KNOWN
    first.freeze(before)
    first.send()
    first.freeze(halfway)
    first.send(batches=1)
    backup_url = back_up(database_url)

    first.send(batches=2)
    first.freeze(after)
    first.send()
    assert arrived.of(halfway) == arrived.of(after) == GUESTS

    restored = start(backup_url)
    assert restored.send() == 0
    restored.freeze(later)
    assert arrived.of(later) == 0
    standing = check(restored.database, ledger)
    assert standing.verdict is Verdict.BEHIND
    assert "nothing is sent until `guestguard replay-ledger`" in standing.sentence

    looked = replay(restored.database, ledger, dry_run=True)
    assert check(restored.database, ledger).verdict is Verdict.BEHIND
    assert outcomes(restored.database, halfway) == {("sent", None): 5, ("pending", None): 15}

    report = replay(restored.database, ledger)
    restored = start(backup_url)
    assert report.left == looked.left == {halfway.id: 15, after.id: GUESTS}
    assert (report.batches, report.gaps, report.held_messages) == (7, [], ())
    assert outcomes(restored.database, halfway) == {("sent", None): 5, ("unknown", LEFT_BEFORE_RESTORE): 15}
    assert outcomes(restored.database, after) == {("unknown", LEFT_BEFORE_RESTORE): GUESTS}

    for message in (before, halfway, after, later):
        restored.freeze(message)
    restored.send()
    assert arrived.doubled == []
    assert [arrived.of(message) for message in (before, halfway, after, later)] == [GUESTS] * 4
    assert check(restored.database, ledger).verdict is Verdict.KNOWN


def test_the_rest_of_a_message_that_had_left_in_part_leaves_after_the_replay(
    database: Database, ledger: Ledger, arrived: Arrived, start: Start, back_up: BackUp, database_url: str
) -> None:
    frozen, unfrozen = message_to_guests(database), message_to_guests(database)
    first = start(database_url)
    first.freeze(frozen)
    backup_url = back_up(database_url)
    first.send(batches=1)
    first.freeze(unfrozen)
    with database.transaction() as connection:
        connection.execute(text("UPDATE delivery_batches SET state = 'done' WHERE id IN (2, 3, 4)"))
    first.send(batches=3)
    assert (arrived.of(frozen), arrived.of(unfrozen)) == (5, 15)

    restored = start(backup_url)
    assert restored.send() == 0
    replay(restored.database, ledger)
    restored = start(backup_url)
    restored.freeze(unfrozen)
    assert restored.send() == 4
    assert (arrived.of(frozen), arrived.of(unfrozen), arrived.doubled) == (GUESTS, GUESTS, [])


def test_a_live_database_is_never_taken_for_a_restored_one(
    database: Database, ledger: Ledger, start: Start, database_url: str
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    while process.send(batches=1):
        assert keep(database, ledger).verdict is Verdict.KNOWN
        assert check(start(database_url).database, ledger).verdict is Verdict.KNOWN


def test_a_deleted_message_is_not_a_forgotten_one(
    database: Database, ledger: Ledger, start: Start, database_url: str
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    assert process.send() == 4
    with database.transaction() as connection:
        connection.execute(text("DELETE FROM events WHERE id = :id"), {"id": message.event_id})
    assert keep(database, ledger).verdict is Verdict.KNOWN


def test_a_batch_that_was_given_back_is_not_a_forgotten_one(
    database: Database, ledger: Ledger, start: Start, back_up: BackUp, database_url: str
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    assert process.send(batches=1) == 1
    with database.transaction() as connection:
        connection.execute(
            text("UPDATE delivery_batches SET state = 'pending', handed_off_at = NULL WHERE state = 'done'")
        )
    assert keep(database, ledger).verdict is Verdict.KNOWN

    # It leaves under another key, so that a restore to this instant is found out.
    backup_url = back_up(database_url)
    process.send(batches=1)
    assert check(start(backup_url).database, ledger).verdict is Verdict.BEHIND


def test_messages_that_were_written_after_the_backup_are_listed(
    database: Database, ledger: Ledger, start: Start, back_up: BackUp, database_url: str
) -> None:
    process = start(database_url)
    assert process.guard.may_send()
    backup_url = back_up(database_url)
    message = message_to_guests(database)
    process.freeze(message)
    assert process.send() == 4

    report = replay(start(backup_url).database, ledger)
    assert report.unknown_messages == {message.id: GUESTS}
    assert "1 messages were written after the backup" in " ".join(report.sentences())


def test_a_restore_is_found_out_also_when_nothing_had_left_since(
    database: Database, ledger: Ledger, start: Start, back_up: BackUp, database_url: str
) -> None:
    keep(database, ledger)
    backup_url = back_up(database_url)
    keep(database, ledger)
    restored = start(backup_url).database
    assert check(restored, ledger).verdict is Verdict.BEHIND
    assert replay(restored, ledger).batches == 0
    assert keep(restored, ledger).verdict is Verdict.KNOWN


def test_a_replay_can_be_repeated_and_does_nothing_to_a_database_that_is_not_behind(
    database: Database, ledger: Ledger, start: Start, back_up: BackUp, database_url: str
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    backup_url = back_up(database_url)
    process.send()
    with pytest.raises(ReplayRefused, match="not behind"):
        replay(database, ledger)
    restored = start(backup_url).database
    replay(restored, ledger)
    with pytest.raises(ReplayRefused, match="not behind"):
        replay(restored, ledger)
    assert outcomes(restored, message) == {("unknown", LEFT_BEFORE_RESTORE): GUESTS}


def test_a_replay_that_dies_leaves_everything_stopped_and_as_it_was(
    database: Database,
    ledger: Ledger,
    start: Start,
    back_up: BackUp,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    backup_url = back_up(database_url)
    process.send()
    restored = start(backup_url).database

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("guestguard_dagster.storage.ledger.replay.go_on", die)
        with pytest.raises(Killed):
            replay(restored, ledger)
    assert outcomes(restored, message) == {("pending", None): GUESTS}
    assert check(restored, ledger).verdict is Verdict.BEHIND
    assert replay(restored, ledger).changed == {message.id: GUESTS}


def test_ids_of_the_lost_time_are_not_given_again(
    database: Database, ledger: Ledger, start: Start, back_up: BackUp, database_url: str
) -> None:
    process = start(database_url)
    assert process.guard.may_send()
    backup_url = back_up(database_url)
    process.freeze(message_to_guests(database))
    process.send()
    restored = start(backup_url)
    replay(restored.database, ledger)
    restored = start(backup_url)
    message = message_to_guests(restored.database, 1)
    restored.freeze(message)
    with restored.database.transaction() as connection:
        row = connection.execute(text("SELECT id, batch_id FROM message_deliveries")).one()
    assert row.id > GUESTS
    assert row.batch_id > 4


def test_a_stop_is_asked_for_by_whoever_marks(database: Database, ledger: Ledger) -> None:
    keep(database, ledger)
    with database.transaction() as connection:
        assert connection.execute(select(text(NOTHING_IS_STOPPED))).scalar_one()
    LedgerRepo(database).stop_by_hand()
    with database.transaction() as connection:
        assert not connection.execute(select(text(NOTHING_IS_STOPPED))).scalar_one()


def test_a_process_looks_again_when_its_database_was_replaced_behind_its_back(
    database: Database, ledger: Ledger, arrived: Arrived, start: Start, back_up: BackUp, database_url: str
) -> None:
    message = message_to_guests(database, 40)
    process = start(database_url)
    process.freeze(message)
    backup_url = back_up(database_url)
    other = start(database_url)
    assert process.send(batches=1) == 1
    assert other.send(batches=2) == 2

    live, backup = (url.rpartition("/")[2] for url in (database_url, backup_url))
    with Database(database_url.rpartition("/")[0] + "/postgres") as server, server.engine.connect() as admin:
        admin = admin.execution_options(isolation_level="AUTOCOMMIT")
        admin.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (:live, :backup)"),
            {"live": live, "backup": backup},
        )
        for old, new in ((live, "aside"), (backup, live), ("aside", backup)):
            admin.execute(text(f'ALTER DATABASE "{old}" RENAME TO "{new}"'))
    assert process.send() == 0
    assert process.guard.standing.verdict is Verdict.BEHIND
    replay(process.database, ledger)
    assert start(database_url).send() == 5
    assert (arrived.of(message), arrived.doubled) == (40, [])


def test_a_host_still_decides_about_a_message_that_was_held_before(
    database: Database, ledger: Ledger, start: Start, back_up: BackUp, database_url: str
) -> None:
    process = start(database_url)
    held = message_to_guests(database)
    with database.transaction() as connection:
        connection.execute(text("UPDATE scheduled_messages SET held_at = now(), held_reason = 'by its host'"))
    backup_url = back_up(database_url)
    process.freeze(message_to_guests(database))
    process.send()
    restored = start(backup_url).database
    replay(restored, ledger)
    assert read_message(restored, held.id).held_reason == "by its host"


def test_an_unknown_id_in_the_ledger_harms_nobody(
    database: Database, ledger: Ledger, start: Start, back_up: BackUp, database_url: str
) -> None:
    """Guests that were added after the backup are not here."""
    message = message_to_guests(database)
    process = start(database_url)
    assert process.guard.may_send()
    backup_url = back_up(database_url)
    with database.transaction() as connection:
        connection.execute(
            text("INSERT INTO guests (event_id, name, rsvp_token) VALUES (:event_id, 'New', :token)"),
            {"event_id": message.event_id, "token": uuid4().hex},
        )
    process.freeze(message)
    process.send()
    report = replay(start(backup_url).database, ledger)
    assert report.left == {message.id: GUESTS + 1}
    assert report.changed == {message.id: GUESTS}
