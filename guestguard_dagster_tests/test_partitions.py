"""Partitions are the operator's days and weeks: today is one of them, a week is one once it is over."""

from datetime import UTC, date, datetime

from dagster._core.test_utils import freeze_time
from dagster._time import get_current_datetime  # what Dagster takes for the present

from guestguard_dagster.domain.days import Days
from guestguard_dagster.partitions import ZONE, daily_partitions, days_of, week_of, weekly_partitions
from guestguard_dagster.settings import Settings

BERLIN = Settings(operator_timezone="Europe/Berlin", statistics_since=date(2026, 3, 1))
# already Tuesday in Berlin
MONDAY_EVENING = datetime(2026, 3, 9, 23, 30, tzinfo=UTC)


def test_today_is_a_partition_from_its_first_second_on() -> None:
    with freeze_time(MONDAY_EVENING):
        assert get_current_datetime() == MONDAY_EVENING
        assert daily_partitions(BERLIN).get_last_partition_key() == "2026-03-10"
    assert daily_partitions(BERLIN).get_first_partition_key() == "2026-03-01"


def test_a_week_is_a_partition_when_its_sunday_is_over() -> None:
    with freeze_time(MONDAY_EVENING):
        assert weekly_partitions(BERLIN).get_partition_keys() == ["2026-03-02"]


def test_keys_stand_for_days_of_the_operators_zone() -> None:
    assert days_of(["2026-03-10"]) == [Days.only(date(2026, 3, 10), ZONE)]
    assert week_of("2026-03-02") == Days(date(2026, 3, 2), date(2026, 3, 8), ZONE)
