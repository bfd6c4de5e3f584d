"""Events and the people around them as JSON."""

from datetime import datetime, time
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from guestguard_dagster.domain.events import (
    Collaborator,
    CollaboratorRole,
    Event,
    EventDraft,
    RsvpStatus,
)
from guestguard_dagster.domain.phones import is_region
from guestguard_dagster.domain.plain_text import GUEST_NAME_LIMIT, clean_value
from guestguard_dagster.rendering.shell import LOGO_URL_LIMIT, POSTAL_ADDRESS_LIMIT, Branding, is_logo_url
from guestguard_dagster.web.api.values import (
    Answer,
    Body,
    Email,
    EventName,
    Instant,
    OptionalText,
    PersonName,
    Phone,
    Venue,
    storable,
)


def _known_region(region: str) -> str:
    if not is_region(region):
        raise ValueError("must be a country code of two letters, such as DE")
    return region.upper()


def _local_time(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError("is a time on the event's own clock, such as 21:00, without an offset")
    return value.replace(microsecond=0)


def _logo_url(url: str | None) -> str | None:
    if url is not None and not is_logo_url(url):
        raise ValueError("must be an https:// address without spaces, quotes and control characters")
    return url


def _footer_line(text: str | None) -> str | None:
    return clean_value(storable(text), POSTAL_ADDRESS_LIMIT) or None if text is not None else None


Region = Annotated[str, Field(max_length=2), AfterValidator(_known_region)]
LocalTime = Annotated[time, AfterValidator(_local_time)]


class NewEvent(Body):
    """`timezone` is an IANA name; the four reminders leave by its clock. Quiet hours: both times or neither."""

    name: EventName
    venue: Venue = ""
    starts_at: Instant
    ends_at: Instant | None = None
    timezone: str = Field(max_length=64)
    phone_region: Region | None = None
    email_quiet_from: LocalTime | None = None
    email_quiet_until: LocalTime | None = None
    sms_quiet_from: LocalTime | None = time(21)
    sms_quiet_until: LocalTime | None = time(9)

    def draft(self) -> EventDraft:
        """Raises ValueError for what does not fit together."""
        return EventDraft(**self.model_dump())


class EventEdit(Body):
    """What changes; everything left out stays, and null clears. `updated_at` is as the editor read it."""

    updated_at: Instant
    name: EventName | None = None
    venue: Venue | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    timezone: str | None = Field(default=None, max_length=64)
    phone_region: Region | None = None
    email_quiet_from: LocalTime | None = None
    email_quiet_until: LocalTime | None = None
    sms_quiet_from: LocalTime | None = None
    sms_quiet_until: LocalTime | None = None

    def draft_for(self, event: Event) -> EventDraft:
        """The event with these changes. Raises ValueError for what does not fit together."""
        given = self.model_dump(include=self.model_fields_set - {"updated_at"})
        for name in _NEVER_NULL & given.keys():
            if given[name] is None:
                raise ValueError(f"{name} cannot be cleared")
        return EventDraft(**{name: given.get(name, getattr(event, name)) for name in _DRAFT_FIELDS})


_NEVER_NULL = {"name", "venue", "starts_at", "timezone"}
_DRAFT_FIELDS = tuple(NewEvent.model_fields)


class EventOut(Answer):
    """An event and the caller's role on it. `updated_at` belongs into the next edit."""

    id: UUID
    role: CollaboratorRole
    name: str
    venue: str
    starts_at: datetime
    ends_at: datetime | None
    timezone: str
    phone_region: str | None
    email_quiet_from: time | None
    email_quiet_until: time | None
    sms_quiet_from: time | None
    sms_quiet_until: time | None
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, event: Event, role: CollaboratorRole) -> "EventOut":
        return cls.made_of(event, role=role)


class EventPage(BaseModel):
    items: list[EventOut]
    next: UUID | None = Field(description="the `after` of the next page; null when this is the last one")


class BrandingValues(Body):
    """How the event's mails look; null is GuestGuard's own. The logo is shown 32 px high above the card."""

    accent: str | None = Field(default=None, pattern=r"^#[0-9A-Fa-f]{6}$", description="as #rrggbb")
    logo_url: Annotated[OptionalText, AfterValidator(_logo_url)] = Field(
        default=None, max_length=LOGO_URL_LIMIT, pattern=r"^https://[^\s\"'<>]+$"
    )
    sender_name: PersonName | None = Field(default=None, description='mail comes from "{sender_name} via GuestGuard"')
    postal_address: Annotated[OptionalText, AfterValidator(_footer_line)] = Field(
        default=None, max_length=POSTAL_ADDRESS_LIMIT, description="in the footer of every mail"
    )

    @classmethod
    def of(cls, event: Event) -> "BrandingValues":
        """As mails look now: what is stored and cannot be shown is left out."""
        shown = Branding.of(event)
        return cls(
            accent=shown.accent if event.accent else None,
            logo_url=shown.logo_url,
            sender_name=clean_value(event.sender_name or "", GUEST_NAME_LIMIT) or None,
            postal_address=shown.postal_address,
        )


class NewCollaborator(Body):
    """A person by email address. `name` is used if they are new here."""

    email: Email
    name: PersonName | None = None
    role: CollaboratorRole = CollaboratorRole.EDITOR


class RoleChange(Body):
    role: CollaboratorRole


class CollaboratorOut(BaseModel):
    user_id: UUID
    name: str
    email: str
    role: CollaboratorRole

    @classmethod
    def of(cls, collaborator: Collaborator) -> "CollaboratorOut":
        user = collaborator.user
        return cls(user_id=user.id, name=user.name, email=user.email, role=collaborator.role)


class CollaboratorList(BaseModel):
    items: list[CollaboratorOut]


class NewGuest(Body):
    name: PersonName
    email: Email | None = None
    phone: Phone | None = None
    rsvp_status: RsvpStatus = RsvpStatus.PENDING


class GuestEdit(Body):
    """What changes; everything left out stays, and null clears."""

    name: PersonName | None = None
    email: Email | None = None
    phone: Phone | None = None


class GuestOut(Answer):
    """A guest. The link to the RSVP page is the guest's secret, and is in their mails alone."""

    id: UUID
    name: str
    email: str | None
    phone: str | None
    rsvp_status: RsvpStatus
    plus_ones: int
    responded_at: datetime | None
    removed_at: datetime | None
    created_at: datetime


class GuestPage(BaseModel):
    items: list[GuestOut]
    next: UUID | None


class ImportOut(BaseModel):
    imported: int
    already_there: int = Field(description="guests whose email address was on the list; they stay as they are")
    ignored_columns: list[str]
    guests: list[GuestOut] = Field(description="the first 200 of them")


def shortened_name(email: str) -> str:
    """What to call somebody of whom only the address is known."""
    return clean_value(email.rpartition("@")[0], GUEST_NAME_LIMIT) or "Collaborator"
