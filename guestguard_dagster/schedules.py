"""What happens at fixed times, on the operator's clock."""

from dagster import DefaultScheduleStatus, ScheduleDefinition

from guestguard_dagster.jobs.delivery_checks import delivery_checks
from guestguard_dagster.partitions import ZONE

check_deliveries = ScheduleDefinition(
    name="check_deliveries",
    job=delivery_checks,
    cron_schedule="*/15 * * * *",
    execution_timezone=ZONE.key,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every quarter of an hour: does every promise hold?",
)

SCHEDULES = [check_deliveries]
