"""Reports as assets: a day, a week, and the events that were over on a day. Stored, linked, and mailed once.

What makes reports is imported by the runs that make them: every other process would wait for it.
"""

from typing import TYPE_CHECKING, Any

from dagster import (
    AssetExecutionContext,
    Config,
    MetadataValue,
    TableColumn,
    TableRecord,
    TableSchema,
    asset,
)
from pydantic import Field

from guestguard_dagster.assets.delivery_stats import (
    daily_delivery_stats,
    event_delivery_stats,
    message_delivery_stats,
    provider_health,
)
from guestguard_dagster.partitions import DAYS, ONE_RUN_PER_BACKFILL, WEEKS, days_of, week_of
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.settings import SettingsResource

if TYPE_CHECKING:
    from guestguard_dagster.reporting.publishing import Published


class Mailing(Config):
    """Nobody gets a report on the same period twice, whatever is set here."""

    mail: bool = Field(default=True, description="also mail the report, if it has not been mailed and is still news")


@asset(
    group_name="reports",
    kinds={"postgres", "html"},
    partitions_def=DAYS,
    backfill_policy=ONE_RUN_PER_BACKFILL,
    deps=[message_delivery_stats, daily_delivery_stats, provider_health],
    description="How the day's deliveries went, for operators: stored, and mailed to OPERATOR_EMAILS the day after.",
)
def daily_delivery_report(
    context: AssetExecutionContext, config: Mailing, database: DatabaseResource, settings: SettingsResource
) -> None:
    from guestguard_dagster.notifications.registry import LABELS
    from guestguard_dagster.reporting.publishing import publish_period
    from guestguard_dagster.storage.statistics.reports import ReportKind

    for key, day in zip(context.partition_keys, days_of(context.partition_keys), strict=True):
        published = publish_period(database.get(), settings.get(), ReportKind.DAILY, day, LABELS, mail=config.mail)
        context.add_asset_metadata(_metadata(published), partition_key=key)


@asset(
    group_name="reports",
    kinds={"postgres", "html"},
    partitions_def=WEEKS,
    backfill_policy=ONE_RUN_PER_BACKFILL,
    deps=[message_delivery_stats, daily_delivery_stats, provider_health],
    description="How the week's deliveries went, for operators: stored, and mailed to OPERATOR_EMAILS on Monday.",
)
def weekly_delivery_report(
    context: AssetExecutionContext, config: Mailing, database: DatabaseResource, settings: SettingsResource
) -> None:
    from guestguard_dagster.notifications.registry import LABELS
    from guestguard_dagster.reporting.publishing import publish_period
    from guestguard_dagster.storage.statistics.reports import ReportKind

    for key in context.partition_keys:
        week = week_of(key)
        published = publish_period(database.get(), settings.get(), ReportKind.WEEKLY, week, LABELS, mail=config.mail)
        context.add_asset_metadata(_metadata(published), partition_key=key)


@asset(
    group_name="reports",
    kinds={"postgres", "html"},
    partitions_def=DAYS,
    backfill_policy=ONE_RUN_PER_BACKFILL,
    deps=[message_delivery_stats, event_delivery_stats],
    description="For each event that was over on the day, how its messages went: stored, and mailed to its host.",
)
def event_reports(
    context: AssetExecutionContext, config: Mailing, database: DatabaseResource, settings: SettingsResource
) -> None:
    from guestguard_dagster.reporting.publishing import publish_events

    for key, day in zip(context.partition_keys, days_of(context.partition_keys), strict=True):
        published = publish_events(database.get(), settings.get(), day, mail=config.mail)
        context.add_asset_metadata(_events_metadata(published), partition_key=key)


REPORTS = [daily_delivery_report, weekly_delivery_report, event_reports]


def _metadata(published: "Published") -> dict[str, Any]:
    return {
        "report": MetadataValue.url(published.link),
        "summary": MetadataValue.md(published.report.summary),
        "revision": published.report.revision,
        "mailed now": published.mailed,
        **({"not mailed, because": published.not_mailed} if published.not_mailed else {}),
    }


def _events_metadata(published: "list[Published]") -> dict[str, Any]:
    records = [
        TableRecord(
            {
                "event": each.report.title,
                "report": each.link,
                "empty": "yes" if each.report.is_empty else "",
                "mailed now": each.mailed,
                "not mailed, because": each.not_mailed or "",
            }
        )
        for each in published
    ]
    columns = ("event", "report", "empty", "mailed now", "not mailed, because")
    return {
        "events": len(published),
        "mailed now": sum(each.mailed for each in published),
        "reports": MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in columns])),
        "summary": MetadataValue.md("\n".join(each.report.summary for each in published) or "No event was over."),
    }
