"""Every 30 seconds: which messages are due within the next 90, or were left unfinished, and runs for them."""

from uuid import UUID

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from guestguard_dagster.delivery.blocked_channels import blocked_channels, wake_from_replaced_accounts
from guestguard_dagster.delivery.ledger import Verdict, keep
from guestguard_dagster.delivery.run_requests import RunToLaunch, group_into_runs, request_runs
from guestguard_dagster.jobs.queues import SEND_SLOTS
from guestguard_dagster.jobs.send_scheduled import requested_ids, send_scheduled
from guestguard_dagster.jobs.send_tags import send_tags
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.sensors.live_runs import NOT_STARTED, UNFINISHED
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.messages.run_requests import LOOK_AHEAD, RunRequestRepo
from guestguard_dagster.storage.operations.ticks import TickRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo

# A tick has a minute; this many take it some seconds.
_MOST_MESSAGES_PER_TICK = 20_000


@sensor(
    job=send_scheduled,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for send runs: a little ahead of time, so that a run is there when its messages are due.",
)
def due_messages(
    context: SensorEvaluationContext, database: DatabaseResource, senders: SendersResource, nats: NatsResource
) -> SensorResult | SkipReason:
    TickRepo(database.get()).note(due_messages.name)
    with nats.open_ledger() as ledger:
        standing = keep(database.get(), ledger)
    if not standing.may_send:
        return SkipReason(standing.sentence)
    if standing.sentence and standing.verdict is not Verdict.NOT_KEPT:
        context.log.warning(standing.sentence)
    requests = RunRequestRepo(database.get())
    queued, running = _send_runs(context.instance)
    requests.renew(queued)
    messages = MessageRepo(database.get())
    if expired := messages.expire_late():
        context.log.warning(f"{len(expired)} messages could only have left too late: cancelled")
    breakers = BreakerRepo(database.get())
    wake_from_replaced_accounts(breakers, requests, senders.get())
    blocked = blocked_channels(breakers, senders.get())
    due = request_runs(messages, requests, blocked, most=_MOST_MESSAGES_PER_TICK)
    if not due:
        return SkipReason(f"no message is due within the next {LOOK_AHEAD.seconds} seconds")
    runs = group_into_runs(due, free_slots=SEND_SLOTS - running)
    context.log.info(f"requested {len(runs)} runs for {len(due)} messages")
    return SensorResult(run_requests=[_request(run) for run in runs])


def _send_runs(instance: DagsterInstance) -> tuple[list[UUID], int]:
    """The messages of the send runs that have not started yet, and how many send runs there are in all."""
    unfinished = instance.get_runs(RunsFilter(job_name=send_scheduled.name, statuses=list(UNFINISHED)))
    waiting = [run for run in unfinished if run.status in NOT_STARTED]
    return [message_id for run in waiting for message_id in requested_ids(run)], len(unfinished)


def _request(run: RunToLaunch) -> RunRequest:
    return RunRequest(
        run_key=run.key,
        run_config={"message_ids": [str(message_id) for message_id in run.message_ids]},
        tags=send_tags(run.message_ids, run.event_ids),
    )
