"""`guestguard services`: what a person sees, whatever was there before and whatever goes wrong."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from dotenv import dotenv_values

from guestguard_dagster.storage.migrate import newest_revision
from guestguard_dagster_tests.local.commands import IS_RUNNING, Command, left_behind, project_folder, run


@pytest.fixture
def project() -> Iterator[Path]:
    with project_folder() as project:
        yield project


@pytest.mark.parametrize(
    ("moment", "how"),
    [
        ("starting in", signal.SIGTERM),
        ("PostgreSQL is up", signal.SIGINT),
        ("The mail catcher is up", signal.SIGHUP),
        (IS_RUNNING, signal.SIGTERM),
    ],
)
def test_a_stop_leaves_nothing_behind_at_whatever_moment_it_comes(
    project: Path, moment: str, how: signal.Signals
) -> None:
    services = Command(project, "services")
    services.wait_for(moment)
    assert services.stop(how) == 0
    assert services.output.endswith("Stopped.\n")
    assert "Traceback" not in services.output


def test_the_settings_that_lead_to_them_are_in_the_env_file(project: Path) -> None:
    (project / ".env").write_text("ENV=development\n")
    services = _running_services(project)
    settings = dotenv_values(project / ".env")
    assert settings["ENV"] == "development"
    assert settings["SMTP_TLS"] == "none"
    with psycopg.connect(settings["DATABASE_URL"] or "") as connection:
        assert connection.execute("SELECT count(*) FROM guestguard_messaging.events").fetchone() == (0,)
    services.stop()


def test_data_addresses_and_keys_are_the_same_after_a_restart(project: Path) -> None:
    services = _running_services(project)
    before = dotenv_values(project / ".env")
    with psycopg.connect(before["DATABASE_URL"] or "", autocommit=True) as connection:
        connection.execute("CREATE TABLE public.kept (id int)")
    services.stop()

    again = _running_services(project)
    after = dotenv_values(project / ".env")
    assert after == before
    with psycopg.connect(after["DATABASE_URL"] or "") as connection:
        assert connection.execute("SELECT to_regclass('public.kept') IS NOT NULL").fetchone() == (True,)
    again.stop()


def test_a_second_command_in_the_folder_says_which_process_runs(project: Path) -> None:
    services = _running_services(project)
    for command in ("services", "up", "demo"):
        code, output = run(project, command)
        assert code == 1
        assert f"`guestguard services` (process {services.process.pid}) is already running" in output
        assert "Traceback" not in output
    services.stop()


def test_a_killed_command_is_cleaned_up_by_the_next(project: Path) -> None:
    services = _running_services(project)
    services.kill()
    assert left_behind(project)

    again = _running_services(project)
    assert "An earlier start was killed and left" in again.output
    assert again.stop() == 0


def test_a_taken_port_is_replaced_by_another_that_is_then_kept(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        (project / ".guestguard").mkdir()
        (project / ".guestguard" / "state.json").write_text(json.dumps({"ports": {"mail": wanted}}))
        services = _running_services(project)
        chosen = _remembered_ports(project)["mail"]
        assert chosen != wanted
        assert f"Port {wanted} is taken by another program; the mail catcher's page gets {chosen}" in services.output
        services.stop()
    again = _running_services(project)
    assert _remembered_ports(project)["mail"] == chosen
    assert "is taken" not in again.output
    again.stop()


def test_a_taken_port_that_was_asked_for_is_an_error(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output = run(project, "services", "--nats-port", str(port))
    assert code == 1
    assert output.splitlines()[-1].startswith(f"Error: port {port} is taken by another program, so NATS cannot use it")


def test_a_database_elsewhere_is_used_and_not_started(project: Path, empty_database_url: str) -> None:
    (project / ".env").write_text(f"DATABASE_URL={empty_database_url}\n")
    services = _running_services(project)
    assert "PostgreSQL   elsewhere" in services.output
    settings = dotenv_values(project / ".env")
    assert settings["DATABASE_URL"] == empty_database_url
    assert settings["DAGSTER_DATABASE_URL"] == empty_database_url.replace("postgresql://", "postgresql+psycopg2://")
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM guestguard_messaging.events").fetchone() == (0,)
    services.stop()


def test_a_database_elsewhere_that_does_not_answer_is_a_sentence(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    environ = {"DATABASE_URL": f"postgresql://ada:hunter2@127.0.0.1:{port}/guestguard"}
    for command in ("services", "migrate"):
        code, output = run(project, command, environ=environ)
        assert code == 1
        assert "the database that DATABASE_URL names does not answer" in output
        assert "Traceback" not in output
        assert "hunter2" not in output


def test_a_full_disk_is_a_sentence(project: Path) -> None:
    data_folder = project / ".guestguard"
    data_folder.mkdir()
    (data_folder / "state.unfinished").symlink_to("/dev/full")
    code, output = run(project, "services")
    assert code == 1
    assert output.splitlines()[-1] == "Error: the disk is full; make room and start again"
    assert "Traceback" not in output


def test_migrate_upgrades_the_database_of_the_settings_twice(project: Path, empty_database_url: str) -> None:
    environ = {"DATABASE_URL": empty_database_url}
    assert run(project, "migrate", environ=environ)[1].startswith(
        "The database had no tables of ours.\nIt is at version"
    )
    assert run(project, "migrate", environ=environ)[1].endswith("Nothing to do.\n")


def test_migrate_without_any_database_says_what_to_set(project: Path) -> None:
    code, output = run(project, "migrate")
    assert (code, output.startswith("Error: DATABASE_URL is not set;")) == (1, True)


def test_migrate_finds_the_services_that_run_here(project: Path) -> None:
    services = _running_services(project)
    (project / ".env").unlink()
    assert run(project, "migrate") == (0, f"The database was at version {newest_revision()}.\nNothing to do.\n")
    services.stop()


def _running_services(project: Path) -> Command:
    services = Command(project, "services")
    services.wait_for(IS_RUNNING)
    services.wait_for("dagster dev")
    return services


def _remembered_ports(project: Path) -> dict[str, int]:
    ports: dict[str, int] = json.loads((project / ".guestguard" / "state.json").read_text())["ports"]
    return ports
