"""Freeze the audience: who gets this message is decided once, when it starts to leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.delivery.mailroom import Mailroom


@dataclass(frozen=True, slots=True)
class AudienceReport:
    """Recipients per message, of the messages that are being sent."""

    recipients: dict[UUID, int]

    @property
    def total(self) -> int:
        return sum(self.recipients.values())


def load_recipients(room: Mailroom, message_ids: Sequence[UUID]) -> AudienceReport:
    """Freeze the audience of every `sending` message that has none yet; one that is frozen stays as it is."""
    counts = {message_id: room.deliveries.freeze_audience(message_id) for message_id in message_ids}
    return AudienceReport({message_id: count for message_id, count in counts.items() if count is not None})
