"""Events and the people around them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo


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
    email: str
    name: str


@dataclass(frozen=True, slots=True)
class EventDraft:
    """A new event. `starts_at` and `ends_at` are timezone-aware; `timezone` is an IANA name."""

    name: str
    venue: str
    starts_at: datetime
    timezone: str
    ends_at: datetime | None = None
    phone_region: str | None = None


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
    email: str | None
    phone: str | None = None
    rsvp_status: RsvpStatus = RsvpStatus.PENDING


@dataclass(frozen=True, slots=True)
class Guest:
    """One row of guests. `rsvp_token` is the secret part of the guest's RSVP link: never log it."""

    id: UUID
    event_id: UUID
    name: str
    email: str | None
    phone: str | None
    rsvp_status: RsvpStatus
    rsvp_token: str
    plus_ones: int
    responded_at: datetime | None
    removed_at: datetime | None
    created_at: datetime
