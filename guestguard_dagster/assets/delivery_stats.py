"""Statistics as assets, a partition per day: fresh within minutes of a send, late news included, and nothing else.

What refreshes them is imported by the runs that do: every other process would wait for it.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AutomationCondition,
    FreshnessPolicy,
    asset,
)

from guestguard_dagster.assets.sources import source_key
from guestguard_dagster.partitions import DAYS, ONE_RUN_PER_BACKFILL, ZONE
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.storage.statistics.changes import Source

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
        backfill_policy=ONE_RUN_PER_BACKFILL,
        automation_condition=_WHEN_NEWS_COME,
        freshness_policy=FreshnessPolicy.time_window(fail_window=timedelta(hours=3), warn_window=timedelta(minutes=90)),
    )


@_statistic(
    deps=[source_key(Source.MESSAGES), source_key(Source.DELIVERIES)],
    description="Each message's deliveries by where they stand, and how long they took.",
)
def message_delivery_stats(context: AssetExecutionContext, database: DatabaseResource) -> None:
    from guestguard_dagster.assets import refreshing

    refreshing.refresh_messages(context, database)


@_statistic(
    deps=[message_delivery_stats, source_key(Source.NOTIFICATIONS)],
    description="Each event's deliveries by where they stand, of its messages and its notifications.",
)
def event_delivery_stats(context: AssetExecutionContext, database: DatabaseResource) -> None:
    from guestguard_dagster.assets import refreshing

    refreshing.refresh_events(context, database)


@_statistic(
    deps=[source_key(Source.MESSAGES), source_key(Source.DELIVERIES), source_key(Source.NOTIFICATIONS)],
    description="The day's deliveries by channel, kind, provider and outcome, with percentiles of their latencies: "
    "from the instant they were due to their hand-off, and to their delivery.",
)
def daily_delivery_stats(context: AssetExecutionContext, database: DatabaseResource) -> None:
    from guestguard_dagster.assets import refreshing

    refreshing.refresh_days(context, database)


@_statistic(
    deps=[source_key(Source.ATTEMPTS), source_key(Source.DELIVERIES), source_key(Source.NOTIFICATIONS)],
    description="Each provider account's hand-offs by what was answered and how fast, and bounces and complaints.",
)
def provider_health(context: AssetExecutionContext, database: DatabaseResource) -> None:
    from guestguard_dagster.assets import refreshing

    refreshing.refresh_providers(context, database)


STATISTICS = [message_delivery_stats, event_delivery_stats, daily_delivery_stats, provider_health]
