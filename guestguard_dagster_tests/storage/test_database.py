"""Connections, and what callers see of the database's errors."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, text

from guestguard_dagster.local.ports import free_port
from guestguard_dagster.storage.database import Database, DatabaseFailed, DatabaseUnavailable, DatabaseUrlInvalid
from guestguard_dagster.storage.tables.people import users


def test_a_transaction_is_committed_whole_or_not_at_all(database: Database) -> None:
    def count() -> int:
        with database.transaction() as connection:
            return len(connection.execute(users.select()).all())

    def add_and_fail() -> None:
        with database.transaction() as connection:
            connection.execute(insert(users).values(email="b@example.com", name="B"))
            raise RuntimeError("changed my mind")

    with database.transaction() as connection:
        connection.execute(insert(users).values(email="a@example.com", name="A"))
    with pytest.raises(RuntimeError, match="changed my mind"):
        add_and_fail()
    assert count() == 1


def test_a_refused_statement_is_told_without_its_values(database: Database) -> None:
    def add() -> None:
        with database.transaction() as connection:
            connection.execute(insert(users).values(email="ada@example.com", name="Ada"))

    add()
    with pytest.raises(DatabaseFailed, match="uq_users_email_folded") as failure:
        add()
    assert failure.value.sqlstate == "23505"
    assert not isinstance(failure.value, DatabaseUnavailable)
    assert "ada@example.com" not in str(failure.value)
    assert failure.value.__suppress_context__


def test_a_value_that_the_database_cannot_read_is_not_repeated(database: Database) -> None:
    with pytest.raises(DatabaseFailed, match="SQLSTATE 22P02") as failure, database.transaction() as connection:
        connection.execute(text("SELECT CAST(:value AS uuid)"), {"value": "ada@example.com"})
    assert "ada" not in str(failure.value)


def test_a_connection_that_dies_is_told_apart_and_the_next_one_works(database: Database) -> None:
    def lose_the_connection() -> None:
        with database.transaction() as connection:
            own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with database.transaction() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": own})
            connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        lose_the_connection()
    with database.transaction() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


@pytest.mark.parametrize("sqlstate", ["08006", "25P03", "25P04", "57P01"])
def test_an_error_that_ends_the_connection_is_no_refusal(database: Database, sqlstate: str) -> None:
    """25P03 and 25P04 meet a process that was frozen within a transaction."""
    ended = text(f"DO $$ BEGIN RAISE EXCEPTION 'of the test' USING ERRCODE = '{sqlstate}'; END $$")
    with pytest.raises(DatabaseUnavailable) as failure, database.transaction() as connection:
        connection.execute(ended)
    assert failure.value.sqlstate == sqlstate


def test_a_connection_that_the_server_closed_while_it_was_idle_is_replaced(database: Database) -> None:
    with database.transaction() as killer:
        with database.transaction() as connection:
            idle = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": idle})
        with database.transaction() as connection:
            assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != idle


def test_a_database_that_is_not_there_is_told_without_its_address() -> None:
    port = free_port()
    with (
        Database(f"postgresql://somebody:hidden@127.0.0.1:{port}/nothing") as database,
        pytest.raises(DatabaseUnavailable) as failure,
    ):
        database.now()
    assert "hidden" not in str(failure.value)
    assert str(port) not in str(failure.value)


@pytest.mark.parametrize("url", ["mysql://somebody:hidden@host/db", "not an address: hidden", "postgresql:/:hidden"])
def test_what_is_no_address_of_postgresql_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(DatabaseUrlInvalid, match="DATABASE_URL") as refusal:
        Database(url)
    assert "hidden" not in str(refusal.value)


def test_the_clock_of_the_database_is_in_utc(database: Database) -> None:
    assert database.now().utcoffset() == timedelta()


def test_a_direct_connection_has_our_settings_once_and_prepares_what_it_repeats(database: Database) -> None:
    settings = {
        "statement_timeout": "2min",
        "idle_in_transaction_session_timeout": "10s",
        "search_path": "guestguard_messaging",
        "random_page_cost": "1.1",
        "jit": "off",
    }
    statement = text("SELECT current_setting(:name)")
    for _ in range(10):
        with database.transaction() as connection:
            assert {name: connection.execute(statement, {"name": name}).scalar_one() for name in settings} == settings
    with database.transaction() as connection:
        local = connection.execute(text("SELECT count(*) FROM pg_settings WHERE name = 'jit' AND source = 'session'"))
        prepared = connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))
        assert (local.scalar_one(), prepared.scalar_one()) == (1, 1)
