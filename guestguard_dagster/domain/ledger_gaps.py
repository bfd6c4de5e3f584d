"""Which times of a lost history have no entries although mail may have left in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from guestguard_dagster.domain.ledger import LedgerGap, LedgerMark, LedgerRecord

# Marks are written every half minute while the daemon ticks; a code server that restarts takes half a minute.
SILENCE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` to `until`, both included."""

    since: datetime
    until: datetime

    def overlap(self, other: "Span") -> "Span | None":
        since, until = max(self.since, other.since), min(self.until, other.until)
        return Span(since, until) if since <= until else None


@dataclass(slots=True)
class LostTime:
    """What the ledger shows of the time that a restored database has lost, record by record, in their order.

    `since` is an instant that the database still knows of, `until` the latest at which something of the lost history
    may have left. A mark vouches for the time before it, and takes back every earlier doubt about that. Behind the last
    mark, what could not be recorded is a gap, and so is a silence of more than two minutes.
    """

    since: datetime
    until: datetime
    _vouched: list[Span] = field(default_factory=list)
    _expired: list[Span] = field(default_factory=list)
    _missed: list[Span] = field(default_factory=list)
    _seen_at: list[datetime] = field(default_factory=list)

    def see(self, records: Iterable[LedgerRecord]) -> None:
        for record in records:
            self._seen_at.append(record.recorded_at)
            content = record.content
            # A mark of a later history does not know what was lost.
            if isinstance(content, LedgerMark) and content.at <= self.until:
                self._vouched.append(Span(content.complete_from, content.complete_until))
            elif isinstance(content, LedgerGap):
                self._missed.append(Span(content.since, content.until))

    def nothing_lies_before(self, first: datetime) -> None:
        """What was recorded before this instant is not in the ledger any more, whatever was vouched for."""
        self._expired.append(Span(self.since, first))

    def gaps(self) -> list[Span]:
        """In order, without overlaps."""
        if self.since > self.until:
            return []
        found = list(self._expired)
        for doubtful in _without(Span(self.since, self.until), self._vouched):
            found += [gap for missed in self._missed if (gap := missed.overlap(doubtful)) is not None]
            found += self._silences(doubtful)
        return _merged(found)

    def _silences(self, span: Span) -> list[Span]:
        signs = [span.since, *sorted(at for at in self._seen_at if span.since < at < span.until), span.until]
        return [Span(sign, after) for sign, after in pairwise(signs) if after - sign > SILENCE]


def _without(whole: Span, parts: Sequence[Span]) -> list[Span]:
    """What is left of a span without these parts of it."""
    left = []
    reached = whole.since
    for part in _merged(list(parts)):
        if part.since > reached and part.since <= whole.until:
            left.append(Span(reached, part.since))
        reached = max(reached, part.until)
    return [*left, Span(reached, whole.until)] if reached < whole.until else left


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.since):
        if merged and span.since <= merged[-1].until:
            merged[-1] = Span(merged[-1].since, max(merged[-1].until, span.until))
        else:
            merged.append(span)
    return merged
