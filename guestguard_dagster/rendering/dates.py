"""Dates as guests read them: English in every locale of the process, by the clock of the event's zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def format_date(moment: datetime, zone: ZoneInfo) -> str:
    """`Sat, 05 Dec 2026 · 18:30`."""
    local = _local(moment, zone)
    day = f"{_DAYS[local.weekday()]}, {local.day:02} {_MONTHS[local.month - 1]} {local.year:04}"
    return f"{day} · {local.hour:02}:{local.minute:02}"


def format_end(starts_at: datetime, ends_at: datetime, zone: ZoneInfo) -> str:
    """The end of an event after its start: `22:00` on the same day, else the whole date."""
    whole = format_date(ends_at, zone)
    same_day = _local(starts_at, zone).date() == _local(ends_at, zone).date()
    return whole[-5:] if same_day else whole


def format_zone(moment: datetime, zone: ZoneInfo) -> str:
    """The zone and its offset at that moment: `Europe/Berlin (UTC+01:00)`."""
    local = _local(moment, zone)
    if local.tzinfo is not zone:
        return "UTC"
    offset = local.utcoffset()
    minutes = round(offset.total_seconds() / 60) if offset else 0
    sign = "-" if minutes < 0 else "+"
    return f"{zone.key} (UTC{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02})"


def _local(moment: datetime, zone: ZoneInfo) -> datetime:
    """By the zone's clock; in UTC in the first and last hours of the calendar, where the zone's would run out of it."""
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment.astimezone(UTC)
