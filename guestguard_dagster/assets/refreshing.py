"""What a run of the statistics does: each of its days computed anew, and shown."""

from collections.abc import Callable

from dagster import AssetExecutionContext

from guestguard_dagster.assets.stats_metadata import (
    Metadata,
    days_metadata,
    events_metadata,
    messages_metadata,
    providers_metadata,
)
from guestguard_dagster.domain.days import Days
from guestguard_dagster.partitions import days_of
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.storage.statistics.computing import StatsRepo
from guestguard_dagster.storage.statistics.reading import StatsReader


def refresh_messages(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo.refresh_messages, messages_metadata)


def refresh_events(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo.refresh_events, events_metadata)


def refresh_days(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo.refresh_days, days_metadata)


def refresh_providers(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo.refresh_providers, providers_metadata)


def _refresh(
    context: AssetExecutionContext,
    database: DatabaseResource,
    refresh: Callable[[StatsRepo, Days], int | None],
    describe: Callable[[StatsReader, Days], Metadata],
) -> None:
    stats, reader = StatsRepo(database.get()), StatsReader(database.get())
    for key, day in zip(context.partition_keys, days_of(context.partition_keys), strict=True):
        rows = refresh(stats, day)
        if rows is None:
            context.log.warning(f"{day}: attempts of this day were deleted already; what was counted before stays")
        metadata = describe(reader, day) | ({} if rows is None else {"rows": rows})
        context.add_asset_metadata(metadata, partition_key=key)
