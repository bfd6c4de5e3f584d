"""Notifications: mails that answer to something that happened, and the events on NATS that they come from.

Payloads are read as the Go services publish them: snake_case JSON, RFC 3339 with nanoseconds, Go's zero time for "no
date", null lists, whole numbers that may be floats; unknown fields are ignored. What makes two events the same is
decided here too.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID, uuid5

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
)

from guestguard_dagster.domain.addresses import email_as_kept
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, GUEST_NAME_LIMIT, VENUE_LIMIT, clean_value

MOST_PLUS_ONES = 1000
_MOST_REASONS = 20
_LONGEST_REASON = 200
_LONGEST_RISK = 40
_LONGEST_ID = 200
_LONGEST_ADDRESS = 320

_QUEUES = UUID("6d0ac6b4-6f5c-4c0e-9a0c-64b0ad3d9d5e")
_NO_ID = UUID(int=0)
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


class PayloadRefused(ValueError):
    """A payload that can never work; the text says which field and why, and quotes no value."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Two events of a type with the same `key` are one, if no more than `window` lies between them; None: for ever."""

    key: str
    window: timedelta | None

    def is_shared_by(self, mine: datetime, other: datetime) -> bool:
        """Whether events with this key, stored at these instants, are the same event."""
        return self.window is None or abs(mine - other) <= self.window


# --- how Go writes values -------------------------------------------------------------------------------------------


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _instant(moment: datetime | None) -> datetime | None:
    """In UTC; None for Go's zero time, the first instant of the year 1."""
    if moment is None or moment.year == 1:
        return None
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies beyond the year 9999") from None
    return None if moment.year == 1 else moment


def _no_zero_id(value: object) -> object:
    return None if value in (None, "", str(_NO_ID)) else value


def _text(limit: int) -> Any:
    def read(value: object) -> object:
        if value is None:
            return ""
        return clean_value(value, limit) if isinstance(value, str) else value

    return BeforeValidator(read)


def _email(address: str) -> str:
    """In its canonical form; what is no address is refused when its mail is handed off."""
    return email_as_kept(address) or ""


def _text_of_number(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _zero_for_null(value: object) -> object:
    return 0 if value is None else value


def _known_id(value: UUID) -> UUID:
    if value == _NO_ID:
        raise ValueError("must not be the zero id")
    return value


def _web_address(value: object) -> object:
    """The address of a page, or None for anything else: no other scheme belongs into a mail."""
    if not isinstance(value, str):
        return None
    address = value.strip()
    is_web = address.lower().startswith(("http://", "https://")) and address.partition("://")[2] != ""
    return address if is_web and address.isprintable() and " " not in address else None


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


GoTime = Annotated[AwareDatetime | None, BeforeValidator(_none_if_empty), AfterValidator(_instant)]
KnownId = Annotated[UUID, AfterValidator(_known_id)]
OptionalId = Annotated[UUID | None, BeforeValidator(_no_zero_id)]


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises PayloadRefused."""
        try:
            content = json.loads(data)
        except (ValueError, RecursionError):
            raise PayloadRefused("the payload is not JSON") from None
        if not isinstance(content, dict):
            raise PayloadRefused("the payload is not a JSON object")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = {f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors(include_input=False)}
            raise PayloadRefused("; ".join(sorted(problems))) from None

    def _digest(self) -> str:
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Answered:
    """What a guest answered, and when (UTC)."""

    at: datetime
    response: RsvpStatus
    plus_ones: int

    def differs_from(self, other: "Answered") -> bool:
        return (self.response, self.plus_ones) != (other.response, other.plus_ones)


class RsvpConfirmed(_Payload):
    """A guest has answered. (Its risk_score is the fraud service's business.)"""

    type: ClassVar[NotificationType] = NotificationType.CONFIRMATION

    rsvp_id: Annotated[str, BeforeValidator(_text_of_number), _text(_LONGEST_ID), Field(min_length=1)]
    guest_id: KnownId
    event_id: KnownId
    response: Annotated[RsvpStatus, BeforeValidator(_response)]
    plus_ones: Annotated[int, BeforeValidator(_zero_for_null), Field(ge=0, le=MOST_PLUS_ONES)] = 0
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


class FraudScored(_Payload):
    """A visit with a guest's link was scored, from 0 (harmless) to 100. `risk` and `reasons` are for people to read."""

    type: ClassVar[NotificationType] = NotificationType.FRAUD_ALERT

    guest_id: OptionalId = None
    event_id: KnownId
    score: FiniteFloat
    risk: Annotated[str, _text(_LONGEST_RISK)] = ""
    reasons: Annotated[tuple[str, ...], BeforeValidator(_reasons)] = ()

    def identity(self, message_id: str | None) -> Identity:
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"payload:{self._digest()}", timedelta(hours=1))


class InvitationSend(_Payload):
    """A host invites a guest. Without `guest_email` the host delivers the invitation by other means."""

    type: ClassVar[NotificationType] = NotificationType.INVITATION

    guest_id: OptionalId = None
    event_id: OptionalId = None
    guest_email: Annotated[str, _text(_LONGEST_ADDRESS), AfterValidator(_email)] = Field(default="", repr=False)
    guest_name: Annotated[str, _text(GUEST_NAME_LIMIT)] = ""
    host_name: Annotated[str, _text(GUEST_NAME_LIMIT)] = ""
    event_name: Annotated[str, _text(EVENT_NAME_LIMIT)] = ""
    venue: Annotated[str, _text(VENUE_LIMIT)] = ""
    event_date: GoTime = None
    link: Annotated[str | None, BeforeValidator(_web_address)] = Field(default=None, repr=False)

    def identity(self, message_id: str | None) -> Identity:
        """A host may send an invitation again, ten minutes later."""
        if message_id:
            return Identity(f"id:{message_id}", None)
        return Identity(f"payload:{self._digest()}", timedelta(minutes=10))


Payload = RsvpConfirmed | FraudScored | InvitationSend

_PAYLOADS: Mapping[NotificationType, type[RsvpConfirmed] | type[FraudScored] | type[InvitationSend]] = {
    kind.type: kind for kind in (RsvpConfirmed, FraudScored, InvitationSend)
}


def read_payload(kind: NotificationType, data: bytes) -> Payload:
    """Raises PayloadRefused for what can never work."""
    payload = _PAYLOADS[kind].read(data)
    if isinstance(payload, InvitationSend) and payload.guest_email and not (payload.guest_id and payload.event_id):
        raise PayloadRefused("guest_id, event_id: needed to write to a guest")
    if isinstance(payload, InvitationSend) and payload.event_date and payload.event_date.year == MAXYEAR:
        raise PayloadRefused("event_date: lies at the end of the calendar; leave it out where there is none")
    return payload


def payload_from(kind: NotificationType, stored: Mapping[str, object]) -> Payload:
    """A payload as it was read once, from its stored form."""
    return _PAYLOADS[kind].model_validate(stored)


def why_not_needed(payload: Payload, *, alert_from_score: float) -> NotNeeded | None:
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
