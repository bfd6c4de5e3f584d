"""The ledger replayed over a restored database: what had left becomes `unknown`, and what may have left is held."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.delivery.ledger import NOT_KEPT, Verdict, check, ours
from guestguard_dagster.domain.ledger import LedgerEntry, LedgerRecord
from guestguard_dagster.domain.ledger_gaps import LostTime, Span
from guestguard_dagster.storage.database import Database, database_now
from guestguard_dagster.storage.ledger import replay as rows
from guestguard_dagster.storage.ledger.position import LedgerRepo, Position
from guestguard_dagster.streams.ledger import Ledger


class ReplayRefused(Exception):
    """There is no ledger, or nothing to replay; the text says what to do."""


@dataclass(slots=True)
class ReplayReport:
    """What a replay found and did, or with `dry_run` would do.

    By message: guests whose batch had left (`left`), deliveries that are `unknown` because of it (`changed`), and the
    same of messages that this database does not know (`unknown_messages`): they were written after the backup.
    """

    dry_run: bool
    batches: int = 0
    left: Counter[UUID] = field(default_factory=Counter)
    changed: Counter[UUID] = field(default_factory=Counter)
    unknown_messages: Counter[UUID] = field(default_factory=Counter)
    others_left: int = 0
    others_changed: int = 0
    gaps: list[Span] = field(default_factory=list)
    held_messages: tuple[UUID, ...] = ()
    others_in_doubt: int = 0

    def sentences(self) -> list[str]:
        """For people, the most important first."""
        verb = "would be" if self.dry_run else "are"
        said = [
            f"{self.batches} batches had left that the database does not know of: {sum(self.changed.values())} "
            f"deliveries of {len(self.changed)} messages and {self.others_changed} other mails {verb} unknown now"
        ]
        if self.unknown_messages:
            said.append(
                f"{len(self.unknown_messages)} messages were written after the backup and are not here any more: "
                f"{sum(self.unknown_messages.values())} guests have them"
            )
        said += [
            f"from {gap.since:%Y-%m-%d %H:%M:%S} to {gap.until:%Y-%m-%d %H:%M:%S} UTC mail may have left unrecorded"
            for gap in self.gaps
        ]
        if self.gaps:
            said.append(
                f"so {len(self.held_messages)} messages {verb} held until somebody resumes or cancels them, and "
                f"{self.others_in_doubt} other mails {verb} unknown; if nothing can have left after some instant, "
                "because the database was down, replay with that instant as the end"
            )
        return said


def replay(
    database: Database,
    ledger: Ledger,
    *,
    dry_run: bool = False,
    restored_to: datetime | None = None,
    lost_at: datetime | None = None,
) -> ReplayReport:
    """Bring a restored database up to its ledger, and let what is not held go on. Safe to repeat, and to kill.

    `restored_to`: the instant whose state was restored, for a restore that the check cannot find, because NATS was away
    in all of the lost time. `lost_at`: from when on the lost database cannot have sent anything; by default, the
    instant at which the stop began. Raises ReplayRefused, StreamFailed and DatabaseFailed's kinds.
    """
    if not ledger.is_kept:
        raise ReplayRefused(ledger.problem or NOT_KEPT)
    standing = check(database, ledger)
    if standing.verdict is not Verdict.BEHIND:
        if restored_to is None:
            raise ReplayRefused(f"the database is not behind its ledger ({standing.verdict}); nothing was changed")
        if not dry_run:
            LedgerRepo(database).stop_by_hand()
    replay_of = _Replay(database, ledger, dry_run, restored_to, lost_at)
    with suppress(_OnlyLooked):
        replay_of.run()
    return replay_of.report


class _OnlyLooked(Exception):
    """Ends the transaction of a dry run without a commit."""


class _Replay:
    """One transaction: a process that dies in it leaves everything stopped, and as it was."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        dry_run: bool,
        restored_to: datetime | None,
        lost_at: datetime | None,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._restored_to = restored_to
        self._lost_at = lost_at
        self.report = ReplayReport(dry_run)
        self._highest_delivery_id = self._highest_batch_id = 0

    def run(self) -> None:
        repo = LedgerRepo(self._database)
        state = self._ledger.state()
        installation_id = repo.look().installation_id
        with self._database.transaction() as connection:
            position = rows.lock(connection)
            if position.behind_since is None and self._restored_to is None:
                raise ReplayRefused("somebody else has replayed the ledger meanwhile; nothing was changed")
            lost = self._lost_time(connection, position)
            sequence = position.sequence
            begins_too_late = state.first_sequence > position.sequence + 1
            for page in self._ledger.read(position.sequence):
                if begins_too_late and page:
                    lost.nothing_lies_before(page[0].recorded_at)
                    begins_too_late = False
                records = ours(page, installation_id)
                lost.see(records)
                self._mark_left(connection, repo, records)
                sequence = page[-1].sequence if page else sequence
            known = rows.known_messages(connection, list(self.report.left))
            self.report.unknown_messages = Counter(
                {id: guests for id, guests in self.report.left.items() if id not in known}
            )
            self._hold_what_may_have_left(connection, lost.gaps())
            if self.report.dry_run:
                raise _OnlyLooked
            rows.skip_ids(
                connection, highest_delivery_id=self._highest_delivery_id, highest_batch_id=self._highest_batch_id
            )
            rows.go_on(connection, sequence, complete_from=max((gap.until for gap in self.report.gaps), default=None))

    def _lost_time(self, connection: Connection, position: Position) -> LostTime:
        since = position.verified_at if self._restored_to is None else min(self._restored_to, position.verified_at)
        until = self._lost_at or position.behind_since or database_now(connection)
        return LostTime(since, until)

    def _mark_left(self, connection: Connection, repo: LedgerRepo, page: Sequence[LedgerRecord]) -> None:
        unknown = repo.unknown([record.content for record in page if isinstance(record.content, LedgerEntry)])
        if not unknown:
            return
        report = self.report
        report.batches += len(unknown)
        self._highest_delivery_id = max(self._highest_delivery_id, *(entry.highest_delivery_id for entry in unknown))
        self._highest_batch_id = max(self._highest_batch_id, *(entry.batch_id for entry in unknown))
        for entry in unknown:
            if entry.message_id is None:
                report.others_left += len(entry.recipients)
            else:
                report.left[entry.message_id] += len(entry.recipients)
        report.changed.update(rows.mark_guests_left(connection, unknown))
        report.others_changed += rows.mark_others_left(connection, unknown)

    def _hold_what_may_have_left(self, connection: Connection, gaps: list[Span]) -> None:
        in_doubt = rows.hold_what_may_have_left(connection, gaps)
        rows.end_emptied_batches(connection)
        self.report.gaps = gaps
        self.report.held_messages = in_doubt.held_messages
        self.report.others_in_doubt = in_doubt.deliveries
