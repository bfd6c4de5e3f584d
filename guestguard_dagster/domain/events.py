"""Events and the people around them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


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

    Raises ValueError for a naive instant, an end that is not after the start, or a timezone that does not exist.
    """

    name: str
    venue: str
    starts_at: datetime
    timezone: str
    ends_at: datetime | None = None
    phone_region: str | None = None

    def __post_init__(self) -> None:
        if self.starts_at.tzinfo is None or (self.ends_at is not None and self.ends_at.tzinfo is None):
            raise ValueError("an event's starts_at and ends_at need a timezone, such as datetime(..., tzinfo=UTC)")
        if self.ends_at is not None and self.ends_at <= self.starts_at:
            raise ValueError("an event's ends_at lies after its starts_at; leave it out if the end is open")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"timezone {self.timezone!r} does not exist; give an IANA name such as 'Europe/Berlin'"
            ) from None


@dataclass(frozen=True, slots=True)
class Event:
    """One row of events. `phone_region` (ISO 3166 alpha-2) reads phone numbers written without a country code."""

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

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


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
