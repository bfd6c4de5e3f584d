"""Quiet hours: a message that falls into them waits for their end, or is cancelled when it would be too late then."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.departures import Departure
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import CancelReason
from guestguard_dagster.rendering.dates import format_date
from guestguard_dagster.storage.messages.run_requests import Deferral


def claim_due(sending: SendContext, message_ids: Sequence[UUID]) -> list[UUID]:
    """Claim what is due and disturbs nobody. Returns the messages that were cancelled because they come too late."""
    expired = sending.messages.expire_late(message_ids)
    late: list[tuple[Departure, CancelReason]] = []
    waits: list[Deferral] = []
    for departure in sending.messages.departures(message_ids).values():
        until = _quiet_until(departure)
        if until is None:
            continue
        if reason := departure.too_late_at(until):
            late.append((departure, reason))
        else:
            message = departure.message
            waits.append(Deferral(message.id, message.version, until, quiet_reason(departure.event, until)))
    expired += sending.messages.expire(late)
    sending.run_requests.defer_scheduled(waits)
    sending.messages.claim_for_sending(message_ids)
    return expired


def quiet_reason(event: Event, until: datetime) -> str:
    """Why the message waits, in the event's own time."""
    return f"quiet hours until {format_date(until, event.zone)}"


def _quiet_until(departure: Departure) -> datetime | None:
    """When the quiet hours are over that this message would leave in, if it is to leave and they are then."""
    if not departure.awaits_its_instant:
        return None
    return departure.event.quiet_until(departure.message.channel, departure.leaves_at)
