"""The one clock of this process. Decisions about leases and due times use the database's clock instead."""

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present instant, timezone-aware, in UTC."""
    return datetime.now(UTC)


def in_utc(moment: datetime) -> datetime:
    """An instant that says no zone is meant in UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def boot_seconds() -> float:
    """Seconds since boot, counting suspension where the platform can: a frozen process sees the time it lost."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock_id)
