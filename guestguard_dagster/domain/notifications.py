"""Notifications: mails that answer to something that happened, and the events on NATS that they come from.

What makes two events the same is decided here too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID, uuid5

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.payloads import (
    GoTime,
    KnownId,
    OptionalId,
    Payload,
    PayloadRefused,
    kept_email,
    one_line,
    text_of_number,
    web_address,
    zero_for_null,
)
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, GUEST_NAME_LIMIT, VENUE_LIMIT, clean_value

MOST_PLUS_ONES = 1000
_MOST_REASONS = 20
_LONGEST_REASON = 200
_LONGEST_RISK = 40
_LONGEST_ID = 200
_LONGEST_ADDRESS = 320

_QUEUES = UUID("6d0ac6b4-6f5c-4c0e-9a0c-64b0ad3d9d5e")
_NOTIFICATIONS = UUID("7d3f0f8e-5a0c-4b7e-9a51-3d9c1f2f6b10")


class NotificationType(StrEnum):
    CONFIRMATION = "confirmation"
    FRAUD_ALERT = "fraud_alert"
    INVITATION = "invitation"

    @property
    def label(self) -> str:
        """The name that people read."""
        return _LABELS[self]

    @property
    def queue_id(self) -> UUID:
        """The queue of all notifications of this type."""
        return uuid5(_QUEUES, self.value)


_LABELS: Mapping[NotificationType, str] = {
    NotificationType.CONFIRMATION: "RSVP confirmation",
    NotificationType.FRAUD_ALERT: "Fraud alert",
    NotificationType.INVITATION: "Invitation",
}


class NotificationStatus(StrEnum):
    """How a notification stands: as its delivery does, or `duplicate` and `skipped` for those that never had one."""

    PENDING = DeliveryStatus.PENDING.value
    SENDING = DeliveryStatus.SENDING.value
    SENT = DeliveryStatus.SENT.value
    DELIVERED = DeliveryStatus.DELIVERED.value
    BOUNCED = DeliveryStatus.BOUNCED.value
    COMPLAINED = DeliveryStatus.COMPLAINED.value
    FAILED = DeliveryStatus.FAILED.value
    SUPPRESSED = DeliveryStatus.SUPPRESSED.value
    SKIPPED = DeliveryStatus.SKIPPED.value
    UNKNOWN = DeliveryStatus.UNKNOWN.value
    DUPLICATE = "duplicate"


class NotNeeded(StrEnum):
    """Why an event is written down and no mail made of it."""

    BELOW_THRESHOLD = "below_threshold"
    HOST_MANAGED = "host_managed"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One event as the stream delivered it. `published_at` is the instant at which JetStream stored it (UTC).

    `deliveries` counts this delivery too. `data` may hold names and addresses: it never reaches a log.
    """

    stream: str
    subject: str
    sequence: int
    published_at: datetime
    deliveries: int
    message_id: str | None
    data: bytes = field(repr=False)

    @property
    def key(self) -> tuple[str, int, datetime]:
        """Redeliveries share it. The instant tells a stream from one that was deleted and made anew."""
        return self.stream, self.sequence, self.published_at

    @property
    def notification_id(self) -> UUID:
        """The same whenever the event is written down again, also by a database that was restored."""
        return uuid5(_NOTIFICATIONS, f"{self.stream}\n{self.sequence}\n{self.published_at.astimezone(UTC).isoformat()}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Two events of a type with the same `key` are one, if no more than `window` lies between them; None: for ever."""

    key: str
    window: timedelta | None

    def is_shared_by(self, mine: datetime, other: datetime) -> bool:
        """Whether events with this key, stored at these instants, are the same event."""
        return self.window is None or abs(mine - other) <= self.window


def _reasons(value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    cleaned = (clean_value(item, _LONGEST_REASON) for item in listed if isinstance(item, str))
    return tuple(reason for reason in cleaned if reason)[:_MOST_REASONS]


_RESPONSES: Mapping[str, RsvpStatus] = {
    "attending": RsvpStatus.ATTENDING,
    "accepted": RsvpStatus.ATTENDING,
    "yes": RsvpStatus.ATTENDING,
    "declined": RsvpStatus.DECLINED,
    "not_attending": RsvpStatus.DECLINED,
    "no": RsvpStatus.DECLINED,
    "maybe": RsvpStatus.MAYBE,
    "tentative": RsvpStatus.MAYBE,
}


def _response(value: object) -> RsvpStatus:
    known = _RESPONSES.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        raise ValueError("must be attending, declined or maybe")
    return known


@dataclass(frozen=True, slots=True)
class Answered:
    """What a guest answered, and when (UTC)."""

    at: datetime
    response: RsvpStatus
    plus_ones: int

    def differs_from(self, other: "Answered") -> bool:
        return (self.response, self.plus_ones) != (other.response, other.plus_ones)


class RsvpConfirmed(Payload):
    """A guest has answered. (Its risk_score is the fraud service's business.)"""

    type: ClassVar[NotificationType] = NotificationType.CONFIRMATION

    rsvp_id: Annotated[str, BeforeValidator(text_of_number), one_line(_LONGEST_ID), Field(min_length=1)]
    guest_id: KnownId
    event_id: KnownId
    response: Annotated[RsvpStatus, BeforeValidator(_response)]
    plus_ones: Annotated[int, BeforeValidator(zero_for_null), Field(ge=0, le=MOST_PLUS_ONES)] = 0
    submitted_at: GoTime = None

    @property
    def is_attending(self) -> bool:
        return self.response is RsvpStatus.ATTENDING

    def answered(self, published_at: datetime) -> Answered:
        """When the event was stored bounds when the answer was given: no clock that is fast beats a later answer."""
        at = min(self.submitted_at, published_at) if self.submitted_at else published_at
        return Answered(at, self.response, self.plus_ones)

    def identity(self, message_id: str | None) -> Identity:
        """The same answer, given at the same instant, is one for ever; a changed answer is another event."""
        if self.submitted_at is not None:
            return Identity(f"rsvp:{self.rsvp_id}:{self.response}:{self.submitted_at.isoformat()}", None)
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"rsvp:{self.rsvp_id}:{self.response}:{self.plus_ones}", timedelta(hours=1))


class FraudScored(Payload):
    """A visit with a guest's link was scored, from 0 (harmless) to 100. `risk` and `reasons` are for people to read."""

    type: ClassVar[NotificationType] = NotificationType.FRAUD_ALERT

    guest_id: OptionalId = None
    event_id: KnownId
    score: FiniteFloat
    risk: Annotated[str, one_line(_LONGEST_RISK)] = ""
    reasons: Annotated[tuple[str, ...], BeforeValidator(_reasons)] = ()

    def identity(self, message_id: str | None) -> Identity:
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"payload:{self.digest()}", timedelta(hours=1))


