"""The nightly retention, over Dagster's own tables in PostgreSQL: runs go, the history of assets stays."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance, DagsterRunStatus, RunsFilter, asset, materialize
from dagster._core.test_utils import (  # no public way to an instance of a test's own, nor to a run that never ran
    create_run_for_test,
    instance_for_test,
)

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations import run_logs
from guestguard_dagster_tests.dagster_rooms import environment


@pytest.fixture
def dagster_url(empty_database_url: str) -> str:
    return empty_database_url


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch, database_url: str, dagster_url: str) -> Iterator[DagsterInstance]:
    """Dagster over a database of its own, as in production."""
    postgres_url = dagster_url.replace("postgresql://", "postgresql+psycopg2://", 1)
    overrides = {"storage": {"postgres": {"postgres_url": postgres_url}}}
    with environment(monkeypatch, database_url, None), instance_for_test(overrides=overrides) as instance:
        monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres_url)
        yield instance


def age(dagster_url: str, run_id: str, days: int) -> None:
    """Let a run and its log entries be so many days old."""
    with psycopg.connect(dagster_url) as connection:
        for table, column in (("runs", "create_timestamp"), ("event_logs", "timestamp")):
            connection.execute(
                f"UPDATE {table} SET {column} = {column} - make_interval(days => %s) WHERE run_id = %s",  # noqa: S608 - constants of this test
                [days, run_id],
            )


def write_run(instance: DagsterInstance, dagster_url: str, job_name: str, *, days_old: int) -> str:
    run = create_run_for_test(instance, job_name=job_name, status=DagsterRunStatus.SUCCESS)
    instance.report_engine_event("something happened", run)
    age(dagster_url, run.run_id, days_old)
    return str(run.run_id)


def delete_what_is_old(instance: DagsterInstance) -> None:
    assert build_defs().resolve_job_def("retention").execute_in_process(instance=instance).success


def test_old_runs_go_and_young_ones_stay(instance: DagsterInstance, dagster_url: str) -> None:
    old = [write_run(instance, dagster_url, "send_scheduled", days_old=40) for _ in range(3)]
    young = write_run(instance, dagster_url, "send_scheduled", days_old=2)

    delete_what_is_old(instance)

    left = {run.run_id for run in instance.get_runs(RunsFilter(job_name="send_scheduled"))}
    assert left == {young}
    assert instance.all_logs(old[0]) == []
    assert instance.all_logs(young) != []


def test_the_history_of_assets_stays(instance: DagsterInstance, dagster_url: str) -> None:
    @asset
    def some_statistics() -> None: ...

    run = materialize([some_statistics], instance=instance)
    logged = len(instance.all_logs(run.run_id))
    age(dagster_url, run.run_id, 40)

    with Database(dagster_url) as dagster:
        assert sum(run_logs.delete_run_logs(dagster, timedelta(days=30), chunk=7)) > 7
    delete_what_is_old(instance)

    assert instance.get_latest_materialization_event(AssetKey("some_statistics")) is not None
    kept = instance.all_logs(run.run_id)
    assert 0 < len(kept) < logged
    assert all(entry.dagster_event is not None and entry.dagster_event.asset_key for entry in kept)


def test_runless_news_of_sources_stay(instance: DagsterInstance, dagster_url: str) -> None:
    instance.report_runless_asset_event(AssetMaterialization("message_deliveries", partition="2026-03-10"))
    with psycopg.connect(dagster_url) as connection:
        connection.execute("UPDATE event_logs SET timestamp = timestamp - interval '400 days'")

    with Database(dagster_url) as dagster:
        assert sum(run_logs.delete_run_logs(dagster, timedelta(days=30))) == 0

    assert instance.get_latest_materialization_event(AssetKey("message_deliveries")) is not None


def test_every_job_that_materializes_nothing_is_cleared_of_old_runs(
    instance: DagsterInstance, dagster_url: str
) -> None:
    jobs = {job.name for job in build_defs().resolve_all_job_defs() if not job.name.startswith("__")}
    runs = {job: write_run(instance, dagster_url, job, days_old=40) for job in jobs}

    delete_what_is_old(instance)

    assert {job for job, run_id in runs.items() if instance.has_run(run_id)} == {"report_on_day", "report_on_week"}
