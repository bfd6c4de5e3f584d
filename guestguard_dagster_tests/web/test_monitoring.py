"""What operators and their monitors see, and nobody else: health in sentences, metrics, reports."""

from datetime import date, timedelta

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.statistics.reports import Content, ReportKind, ReportRepo, Subject
from guestguard_dagster.web.app import create_app
from guestguard_dagster.web.auth import BearerTokens
from guestguard_dagster_tests.factories import make_user
from guestguard_dagster_tests.web.conftest import ADDRESS

METRICS_TOKEN = "the token that Prometheus has"


@pytest.fixture
def operator(app: FastAPI, settings: Settings, host: User) -> TestClient:
    """The host with a token that says that they operate the installation."""
    token = BearerTokens.from_settings(settings).mint(host.id, lasts=timedelta(minutes=5), is_operator=True)
    return TestClient(app, base_url=ADDRESS, headers={"Authorization": f"Bearer {token}"}, follow_redirects=False)


@pytest.fixture
def report_path(database: Database) -> str:
    content = Content(title="Tuesday", html="<h1>Nothing left on Tuesday</h1>", summary="Nothing.", is_empty=True)
    day = date(2026, 11, 24)
    report, _ = ReportRepo(database).publish(Subject(ReportKind.DAILY, day, day), content)
    return f"/reports/{report.id}"


def test_a_report_is_shown_to_operators_as_it_was_written(operator: TestClient, report_path: str) -> None:
    answer = operator.get(report_path)
    assert answer.status_code == 200
    assert "Nothing left on Tuesday" in answer.text


def test_a_report_is_not_shown_to_hosts(client: TestClient, anonymous: TestClient, report_path: str) -> None:
    assert client.get(report_path).status_code == 403
    assert anonymous.get(report_path).status_code in (303, 401)


def test_metrics_are_for_operators_and_for_prometheus(
    operator: TestClient, client: TestClient, anonymous: TestClient, settings: Settings, database: Database
) -> None:
    assert operator.get("/metrics").text.startswith("# HELP guestguard_")
    assert client.get("/metrics").status_code == 401
    assert anonymous.get("/metrics").status_code == 401

    monitored = settings.model_copy(update={"metrics_token": SecretStr(METRICS_TOKEN)})
    with TestClient(create_app(monitored, database), base_url=ADDRESS) as prometheus:
        given = {"Authorization": f"Bearer {METRICS_TOKEN}"}
        assert prometheus.get("/metrics", headers=given).status_code == 200
        for refused in ("Bearer guessed", f"Basic {METRICS_TOKEN}", METRICS_TOKEN):
            assert prometheus.get("/metrics", headers={"Authorization": refused}).status_code == 401


def test_health_tells_everybody_the_level_and_operators_the_sentences(
    operator: TestClient, anonymous: TestClient
) -> None:
    told, detailed = anonymous.get("/health").json(), operator.get("/health").json()
    assert told["status"] == detailed["status"]
    assert told["findings"].keys() == detailed["findings"].keys()
    assert all(isinstance(level, str) for level in told["findings"].values())


def test_an_operators_claim_does_not_open_other_peoples_events(
    app: FastAPI, settings: Settings, database: Database, event: Event
) -> None:
    stranger = make_user(database)
    token = BearerTokens.from_settings(settings).mint(stranger.id, lasts=timedelta(minutes=5), is_operator=True)
    as_operator = TestClient(app, base_url=ADDRESS, headers={"Authorization": f"Bearer {token}"})
    assert as_operator.get(f"/events/{event.id}").status_code == 404
