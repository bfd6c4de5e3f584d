"""Days follow each other without a gap and without an overlap, whatever the clocks of a zone do."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.domain.days import Days

# Zones whose clocks change at midnight are the hard ones: Havana, Santiago, Beirut, Cairo, Azores.
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",
        "America/Santiago",
        "Asia/Beirut",
        "Africa/Cairo",
        "Atlantic/Azores",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Australia/Lord_Howe",
    )
]
dates = st.dates(min_value=date(2001, 1, 1), max_value=date(2037, 12, 31))
# Samoa had no 30 December 2011: a day that never was.
existing = st.tuples(dates, st.sampled_from(ZONES)).filter(
    lambda pair: pair != (date(2011, 12, 30), ZoneInfo("Pacific/Apia"))
)


@given(existing)
def test_a_day_ends_where_the_next_begins(pair: tuple[date, ZoneInfo]) -> None:
    day, zone = pair
    assert Days.only(day, zone).end == Days.only(day + timedelta(days=1), zone).start


@given(existing)
def test_the_first_instant_of_a_day_belongs_to_it_and_the_one_before_does_not(pair: tuple[date, ZoneInfo]) -> None:
    day, zone = pair
    start = Days.only(day, zone).start
    assert Days.containing(start, zone).first == day
    assert Days.containing(start - timedelta(microseconds=1), zone).first < day


@given(st.integers(min_value=1_000_000_000, max_value=2_140_000_000), st.sampled_from(ZONES))
def test_every_instant_lies_within_its_day(timestamp: int, zone: ZoneInfo) -> None:
    moment = datetime.fromtimestamp(timestamp, UTC)
    day = Days.containing(moment, zone)
    assert day.start <= moment < day.end


def test_days_are_walked_one_by_one() -> None:
    days = Days(date(2026, 2, 27), date(2026, 3, 1), ZoneInfo("Europe/Berlin"))
    assert [day.first for day in days] == [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)]
    assert len(days) == 3
    assert days.widened(2).first == date(2026, 2, 25)


def test_no_days_are_refused() -> None:
    with pytest.raises(ValueError, match="no day from 2026-03-02 to 2026-03-01"):
        Days(date(2026, 3, 2), date(2026, 3, 1), ZoneInfo("UTC"))
