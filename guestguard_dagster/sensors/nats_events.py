"""Every 5 seconds: what waits in NATS or was left unfinished in our rows, and one run for each type that has some."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from guestguard_dagster.clock import utc_now
from guestguard_dagster.delivery.blocked_channels import blocked_channels
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.jobs.notifications import NOTIFICATION_JOBS
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.sensors.live_runs import has_live_run
from guestguard_dagster.settings import SettingsInvalid
from guestguard_dagster.storage.deliveries.batches import BatchRepo
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.jetstream import Survey
from guestguard_dagster.streams.messages import Backlog

# Unacknowledged events come again when their time is over: a run for them alone is not requested at once.
_UNACKED_PAUSE = timedelta(seconds=30)
_NOTHING = Backlog(pending=0, unacked=0)


@sensor(
    jobs=list(NOTIFICATION_JOBS.values()),
    minimum_interval_seconds=5,
    default_status=DefaultSensorStatus.RUNNING,
    description="Asks for a run when events wait in NATS or their mails were left unfinished; one run for each type.",
)
def nats_events(
    context: SensorEvaluationContext, database: DatabaseResource, senders: SendersResource, nats: NatsResource
) -> SensorResult | SkipReason:
    survey, problem = _survey(nats)
    for sentence in survey.drift:
        context.log.warning(sentence)
    running = _running(context.instance, RunRepo(database.get()))
    unfinished = _unfinished(database, senders)
    asked = _read_cursor(context.cursor)
    requests = []
    for kind, notification_job in NOTIFICATION_JOBS.items():
        backlog = survey.backlogs.get(kind, _NOTHING)
        waited = utc_now() - asked[kind] >= _UNACKED_PAUSE
        is_needed = backlog.pending > 0 or kind in unfinished or (backlog.unacked > 0 and waited)
        if is_needed and kind not in running:
            asked[kind] = utc_now()
            requests.append(RunRequest(job_name=notification_job.name))
    if not requests:
        return SkipReason(problem or _skip_reason(survey, running))
    if problem is not None:
        context.log.warning(problem)
    return SensorResult(run_requests=requests, cursor=json.dumps({kind: at.isoformat() for kind, at in asked.items()}))


def _survey(nats: NatsResource) -> tuple[Survey, str | None]:
    """How the consumers stand, and a sentence when that cannot be known. Bounded to two seconds for a dead server."""
    try:
        with nats.open() as stream:
            return stream.survey(), None
    except (StreamFailed, SettingsInvalid) as problem:
        return Survey({}, ()), str(problem)


def _running(instance: DagsterInstance, runs: RunRepo) -> set[NotificationType]:
    """The types with a run that is queued, or that gives signs of life."""
    return {
        kind
        for kind, notification_job in NOTIFICATION_JOBS.items()
        if has_live_run(instance, runs, notification_job.name)
    }


def _unfinished(database: DatabaseResource, senders: SendersResource) -> set[NotificationType]:
    """The types with a row that is free to leave now. While the provider takes nothing, one of them may probe."""
    kinds = {kind.queue_id: kind for kind in NOTIFICATION_JOBS}
    free = [
        kinds[row.queue_id] for row in BatchRepo(database.get()).unsettled(list(kinds)) if row.wake_in <= timedelta()
    ]
    if not free:
        return set()
    blocked = blocked_channels(BreakerRepo(database.get()), senders.get()).get(MessageChannel.EMAIL)
    if blocked is None:
        return set(free)
    return set(free[:1]) if blocked.probe else set()


def _skip_reason(survey: Survey, running: set[NotificationType]) -> str:
    if running:
        return f"runs are at work on {', '.join(sorted(running))}"
    waiting = sum(backlog.unacked for backlog in survey.backlogs.values())
    waiting_sentence = f"{waiting} events wait for their next delivery" if waiting else "nothing waits in NATS"
    return "; ".join([waiting_sentence, *survey.drift])


def _read_cursor(cursor: str | None) -> dict[NotificationType, datetime]:
    """When a run was last requested, by type."""
    known: Mapping[str, str] = json.loads(cursor) if cursor else {}
    long_ago = utc_now() - _UNACKED_PAUSE
    return {kind: datetime.fromisoformat(known[kind]) if kind in known else long_ago for kind in NOTIFICATION_JOBS}
