"""While NATS is away, mail leaves as always; what that costs the ledger is made good, or known as a gap."""

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import nats
import pytest
from sqlalchemy import text

from guestguard_dagster.delivery.ledger import Verdict, check, keep
from guestguard_dagster.domain.ledger import LedgerEntry, LedgerGap, LedgerMark
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.local.nats import start_nats
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.operations.ledger_replay import replay
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.ledger import position as ledger_rows
from guestguard_dagster.storage.ledger.replay import HELD_REASON
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import LedgerDeclaration
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.crash.waiting import wait_until
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.ledger.conftest import BackUp, Start
from guestguard_dagster_tests.ledger.sending import Arrived

GUESTS = 20


class Nats:
    """A server of the test's own, which goes away and comes back with everything that was in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = start_on_free_port(lambda port: start_nats(folder, port=port))
        self.url = self._server.url

    def go_away(self) -> None:
        self._server.stop()

    def come_back(self) -> None:
        self._server = start_nats(self._folder, port=self._server.port)


@pytest.fixture
def own_nats() -> Iterator[Nats]:
    with tempfile.TemporaryDirectory(prefix="guestguard-nats-") as folder:
        server = Nats(Path(folder))
        yield server
        server.go_away()


@pytest.fixture
def ledger(own_nats: Nats, declaration: LedgerDeclaration) -> Iterator[Ledger]:
    with Ledger(NatsAccess((own_nats.url,)), declaration) as ledger:
        yield ledger


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_rows, "_SETTLES_WITHIN", timedelta(0))


def message_to_guests(database: Database) -> Message:
    event = make_event(database)
    make_guests(database, event, GUESTS)
    return make_message(database, event)


def in_ledger(ledger: Ledger, kind: type) -> list[object]:
    return [record.content for page in ledger.read(0) for record in page if isinstance(record.content, kind)]


def test_what_left_while_nats_was_away_is_written_down_by_the_next_tick(
    database: Database, own_nats: Nats, ledger: Ledger, arrived: Arrived, start: Start, database_url: str
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    assert process.send(batches=1) == 1
    own_nats.go_away()
    assert keep(database, ledger).verdict is Verdict.UNSEEN
    assert process.send() == 3
    assert arrived.of(message) == GUESTS
    own_nats.come_back()
    wait_until(lambda: keep(database, ledger).verdict is Verdict.KNOWN, "the ledger is written again")
    entries = [entry for entry in in_ledger(ledger, LedgerEntry) if isinstance(entry, LedgerEntry)]
    assert len({entry.key for entry in entries}) == 4
    assert len({guest for entry in entries for guest in entry.recipients}) == GUESTS
    assert in_ledger(ledger, LedgerMark)


def test_an_outage_of_nats_that_was_made_good_is_no_gap_for_a_later_restore(
    database: Database,
    own_nats: Nats,
    ledger: Ledger,
    arrived: Arrived,
    start: Start,
    back_up: BackUp,
    database_url: str,
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    assert process.guard.may_send()
    backup_url = back_up(database_url)
    own_nats.go_away()
    assert process.send() == 4
    own_nats.come_back()
    wait_until(lambda: bool(in_ledger(ledger, LedgerGap)), "the gap is known")
    assert keep(database, ledger).verdict is Verdict.KNOWN

    restored = start(backup_url)
    assert restored.send() == 0
    report = replay(restored.database, ledger)
    restored = start(backup_url)
    assert (report.gaps, report.changed) == ([], {message.id: GUESTS})
    assert restored.send() == 0
    assert arrived.doubled == []


def test_what_may_have_left_in_a_gap_is_held_for_a_decision_and_later_messages_go_on(
    database: Database,
    own_nats: Nats,
    ledger: Ledger,
    arrived: Arrived,
    start: Start,
    back_up: BackUp,
    database_url: str,
) -> None:
    sent, unrecorded, untouched = (message_to_guests(database) for _ in range(3))
    later = make_message(database, make_event(database), send_in=timedelta(hours=1))
    process = start(database_url)
    process.freeze(sent)
    process.freeze(unrecorded)
    backup_url = back_up(database_url)
    assert process.send(batches=4) == 4
    own_nats.go_away()
    assert process.send(batches=2) == 2
    own_nats.come_back()
    wait_until(lambda: bool(in_ledger(ledger, LedgerGap)), "the gap is known")

    # The database is lost before a tick could make the gap good.
    restored = start(backup_url)
    assert restored.send() == 0
    report = replay(restored.database, ledger)
    restored = start(backup_url)
    assert len(report.gaps) == 1
    assert set(report.held_messages) == {unrecorded.id, untouched.id}
    assert read_message(restored.database, unrecorded.id).held_reason == HELD_REASON
    assert read_message(restored.database, later.id).held_reason is None
    assert "mail may have left unrecorded" in " ".join(report.sentences())
    restored.freeze(untouched)
    assert restored.send() == 0
    assert arrived.doubled == []

    MessageRepo(restored.database).resume(untouched.id)
    restored.freeze(untouched)
    assert restored.send() == 4
    assert (arrived.of(untouched), arrived.doubled) == (GUESTS, [])


def test_a_stream_that_was_deleted_stops_nobody_and_is_written_again(
    database: Database,
    own_nats: Nats,
    ledger: Ledger,
    declaration: LedgerDeclaration,
    start: Start,
    back_up: BackUp,
    database_url: str,
) -> None:
    message = message_to_guests(database)
    process = start(database_url)
    process.freeze(message)
    assert process.guard.may_send()
    backup_url = back_up(database_url)
    assert process.send() == 4
    assert keep(database, ledger).sentence == ""

    async def delete() -> None:
        client = await nats.connect(own_nats.url)
        await client.jetstream().delete_stream(declaration.name)
        await client.close()

    asyncio.run(delete())
    standing = keep(database, ledger)
    assert standing.verdict is Verdict.KNOWN
    assert "is not the one that was looked at before" in standing.sentence
    assert len(in_ledger(ledger, LedgerEntry)) == 4
    assert keep(database, ledger).sentence == ""

    # What was written again protects a restored database as before.
    restored = start(backup_url)
    assert restored.send() == 0
    assert check(restored.database, ledger).verdict is Verdict.BEHIND


def test_a_nats_that_lost_its_end_stops_nobody(
    database: Database, ledger: Ledger, start: Start, database_url: str
) -> None:
    process = start(database_url)
    process.freeze(message_to_guests(database))
    process.send()
    assert keep(database, ledger).verdict is Verdict.KNOWN
    with database.transaction() as connection:
        connection.execute(text("UPDATE ledger_position SET sequence = sequence + 100"))
    standing = keep(database, ledger)
    assert standing.verdict is Verdict.KNOWN
    assert "has lost its end" in standing.sentence
