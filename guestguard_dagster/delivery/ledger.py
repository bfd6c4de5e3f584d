"""The database held against its ledger: whether it has lost what has left, and what is yet to be recorded."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.domain.ledger import LedgerEntry, LedgerMark, LedgerRecord
from guestguard_dagster.domain.system_mail import SystemMailKind
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.ledger.position import LedgerRepo, Position, ThisDatabase
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.ledger import Ledger, LedgerState

log = logging.getLogger(__name__)

# So many pages of what is not recorded yet are written at once: 20,000 batches.
_MOST_PAGES = 40

NOT_KEPT = "NATS_URL is not set: there is no ledger, and a restored database sends again what left since its backup"


class Verdict(StrEnum):
    KNOWN = "known"  # whatever the ledger says has left is known to the database
    BEHIND = "behind"  # the database has lost commits: nothing leaves until the ledger is replayed
    UNSEEN = "unseen"  # NATS is away: nobody knows, and sending goes on
    NOT_KEPT = "not_kept"  # there is no NATS to keep a ledger in


# A run looks again after so long: sooner where NATS was away, or where it was stopped.
_LOOK_AGAIN_SECONDS = {Verdict.KNOWN: 120.0, Verdict.BEHIND: 5.0, Verdict.UNSEEN: 5.0}


@dataclass(frozen=True, slots=True)
class Standing:
    """How the database stands to its ledger, and a sentence for operators where there is something to say.

    `database` is the identity of the one that was looked at.
    """

    verdict: Verdict
    sentence: str = ""
    database: str | None = None

    @property
    def may_send(self) -> bool:
        return self.verdict is not Verdict.BEHIND


def behind_sentence(position: Position | None) -> str | None:
    """What operators are told of a database that is behind its ledger, in the same words everywhere; else None."""
    if position is None or position.behind_since is None:
        return None
    batches = position.unknown_batches
    left = f", and has forgotten at least {batches} batches that left since" if batches else ""
    return (
        f"the database was restored, or failed over, to an earlier state than its ledger's{left}: "
        "nothing is sent until `guestguard replay-ledger` or the job replay_ledger has run"
    )


def check(database: Database, ledger: Ledger) -> Standing:
    """Look at what was written into the ledger since the last look; where the database has lost some of it, stop.

    A batch is recorded after the commit that marks it, and a mark after the commit that counts it: what the database
    does not know of is proof that it has lost commits. Raises DatabaseFailed's kinds; an absent NATS raises nothing.
    """
    if not ledger.is_kept:
        return Standing(Verdict.NOT_KEPT, ledger.problem or NOT_KEPT)
    repo = LedgerRepo(database)
    here = repo.look()
    try:
        return replace(_look(repo, ledger, here), database=here.identity)
    except StreamFailed as problem:
        sentence = f"the ledger cannot be looked at, and sending goes on without it: {problem}"
        return Standing(Verdict.UNSEEN, sentence, here.identity)


def ours(page: Sequence[LedgerRecord], installation_id: UUID) -> list[LedgerRecord]:
    """Without what other installations have written into the same ledger."""
    return [record for record in page if record.content.installation_id in (None, installation_id)]


def keep(database: Database, ledger: Ledger) -> Standing:
    """One tick's work: check, write down late what left without an entry, and vouch for the time until now.

    Raises DatabaseFailed's kinds.
    """
    standing = check(database, ledger)
    if standing.verdict is not Verdict.KNOWN:
        return standing
    repo = LedgerRepo(database)
    try:
        _write_what_is_missing(repo, ledger)
    except StreamFailed as problem:
        return Standing(Verdict.UNSEEN, f"the ledger cannot be written, and sending goes on without it: {problem}")
    repo.tidy(keep=ledger.declaration.keep)
    return standing


class LedgerGuard:
    """One process' sends beside the ledger. Not thread-safe.

    A statement that marks says which database it was marked in. Where that is not the one that was looked at, there was
    a failover or a restore, and it is looked at before anything leaves.
    """

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._look_again_at = 0.0
        self.standing = Standing(Verdict.UNSEEN)

    def may_send(self, queue_id: UUID | None = None, *, marked_in: str | None = None) -> bool:
        """To be called before a mark, and with the mark's DATABASE_IDENTITY between its commit and the hand-off.

        Costs two comparisons as long as it is the same. Alerts to operators may leave while nothing else does, if they
        are newer than the stop, which the statement that marks looks at. Raises DatabaseFailed's kinds.
        """
        if not self._ledger.is_kept:
            return True
        if boot_seconds() >= self._look_again_at or marked_in not in (None, self.standing.database):
            self.standing = check(self._database, self._ledger)
            self._look_again_at = boot_seconds() + _LOOK_AGAIN_SECONDS[self.standing.verdict]
        if marked_in not in (None, self.standing.database):
            return False  # some connections of this process lead elsewhere than others
        return self.standing.may_send or queue_id == SystemMailKind.ALERT.queue_id


def _look(repo: LedgerRepo, ledger: Ledger, here: ThisDatabase) -> Standing:
    state = ledger.state()
    position, warnings = _position(repo, state)
    if sentence := behind_sentence(position):
        return Standing(Verdict.BEHIND, sentence)
    if state.last_sequence > position.sequence:
        for page in ledger.read(position.sequence):
            records = ours(page, here.installation_id)
            unknown = repo.unknown([each.content for each in records if isinstance(each.content, LedgerEntry)])
            if unknown or not _marks_are_known(repo, records):
                repo.stop(position, unknown_batches=len(unknown), sequence=page[-1].sequence)
                return _standing_now(repo)
            if page:
                repo.advance(position, page[-1].sequence)
    repo.advance(position, state.last_sequence, verified_at=here.now)
    return Standing(Verdict.KNOWN, "; ".join([*warnings, *state.drift]))


def _position(repo: LedgerRepo, state: LedgerState) -> tuple[Position, list[str]]:
    """From where on to look, and a warning where the stream is not the one that was looked at before."""
    position = repo.position()
    if position is None:
        position = repo.begin(state.stream, state.created_at)
    is_the_same = (position.stream, position.stream_created_at) == (state.stream, state.created_at)
    if is_the_same and position.sequence <= state.last_sequence:
        return position, []
    what = "has lost its end" if is_the_same else "is not the one that was looked at before"
    warning = f"stream {state.stream} {what}: what left in the last day is written into it again"
    log.warning("the ledger: %s", warning)
    return repo.begin_anew(state.stream, state.created_at, state.last_sequence if is_the_same else 0), [warning]


def _marks_are_known(repo: LedgerRepo, page: Sequence[LedgerRecord]) -> bool:
    numbers = [record.content.number for record in page if isinstance(record.content, LedgerMark)]
    return not numbers or repo.knows_mark(max(numbers))


def _standing_now(repo: LedgerRepo) -> Standing:
    """After something unknown: stopped, unless somebody has replayed it meanwhile."""
    sentence = behind_sentence(repo.position())
    return Standing(Verdict.BEHIND, sentence) if sentence else Standing(Verdict.KNOWN)


def _write_what_is_missing(repo: LedgerRepo, ledger: Ledger) -> None:
    """Entries that were missed, then a mark: up to its instant, the ledger is complete."""
    for _ in range(_MOST_PAGES):
        missing = repo.unrecorded()
        if missing.entries:
            ledger.write(missing.entries)
            repo.mark_recorded(missing.entries)
        if missing.is_all:
            break
    mark = repo.count_mark(missing.complete_until)
    if mark is not None:
        ledger.write([mark])
