"""The ledger on a real server: recorded within a bound or not at all, and what is missing is known as a gap."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import nats
import psutil
import pytest
from nats.js.api import StreamConfig

from guestguard_dagster.domain.ledger import LedgerContent, LedgerEntry, LedgerGap, LedgerMark, content_from
from guestguard_dagster.domain.ledger import LedgerKind as Kind
from guestguard_dagster.local.nats import NatsServer, start_nats
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.settings import Settings
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import LedgerDeclaration
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.ledger import Ledger
from guestguard_dagster_tests.crash.waiting import wait_until

LONG_AGO = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def declaration() -> LedgerDeclaration:
    """Names that no other test uses."""
    own = uuid4().hex[:12]
    return LedgerDeclaration(f"LEDGER_{own}", f"{own}.ledger", timedelta(days=35))


@pytest.fixture
def ledger(nats_server: NatsServer, declaration: LedgerDeclaration) -> Iterator[Ledger]:
    with Ledger(NatsAccess((nats_server.url,)), declaration) as ledger:
        yield ledger


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may stop and freeze."""
    server = start_on_free_port(lambda port: start_nats(tmp_path, port=port))
    yield server
    server.stop()


def entry(at: datetime = LONG_AGO, key: UUID | None = None) -> LedgerEntry:
    recipients = tuple(uuid4() for _ in range(50))
    return LedgerEntry(7, key or uuid4(), uuid4(), uuid4(), recipients, at, 350, "smtp", "smtp:1234", repeatable=True)


def contents(ledger: Ledger, after: int = 0) -> list[LedgerContent]:
    return [record.content for page in ledger.read(after) for record in page]


def test_what_is_recorded_is_read_again_as_it_was_written(ledger: Ledger) -> None:
    first, second = entry(), entry()
    mark = LedgerMark(3, LONG_AGO, LONG_AGO - MINUTE, LONG_AGO, uuid4())
    assert ledger.record([first, second])
    ledger.write([mark])

    assert contents(ledger) == [first, second, mark]
    assert contents(ledger, after=2) == [mark]
    assert contents(ledger, after=3) == []
    state = ledger.state()
    assert (state.first_sequence, state.last_sequence, state.drift) == (1, 3, ())


def test_more_than_a_page_is_read_to_its_end(ledger: Ledger) -> None:
    entries = [entry() for _ in range(1101)]
    ledger.write(entries)
    assert [content.key for content in contents(ledger) if isinstance(content, LedgerEntry)] == [
        each.key for each in entries
    ]


def test_a_batch_that_is_recorded_again_stands_there_once(ledger: Ledger) -> None:
    again = entry()
    assert ledger.record([again])
    assert ledger.record([again])
    assert contents(ledger) == [again]


def test_what_a_later_version_or_somebody_else_wrote_is_skipped(
    ledger: Ledger, nats_server: NatsServer, declaration: LedgerDeclaration
) -> None:
    ours = entry()
    ledger.record([ours])

    async def write_otherwise() -> None:
        client = await nats.connect(nats_server.url)
        for subject, data in (("new", b"{}"), ("entry", b"not JSON"), ("entry", b'{"batch": 1}'), ("gap", b"[]")):
            await client.jetstream().publish(f"{declaration.subject}.{subject}", data)
        await client.close()

    asyncio.run(write_otherwise())
    assert contents(ledger) == [ours]
    assert content_from(Kind.MARK, b"{}") is None


def test_without_nats_nothing_is_recorded_and_that_is_said() -> None:
    with Ledger.from_settings(Settings()) as ledger:
        assert not ledger.is_kept
        assert not ledger.record([entry()])


def test_a_send_waits_for_an_absent_nats_once_and_then_not_at_all(
    own_server: NatsServer, declaration: LedgerDeclaration
) -> None:
    with Ledger(NatsAccess((own_server.url,)), declaration) as ledger:
        assert ledger.record([entry()])
        own_server.stop()
        assert not ledger.record([entry()])
        before = time.process_time()
        assert not any(ledger.record([entry()]) for _ in range(100))
        assert time.process_time() - before < 0.25
        with pytest.raises(StreamFailed):
            ledger.state()


def test_a_frozen_nats_holds_a_send_up_for_the_bound_alone(
    own_server: NatsServer, declaration: LedgerDeclaration
) -> None:
    with Ledger(NatsAccess((own_server.url,)), declaration) as ledger:
        assert ledger.record([entry()])
        process = psutil.Process(own_server.child.pid)
        process.suspend()
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the server is frozen")
        try:
            assert not ledger.record([entry()])
            assert not any(ledger.record([entry()]) for _ in range(100))
        finally:
            process.resume()
        wait_until(lambda: ledger.record([entry()]), "the ledger records again")


def test_what_could_not_be_recorded_is_written_down_as_a_gap_before_anything_else(
    tmp_path: Path, declaration: LedgerDeclaration
) -> None:
    server = start_on_free_port(lambda port: start_nats(tmp_path, port=port))
    with Ledger(NatsAccess((server.url,)), declaration) as ledger:
        before, after = entry(), entry(LONG_AGO + 9 * MINUTE)
        assert ledger.record([before])
        server.stop()
        for minutes in (3, 2, 5):
            assert not ledger.record([entry(LONG_AGO + minutes * MINUTE)])
        server = start_nats(tmp_path, port=server.port)
        wait_until(lambda: ledger.record([after]), "the ledger records again")
        found = contents(ledger)
        server.stop()
    assert found[:1] + found[-1:] == [before, after]
    (gap,) = found[1:-1]
    assert isinstance(gap, LedgerGap)
    # While it came back, `after` may have been tried in vain, and then it is in the gap as well.
    assert gap.since == LONG_AGO + 2 * MINUTE
    assert gap.until in (LONG_AGO + 5 * MINUTE, LONG_AGO + 9 * MINUTE)


def test_a_stream_that_was_set_up_otherwise_is_reported_and_left_alone(
    nats_server: NatsServer, declaration: LedgerDeclaration
) -> None:
    async def set_up_otherwise() -> None:
        client = await nats.connect(nats_server.url)
        config = StreamConfig(name=declaration.name, subjects=declaration.subjects, max_age=86400 * 2)
        await client.jetstream().add_stream(config)
        await client.close()

    asyncio.run(set_up_otherwise())
    with Ledger(NatsAccess((nats_server.url,)), declaration) as ledger:
        assert ledger.state().drift == (f"stream {declaration.name} keeps 2 days where 35 are declared",)
        assert ledger.record([entry()])
