"""Reports with the statistics that they are made of, counted once more: so they are as true as the rows."""

from dagster import AssetSelection, define_asset_job, in_process_executor

from guestguard_dagster.assets.delivery_stats import STATISTICS
from guestguard_dagster.assets.reports import daily_delivery_report, event_reports, weekly_delivery_report
from guestguard_dagster.jobs.queues import MAINTENANCE_QUEUE
from guestguard_dagster.partitions import DAYS, WEEKS

report_on_day = define_asset_job(
    "report_on_day",
    selection=AssetSelection.assets(*STATISTICS, daily_delivery_report, event_reports).without_checks(),
    partitions_def=DAYS,
    executor_def=in_process_executor,
    tags=MAINTENANCE_QUEUE,
    description="The report on a day for operators, and on the events that were over on it for their hosts.",
)

report_on_week = define_asset_job(
    "report_on_week",
    selection=AssetSelection.assets(weekly_delivery_report).without_checks(),
    partitions_def=WEEKS,
    executor_def=in_process_executor,
    tags=MAINTENANCE_QUEUE,
    description="The report on a week, from Monday to Sunday, for operators.",
)

REPORT_JOBS = [report_on_day, report_on_week]
