"""Quiet hours: when guests are not to be disturbed, on the event's clock."""

from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

from guestguard_dagster.domain.local_time import next_time_of_day


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` up to, but not including, `end`; over midnight when `end` is not later. Equal times mean never."""

    start: time
    end: time

    def end_after(self, moment: datetime, zone: ZoneInfo) -> datetime | None:
        """When (UTC) the quiet hours that `moment` lies in are over; None when it lies outside of them."""
        return next_time_of_day(moment, self.end, zone) if self._contain(moment.astimezone(zone).time()) else None

    def _contain(self, local: time) -> bool:
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


SMS_QUIET_HOURS = QuietHours(time(21), time(9))
