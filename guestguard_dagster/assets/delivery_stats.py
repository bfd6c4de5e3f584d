"""Statistics as assets, a partition per day: fresh within minutes of a send, late news included, and nothing else."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AutomationCondition,
    BackfillPolicy,
    FreshnessPolicy,
    asset,
)

from guestguard_dagster.assets.sources import source_key
from guestguard_dagster.assets.stats_metadata import (
    Metadata,
    days_metadata,
    events_metadata,
    messages_metadata,
    providers_metadata,
)
from guestguard_dagster.domain.days import Days
from guestguard_dagster.partitions import DAYS, ZONE, days_of
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.storage.changes import Source
from guestguard_dagster.storage.stats import StatsRepo
from guestguard_dagster.storage.stats_reading import StatsReader

_HOURLY = "7 * * * *"

# The days that news touched, whichever they are; and today once an hour, so that silence is seen to be silence.
_WHEN_NEWS_COME = (
    (
        AutomationCondition.any_deps_updated().since_last_handled()
        | (AutomationCondition.in_latest_time_window() & AutomationCondition.cron_tick_passed(_HOURLY, ZONE.key))
    )
    & ~AutomationCondition.in_progress()
).with_label("a source changed, or an hour has passed")


def _statistic(
    *, deps: Sequence[AssetKey | AssetsDefinition], description: str
) -> Callable[[Callable[..., None]], AssetsDefinition]:
    return asset(
        deps=deps,
        description=description,
        group_name="statistics",
        kinds={"postgres", "table"},
        partitions_def=DAYS,
        # Whatever the days of a backfill are, one run computes them: it is the database that works.
        backfill_policy=BackfillPolicy.single_run(),
        automation_condition=_WHEN_NEWS_COME,
        freshness_policy=FreshnessPolicy.time_window(fail_window=timedelta(hours=3), warn_window=timedelta(minutes=90)),
    )


@_statistic(
    deps=[source_key(Source.MESSAGES), source_key(Source.DELIVERIES)],
    description="Each message's deliveries by where they stand, and how long they took.",
)
def message_delivery_stats(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo(database.get()).refresh_messages, messages_metadata)


@_statistic(
    deps=[message_delivery_stats, source_key(Source.NOTIFICATIONS)],
    description="Each event's deliveries by where they stand, of its messages and its notifications.",
)
def event_delivery_stats(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo(database.get()).refresh_events, events_metadata)


@_statistic(
    deps=[source_key(Source.MESSAGES), source_key(Source.DELIVERIES), source_key(Source.NOTIFICATIONS)],
    description="The day's deliveries by channel, kind, provider and outcome, with percentiles of their latencies: "
    "from the instant they were due to their hand-off, and to their delivery.",
)
def daily_delivery_stats(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo(database.get()).refresh_days, days_metadata)


@_statistic(
    deps=[source_key(Source.ATTEMPTS), source_key(Source.DELIVERIES), source_key(Source.NOTIFICATIONS)],
    description="Each provider account's hand-offs by what was answered and how fast, and bounces and complaints.",
)
def provider_health(context: AssetExecutionContext, database: DatabaseResource) -> None:
    _refresh(context, database, StatsRepo(database.get()).refresh_providers, providers_metadata)


STATISTICS = [message_delivery_stats, event_delivery_stats, daily_delivery_stats, provider_health]


def _refresh(
    context: AssetExecutionContext,
    database: DatabaseResource,
    refresh: Callable[[Days], int | None],
    describe: Callable[[StatsReader, Days], Metadata],
) -> None:
    reader = StatsReader(database.get())
    for key, day in zip(context.partition_keys, days_of(context.partition_keys), strict=True):
        rows = refresh(day)
        if rows is None:
            context.log.warning(f"{day}: attempts of this day were deleted already; what was counted before stays")
        metadata = describe(reader, day) | ({} if rows is None else {"rows": rows})
        context.add_asset_metadata(metadata, partition_key=key)
