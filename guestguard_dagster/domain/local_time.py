"""From a time on an event's wall clock to the instant that it means."""

from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UTC_ZONE: Final = ZoneInfo("UTC")


def zone_named(name: str) -> ZoneInfo | None:
    """The zone of this IANA name, or None when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def instant_of(local: datetime) -> datetime:
    """The UTC instant of an aware local time. One that a clock change leaves out moves forward by the gap; of one that
    happens twice, the first is taken."""
    return local.replace(fold=0).astimezone(UTC)


def next_time_of_day(after: datetime, at: time, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) after `after` at which the zone's clock says `at`."""
    day = after.astimezone(zone).date()
    for offset in range(3):
        moment = instant_of(datetime.combine(day + timedelta(days=offset), at, zone))
        if moment > after:
            return moment
    raise ValueError(f"no {at} follows {after} in {zone}")
