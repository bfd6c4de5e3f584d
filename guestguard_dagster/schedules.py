"""What happens at fixed times, on the operator's clock. `SCHEDULES` has all of them.

What depends on rows or events rather than on the time of day belongs to `sensors`.
"""

from datetime import timedelta

from dagster import DefaultScheduleStatus, RunRequest, ScheduleDefinition, ScheduleEvaluationContext, schedule

from guestguard_dagster.jobs.delivery_checks import delivery_checks
from guestguard_dagster.jobs.reports import report_on_day, report_on_week
from guestguard_dagster.jobs.retention import retention
from guestguard_dagster.partitions import ZONE

check_deliveries = ScheduleDefinition(
    name="check_deliveries",
    job=delivery_checks,
    cron_schedule="*/15 * * * *",
    execution_timezone=ZONE.key,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every quarter of an hour: does every promise hold?",
)

delete_what_is_old = ScheduleDefinition(
    name="delete_what_is_old",
    job=retention,
    cron_schedule="40 3 * * *",
    execution_timezone=ZONE.key,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every night: delete what is kept for a limited time, once it is old.",
)


@schedule(
    job=report_on_day,
    cron_schedule="0 7 * * *",
    execution_timezone=ZONE.key,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every morning: the report on yesterday, and those on events that were over by then.",
)
def report_on_yesterday(context: ScheduleEvaluationContext) -> RunRequest:
    return _of_days_ago(context, 1)


@schedule(
    job=report_on_week,
    cron_schedule="30 7 * * 1",
    execution_timezone=ZONE.key,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every Monday morning: the report on the week before.",
)
def report_on_last_week(context: ScheduleEvaluationContext) -> RunRequest:
    return _of_days_ago(context, 7)


SCHEDULES = [check_deliveries, delete_what_is_old, report_on_yesterday, report_on_last_week]


def _of_days_ago(context: ScheduleEvaluationContext, days: int) -> RunRequest:
    """The partition that began so many days before this tick's day; asked for once."""
    today = context.scheduled_execution_time.astimezone(ZONE).date()
    key = (today - timedelta(days=days)).isoformat()
    return RunRequest(run_key=key, partition_key=key)
