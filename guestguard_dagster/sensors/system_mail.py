"""Every 30 seconds: whether a report or an alert waits to be mailed, and one run for all of them."""

from datetime import timedelta

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from guestguard_dagster.delivery.blocked_channels import blocked_channels
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.jobs.system_mail import send_system_mail
from guestguard_dagster.operations.system_mail import SYSTEM_MAIL_QUEUES
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.sensors.live_runs import has_live_run
from guestguard_dagster.storage.deliveries.batches import BatchRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo


@sensor(
    job=send_system_mail,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for a run when a report or an alert waits to be mailed.",
)
def system_mail(
    context: SensorEvaluationContext, database: DatabaseResource, senders: SendersResource
) -> SensorResult | SkipReason:
    waiting = BatchRepo(database.get()).unsettled(SYSTEM_MAIL_QUEUES)
    if not any(row.wake_in <= timedelta() for row in waiting):
        return SkipReason("no report and no alert waits" if not waiting else "what waits is tried again later")
    blocked = blocked_channels(BreakerRepo(database.get()), senders.get()).get(MessageChannel.EMAIL)
    if blocked is not None and not blocked.probe:
        return SkipReason(blocked.reason)
    if has_live_run(context.instance, RunRepo(database.get()), send_system_mail.name):
        return SkipReason("a run is at work on them")
    return SensorResult(run_requests=[RunRequest()])
