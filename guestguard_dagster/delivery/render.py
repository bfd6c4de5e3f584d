"""Before anything of a message leaves, every pending recipient is checked: a broken template fails its message, and
nothing of it is sent; a recipient whom it does not fit fails alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.composing import CheckReport, MessageComposer
from guestguard_dagster.delivery.hand_off import fault_by_fault
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.senders.grouping import groups_of
from guestguard_dagster.storage.deliveries.audiences import Findings, Stage
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts

_MESSAGES_PER_STEP = 20
_RECIPIENTS_PER_STEP = 4000
_SMALL_AUDIENCE = 200
# What takes longer is checked while other messages leave.
_LONGEST_SECONDS = 0.5


@dataclass(slots=True)
class PreflightReport:
    """`fit` recipients may leave; `refused` ones were settled, by reason; `broken` messages fit nobody."""

    fit: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    broken: dict[UUID, str] = field(default_factory=dict)


class Preflight:
    """Checks messages that are frozen and were not checked yet. What was checked once is not again."""

    def __init__(self, sending: SendContext, composer: MessageComposer) -> None:
        self._sending = sending
        self._composer = composer
        self.report = PreflightReport()

    def step(self, message_ids: Sequence[UUID], *, ends_at: float) -> bool:
        """Check a page of each of these messages, until `ends_at` (boot_seconds); False when nothing was to do."""
        worked_on = 0
        for step in groups_of(message_ids, _MESSAGES_PER_STEP):
            page = max(_RECIPIENTS_PER_STEP // len(step), _SMALL_AUDIENCE)
            worked_on += self._sending.audiences.check(step, page=page, find=self._find)
            if boot_seconds() >= ends_at:
                break
        return worked_on > 0

    def _find(self, recipients: Sequence[RecipientFacts]) -> Findings:
        checked = self._check(recipients)
        self.report.broken.update(checked.broken)
        self.report.refused.update(refusal.reason for refusal in checked.refusals)
        self.report.fit += checked.fit
        return checked.refusals, checked.stopped

    def _check(self, recipients: Sequence[RecipientFacts]) -> CheckReport:
        none = CheckReport(0, [], {}, frozenset())
        parts = fault_by_fault(
            self._composer.check, recipients, refused=lambda refusal: replace(none, refusals=[refusal])
        )
        return sum(parts, start=none)


def render(
    sending: SendContext, message_ids: Sequence[UUID], composer: MessageComposer | None = None
) -> PreflightReport:
    """Check for half a second, so small messages wholly; `dispatch` goes on with the others between batches."""
    checking = Preflight(sending, composer or MessageComposer(sending))
    ends_at = boot_seconds() + _LONGEST_SECONDS
    while boot_seconds() < ends_at and checking.step(_unchecked(sending, message_ids), ends_at=ends_at):
        pass
    return checking.report


def _unchecked(sending: SendContext, message_ids: Sequence[UUID]) -> list[UUID]:
    stages = sending.audiences.stages(message_ids)
    return [message_id for message_id, stage in stages.items() if stage is Stage.UNCHECKED]
