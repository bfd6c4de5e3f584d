"""dagster.yaml and workspace.yaml, as Dagster itself reads them."""

from pathlib import Path
from typing import cast

import pytest
from dagster import DagsterInstance
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from dagster_shared.yaml_utils import load_yaml_from_path

from guestguard_dagster.jobs.queues import MAINTENANCE_QUEUE, SEND_QUEUE, SEND_SLOTS
from guestguard_dagster_tests.local.commands import REPOSITORY


@pytest.fixture
def instance(tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> DagsterInstance:
    (tmp_path / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    url = empty_database_url.replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", url)
    return DagsterInstance.from_config(str(tmp_path))


def test_runs_are_kept_in_postgresql(instance: DagsterInstance) -> None:
    with instance:
        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
        assert instance.get_runs() == []


def test_waiting_send_runs_leave_room_for_others(instance: DagsterInstance) -> None:
    with instance:
        config = instance.get_concurrency_config().run_queue_config
        assert config is not None
        limits = {(limit["key"], limit["value"]): limit["limit"] for limit in config.tag_concurrency_limits or []}
        (send,), (maintenance,) = SEND_QUEUE.items(), MAINTENANCE_QUEUE.items()
        assert limits == {send: SEND_SLOTS, maintenance: 2}
        assert config.max_concurrent_runs - SEND_SLOTS - limits[maintenance] >= 3


def test_a_code_server_that_is_away_for_a_minute_costs_no_run(instance: DagsterInstance) -> None:
    with instance:
        config = instance.get_concurrency_config().run_queue_config
        assert config is not None
        assert config.max_user_code_failure_retries * config.user_code_failure_retry_delay >= 60
        coordinator = cast("QueuedRunCoordinator[DagsterInstance]", instance.run_coordinator)
        assert coordinator.dequeue_interval_seconds == 1


def test_nothing_is_reported_to_anyone(instance: DagsterInstance) -> None:
    with instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled


def test_ticks_of_different_sensors_do_not_wait_for_each_other(instance: DagsterInstance) -> None:
    with instance:
        assert instance.get_settings("sensors")["use_threads"]
        assert instance.get_settings("schedules")["use_threads"]


def test_runs_that_never_start_and_stops_that_never_come_are_ended(instance: DagsterInstance) -> None:
    with instance:
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_start_timeout_seconds == 180
        assert instance.run_monitoring_cancel_timeout_seconds == 60


def test_the_workspace_names_our_definitions() -> None:
    assert load_yaml_from_path(str(REPOSITORY / "workspace.yaml")) == {
        "load_from": [
            {"python_module": {"module_name": "guestguard_dagster.definitions", "location_name": "guestguard"}}
        ]
    }
