"""`guestguard up` and `demo`: everything comes up, a broadcast leaves on time, and nothing is left behind."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from dagster_graphql import DagsterGraphQLClient

from guestguard_dagster.local import demo
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.runs import RunRepo
from guestguard_dagster_tests.local.commands import IS_RUNNING, Command, left_behind, project_folder, run

_RUN_SECONDS = 180


@pytest.fixture
def project() -> Iterator[Path]:
    with project_folder() as project:
        yield project


def test_the_demo_ends_well_and_shows_the_run_and_every_mail(project: Path) -> None:
    code, output = run(project, "demo")
    assert code == 0, output
    assert "It works: 6 of 6 mails arrived." in output
    assert output.count("News about Summer Garden Party") == 6
    assert "Four reminders" in output
    assert "6 deliveries by run " in output


def test_up_answers_and_stops_with_a_run_under_way(project: Path) -> None:
    up = Command(project, "up")
    up.wait_for(IS_RUNNING)
    answer = requests.get(f"{_address(up, 'Dagster')}/server_info", timeout=30)
    assert answer.json()["dagster_webserver_version"]
    assert requests.get(_address(up, "Mail"), timeout=30).ok
    _find_the_host_signed_in(up)

    _launch_a_run(project, _address(up, "Dagster"))
    assert up.stop(signal.SIGTERM) == 0
    assert "Traceback" not in up.output.rpartition("Stopping")[2]


def _find_the_host_signed_in(up: Command) -> None:
    """By the link that was printed, and not without it."""
    address = _address(up, "GuestGuard")
    link = re.search(rf"{address}/sign-in\?key=\S+", up.output)
    assert link is not None, up.output
    with requests.Session() as browser:
        assert browser.get(f"{address}/session", timeout=30).status_code == 401
        browser.get(re.sub(r"\x1b\[\d*m", "", link[0]), timeout=30)
        assert browser.get(f"{address}/session", timeout=30).json()["name"] == "Robin"
        assert len(browser.get(f"{address}/events", timeout=30).json()["items"]) == 1


def test_a_killed_up_is_cleaned_up_by_the_next_command(project: Path) -> None:
    up = Command(project, "up")
    up.wait_for(IS_RUNNING)
    up.kill()
    assert left_behind(project)

    services = Command(project, "services")
    services.wait_for(IS_RUNNING)
    assert "An earlier start was killed and left" in services.output
    assert not [line for line in left_behind(project) if "-m dagster" in line]
    assert services.stop() == 0


@pytest.mark.parametrize("seconds", [0.0, 1.0, 3.0])
def test_a_stop_while_dagster_loads_leaves_nothing_behind(project: Path, seconds: float) -> None:
    up = Command(project, "up")
    up.wait_for("Dagster is loading")
    time.sleep(seconds)
    assert up.stop(signal.SIGTERM) == 0


def test_a_second_ctrl_c_stops_at_once(project: Path) -> None:
    up = Command(project, "up")
    up.wait_for(IS_RUNNING)
    up.process.send_signal(signal.SIGINT)
    up.wait_for("Stopping")
    assert up.stop(signal.SIGINT) == 0


def test_code_that_cannot_be_loaded_is_a_sentence(project: Path) -> None:
    workspace = (project / "workspace.yaml").read_text()
    (project / "workspace.yaml").write_text(workspace.replace("guestguard_dagster.definitions", "no_such_module"))
    code, output = run(project, "up")
    assert code == 1
    assert "Dagster cannot load the code: " in output
    assert "no_such_module" in output.splitlines()[-1]


def test_another_folder_than_the_projects_is_a_sentence(tmp_path: Path) -> None:
    for command in ("up", "demo"):
        code, output = run(tmp_path, command)
        assert code == 1
        assert output == f"Error: there is no dagster.yaml in {tmp_path}; run this command in the project's folder\n"


def _launch_a_run(project: Path, dagster_url: str) -> None:
    """Schedule the demo's broadcast and let a run wait for its time."""
    environ = json.loads((project / ".guestguard" / "running.json").read_text())["environ"]
    with Database(environ["DATABASE_URL"]) as database:
        broadcast = demo.invite(database).broadcast
        client = DagsterGraphQLClient(dagster_url.removeprefix("http://"))
        run_id = client.submit_job_execution("send_scheduled", run_config={"message_ids": [str(broadcast.id)]})
        deadline = time.monotonic() + _RUN_SECONDS
        while run_id not in RunRepo(database).runs_of(broadcast.id):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _address(up: Command, label: str) -> str:
    (url,) = re.findall(rf"^  {label} +(http://\S+)", up.output, re.MULTILINE)
    return str(url)
