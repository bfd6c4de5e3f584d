"""Once a minute: the days whose deliveries changed, reported as changes of the source assets.

What depends on them is refreshed by its automation condition: those days, and no others.
"""

from datetime import datetime

from dagster import (
    AssetMaterialization,
    DefaultSensorStatus,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)

from guestguard_dagster.assets.sources import source_key
from guestguard_dagster.partitions import DAYS, ZONE
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.storage.statistics.changes import ChangeRepo


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Reports the days on which messages, deliveries, notifications and attempts changed.",
)
def delivery_changes(context: SensorEvaluationContext, database: DatabaseResource) -> SensorResult:
    since = datetime.fromisoformat(context.cursor) if context.cursor else None
    changes = ChangeRepo(database.get()).look(since, ZONE)
    cursor = changes.until.isoformat()
    # What is older than the first partition is not counted.
    events = [
        AssetMaterialization(
            source_key(change.source), partition=change.day.isoformat(), metadata={"changed rows": change.rows}
        )
        for change in changes.found
        if DAYS.has_partition_key(change.day.isoformat())
    ]
    if not events:
        return SensorResult(
            skip_reason="nothing changed" if since else "changes from now on are reported", cursor=cursor
        )
    return SensorResult(asset_events=events, cursor=cursor)
