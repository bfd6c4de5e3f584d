"""Gaps: a mark vouches for what is before it; behind the last one, what was missed and long silences are in doubt."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from guestguard_dagster.domain.ledger import LedgerContent, LedgerEntry, LedgerGap, LedgerMark, LedgerRecord
from guestguard_dagster.domain.ledger_gaps import LostTime, Span

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def record(minutes: float, content: LedgerContent | None = None) -> LedgerRecord:
    entry = LedgerEntry(1, uuid4(), uuid4(), uuid4(), (uuid4(),), at(minutes), 1, "smtp", "smtp:1")
    return LedgerRecord(1, at(minutes), content or entry)


def mark(minutes: float, *, since: float = -60) -> LedgerRecord:
    return record(minutes, LedgerMark(1, at(minutes), at(since), at(minutes - 0.25)))


def gaps(*records: LedgerRecord, until: float) -> list[Span]:
    lost = LostTime(NOON, at(until))
    lost.see(records)
    return lost.gaps()


def test_what_is_marked_every_half_minute_has_no_gap() -> None:
    assert gaps(*(mark(half / 2) for half in range(20)), until=10) == []


def test_a_short_end_without_a_mark_is_no_gap() -> None:
    assert gaps(mark(0.5), record(1.5), record(3), until=4.5) == []


def test_a_silence_behind_the_last_mark_is_a_gap() -> None:
    assert gaps(mark(0.5), record(1), until=9) == [Span(at(1), at(9))]
    assert gaps(mark(0.5), record(1), record(6), until=7) == [Span(at(1), at(6))]
    assert gaps(until=9) == [Span(NOON, at(9))]


def test_what_could_not_be_recorded_is_a_gap_until_a_later_mark_vouches_for_it() -> None:
    missed = record(2.4, LedgerGap(at(1), at(2)))
    assert gaps(mark(0.5), missed, until=4) == [Span(at(1), at(2))]
    assert gaps(mark(0.5), missed, mark(3.5), until=4) == []


def test_a_mark_vouches_for_no_more_than_it_says() -> None:
    assert gaps(mark(9, since=4), until=9) == [Span(NOON, at(4))]


def test_marks_of_a_later_history_vouch_for_nothing() -> None:
    assert gaps(mark(0.5), mark(10), until=9) == [Span(at(0.5), at(9))]


def test_an_end_of_the_ledger_that_has_grown_too_old_is_a_gap() -> None:
    lost = LostTime(NOON, at(9))
    lost.nothing_lies_before(at(5))
    lost.see([mark(minutes / 2, since=4) for minutes in range(10, 20)])
    assert lost.gaps() == [Span(NOON, at(5))]


def test_a_database_that_lost_no_time_has_no_gap() -> None:
    assert gaps(until=-1) == []
