"""Statistics for spreadsheets and notebooks: the rows behind reports, as CSV or Parquet."""

import csv
from collections.abc import Mapping
from enum import StrEnum
from io import BytesIO, StringIO
from typing import Any

from sqlalchemy import BigInteger, Date, DateTime, Double, Integer, Table, Uuid

from guestguard_dagster.domain.days import Days
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.statistics.reading import StatsReader
from guestguard_dagster.storage.tables.statistics import (
    daily_delivery_stats,
    daily_latency_stats,
    event_delivery_stats,
    message_delivery_stats,
    provider_health,
)


class Dataset(StrEnum):
    DAYS = "days"
    LATENCIES = "latencies"
    MESSAGES = "messages"
    EVENTS = "events"
    PROVIDERS = "providers"


_TABLES: Mapping[Dataset, Table] = {
    Dataset.DAYS: daily_delivery_stats,
    Dataset.LATENCIES: daily_latency_stats,
    Dataset.MESSAGES: message_delivery_stats,
    Dataset.EVENTS: event_delivery_stats,
    Dataset.PROVIDERS: provider_health,
}


class ParquetMissing(Exception):
    """Parquet needs a package that is not installed; the text says which and how to get it."""


def as_csv(database: Database, dataset: Dataset, days: Days) -> str:
    """One line per row under a line of column names, times in UTC as ISO 8601. Ids stand in for names."""
    table = _TABLES[dataset]
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(column.name for column in table.c)
    for row in StatsReader(database).rows_of(table, days):
        writer.writerow(_written(value) for value in row)
    return text.getvalue()


def as_parquet(database: Database, dataset: Dataset, days: Days) -> bytes:
    """The same columns with their types, compressed. Raises ParquetMissing."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError:
        raise ParquetMissing(
            "Parquet needs the package pyarrow; install the extra: pip install 'guestguard-dagster[parquet]'"
        ) from None
    table = _TABLES[dataset]
    rows = StatsReader(database).rows_of(table, days)
    schema = arrow.schema([(column.name, _arrow_type(arrow, column.type)) for column in table.c])
    columns = [
        [str(row[place]) if isinstance(column.type, Uuid) else row[place] for row in rows]
        for place, column in enumerate(table.c)
    ]
    buffer = BytesIO()
    parquet.write_table(
        arrow.table([arrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema),
        buffer,
        compression="zstd",
    )
    return buffer.getvalue()


def _written(value: object) -> object:
    return value.isoformat() if hasattr(value, "isoformat") else "" if value is None else value


def _arrow_type(arrow: Any, type_: object) -> Any:
    match type_:
        case Date():
            return arrow.date32()
        case DateTime():
            return arrow.timestamp("us", tz="UTC")
        case Double():
            return arrow.float64()
        case BigInteger() | Integer():
            return arrow.int64()
        case _:
            return arrow.string()
