"""Reports and alerts leave as everything else does: leased, written down, handed off, and never twice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from guestguard_dagster.delivery.composing import Composed
from guestguard_dagster.delivery.lanes import Lane
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.memos import Memo, MemoKind
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.suppressions import EVERY_HOST
from guestguard_dagster.senders.base import Mail
from guestguard_dagster.storage.deliveries import RecipientFacts, Refusal
from guestguard_dagster.storage.memos import MemoRepo

MEMO_SOURCES = tuple(kind.drain_id for kind in MemoKind)


@dataclass(frozen=True, slots=True)
class MemoReport:
    """Memos by what the hand-off said; how many are left for later, and why nothing leaves, if so."""

    outcomes: Counter[str]
    left: int
    blocked: str | None


def mail_memos(room: Mailroom, stop: Event) -> MemoReport:
    """Hand off every memo that may leave now. What has to wait is left for the next run."""
    lane = Lane(room, MessageChannel.EMAIL, _MemoComposer(room), stop, transactional=True)
    try:
        lane.recover(MEMO_SOURCES)
        lane.wake(MEMO_SOURCES)
        while not stop.is_set() and lane.step():
            pass
    finally:
        lane.close()
    left = room.deliveries.unsettled(MEMO_SOURCES)
    return MemoReport(
        lane.outcomes, sum(row.pending + row.sending for row in left), lane.blocked.reason if lane.blocked else None
    )


class _MemoComposer:
    def __init__(self, room: Mailroom) -> None:
        self._room = room
        self._memos = MemoRepo(room.database)

    def compose(self, recipients: Sequence[RecipientFacts]) -> Composed:
        """A memo was rendered when it was written; whether its address may be written to is asked now."""
        memos = self._memos.of_deliveries([facts.delivery_id for facts in recipients])
        suppressed = self._room.suppressions.scopes_among(
            MessageChannel.EMAIL, {memo.address for memo in memos.values()}
        )
        composed = Composed([], [], frozenset())
        for facts in recipients:
            memo = memos[facts.delivery_id]
            if EVERY_HOST in suppressed.get(memo.address, frozenset()):
                composed.refusals.append(Refusal(facts.delivery_id, DeliveryStatus.SUPPRESSED, "suppressed"))
            else:
                composed.items.append((facts, self._mail(facts, memo)))
        return composed

    def forget(self) -> None:
        """Nothing that could change is kept."""

    def _mail(self, facts: RecipientFacts, memo: Memo) -> Mail:
        return Mail(
            delivery_id=facts.delivery_id,
            round=facts.round,
            to_email=memo.address,
            to_name=memo.name,
            from_name=self._room.senders.from_name,
            reply_to=None,
            subject=memo.subject,
            text=memo.text,
            html=memo.html,
            installation=self._room.installation.id,
        )
