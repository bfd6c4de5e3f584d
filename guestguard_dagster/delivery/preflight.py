"""Before anything leaves, every pending recipient is checked: a broken template fails its message, and nothing of it is
sent; a recipient whom it does not fit fails alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from guestguard_dagster.delivery.composing import MessageComposer
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.deliveries import RecipientFacts

_PAGE = 2000
_MESSAGES_PER_PAGE = 50


@dataclass(slots=True)
class PreflightReport:
    """`fit` recipients may leave; `refused` ones were settled, by reason; `broken` messages failed whole."""

    fit: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    broken: dict[UUID, str] = field(default_factory=dict)


def preflight(room: Mailroom, message_ids: Sequence[UUID], composer: MessageComposer | None = None) -> PreflightReport:
    """Check everything of the `sending` messages that were not checked yet. What was checked once is not again."""
    composer = composer or MessageComposer(room)
    report = PreflightReport()
    unchecked = [
        message_id
        for message_id, context in room.contexts.load(message_ids).items()
        if context.may_leave_now and context.message.audience_frozen_at and not context.message.preflighted_at
    ]
    cursors = dict.fromkeys(unchecked, 0)
    while cursors:
        window = {message_id: cursors.pop(message_id) for message_id in list(cursors)[:_MESSAGES_PER_PAGE]}
        per_source = max(1, _PAGE // len(window))
        page = room.audiences.pending_page(window, per_source=per_source)
        _check(room, page, composer, report)
        found = Counter(facts.source_id for facts in page)
        last = {facts.source_id: facts.delivery_id for facts in page}
        cursors |= {id: last[id] for id in window if found[id] == per_source and id not in report.broken}
    if unchecked:
        room.progress.mark_preflighted(unchecked)
    return report


def _check(
    room: Mailroom,
    page: Sequence[RecipientFacts],
    composer: MessageComposer,
    report: PreflightReport,
) -> None:
    checked = composer.check(page)
    for message_id, problem in checked.broken.items():
        room.audiences.refuse_all_pending(message_id, DeliveryStatus.FAILED, problem)
    report.broken.update(checked.broken)
    room.audiences.refuse_pending(checked.refusals)
    report.refused.update(refusal.reason for refusal in checked.refusals)
    report.fit += checked.fit
