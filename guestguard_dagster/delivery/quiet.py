"""Quiet hours: a message that falls into them waits for their end, or expires when its event would have started."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.rendering.dates import format_date
from guestguard_dagster.storage.contexts import MessageContext


def claim_due(sending: SendContext, message_ids: Sequence[UUID]) -> list[UUID]:
    """Claim what is due and disturbs nobody. Returns the messages that expired, because quiet hours last too long."""
    expired = []
    for message_id, context in sending.contexts.load(message_ids).items():
        until = _quiet_until(context)
        if until is None:
            continue
        if until >= context.event.starts_at and not context.leaves_after_start:
            expired += sending.messages.expire([message_id])
        else:
            sending.asks.put_off([message_id], wait=until - context.read_at, reason=quiet_reason(context, until))
    sending.messages.claim_due(message_ids)
    return expired


def quiet_reason(context: MessageContext, until: datetime) -> str:
    """Why the message waits, in the event's own time."""
    return f"quiet hours until {format_date(until, context.event.zone)}"


def _quiet_until(context: MessageContext) -> datetime | None:
    """When the quiet hours are over that this message would leave in, if it is to leave and they are then."""
    message = context.message
    if message.status is not MessageStatus.SCHEDULED or message.send_at is None or message.held_at is not None:
        return None
    leaves_at = max(message.send_at, message.not_before or message.send_at, context.read_at)
    return context.event.quiet_until(message.channel, leaves_at)
