"""Deliveries: one row per (message, guest, channel), or per notification, and the states it moves through."""

from collections.abc import Mapping
from enum import StrEnum


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"

    @property
    def is_settled(self) -> bool:
        """Nothing more will be done about this row by itself."""
        return self not in UNSETTLED_STATUSES

    def can_become(self, target: "DeliveryStatus") -> bool:
        """Whether news may move a row so. Only an explicit retry (a new round) goes back to `pending` from a settled state."""
        return target in _DELIVERY_MOVES[self]


UNSETTLED_STATUSES = frozenset({DeliveryStatus.PENDING, DeliveryStatus.SENDING})

# Everything that proves a hand-off: the guest has, or had, the mail.
HANDED_OFF_STATUSES = frozenset(
    {DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED}
)

_PROOF_OF_HAND_OFF = HANDED_OFF_STATUSES

_DELIVERY_MOVES: Mapping[DeliveryStatus, frozenset[DeliveryStatus]] = {
    DeliveryStatus.PENDING: _PROOF_OF_HAND_OFF
    | {DeliveryStatus.SENDING, DeliveryStatus.FAILED, DeliveryStatus.SUPPRESSED, DeliveryStatus.SKIPPED},
    # Back to pending only by the process that holds the lease and knows that nothing left it.
    DeliveryStatus.SENDING: _PROOF_OF_HAND_OFF
    | {DeliveryStatus.PENDING, DeliveryStatus.FAILED, DeliveryStatus.SKIPPED, DeliveryStatus.UNKNOWN},
    DeliveryStatus.UNKNOWN: _PROOF_OF_HAND_OFF | {DeliveryStatus.FAILED, DeliveryStatus.PENDING},
    DeliveryStatus.SENT: frozenset({DeliveryStatus.DELIVERED, DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED}),
    DeliveryStatus.DELIVERED: frozenset({DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED}),
    DeliveryStatus.BOUNCED: frozenset({DeliveryStatus.COMPLAINED}),
    DeliveryStatus.COMPLAINED: frozenset(),
    DeliveryStatus.FAILED: _PROOF_OF_HAND_OFF | {DeliveryStatus.PENDING},
    DeliveryStatus.SUPPRESSED: frozenset(),
    DeliveryStatus.SKIPPED: frozenset(),
}


class SkipReason(StrEnum):
    """Why a guest of the frozen audience was not written to."""

    GUEST_REMOVED = "guest_removed"
    NOT_IN_AUDIENCE = "not_in_audience"
    NO_ADDRESS = "no_address"
    EVENT_CANCELLED = "event_cancelled"
    EVENT_STARTED = "event_started"
    LOG_BACKEND = "log_backend"
    MESSAGE_STOPPED = "message_stopped"
