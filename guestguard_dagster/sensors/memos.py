"""Every 30 seconds: whether a report or an alert waits to be mailed, and one run for all of them."""

from datetime import timedelta

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from guestguard_dagster.delivery.blocked_channels import paused_channels
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.jobs.memos import send_memos
from guestguard_dagster.operations.system_mail import SYSTEM_MAIL_QUEUES
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.storage.deliveries.batches import BatchRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo

_IN_FLIGHT = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@sensor(
    job=send_memos,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for a run when a report or an alert waits to be mailed.",
)
def memos(
    context: SensorEvaluationContext, database: DatabaseResource, senders: SendersResource
) -> SensorResult | SkipReason:
    waiting = BatchRepo(database.get()).unsettled(SYSTEM_MAIL_QUEUES)
    if not any(row.wake_in <= timedelta() for row in waiting):
        return SkipReason("no report and no alert waits" if not waiting else "what waits is tried again later")
    pause = paused_channels(BreakerRepo(database.get()), senders.get()).get(MessageChannel.EMAIL)
    if pause is not None and not pause.probe:
        return SkipReason(pause.reason)
    if context.instance.get_runs(RunsFilter(job_name=send_memos.name, statuses=_IN_FLIGHT), limit=1):
        return SkipReason("a run is at work on them")
    return SensorResult(run_requests=[RunRequest()])
