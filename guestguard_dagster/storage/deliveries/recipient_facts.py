"""What is known now about a delivery and its guest, as the engine reads it for the check and for the hand-off."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID


class RecipientFacts(NamedTuple):
    """One unsettled delivery. `email`, `phone` and `rsvp_token` never reach a log.

    `recipient_id` is the guest of a message, or the notification or system mail itself: a restore does not change it.
    `queue_id` is the message, or the queue of its kind of notification. `trying_for` is how long ago it was first
    attempted in this round. Mail to somebody who is not a guest (a host) has no `guest_id` and none of a guest's facts.
    """

    delivery_id: int
    queue_id: UUID
    recipient_id: UUID
    guest_id: UUID | None
    round: int
    attempts: int
    trying_for: timedelta | None
    provider_refusals: int
    guest_name: str
    email: str | None
    phone: str | None
    rsvp_status: str
    rsvp_token: str
    removed: bool


def facts(*, queue: str) -> str:
    """The columns of RecipientFacts, in the order of its fields; `queue` is the column that names the queue."""
    return f"""
        d.id AS delivery_id, {queue} AS queue_id,
        COALESCE(d.notification_id, d.memo_id, d.guest_id) AS recipient_id, d.guest_id, d.round, d.attempts,
        clock_timestamp() - d.first_attempt_at AS trying_for, d.provider_refusals,
        COALESCE(g.name, '') AS guest_name, g.email, g.phone, COALESCE(g.rsvp_status, 'pending') AS rsvp_status,
        COALESCE(g.rsvp_token, '') AS rsvp_token, g.removed_at IS NOT NULL AS removed
    """


# One look-up by key for each delivery, whatever the planner believes: OFFSET 0 keeps it from reading all guests
# instead, which it would as soon as its statistics know a large event.
GUEST = "LEFT JOIN LATERAL (SELECT * FROM guests WHERE id = d.guest_id OFFSET 0) g ON true"
