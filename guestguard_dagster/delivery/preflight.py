"""Before anything leaves, every pending recipient is rendered: a broken template fails its message, and nothing of it
is sent; a broken recipient fails alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.delivery.composing import Composer
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.contexts import SendContext

_PAGE = 500


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """`rendered` recipients may leave; `refused` ones were settled, by reason; `broken` messages failed whole."""

    rendered: int
    refused: Counter[str]
    broken: dict[UUID, str]


def preflight(room: Mailroom, message_ids: Sequence[UUID], composer: Composer | None = None) -> PreflightReport:
    """Render everything of the `sending` messages that were not checked yet. What was checked once is not again."""
    composer = composer or Composer(room)
    rendered = 0
    refused: Counter[str] = Counter()
    broken: dict[UUID, str] = {}
    for message_id, context in room.contexts.load(message_ids).items():
        message = context.message
        if not context.may_leave or message.audience_frozen_at is None or message.preflighted_at is not None:
            continue
        checked = _render_all(room, context, composer)
        rendered += checked.rendered
        refused += checked.refused
        broken |= checked.broken
        room.progress.mark_preflighted(message_id)
    return PreflightReport(rendered, refused, broken)


def _render_all(room: Mailroom, context: SendContext, composer: Composer) -> PreflightReport:
    message_id = context.message.id
    rendered, after = 0, 0
    refused: Counter[str] = Counter()
    while page := room.deliveries.pending_page(message_id, after=after, limit=_PAGE):
        composed = composer.compose(page, {message_id: context})
        if problem := composed.broken.get(message_id):
            room.deliveries.refuse_all_pending(message_id, DeliveryStatus.FAILED, problem)
            return PreflightReport(0, refused, composed.broken)
        room.deliveries.refuse_pending(message_id, composed.refusals)
        refused.update(refusal.reason for refusal in composed.refusals)
        rendered += len(composed.items)
        after = page[-1].delivery_id
    return PreflightReport(rendered, refused, {})
