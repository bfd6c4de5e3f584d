"""Deliveries: one row per (message, guest, channel), or per notification, and the states it moves through."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import MessageChannel


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
    def label(self) -> str:
        """The name that people read."""
        return _STATUS_LABELS[self]

    @property
    def is_settled(self) -> bool:
        """Nothing more will be done about this row by itself."""
        return self not in UNSETTLED_STATUSES

    def can_become(self, target: "DeliveryStatus") -> bool:
        """Whether news may move a row so. Only an explicit retry goes from a settled state back to `pending`."""
        return target in _DELIVERY_MOVES[self]


_STATUS_LABELS: Mapping[DeliveryStatus, str] = {
    DeliveryStatus.PENDING: "Waiting",
    DeliveryStatus.SENDING: "Leaving now",
    DeliveryStatus.SENT: "Handed to the provider",
    DeliveryStatus.DELIVERED: "Delivered",
    DeliveryStatus.BOUNCED: "Bounced",
    DeliveryStatus.COMPLAINED: "Marked as spam",
    DeliveryStatus.FAILED: "Failed",
    DeliveryStatus.SUPPRESSED: "Unsubscribed or blocked",
    DeliveryStatus.SKIPPED: "Left out",
    DeliveryStatus.UNKNOWN: "Unknown",
}


class BatchState(StrEnum):
    """How far a batch is: deliveries that are leased, marked and handed off together."""

    PENDING = "pending"
    LEASED = "leased"
    SENDING = "sending"
    DONE = "done"


# A batch is leased for so long around its hand-off. What comes of it is written down within that time.
LEASE_TIME = timedelta(seconds=60)

# That a delivery is `sending` is known by its batch.
STORED_STATUSES = tuple(status for status in DeliveryStatus if status is not DeliveryStatus.SENDING)

UNSETTLED_STATUSES = frozenset({DeliveryStatus.PENDING, DeliveryStatus.SENDING})

# Everything that proves a hand-off: the guest has, or had, the mail.
HANDED_OFF_STATUSES = frozenset(
    {DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.BOUNCED, DeliveryStatus.COMPLAINED}
)

_PROOF_OF_HAND_OFF = HANDED_OFF_STATUSES
MAY_HAVE_LEFT_STATUSES = HANDED_OFF_STATUSES | {DeliveryStatus.UNKNOWN}

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
    # Only what had no provider to go through, once there is one.
    DeliveryStatus.SKIPPED: frozenset({DeliveryStatus.PENDING}),
}


class SkipReason(StrEnum):
    """Why a guest of the frozen audience was not written to."""

    GUEST_REMOVED = "guest_removed"
    NOT_IN_AUDIENCE = "not_in_audience"
    NO_ADDRESS = "no_address"
    EVENT_CANCELLED = "event_cancelled"
    EVENT_STARTED = "event_started"
    TIME_PASSED = "time_passed"  # a reminder whose words no longer hold
    LOG_BACKEND = "log_backend"
    MESSAGE_STOPPED = "message_stopped"


_TOO_LATE = (SkipReason.EVENT_STARTED, SkipReason.TIME_PASSED)


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """What became known about one delivery, e.g. from a provider's callback.

    `error_class`, `error_code` and `error_detail` are as in `domain.outcomes.Outcome`: without address, body or secret.
    """

    status: DeliveryStatus
    reason: str | None = None
    retryable: bool = False
    provider_message_id: str | None = None
    error_class: str | None = None
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """One guest of a message's frozen audience: how the delivery stands, and the guest as known now."""

    delivery_id: int
    guest_id: UUID
    channel: MessageChannel
    status: DeliveryStatus
    reason: str | None
    round: int
    name: str
    email: str | None = field(repr=False)
    phone: str | None = field(repr=False)
    rsvp_status: RsvpStatus
    rsvp_token: str = field(repr=False)
    removed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RecipientCount:
    """How many guests a message would be for now, and how many of them cannot be written to."""

    total: int
    without_address: int
    suppressed: int

    @property
    def reachable(self) -> int:
        return self.total - self.without_address - self.suppressed


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    status: DeliveryStatus
    reason: str | None
    retryable: bool
    count: int


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """The deliveries of one message, counted by status and reason."""

    counts: tuple[DeliveryCount, ...]

    @property
    def total(self) -> int:
        return sum(entry.count for entry in self.counts)

    @property
    def unsettled(self) -> int:
        return sum(entry.count for entry in self.counts if not entry.status.is_settled)

    @property
    def retryable(self) -> int:
        """Deliveries that `retry_failed` would try again: what failed for a while, or had no provider to go through."""
        return sum(
            entry.count
            for entry in self.counts
            if (entry.status is DeliveryStatus.FAILED and entry.retryable)
            or (entry.status is DeliveryStatus.SKIPPED and entry.reason == SkipReason.LOG_BACKEND)
        )

    def why_nothing_left(self, channel: MessageChannel) -> str | None:
        """Why nobody was, or may have been, written to although somebody should have been; None otherwise.

        An audience that was empty, or had all answered or unsubscribed meanwhile, is no failure.
        """
        totals = self.by_status
        if any(totals.get(status) for status in MAY_HAVE_LEFT_STATUSES):
            return None
        skipped = self.reasons_of(DeliveryStatus.SKIPPED)
        if SkipReason.LOG_BACKEND in skipped:
            return f"no {channel} provider configured"
        if totals.get(DeliveryStatus.FAILED):
            return min(reason or "failed" for reason in self.reasons_of(DeliveryStatus.FAILED))
        return next((reason for reason in _TOO_LATE if reason in skipped), None)

    @property
    def by_status(self) -> dict[DeliveryStatus, int]:
        totals: Counter[DeliveryStatus] = Counter()
        for entry in self.counts:
            totals[entry.status] += entry.count
        return dict(totals)

    def reasons_of(self, status: DeliveryStatus) -> dict[str | None, int]:
        """Why deliveries have this status, e.g. the skipped ones by SkipReason."""
        totals: Counter[str | None] = Counter()
        for entry in self.counts:
            if entry.status is status:
                totals[entry.reason] += entry.count
        return dict(totals)


@dataclass(frozen=True, slots=True)
class RetryFilter:
    """Which deliveries are tried again: the failed and retryable ones, and those that had no provider to go through;
    narrowed to these error classes if given.

    `unknown_too` is an operator's consent that a guest whose mail may have left gets it once more. `providers` narrows
    both to those that were last handed to one of these.
    """

    error_classes: frozenset[str] | None = None
    unknown_too: bool = False
    providers: frozenset[str] | None = None


ALL_RETRYABLE = RetryFilter()
