"""Runs whose process is gone: Dagster would keep them STARTED, and their queue slot taken, for ever."""

from datetime import timedelta

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunsFilter,
    RunStatusSensorContext,
    SensorEvaluationContext,
    SkipReason,
    run_status_sensor,
    sensor,
)

from guestguard_dagster.jobs.send_scheduled import TERMINATED, requested_ids, send_scheduled
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.sensors.live_runs import STARTED, silent_runs
from guestguard_dagster.storage.operations.runs import RunRepo

# Longer than the other sensors wait: a run that is reported as failed does not come back.
_SILENCE = timedelta(seconds=120)
_START_UP = timedelta(seconds=180)


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Reports runs whose process is gone as failed, which frees their slot. Their messages need no burial.",
)
def run_watch(context: SensorEvaluationContext, database: DatabaseResource) -> SkipReason:
    records = context.instance.get_run_records(RunsFilter(statuses=list(STARTED)))
    gone = silent_runs(records, RunRepo(database.get()), silence=_SILENCE, start_up=_START_UP)
    for run in gone:
        _report(context.instance, run)
    if gone:
        return SkipReason(f"reported {len(gone)} runs whose process is gone: " + ", ".join(r.run_id for r in gone))
    return SkipReason(f"all {len(records)} runs in progress give signs of life")


@run_status_sensor(
    run_status=DagsterRunStatus.CANCELED,
    monitored_jobs=[send_scheduled],
    default_status=DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Holds the messages of terminated runs, also of those terminated before they started.",
)
def hold_terminated(context: RunStatusSensorContext, database: DatabaseResource) -> None:
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    RunRepo(database.get()).hold(
        run.run_id,
        requested_ids(run),
        reason=TERMINATED.format(run_id=run.run_id),
        terminated_at=record.update_timestamp if record else None,
    )


def _report(instance: DagsterInstance, run: DagsterRun) -> None:
    message = f"The process of run {run.run_id} gave no sign of life for {_SILENCE.seconds} seconds: it is gone."
    if run.status is DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message)
    else:
        instance.report_run_failed(run, message)
