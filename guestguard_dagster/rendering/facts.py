"""What a mail or SMS says about its event, computed once per message."""

from dataclasses import dataclass

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.placeholders import Placeholder
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, GUEST_NAME_LIMIT, VENUE_LIMIT, clean_value
from guestguard_dagster.rendering.dates import format_date, format_end, format_zone

# What {{guest_name}} and {{venue}} say where there is nothing to print.
_NAMELESS_GUEST = "Guest"
_NAMELESS_VENUE = "the venue"


@dataclass(frozen=True, slots=True)
class EventFacts:
    """Cleaned, not escaped. `date` is the start, `time_range` start and end if there is one, `zone` name and offset."""

    name: str
    date: str
    time_range: str
    zone: str
    venue: str
    host_name: str | None = None

    @classmethod
    def of(cls, event: Event, *, host_name: str | None = None) -> "EventFacts":
        date = format_date(event.starts_at, event.zone)
        end = format_end(event.starts_at, event.ends_at, event.zone) if event.ends_at else ""
        return cls(
            name=clean_value(event.name, EVENT_NAME_LIMIT),
            date=date,
            time_range=f"{date} – {end}" if end else date,
            zone=format_zone(event.starts_at, event.zone),
            venue=clean_value(event.venue, VENUE_LIMIT),
            host_name=clean_value(host_name or "", GUEST_NAME_LIMIT) or None,
        )

    def values(self) -> dict[str, str]:
        """The placeholders that are the same for every guest."""
        return {
            Placeholder.EVENT_NAME.value: self.name,
            Placeholder.EVENT_DATE.value: self.date,
            Placeholder.VENUE.value: self.venue or _NAMELESS_VENUE,
        }


def guest_values(guest_name: str, rsvp_link: str) -> dict[str, str]:
    """The placeholders that differ from guest to guest."""
    return {
        Placeholder.GUEST_NAME.value: clean_value(guest_name, GUEST_NAME_LIMIT) or _NAMELESS_GUEST,
        Placeholder.RSVP_LINK.value: rsvp_link,
    }
