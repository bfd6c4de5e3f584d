"""Deletes at night what is old: rows that only the engine needed, and the logs of runs. Statistics and reports stay."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    In,
    JobDefinition,
    Nothing,
    OpExecutionContext,
    Out,
    RunsFilter,
    in_process_executor,
    job,
    op,
)

from guestguard_dagster.jobs.delivery_checks import delivery_checks
from guestguard_dagster.jobs.queues import MAINTENANCE_QUEUE
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.storage.database import Database

_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_RUNS_AT_ONCE = 100
# More than a busy day has; what is left comes the next night.
_MOST_RUNS = 20_000


@op(out=Out(Nothing), description="Delete old attempts, and empty old requests to providers and their callbacks.")
def delete_old_rows(context: OpExecutionContext, database: DatabaseResource, settings: SettingsResource) -> None:
    from guestguard_dagster.storage.operations.idempotency import IdempotencyRepo
    from guestguard_dagster.storage.operations.retention import RetentionRepo

    values = settings.get()
    rows = RetentionRepo(database.get())
    bodies = timedelta(days=values.keep_batch_bodies_days)
    context.add_output_metadata(
        {
            "attempts deleted": sum(rows.delete_attempts(timedelta(days=values.keep_attempts_days))),
            "requests emptied": sum(rows.empty_batch_bodies(bodies)),
            "callbacks emptied": sum(rows.empty_callbacks(bodies)),
            "published events deleted": sum(rows.delete_published_events(bodies)),
            "heartbeats deleted": sum(rows.delete_heartbeats()),
            "idempotency keys deleted": IdempotencyRepo(database.get()).forget_old(),
        }
    )


@op(
    ins={"rows_deleted": In(Nothing)}, out=Out(Nothing), description="Delete old runs, and the logs of those that stay."
)
def delete_old_runs(context: OpExecutionContext, settings: SettingsResource) -> None:
    from guestguard_dagster.storage.operations.run_logs import delete_run_logs

    values = settings.get()
    older_than = timedelta(days=values.keep_run_logs_days)
    with Database(values.require_dagster_database_url(), application_name="guestguard-retention") as dagster:
        before = dagster.now() - older_than
        runs = 0
        for run_id in _old_runs(context.instance, before):
            context.instance.delete_run(run_id)
            runs += 1
        context.add_output_metadata(
            {"runs deleted": runs, "log entries deleted": sum(delete_run_logs(dagster, older_than))}
        )


@job(
    executor_def=in_process_executor,
    tags=MAINTENANCE_QUEUE,
    description="Deletes what is older than KEEP_ATTEMPTS_DAYS, KEEP_BATCH_BODIES_DAYS and KEEP_RUN_LOGS_DAYS say, in "
    "small chunks. Can be stopped and run again at any time.",
)
def retention() -> None:
    delete_old_runs(delete_old_rows())


def _jobs_without_assets() -> list[str]:
    """The jobs whose runs materialize nothing: nothing of an asset's history goes with them."""
    from guestguard_dagster.jobs import JOBS  # which has this job, too

    return [each.name for each in JOBS if isinstance(each, JobDefinition) or each is delivery_checks]


def _old_runs(instance: DagsterInstance, before: datetime) -> Iterator[str]:
    """The ended runs that began before then and materialized nothing, oldest first, up to _MOST_RUNS of each job."""
    for job_name in _jobs_without_assets():
        wanted = RunsFilter(job_name=job_name, statuses=_ENDED, created_before=before)
        for _ in range(_MOST_RUNS // _RUNS_AT_ONCE):
            # Each page is deleted before the next is read, so the next begins where this one ended.
            page = instance.get_run_records(wanted, limit=_RUNS_AT_ONCE, ascending=True)
            yield from (record.dagster_run.run_id for record in page)
            if len(page) < _RUNS_AT_ONCE:
                break
