"""Which runs live: the one answer for all sensors, from their status in Dagster and their process's sign of life."""

from collections.abc import Sequence
from datetime import timedelta

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from guestguard_dagster.clock import utc_now
from guestguard_dagster.delivery.heartbeat import BEAT_EVERY_SECONDS
from guestguard_dagster.storage.operations.runs import RunRepo

NOT_STARTED = (DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING)
STARTED = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)
UNFINISHED = (*NOT_STARTED, *STARTED)

# Three heartbeats; a run that gave none yet may still be importing.
_SILENCE = timedelta(seconds=3 * BEAT_EVERY_SECONDS)
_START_UP = timedelta(seconds=60)


def has_live_run(instance: DagsterInstance, runs: RunRepo, job_name: str) -> bool:
    """Whether a run of this job waits to start, or is at work in a process that gives signs of life."""
    records = instance.get_run_records(RunsFilter(job_name=job_name, statuses=list(UNFINISHED)))
    return len(silent_runs(records, runs, silence=_SILENCE, start_up=_START_UP)) < len(records)


def silent_runs(
    records: Sequence[RunRecord], runs: RunRepo, *, silence: timedelta, start_up: timedelta
) -> list[DagsterRun]:
    """Those whose process is gone, or as good as gone: no sign of life for `silence`, or none ever and started longer
    than `start_up` ago. A run that waits to start is not one of them."""
    started = [record for record in records if record.dagster_run.status in STARTED]
    beats = runs.heartbeats([record.dagster_run.run_id for record in started])
    silent = []
    for record in started:
        beat = beats.get(record.dagster_run.run_id)
        quiet_for = _since_start(record) if beat is None else beat.age
        if quiet_for > (start_up if beat is None else silence):
            silent.append(record.dagster_run)
    return silent


def _since_start(record: RunRecord) -> timedelta:
    started_at = record.start_time or record.update_timestamp.timestamp()
    return timedelta(seconds=utc_now().timestamp() - started_at)
