"""The page's clock agrees with the engine's on every zone's wall clock, changes of the clock included."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from guestguard_dagster.domain.local_time import instant_of
from guestguard_dagster.rendering.dates import format_date
from guestguard_dagster_tests.browser.conftest import Site

_ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
)
# Wall clock times, labelled UTC until they are given their zone.
_START = datetime(2025, 1, 1, tzinfo=UTC)
_any_time = st.integers(0, 10 * 365 * 24 * 60).map(lambda minutes: _START + timedelta(minutes=minutes))
# Around the nights in which clocks change in these zones.
_NIGHTS = [
    datetime(2027, month, day, tzinfo=UTC) for month, day in ((3, 14), (3, 28), (4, 4), (10, 3), (10, 31), (11, 7))
]
_change_of_clock = st.builds(
    lambda night, minutes: night + timedelta(minutes=minutes), st.sampled_from(_NIGHTS), st.integers(0, 4 * 60)
)
_cases = st.lists(st.tuples(st.sampled_from(_ZONES), _any_time | _change_of_clock), min_size=50, max_size=200)

_ASK = """async (cases) => {
  const { Clock } = await import("/static/js/times.js");
  return cases.map(([zone, wall]) => {
    const clock = new Clock(zone), instant = clock.instantOf(wall);
    return [instant, clock.fieldValue(instant), clock.told(instant)];
  });
}"""


def _expected(zone: str, wall: datetime) -> list[str]:
    local = ZoneInfo(zone)
    instant = instant_of(wall.replace(tzinfo=local))
    shown = instant.astimezone(local)
    return [
        instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        shown.strftime("%Y-%m-%dT%H:%M"),
        format_date(instant, local),
    ]


def test_times_that_a_host_types_are_the_instants_that_the_engine_means(page: Page, site: Site) -> None:
    page.goto(site.url)

    @settings(max_examples=8, deadline=None)
    @given(cases=_cases)
    def agree(cases: list[tuple[str, datetime]]) -> None:
        told: Any = page.evaluate(_ASK, [[zone, wall.strftime("%Y-%m-%dT%H:%M")] for zone, wall in cases])
        assert told == [_expected(zone, wall) for zone, wall in cases]

    agree()
