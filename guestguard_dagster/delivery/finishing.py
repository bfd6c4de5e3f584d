"""The end of a message: frozen and wholly settled, it is `sent`, or `failed` when nothing could be sent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from guestguard_dagster.delivery.ending import end_settled
from guestguard_dagster.delivery.leasing import REPEAT_WITHIN
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus


@dataclass(frozen=True, slots=True)
class FinishReport:
    """How each message of the run stands now, and the recipients of all of them by delivery status."""

    messages: dict[UUID, MessageStatus]
    outcomes: Counter[DeliveryStatus]


def record_deliveries(sending: SendContext, message_ids: Sequence[UUID]) -> int:
    """Settle what a crash left: hand-offs that were interrupted and that cannot be repeated become `unknown`.

    Returns how many deliveries that were.
    """
    accounts = {sender.account for sender in (sending.senders.email, sending.senders.sms) if sender.repeatable}
    return sending.batches.end_interrupted(message_ids, accounts=accounts, within=REPEAT_WITHIN)


def mark_sent(sending: SendContext, message_ids: Sequence[UUID]) -> FinishReport:
    """End the messages that are done; the others are left for the next run."""
    end_settled(sending.messages, message_ids)
    return FinishReport(sending.progress.statuses(message_ids), sending.progress.outcomes(message_ids))
