"""The end of a message: frozen and wholly settled, it is `sent`, or `failed` when nothing of it could be sent."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.messages.repo import MessageRepo


@dataclass(frozen=True, slots=True)
class FinishReport:
    """How each message of the run stands now, and the recipients of all of them by delivery status."""

    messages: dict[UUID, MessageStatus]
    outcomes: Counter[DeliveryStatus]


def mark_sent(sending: SendContext, message_ids: Sequence[UUID]) -> FinishReport:
    """End the messages that are done; the others are left for the next run."""
    end_settled(sending.messages, message_ids)
    return FinishReport(sending.progress.statuses(message_ids), sending.progress.outcomes(message_ids))


def end_settled(messages: MessageRepo, message_ids: Collection[UUID]) -> dict[UUID, MessageStatus]:
    """End those of these messages that have nothing left to do; returns how each of them ended."""
    channels = messages.settled(message_ids)
    if not channels:
        return {}
    stats = messages.delivery_stats(channels.keys())
    reasons = {id: reason for id, channel in channels.items() if (reason := stats[id].why_nothing_left(channel))}
    failed = messages.mark_failed(reasons)
    # Also what was to fail, and of which a callback has proved meanwhile that something left.
    sent = messages.mark_sent([id for id in channels if id not in set(failed)])
    return dict.fromkeys(failed, MessageStatus.FAILED) | dict.fromkeys(sent, MessageStatus.SENT)
