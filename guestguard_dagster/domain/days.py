"""Calendar days of the operator's zone: what statistics, reports and backfills are divided by."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from guestguard_dagster.domain.local_time import instant_of

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Days:
    """The days from `first` to `last`, both included, on the clock of `zone`. Raises ValueError when they are none."""

    first: date
    last: date
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"there is no day from {self.first} to {self.last}")

    @classmethod
    def only(cls, day: date, zone: ZoneInfo) -> "Days":
        return cls(day, day, zone)

    @classmethod
    def containing(cls, moment: datetime, zone: ZoneInfo) -> "Days":
        """The day of an aware instant."""
        return cls.only(moment.astimezone(zone).date(), zone)

    @property
    def start(self) -> datetime:
        """The instant (UTC) at which the first day begins."""
        return instant_of(datetime.combine(self.first, time(), self.zone))

    @property
    def end(self) -> datetime:
        """The instant (UTC) at which the last day is over."""
        return instant_of(datetime.combine(self.last + _ONE_DAY, time(), self.zone))

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __iter__(self) -> Iterator["Days"]:
        """Each day by itself."""
        return (Days.only(self.first + offset * _ONE_DAY, self.zone) for offset in range(len(self)))

    def __str__(self) -> str:
        return f"{self.first}" if len(self) == 1 else f"{self.first} to {self.last}"

    def widened(self, back: int) -> "Days":
        """These days and the `back` days before them."""
        return Days(self.first - back * _ONE_DAY, self.last, self.zone)
