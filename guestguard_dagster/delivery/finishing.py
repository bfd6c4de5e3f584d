"""The end of a message: frozen and wholly settled, it is `sent`, or `failed` when nothing could be sent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.delivery.ending import end_settled
from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus


@dataclass(frozen=True, slots=True)
class FinishReport:
    """How each message of the run stands now, and the recipients of all of them by delivery status."""

    messages: dict[UUID, MessageStatus]
    outcomes: Counter[DeliveryStatus]


def record_deliveries(room: Mailroom, message_ids: Sequence[UUID]) -> int:
    """Let every recorded attempt count, also those whose row missed it; returns how many rows moved."""
    return room.recovery.reconcile(message_ids)


def mark_sent(room: Mailroom, message_ids: Sequence[UUID]) -> FinishReport:
    """End the messages that are done; the others are left for the next run."""
    end_settled(room.messages, message_ids)
    return FinishReport(room.progress.statuses(message_ids), room.progress.outcomes(message_ids))
