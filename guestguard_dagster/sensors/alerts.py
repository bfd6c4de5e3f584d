"""Every minute: runs that failed, and checks that fail. What is new is sent to operators; what is over is closed."""

from datetime import datetime

from dagster import (
    AssetCheckEvaluation,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)

from guestguard_dagster.checks import CHECKS
from guestguard_dagster.clock import utc_now
from guestguard_dagster.delivery.ledger import behind_sentence
from guestguard_dagster.jobs.alerts import tell_operators
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.settings import SettingsResource
from guestguard_dagster.storage.ledger.position import LedgerRepo
from guestguard_dagster.storage.operations.alerts import AlertRepo, NewAlert

_MOST_RUNS = 500
# Dagster's own name for the job of runs that materialize assets.
_ASSET_JOB = "__ASSET_JOB"
_CHECK = "check:"
_LEDGER = "ledger"
_CHECK_KEYS = [key for check in CHECKS for key in check.check_keys]


@sensor(
    job=tell_operators,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Opens an alert for a job whose run failed and for a check that fails, and closes it when it is over.",
)
def alerts(context: SensorEvaluationContext, database: DatabaseResource, settings: SettingsResource) -> SensorResult:
    repo = AlertRepo(database.get())
    dagster_url = settings.get().dagster_url
    since = datetime.fromisoformat(context.cursor) if context.cursor else utc_now()
    ended, until = _ended_since(context.instance, since)
    verdicts = _verdicts(context.instance)
    stopped = _stopped_by_ledger(LedgerRepo(database.get()))
    repo.close(
        [
            *(alert.subject for alert in repo.open() if _is_of_no_check_any_more(alert.subject)),
            *(_subject_of_job(name) for name, run in ended.items() if run.is_success),
            *(_subject_of_check(verdict) for verdict in verdicts if verdict.passed),
            *([] if stopped else [_LEDGER]),
        ]
    )
    repo.raise_all(
        [
            *(_of_run(context.instance, run, dagster_url) for run in ended.values() if run.is_failure),
            *(_of_check(verdict, dagster_url) for verdict in verdicts if not verdict.passed),
            *stopped,
        ]
    )
    new = repo.count_new()
    return SensorResult(
        run_requests=[RunRequest()] if new else [],
        skip_reason=None if new else "nothing new is wrong",
        cursor=until.isoformat(),
    )


def _ended_since(instance: DagsterInstance, since: datetime) -> tuple[dict[str, DagsterRun], datetime]:
    """The last run of each job that has ended since then, and where the next look begins."""
    records = instance.get_run_records(
        RunsFilter(statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE], updated_after=since),
        limit=_MOST_RUNS,
        order_by="update_timestamp",
        ascending=True,
    )
    ended = {record.dagster_run.job_name: record.dagster_run for record in records}
    ended.pop(tell_operators.name, None)
    return ended, max((record.update_timestamp for record in records), default=since)


def _verdicts(instance: DagsterInstance) -> list[AssetCheckEvaluation]:
    """The latest verdict of each check that was ever made."""
    verdicts = []
    for key in _CHECK_KEYS:
        record = instance.get_latest_asset_check_evaluation_record(key)
        event = record.event.dagster_event if record is not None and record.event is not None else None
        if event is not None and isinstance(event.event_specific_data, AssetCheckEvaluation):
            verdicts.append(event.event_specific_data)
    return verdicts


def _stopped_by_ledger(ledger: LedgerRepo) -> list[NewAlert]:
    sentence = behind_sentence(ledger.position())
    if sentence is None:
        return []
    return [NewAlert(_LEDGER, "nothing is sent: the database is behind its ledger", f"{sentence}.")]


def _of_run(instance: DagsterInstance, run: DagsterRun, dagster_url: str | None) -> NewAlert:
    link = f"{dagster_url.rstrip('/')}/runs/{run.run_id}" if dagster_url else None
    of = "assets" if run.job_name == _ASSET_JOB else run.job_name
    return NewAlert(
        _subject_of_job(run.job_name), f"a run of {of} failed", f"Run {run.run_id}: {_why(instance, run)}", link
    )


def _of_check(verdict: AssetCheckEvaluation, dagster_url: str | None) -> NewAlert:
    asset = verdict.asset_key.to_user_string()
    link = f"{dagster_url.rstrip('/')}/assets/{asset}?view=checks" if dagster_url else None
    detail = verdict.description or "It found what it should not find."
    return NewAlert(_subject_of_check(verdict), f"the check {verdict.check_name} on {asset} fails", detail, link)


def _why(instance: DagsterInstance, run: DagsterRun) -> str:
    """Which steps failed, as Dagster says it; what they raised is on the run's page."""
    failures = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    return failures[-1].message if failures else "it ended without saying why."


def _subject_of_job(job_name: str) -> str:
    return f"job:{job_name}"


def _subject_of_check(verdict: AssetCheckEvaluation) -> str:
    return _CHECK + f"{verdict.asset_key.to_user_string()}:{verdict.check_name}"


def _is_of_no_check_any_more(subject: str) -> bool:
    known = {_CHECK + f"{key.asset_key.to_user_string()}:{key.name}" for key in _CHECK_KEYS}
    return subject.startswith(_CHECK) and subject not in known
