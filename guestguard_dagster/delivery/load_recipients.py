"""Freeze the audience: who gets this message is decided once, when it starts to leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.delivery.provider_gate import batch_size_of
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.senders.grouping import groups_of
from guestguard_dagster.storage.deliveries.audiences import BatchSizes, Stage

# A host who stops or resumes a message waits for its transaction: short ones, also when thousands are due at once.
_MESSAGES_PER_STEP = 20
_GUESTS_PER_STEP = 8000
_SMALL_AUDIENCE = 400
# What takes longer is frozen while other messages leave.
_LONGEST_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class AudienceReport:
    """Recipients per message, as far as they are frozen; the audiences of `unfinished` messages are larger."""

    recipients: dict[UUID, int]
    unfinished: frozenset[UUID]

    @property
    def total(self) -> int:
        return sum(self.recipients.values())


def load_recipients(sending: SendContext, message_ids: Sequence[UUID]) -> AudienceReport:
    """Freeze audiences for half a second, so small ones wholly; `dispatch` goes on with the others between batches."""
    ends_at = boot_seconds() + _LONGEST_SECONDS
    while boot_seconds() < ends_at and freeze_step(sending, _unfrozen(sending, message_ids), ends_at=ends_at):
        pass
    return AudienceReport(sending.audiences.recipients_of(message_ids), frozenset(_unfrozen(sending, message_ids)))


def freeze_step(sending: SendContext, message_ids: Sequence[UUID], *, ends_at: float) -> bool:
    """Freeze a chunk of each of these messages, until `ends_at` (boot_seconds); False when there was nothing to do.

    One that is frozen, or held, stays as it is.
    """
    sizes = BatchSizes(batch_size_of(sending.senders.email), batch_size_of(sending.senders.sms))
    worked_on = 0
    for step in groups_of(message_ids, _MESSAGES_PER_STEP):
        chunk = max(_GUESTS_PER_STEP // len(step), _SMALL_AUDIENCE)
        worked_on += sending.audiences.load_recipients(step, chunk=chunk, sizes=sizes)
        if boot_seconds() >= ends_at:
            break
    return worked_on > 0


def _unfrozen(sending: SendContext, message_ids: Sequence[UUID]) -> list[UUID]:
    stages = sending.audiences.stages(message_ids)
    return [message_id for message_id, stage in stages.items() if stage is Stage.UNFROZEN]
