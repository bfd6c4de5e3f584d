"""What goes wrong is told to operators once: in the log, by mail, through a webhook. What is over is closed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    ExecuteInProcessResult,
    SensorResult,
)
from dagster._core.test_utils import create_run_for_test  # no public way to write a run that never ran

from guestguard_dagster.definitions import build_defs
from guestguard_dagster.operations import alert_webhook as alerting
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.alerts import AlertRepo, NewAlert
from guestguard_dagster.storage.operations.system_mail import SystemMailRepo
from guestguard_dagster_tests.sensors.ticks import tick


class Webhook:
    """A server that keeps what is posted to it, and answers as it is told."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers: list[int] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = webhook.answers.pop(0) if webhook.answers else 200
                if status == 200:
                    webhook.posted.append(json.loads(body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks/a-secret-token"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(autouse=True)
def operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATOR_EMAILS", "ops@example.com,boss@example.com")
    monkeypatch.setenv("DAGSTER_URL", "https://dagster.example.com")
    monkeypatch.setattr(alerting, "_PAUSE_SECONDS", 0)


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    webhook = Webhook()
    monkeypatch.setenv("ALERT_WEBHOOK_URL", webhook.url)
    yield webhook
    webhook.close()


class Watch:
    """The sensor, tick after tick."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._cursor: str | None = None
        self.tick()

    def tick(self) -> bool:
        """Whether somebody is to be told."""
        result = tick(self._instance, "alerts", cursor=self._cursor)
        assert isinstance(result, SensorResult)
        self._cursor = result.cursor
        return bool(result.run_requests)


@pytest.fixture
def watch(instance: DagsterInstance) -> Watch:
    return Watch(instance)


def fail(instance: DagsterInstance, job_name: str = "send_scheduled") -> str:
    run = create_run_for_test(instance, job_name=job_name, status=DagsterRunStatus.STARTED)
    instance.report_run_failed(run, "Steps failed: ['dispatch'].")
    return str(run.run_id)


def succeed(instance: DagsterInstance, job_name: str = "send_scheduled") -> None:
    run = create_run_for_test(instance, job_name=job_name, status=DagsterRunStatus.STARTED)
    instance.report_dagster_event(DagsterEvent(DagsterEventType.RUN_SUCCESS.value, job_name), run.run_id)


def judge(instance: DagsterInstance, passed: bool, *, description: str | None = None) -> None:
    """The verdict of one check, as a run of it reports."""
    instance.report_runless_asset_event(
        AssetCheckEvaluation(
            asset_key=AssetKey("delivery_promises"),
            check_name="no_delivery_is_doubled",
            passed=passed,
            severity=AssetCheckSeverity.ERROR,
            metadata={},
            description=description,
        )
    )


def tell(instance: DagsterInstance) -> ExecuteInProcessResult:
    return build_defs().resolve_job_def("tell_operators").execute_in_process(instance=instance, raise_on_error=False)


def open_titles(database: Database) -> list[str]:
    return [alert.title for alert in AlertRepo(database).open()]


def mails(database: Database) -> dict[str, str]:
    """The subject of each mail that waits, by address."""
    repo = SystemMailRepo(database)
    return {mail.address: mail.subject for mail in repo.of_deliveries(range(1, 100)).values()}


def test_a_failed_run_is_told_once_until_the_job_succeeds_again(
    watch: Watch, instance: DagsterInstance, database: Database
) -> None:
    run_id = fail(instance)
    assert watch.tick()
    tell(instance)

    [alert] = AlertRepo(database).open()
    assert alert.title == "a run of send_scheduled failed"
    assert alert.detail == f"Run {run_id}: Steps failed: ['dispatch']."
    assert alert.link == f"https://dagster.example.com/runs/{run_id}"
    assert mails(database) == dict.fromkeys(
        ("ops@example.com", "boss@example.com"), "GuestGuard: a run of send_scheduled failed"
    )

    fail(instance)
    assert not watch.tick()

    succeed(instance)
    assert not watch.tick()
    assert open_titles(database) == []

    fail(instance)
    assert watch.tick()


def test_a_success_of_one_job_says_nothing_about_another(
    watch: Watch, instance: DagsterInstance, database: Database
) -> None:
    fail(instance)
    succeed(instance, "retention")
    watch.tick()

    assert open_titles(database) == ["a run of send_scheduled failed"]


def test_what_failed_before_the_first_look_is_not_told(instance: DagsterInstance, database: Database) -> None:
    fail(instance)

    assert not Watch(instance).tick()
    assert open_titles(database) == []


def test_a_failing_check_is_told_once_until_it_passes(
    watch: Watch, instance: DagsterInstance, database: Database
) -> None:
    judge(instance, passed=False, description="2 found. The unique index is gone.")
    assert watch.tick()
    tell(instance)
    judge(instance, passed=False, description="3 found. The unique index is gone.")
    assert not watch.tick()

    [alert] = AlertRepo(database).open()
    assert alert.title == "the check no_delivery_is_doubled on delivery_promises fails"
    assert alert.detail == "2 found. The unique index is gone."
    assert alert.link == "https://dagster.example.com/assets/delivery_promises?view=checks"

    judge(instance, passed=True)
    watch.tick()
    assert open_titles(database) == []


def test_the_alert_of_a_check_that_exists_no_more_is_closed(watch: Watch, database: Database) -> None:
    AlertRepo(database).raise_all([NewAlert("check:some_asset:a_check_of_old", "it fails", "3 found")])

    watch.tick()

    assert open_titles(database) == []


def test_the_failure_to_tell_is_not_told(watch: Watch, instance: DagsterInstance, database: Database) -> None:
    fail(instance, "tell_operators")

    assert not watch.tick()
    assert open_titles(database) == []


def test_several_alerts_make_one_mail_and_one_post(
    watch: Watch, instance: DagsterInstance, database: Database, webhook: Webhook
) -> None:
    fail(instance)
    judge(instance, passed=False)
    watch.tick()

    result = tell(instance)
    tell(instance)

    assert result.success
    assert mails(database)["ops@example.com"].endswith(", and 1 more")
    assert len(mails(database)) == 2
    [posted] = webhook.posted
    assert {alert["subject"] for alert in posted["alerts"]} == {
        "job:send_scheduled",
        "check:delivery_promises:no_delivery_is_doubled",
    }


def test_a_webhook_that_refuses_is_tried_again(database: Database, instance: DagsterInstance, webhook: Webhook) -> None:
    AlertRepo(database).raise_all([NewAlert("job:x", "a run of x failed", "Run 1")])
    webhook.answers = [500, 503]

    assert tell(instance).success

    assert len(webhook.posted) == 1


def test_a_webhook_that_takes_nothing_fails_the_run_without_showing_its_address(
    database: Database, instance: DagsterInstance, webhook: Webhook
) -> None:
    AlertRepo(database).raise_all([NewAlert("job:x", "a run of x failed", "Run 1")])
    webhook.answers = [500] * 3

    result = tell(instance)

    assert not result.success
    told = " ".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert "did not take 1 alerts: HTTP 500" in told
    assert "a-secret-token" not in told
    assert len(mails(database)) == 2
