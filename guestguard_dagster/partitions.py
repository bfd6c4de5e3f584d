"""How history is divided: by days and weeks of the operator's zone.

Which day a row belongs to is decided in `storage.statistics.computing`.
"""

import warnings
from collections.abc import Sequence
from datetime import date, timedelta

from dagster import BackfillPolicy, BetaWarning, DailyPartitionsDefinition, WeeklyPartitionsDefinition

from guestguard_dagster.domain.days import Days
from guestguard_dagster.settings import Settings, load_settings

_LAST_DAY_OF_WEEK = timedelta(days=6)


def daily_partitions(settings: Settings) -> DailyPartitionsDefinition:
    """Every day from the first that statistics know up to today, which is a partition from its first second on."""
    return DailyPartitionsDefinition(
        start_date=settings.statistics_since.isoformat(), timezone=settings.operator_timezone, end_offset=1
    )


def weekly_partitions(settings: Settings) -> WeeklyPartitionsDefinition:
    """Every week that is over, from Monday to Sunday, named after its Monday."""
    return WeeklyPartitionsDefinition(
        start_date=settings.statistics_since.isoformat(), timezone=settings.operator_timezone, day_offset=1
    )


_settings = load_settings()
ZONE = _settings.operator_zone
DAYS = daily_partitions(_settings)
WEEKS = weekly_partitions(_settings)

# Whatever the days of a backfill are, one run computes them: it is the database that works.
ONE_RUN_PER_BACKFILL = BackfillPolicy.single_run()
# Said once for each asset at every load. The pinned minor version keeps the parameter as it is.
warnings.filterwarnings("ignore", category=BetaWarning, message="Parameter `backfill_policy`")


def days_of(partition_keys: Sequence[str]) -> list[Days]:
    """The day that each of these daily partitions stands for."""
    return [Days.only(date.fromisoformat(key), ZONE) for key in partition_keys]


def week_of(partition_key: str) -> Days:
    """The seven days that a weekly partition stands for."""
    monday = date.fromisoformat(partition_key)
    return Days(monday, monday + _LAST_DAY_OF_WEEK, ZONE)
