"""Exports carry every row of the days that were asked for, in types that other programs read."""

import csv
import sys
from datetime import UTC, date, datetime
from io import BytesIO, StringIO
from zoneinfo import ZoneInfo

import pyarrow.parquet as parquet
import pytest
from sqlalchemy import insert

from guestguard_dagster.domain.days import Days
from guestguard_dagster.reporting.export import Dataset, ParquetMissing, as_csv, as_parquet
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.tables.statistics import daily_delivery_stats

DAYS = Days(date(2026, 3, 10), date(2026, 3, 11), ZoneInfo("Europe/Berlin"))
COMPUTED = datetime(2026, 3, 12, 7, tzinfo=UTC)


@pytest.fixture(autouse=True)
def three_days(database: Database) -> None:
    with database.transaction() as connection:
        for day in (9, 10, 11):
            connection.execute(
                insert(daily_delivery_stats).values(
                    day=date(2026, 3, day),
                    channel="email",
                    kind="broadcast",
                    provider="smtp",
                    outcome="sent",
                    deliveries=day * 100,
                    hand_off_p50=0.5,
                    computed_at=COMPUTED,
                )
            )


def test_csv_has_a_line_for_each_row_of_these_days(database: Database) -> None:
    lines = list(csv.DictReader(StringIO(as_csv(database, Dataset.DAYS, DAYS))))

    assert [(line["day"], line["deliveries"]) for line in lines] == [("2026-03-10", "1000"), ("2026-03-11", "1100")]
    assert (lines[0]["hand_off_p50"], lines[0]["delivered_p50"]) == ("0.5", "")
    assert lines[0]["computed_at"] == "2026-03-12T07:00:00+00:00"


def test_parquet_has_the_same_rows_with_their_types(database: Database) -> None:
    rows = parquet.read_table(BytesIO(as_parquet(database, Dataset.DAYS, DAYS))).to_pylist()

    assert [(row["day"], row["deliveries"]) for row in rows] == [(date(2026, 3, 10), 1000), (date(2026, 3, 11), 1100)]
    assert (rows[0]["hand_off_p50"], rows[0]["delivered_p50"]) == (0.5, None)
    assert rows[0]["computed_at"] == COMPUTED


@pytest.mark.parametrize("dataset", Dataset)
def test_days_without_any_row_are_exported_as_none(database: Database, dataset: Dataset) -> None:
    never = Days.only(date(2020, 1, 1), DAYS.zone)

    assert len(as_csv(database, dataset, never).splitlines()) == 1
    assert parquet.read_table(BytesIO(as_parquet(database, dataset, never))).num_rows == 0


def test_without_the_package_parquet_says_what_to_install(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ParquetMissing, match=r"guestguard-dagster\[parquet\]"):
        as_parquet(database, Dataset.DAYS, DAYS)
