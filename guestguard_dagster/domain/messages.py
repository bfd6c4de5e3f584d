"""Scheduled messages: audience, channel, kind and the states a message moves through."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class MessageAudience(StrEnum):
    """Which guests of the event a message is for, by their RSVP."""

    EVERYONE = "everyone"
    ATTENDING = "attending"
    PENDING = "pending"
    DECLINED = "declined"
    MAYBE = "maybe"

    def includes(self, rsvp_status: str) -> bool:
        """Whether a guest with this answer is meant."""
        return self is MessageAudience.EVERYONE or rsvp_status == self.value

    @property
    def label(self) -> str:
        """The name that people read."""
        return _AUDIENCE_LABELS[self]


_AUDIENCE_LABELS: Mapping[MessageAudience, str] = {
    MessageAudience.EVERYONE: "Everyone",
    MessageAudience.ATTENDING: "Attending",
    MessageAudience.PENDING: "No answer yet",
    MessageAudience.DECLINED: "Declined",
    MessageAudience.MAYBE: "Maybe",
}


class MessageChannel(StrEnum):
    EMAIL = "email"
    SMS = "sms"

    @property
    def label(self) -> str:
        """The name that people read."""
        return _CHANNEL_LABELS[self]


_CHANNEL_LABELS: Mapping[MessageChannel, str] = {MessageChannel.EMAIL: "Email", MessageChannel.SMS: "SMS"}


class MessageKind(StrEnum):
    """A broadcast that a host wrote, or one of the four reminders that every event gets by itself."""

    BROADCAST = "broadcast"
    REMINDER_7_DAY = "reminder_7_day"
    REMINDER_3_DAY_LAST_CALL = "reminder_3_day_last_call"
    REMINDER_1_DAY = "reminder_1_day"
    REMINDER_DAY_OF = "reminder_day_of"

    @property
    def label(self) -> str:
        """The name that people read."""
        return _KIND_LABELS[self]


_KIND_LABELS: Mapping[MessageKind, str] = {
    MessageKind.BROADCAST: "Broadcast",
    MessageKind.REMINDER_7_DAY: "7-day reminder",
    MessageKind.REMINDER_3_DAY_LAST_CALL: "3-day last call",
    MessageKind.REMINDER_1_DAY: "1-day reminder",
    MessageKind.REMINDER_DAY_OF: "Day-of reminder",
}


class MessageStatus(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    SENDING = "sending"
    SENT = "sent"
    CANCELLED = "cancelled"
    FAILED = "failed"

    def can_become(self, target: "MessageStatus") -> bool:
        """Whether the move is allowed. `sent`/`failed` -> `sending` is the explicit retry of failed rows."""
        return target in _MESSAGE_MOVES[self]


_MESSAGE_MOVES: Mapping[MessageStatus, frozenset[MessageStatus]] = {
    MessageStatus.DRAFT: frozenset({MessageStatus.SCHEDULED, MessageStatus.CANCELLED}),
    MessageStatus.SCHEDULED: frozenset({MessageStatus.DRAFT, MessageStatus.SENDING, MessageStatus.CANCELLED}),
    MessageStatus.SENDING: frozenset({MessageStatus.SENT, MessageStatus.FAILED}),
    MessageStatus.SENT: frozenset({MessageStatus.SENDING}),
    # Only a reminder that ran out of time, when its event moves to a later date.
    MessageStatus.CANCELLED: frozenset({MessageStatus.SCHEDULED}),
    MessageStatus.FAILED: frozenset({MessageStatus.SENDING}),
}

EDITABLE_STATUSES = frozenset({MessageStatus.DRAFT, MessageStatus.SCHEDULED})


class CancelReason(StrEnum):
    """Why a message became `cancelled`."""

    HOST = "host"
    EVENT_CANCELLED = "event_cancelled"
    EVENT_STARTED = "event_started"
    TIME_PASSED = "time_passed"  # a reminder whose words no longer held when it could have left


class HoldOwner(StrEnum):
    """Who stopped a message. Only what a terminated run held is lifted by re-executing that run."""

    HOST = "host"
    OPERATOR = "operator"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """What a host, or a reminder rule, asks for. `send_at` is timezone-aware, and None only for drafts.

    Raises ValueError for a naive or missing `send_at` and for a status other than `draft` and `scheduled`.
    """

    event_id: UUID
    channel: MessageChannel
    audience: MessageAudience
    subject: str
    body: str = field(repr=False)
    send_at: datetime | None
    kind: MessageKind = MessageKind.BROADCAST
    status: MessageStatus = MessageStatus.SCHEDULED
    created_by: UUID | None = None
    survives_event_cancel: bool = False

    def __post_init__(self) -> None:
        if self.status not in EDITABLE_STATUSES:
            raise ValueError(f"a new message is a draft or scheduled, not {self.status}")
        if self.send_at is None and self.status is MessageStatus.SCHEDULED:
            raise ValueError("a scheduled message needs its send_at; without one it can only be a draft")
        _require_zone(self.send_at)


@dataclass(frozen=True, slots=True)
class MessageChanges:
    """What a host changes about a draft or scheduled message; None leaves a field as it is.

    Raises ValueError for a naive `send_at` and for a status other than `draft` and `scheduled`.
    """

    channel: MessageChannel | None = None
    audience: MessageAudience | None = None
    subject: str | None = None
    body: str | None = field(default=None, repr=False)
    send_at: datetime | None = None
    status: MessageStatus | None = None
    survives_event_cancel: bool | None = None

    def __post_init__(self) -> None:
        if self.status is not None and self.status not in EDITABLE_STATUSES:
            raise ValueError(f"an edit makes a message a draft or scheduled, not {self.status}")
        _require_zone(self.send_at)


def _require_zone(send_at: datetime | None) -> None:
    if send_at is not None and send_at.tzinfo is None:
        raise ValueError("a message's send_at needs a timezone, such as datetime(..., tzinfo=UTC)")


@dataclass(frozen=True, slots=True)
class Message:
    """One row of scheduled_messages as readers see it. Instants are timezone-aware UTC.

    `version` grows with every edit (optimistic locking). `send_at_is_custom` marks a reminder that the host re-timed.
    `not_before` and `waiting_reason` say until when, and in plain words why, a message waits.
    """

    id: UUID
    event_id: UUID
    kind: MessageKind
    channel: MessageChannel
    audience: MessageAudience
    subject: str
    body: str = field(repr=False)
    status: MessageStatus
    status_reason: str | None
    send_at: datetime | None
    send_at_is_custom: bool
    survives_event_cancel: bool
    created_by: UUID | None
    version: int
    ask_no: int
    asked_until: datetime | None
    not_before: datetime | None
    waiting_reason: str | None
    held_at: datetime | None
    held_by: HoldOwner | None
    held_reason: str | None
    audience_frozen_at: datetime | None
    recipient_count: int | None
    preflighted_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessageTimes:
    """What decides when a message may leave, without its text: fit to be read for thousands at once."""

    id: UUID
    event_id: UUID
    kind: MessageKind
    channel: MessageChannel
    status: MessageStatus
    send_at: datetime | None
    survives_event_cancel: bool
    version: int
    not_before: datetime | None
    held_at: datetime | None
