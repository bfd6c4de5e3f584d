import locale
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guestguard_dagster.rendering.dates import format_date, format_end, format_zone

BERLIN = ZoneInfo("Europe/Berlin")
EVENING = datetime(2026, 12, 5, 17, 30, tzinfo=UTC)


def test_a_date_is_written_in_the_events_zone() -> None:
    assert format_date(EVENING, BERLIN) == "Sat, 05 Dec 2026 · 18:30"
    assert format_date(EVENING, ZoneInfo("Asia/Tokyo")) == "Sun, 06 Dec 2026 · 02:30"


@settings(max_examples=200, deadline=None)
@given(
    moment=st.integers(0, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    zone=st.sampled_from(sorted(available_timezones())).map(ZoneInfo),
)
def test_a_date_reads_like_english_strftime_in_every_zone(moment: datetime, zone: ZoneInfo) -> None:
    assert locale.setlocale(locale.LC_TIME) == "C"
    assert format_date(moment, zone) == moment.astimezone(zone).strftime("%a, %d %b %Y · %H:%M")


@pytest.mark.parametrize(
    ("hours", "end"), [(4, "22:30"), (5, "23:30"), (6, "Sun, 06 Dec 2026 · 00:30"), (24, "Sun, 06 Dec 2026 · 18:30")]
)
def test_an_end_on_the_same_day_is_a_time_and_later_a_date(hours: int, end: str) -> None:
    assert format_end(EVENING, EVENING + timedelta(hours=hours), BERLIN) == end


@pytest.mark.parametrize(
    ("zone", "month", "label"),
    [
        ("Europe/Berlin", 12, "Europe/Berlin (UTC+01:00)"),
        ("Europe/Berlin", 7, "Europe/Berlin (UTC+02:00)"),
        ("America/New_York", 12, "America/New_York (UTC-05:00)"),
        ("America/St_Johns", 12, "America/St_Johns (UTC-03:30)"),
        ("Asia/Kathmandu", 12, "Asia/Kathmandu (UTC+05:45)"),
        ("UTC", 12, "UTC (UTC+00:00)"),
    ],
)
def test_the_zone_is_named_with_its_offset_on_that_day(zone: str, month: int, label: str) -> None:
    assert format_zone(datetime(2026, month, 5, tzinfo=UTC), ZoneInfo(zone)) == label