class InvitationSend(Payload):
    """A host invites a guest. Without `guest_email` the host delivers the invitation by other means."""

    type: ClassVar[NotificationType] = NotificationType.INVITATION

    guest_id: OptionalId = None
    event_id: OptionalId = None
    guest_email: Annotated[str, one_line(_LONGEST_ADDRESS), AfterValidator(kept_email)] = Field(default="", repr=False)
    guest_name: Annotated[str, one_line(GUEST_NAME_LIMIT)] = ""
    host_name: Annotated[str, one_line(GUEST_NAME_LIMIT)] = ""
    event_name: Annotated[str, one_line(EVENT_NAME_LIMIT)] = ""
    venue: Annotated[str, one_line(VENUE_LIMIT)] = ""
    event_date: GoTime = None
    link: Annotated[str | None, BeforeValidator(web_address)] = Field(default=None, repr=False)

    def identity(self, message_id: str | None) -> Identity:
        """A host may send an invitation again, ten minutes later."""
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"payload:{self.digest()}", timedelta(minutes=10))


AnyPayload = RsvpConfirmed | FraudScored | InvitationSend

_PAYLOADS: Mapping[NotificationType, type[RsvpConfirmed] | type[FraudScored] | type[InvitationSend]] = {
    kind.type: kind for kind in (RsvpConfirmed, FraudScored, InvitationSend)
}


def read_payload(kind: NotificationType, data: bytes) -> AnyPayload:
    """Raises PayloadRefused for what can never work."""
    payload = _PAYLOADS[kind].read(data)
    if isinstance(payload, InvitationSend) and payload.guest_email and not (payload.guest_id and payload.event_id):
        raise PayloadRefused("guest_id, event_id: needed to write to a guest")
    if isinstance(payload, InvitationSend) and payload.event_date and payload.event_date.year == MAXYEAR:
        raise PayloadRefused("event_date: lies at the end of the calendar; leave it out where there is none")
    return payload


def payload_from(kind: NotificationType, stored: Mapping[str, object]) -> AnyPayload:
    """A payload as it was read once, from its stored form."""
    return _PAYLOADS[kind].model_validate(stored)


def why_not_needed(payload: AnyPayload, *, alert_from_score: float) -> NotNeeded | None:
    """Why no mail is made of this event, or None if one is."""
    if isinstance(payload, FraudScored) and payload.score < alert_from_score:
        return NotNeeded.BELOW_THRESHOLD
    if isinstance(payload, InvitationSend) and not payload.guest_email:
        return NotNeeded.HOST_MANAGED
    return None


def original_of(
    identity: Identity,
    published_at: datetime,
    earlier: Iterable[tuple[datetime, UUID]],
    *,
    changes: Collection[datetime] = (),
) -> UUID | None:
    """Which of the notifications with this identity's key (when their events were stored, and their ids) is the same
    event as one stored at `published_at`; None if it is a new one.

    A window does not reach over `changes`: a guest who says yes, no and yes again has answered three times.
    """
    for stored_at, id in earlier:
        first, last = sorted((stored_at, published_at))
        is_repeat = identity.window is None or not any(first < change < last for change in changes)
        if is_repeat and identity.is_shared_by(published_at, stored_at):
            return id
    return None
