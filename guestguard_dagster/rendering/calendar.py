"""An event as an iCalendar file (RFC 5545), published (RFC 5546) to whoever wants it in their calendar.

The same for every guest. Its UID never changes and its SEQUENCE grows with every change of the event, so that a later
file updates the entry instead of adding another.
"""

from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.plain_text import EVENT_NAME_LIMIT, GUEST_NAME_LIMIT, VENUE_LIMIT, clean_value
from guestguard_dagster.rendering.addresses import AddressInvalid, utf8_address

CALENDAR_FILENAME: Final = "event.ics"
CALENDAR_TYPE: Final = 'text/calendar; charset="utf-8"; method=PUBLISH'


def calendar_file(event: Event, host: User) -> bytes:
    """Times are in UTC, which needs no VTIMEZONE: calendars show them by their owner's clock."""
    # Takes a while to import, and only confirmations need it.
    from icalendar import Calendar, vCalAddress
    from icalendar import Event as Entry

    entry = Entry()
    entry.add("uid", f"{event.id}@guestguard")
    entry.add("sequence", max(0, int((event.updated_at - event.created_at).total_seconds())))
    entry.add("dtstamp", _utc(event.updated_at))
    entry.add("created", _utc(event.created_at))
    entry.add("last-modified", _utc(event.updated_at))
    entry.add("dtstart", _utc(event.starts_at))
    if event.ends_at is not None:
        entry.add("dtend", _utc(event.ends_at))
    entry.add("summary", clean_value(event.name, EVENT_NAME_LIMIT))
    if venue := clean_value(event.venue, VENUE_LIMIT):
        entry.add("location", venue)
    if address := _mailto(host.email):
        organizer = vCalAddress(address)
        organizer.params["cn"] = clean_value(host.name, GUEST_NAME_LIMIT)
        entry.add("organizer", organizer)
    entry.add("status", "CONFIRMED")

    calendar = Calendar()
    calendar.add("prodid", "-//GuestGuard//Messaging//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(entry)
    return bytes(calendar.to_ical())


def _mailto(email: str) -> str | None:
    """As a URI (RFC 6068), or None for what is no address."""
    try:
        return f"mailto:{quote(utf8_address(email), safe='@!$*+=')}"
    except AddressInvalid:
        return None


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)
