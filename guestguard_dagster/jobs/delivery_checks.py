"""All asset checks in one run: they look rows up, so they need nothing materialized."""

from dagster import AssetSelection, define_asset_job, in_process_executor

from guestguard_dagster.jobs.queues import MAINTENANCE_QUEUE

delivery_checks = define_asset_job(
    "delivery_checks",
    selection=AssetSelection.all_asset_checks(),
    executor_def=in_process_executor,
    tags=MAINTENANCE_QUEUE,
    description="Looks up in the rows whether every promise holds. Changes nothing.",
)
