"""Everything works through PgBouncer in transaction mode, where each transaction has whichever connection is free."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from dagster import DagsterInstance, DagsterRunStatus
from sqlalchemy import Connection, insert, select, text

from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.local.postgres import ROLE, PostgresServer
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import migrate, newest_revision
from guestguard_dagster.storage.tables.base import SCHEMA
from guestguard_dagster.storage.tables.people import users
from guestguard_dagster_tests.dagster_rooms import environment, run_send_job
from guestguard_dagster_tests.factories import make_event, make_guests, make_message, read_message
from guestguard_dagster_tests.local.commands import REPOSITORY
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.storage.pgbouncer import POOL_SIZE, PgBouncer, run_pgbouncer

# of one statement; psycopg prepares it on the server from the sixth on, and forgets that with a rollback
_TIMES = 30
_TIMES_UNTIL_ROLLBACK = 10
_SETTINGS = {
    "statement_timeout": "2min",
    "idle_in_transaction_session_timeout": "10s",
    "TimeZone": "UTC",
    "search_path": "guestguard_messaging",
    "random_page_cost": "1.1",
    "jit": "off",
}


@pytest.fixture(scope="module")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    with run_pgbouncer(postgres_server) as pgbouncer:
        yield pgbouncer


@pytest.fixture
def pooled_url(pgbouncer: PgBouncer, database_url: str) -> str:
    """The migrated database of this test, through PgBouncer."""
    return pgbouncer.url(database_url)


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[Database]:
    with Database(pooled_url) as database:
        yield database


def test_a_run_sends_a_message_when_it_and_dagster_are_connected_through_pgbouncer(
    pooled: Database,
    pooled_url: str,
    pgbouncer: PgBouncer,
    empty_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = make_event(pooled)
    guests = make_guests(pooled, event, 220)
    message = make_message(pooled, event)
    (tmp_path / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    dagster_url = pgbouncer.url(empty_database_url).replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", dagster_url)

    with (
        SmtpLoopback() as mail_server,
        environment(monkeypatch, pooled_url, mail_server),
        DagsterInstance.from_config(str(tmp_path)) as instance,
    ):
        result = run_send_job(instance, [message.id])
        run = instance.get_run_by_id(result.run_id)
        steps = instance.get_run_step_stats(result.run_id)

    assert run is not None
    assert run.status is DagsterRunStatus.SUCCESS
    assert len(steps) == 6
    assert mail_server.recipients() == {guest.email: 1 for guest in guests}
    assert read_message(pooled, message.id).status is MessageStatus.SENT


def test_processes_that_migrate_at_once_through_pgbouncer_do_it_once(
    pgbouncer: PgBouncer, empty_database_url: str
) -> None:
    head = newest_revision()
    with ExitStack() as stack, ThreadPoolExecutor(2) as together:
        databases = [stack.enter_context(Database(pgbouncer.url(empty_database_url))) for _ in range(2)]
        assert set(together.map(migrate, databases)) == {(None, head), (head, head)}


def test_our_settings_hold_in_every_transaction(pooled: Database) -> None:
    """Of several at once, so on several server connections; and in the second one of each, too."""
    for _ in range(2):
        with ExitStack() as open_at_once:
            connections = [open_at_once.enter_context(pooled.transaction()) for _ in range(POOL_SIZE)]
            assert len({_backend(connection) for connection in connections}) == POOL_SIZE
            for connection in connections:
                assert _settings(connection) == _SETTINGS


def test_a_role_with_a_schema_of_its_name_finds_our_tables_all_the_same(pooled: Database) -> None:
    with pooled.transaction() as connection:
        named = connection.execute(text("SELECT current_user, current_schema")).one()
    assert named == (ROLE, SCHEMA)


def test_nothing_of_ours_is_left_on_a_connection_for_its_next_client(pooled: Database, pooled_url: str) -> None:
    statement = text("SELECT count(*) FROM users WHERE name = :name")
    for _ in range(_TIMES):
        with pooled.transaction(durable=False) as connection:
            connection.execute(statement, {"name": "Ada"})
            used = _backend(connection)
    with psycopg.connect(pooled_url) as other:
        other.prepare_threshold = None
        found = other.execute("SELECT pg_backend_pid(), current_setting('jit'), current_setting('search_path')")
        assert found.fetchone() == (used, "on", '"$user", public')
        assert other.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_many_transactions_at_once_share_few_connections(pooled_url: str) -> None:
    """Each reads its own writes, commits them or takes them back whole, whoever had the connection before."""
    workers = 4 * POOL_SIZE
    begin = Barrier(workers)

    def work(number: int) -> None:
        with Database(pooled_url, pool_size=1) as database:
            begin.wait()
            for turn in range(_TIMES):
                with database.transaction() as connection:
                    email = f"{number}-{turn}@example.com"
                    connection.execute(insert(users).values(email=email, name=str(number)))
                    mine = connection.execute(select(users.c.email).where(users.c.name == str(number))).scalars()
                    assert email in set(mine)
                    if turn % _TIMES_UNTIL_ROLLBACK == _TIMES_UNTIL_ROLLBACK - 1:
                        connection.rollback()

    with ThreadPoolExecutor(workers) as together:
        list(together.map(work, range(workers)))
    with Database(pooled_url) as database, database.transaction() as connection:
        kept = connection.execute(text("SELECT count(*) FROM users")).scalar_one()
    assert kept == workers * (_TIMES - _TIMES // _TIMES_UNTIL_ROLLBACK)


def _backend(connection: Connection) -> int:
    pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return pid


def _settings(connection: Connection) -> dict[str, str]:
    return {
        name: connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one()
        for name in _SETTINGS
    }
