"""`python -m benchmarks.history`: a month of deliveries under a running `guestguard up`, and what operating it takes.

Run it in the folder in which `guestguard up` runs. It writes a million deliveries, has all statistics computed by one
backfill, refreshes one day, and sends again what failed on three days, all through Dagster's page; then it counts.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from benchmarks.dagster_page import DagsterPage
from benchmarks.history_rows import failed_by_day, sent_again_by_day, write_history
from guestguard_dagster.domain.days import Days
from guestguard_dagster.local.here import settings_here
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.statistics.reading import StatsReader

STATISTICS = ("message_delivery_stats", "event_delivery_stats", "daily_delivery_stats", "provider_health")
_RETRIED_DAYS = 3
_PATIENCE_SECONDS = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--dagster", default="http://127.0.0.1:3000", help="where Dagster's page is")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    given = parser.parse_args()
    settings = settings_here(Path.cwd())
    with Database(settings.require_database_url(), application_name="guestguard-history") as database:
        yesterday = Days.containing(database.now() - timedelta(days=1), settings.operator_zone)
        days = yesterday.widened(given.days - 1)
        with _timed("writing the history"):
            history = write_history(database, days, deliveries=given.deliveries)
        print(f"  {history.deliveries:,} deliveries on {days}")
        _measure(database, DagsterPage(given.dagster), days)


def _measure(database: Database, page: DagsterPage, days: Days) -> None:
    _backfill(page, days, f"all statistics of {len(days)} days, by one backfill")
    counted = sum(sum(outcomes.values()) for outcomes in StatsReader(database).outcomes_by_day(days).values())
    print(f"  {counted:,} deliveries counted")
    _backfill(page, Days.only(days.last, days.zone), "the statistics of one day")
    _retry(database, page, days)


def _backfill(page: DagsterPage, days: Days, what: str) -> None:
    with _timed(what):
        ended = page.wait_for(page.backfill_assets(STATISTICS, _keys(days)), at_most=_PATIENCE_SECONDS)
    seconds = ", ".join(f"{run['endTime'] - run['startTime']:.1f} s" for run in ended["runs"])
    print(f"  of these, for its run: {seconds}; the rest is the daemon's own rhythm")


def _retry(database: Database, page: DagsterPage, days: Days) -> None:
    """Send again what failed on three days in the middle, and see that nothing else moved."""
    middle = days.first + timedelta(days=len(days) // 2)
    chosen = Days(middle, middle + timedelta(days=_RETRIED_DAYS - 1), days.zone)
    before = failed_by_day(database, days)
    wanted = {day: count for day, count in before.items() if chosen.first <= day <= chosen.last}
    expected = {day: count for day, count in before.items() if day not in wanted}
    print(f"failed before, on {chosen}: {_told(wanted)}; on the other {len(days) - len(chosen)} days: {_sum(expected)}")
    with _timed(f"sending {_sum(wanted)} deliveries of {len(chosen)} days again, from backfill to the last hand-off"):
        page.wait_for(page.backfill_job("retry_failed_deliveries", _keys(chosen)), at_most=_PATIENCE_SECONDS)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while sent_again_by_day(database, days) != wanted and time.monotonic() < deadline:
            time.sleep(1)
    after = failed_by_day(database, days)
    again = sent_again_by_day(database, days)
    print(f"failed after, on {chosen}: {_told({day: after.get(day, 0) for day in wanted})}; sent again: {_told(again)}")
    if again != wanted or {day: count for day, count in after.items() if count} != expected:
        sys.exit("what was sent again is not what had failed on these days")


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)


def _keys(days: Days) -> list[str]:
    return [f"{day.first}" for day in days]


def _told(counts: Mapping[date, int]) -> str:
    return ", ".join(f"{day}: {count}" for day, count in counts.items())


def _sum(counts: Mapping[date, int]) -> int:
    return sum(counts.values())


if __name__ == "__main__":
    main()
