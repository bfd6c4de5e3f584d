"""Events and the people around them."""

from dataclasses import dataclass, field
from datetime import datetime, time
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from guestguard_dagster.domain.local_time import UTC_ZONE, zone_named
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.quiet_hours import SMS_QUIET_HOURS, QuietHours


class RsvpStatus(StrEnum):
    PENDING = "pending"
    ATTENDING = "attending"
    DECLINED = "declined"
    MAYBE = "maybe"


class CollaboratorRole(StrEnum):
    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    email: str = field(repr=False)
    name: str


@dataclass(frozen=True, slots=True)
class Collaborator:
    """Somebody who works on an event, and as what. The owner is the host."""

    user: User
    role: CollaboratorRole


@dataclass(frozen=True, slots=True)
class EventDraft:
    """A new event. `starts_at` and `ends_at` are timezone-aware; `timezone` is an IANA name.

    Quiet hours are on the event's clock, both times or neither: off for email, 21:00 to 09:00 for SMS unless set.
    Raises ValueError for a naive instant, an end that is not after the start, half of the quiet hours, or a timezone
    that does not exist.
    """

    name: str
    venue: str
    starts_at: datetime
    timezone: str
    ends_at: datetime | None = None
    phone_region: str | None = None
    email_quiet_from: time | None = None
    email_quiet_until: time | None = None
    sms_quiet_from: time | None = SMS_QUIET_HOURS.start
    sms_quiet_until: time | None = SMS_QUIET_HOURS.end

    def __post_init__(self) -> None:
        if self.starts_at.tzinfo is None or (self.ends_at is not None and self.ends_at.tzinfo is None):
            raise ValueError("an event's starts_at and ends_at need a timezone, such as datetime(..., tzinfo=UTC)")
        if self.ends_at is not None and self.ends_at <= self.starts_at:
            raise ValueError("an event's ends_at lies after its starts_at; leave it out if the end is open")
        for start, end in (
            (self.email_quiet_from, self.email_quiet_until),
            (self.sms_quiet_from, self.sms_quiet_until),
        ):
            if (start is None) != (end is None):
                raise ValueError("quiet hours need both a start and an end; leave out both to have none")
        if zone_named(self.timezone) is None:
            raise ValueError(f"timezone {self.timezone!r} does not exist; give an IANA name such as 'Europe/Berlin'")


@dataclass(frozen=True, slots=True)
class Event:
    """One row of events. `phone_region` (ISO 3166 alpha-2) reads phone numbers written without a country code.

    `accent`, `logo_url`, `sender_name` and `postal_address` are the event's branding; None is GuestGuard's own.
    """

    id: UUID
    name: str
    venue: str
    starts_at: datetime
    ends_at: datetime | None
    timezone: str
    phone_region: str | None
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    email_quiet_from: time | None = None
    email_quiet_until: time | None = None
    sms_quiet_from: time | None = SMS_QUIET_HOURS.start
    sms_quiet_until: time | None = SMS_QUIET_HOURS.end
    accent: str | None = None
    logo_url: str | None = None
    sender_name: str | None = None
    postal_address: str | None = None

    def quiet_until(self, channel: MessageChannel, moment: datetime) -> datetime | None:
        """When (UTC) guests may be disturbed on this channel again; None when they may be at `moment`."""
        start, end = (
            (self.sms_quiet_from, self.sms_quiet_until)
            if channel is MessageChannel.SMS
            else (self.email_quiet_from, self.email_quiet_until)
        )
        return QuietHours(start, end).end_after(moment, self.zone) if start is not None and end is not None else None

    @property
    def zone(self) -> ZoneInfo:
        """The zone of its clock; UTC where this machine does not know a zone of that name."""
        return zone_named(self.timezone) or UTC_ZONE


@dataclass(frozen=True, slots=True)
class EventBranding:
    """How an event's mails look; None is GuestGuard's own."""

    accent: str | None
    logo_url: str | None
    sender_name: str | None
    postal_address: str | None


@dataclass(frozen=True, slots=True)
class GuestDraft:
    name: str
    email: str | None = field(repr=False)
    phone: str | None = field(default=None, repr=False)
    rsvp_status: RsvpStatus = RsvpStatus.PENDING


@dataclass(frozen=True, slots=True)
class Guest:
    """One row of guests. `rsvp_token` is the secret part of the guest's RSVP link: never log it.

    `phone` is E.164 where the number could be read, else as it was written.
    """

    id: UUID
    event_id: UUID
    name: str
    email: str | None = field(repr=False)
    phone: str | None = field(repr=False)
    rsvp_status: RsvpStatus
    rsvp_token: str = field(repr=False)
    plus_ones: int
    responded_at: datetime | None
    removed_at: datetime | None
    created_at: datetime
