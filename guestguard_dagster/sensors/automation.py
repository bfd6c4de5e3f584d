"""Evaluates the automation conditions of assets and checks."""

from dagster import AssetSelection, AutomationConditionSensorDefinition, DefaultSensorStatus

from guestguard_dagster.jobs.queues import MAINTENANCE_QUEUE

automation = AutomationConditionSensorDefinition(
    "automation",
    target=AssetSelection.all(),
    run_tags=MAINTENANCE_QUEUE,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Refreshes the statistics of days that changed.",
)
