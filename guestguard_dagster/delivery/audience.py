"""Freeze the audience: who gets this message is decided once, when it starts to leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.delivery.mailroom import Mailroom

# A host who stops or resumes a message waits for its transaction: short ones, also when thousands are due at once.
_MESSAGES_PER_TRANSACTION = 100


@dataclass(frozen=True, slots=True)
class AudienceReport:
    """Recipients per message, of the messages that are being sent."""

    recipients: dict[UUID, int]

    @property
    def total(self) -> int:
        return sum(self.recipients.values())


def load_recipients(room: Mailroom, message_ids: Sequence[UUID]) -> AudienceReport:
    """Freeze the audience of every `sending` message that has none yet; one that is frozen stays as it is."""
    recipients: dict[UUID, int] = {}
    for start in range(0, len(message_ids), _MESSAGES_PER_TRANSACTION):
        chunk = message_ids[start : start + _MESSAGES_PER_TRANSACTION]
        recipients |= room.audiences.freeze(chunk)
    return AudienceReport(recipients)
