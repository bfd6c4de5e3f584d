"""Our tables beside those of others: no role, and no product, finds ours in place of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from dagster_postgres import DagsterPostgresStorage
from psycopg import sql

from guestguard_dagster.local.postgres import ROLE
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import SchemaNameTaken, current_revision, migrate, newest_revision
from guestguard_dagster.storage.people.users import UserRepo
from guestguard_dagster.storage.tables.base import FORMER_SCHEMA, SCHEMA
from guestguard_dagster_tests.factories import make_user

_OF_THE_PRODUCT = """
    CREATE TABLE public.users (id int PRIMARY KEY, email text);
    CREATE TABLE public.events (id int PRIMARY KEY);
    INSERT INTO public.users VALUES (1, 'somebody@example.com');
"""


def set_up_product(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(_OF_THE_PRODUCT)


def set_up_dagster(url: str) -> None:
    storage = DagsterPostgresStorage(url.replace("postgresql://", "postgresql+psycopg2://"))
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.dispose()


def set_up_ours(url: str) -> None:
    with Database(url) as database:
        migrate(database)


@pytest.mark.parametrize(
    "in_order",
    [
        (set_up_product, set_up_dagster, set_up_ours),
        (set_up_ours, set_up_product, set_up_dagster),
        (set_up_dagster, set_up_ours, set_up_product),
    ],
)
def test_the_product_dagster_and_we_share_one_database_and_a_role_named_as_the_product(
    empty_database_url: str, in_order: tuple[object, ...]
) -> None:
    for set_up in in_order:
        assert callable(set_up)
        set_up(empty_database_url)
    set_up_dagster(empty_database_url)

    with psycopg.connect(empty_database_url) as product:
        assert product.execute("SELECT current_user").fetchone() == (ROLE,) == (FORMER_SCHEMA,)
        assert product.execute("SELECT email FROM users").fetchall() == [("somebody@example.com",)]
    with Database(empty_database_url) as database:
        host = make_user(database, name="Hanna", email="hanna@example.com")
        assert UserRepo(database).get(host.id).email == "hanna@example.com"


def test_a_schema_of_the_former_name_is_carried_over_with_its_rows_and_its_triggers(empty_database_url: str) -> None:
    set_up_ours(empty_database_url)
    with Database(empty_database_url) as database:
        host = make_user(database, name="Hanna", email="hanna@example.com")
    _make_it_former(empty_database_url)

    with Database(empty_database_url) as database:
        assert migrate(database) == ("0016", newest_revision())
        assert current_revision(database) == newest_revision()
        assert UserRepo(database).get(host.id).name == "Hanna"
        with database.transaction() as connection:
            named = connection.exec_driver_sql(
                "SELECT count(*) FROM pg_proc WHERE pronamespace = %s::regnamespace AND prosrc ~ 'guestguard[.]'",
                (SCHEMA,),
            )
            assert named.scalar_one() == 0
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", (FORMER_SCHEMA,)).fetchone() == (None,)


def test_a_schema_of_the_former_name_that_is_not_ours_is_left_alone(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(FORMER_SCHEMA)))
        connection.execute(sql.SQL("CREATE TABLE {}.users (id int)").format(sql.Identifier(FORMER_SCHEMA)))
    set_up_ours(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute(f"SELECT to_regclass('{FORMER_SCHEMA}.users') IS NOT NULL").fetchone() == (True,)


def test_a_role_named_as_our_schema_is_refused_in_a_sentence(empty_database_url: str) -> None:
    with _role(empty_database_url, SCHEMA), pytest.raises(SchemaNameTaken, match="rename the role"):
        set_up_ours(empty_database_url)
    set_up_ours(empty_database_url)


@contextmanager
def _role(url: str, name: str) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        try:
            yield
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _make_it_former(url: str) -> None:
    """As version 0016 had it: by the former name, which the functions of the triggers have in their text, too."""
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(SCHEMA), sql.Identifier(FORMER_SCHEMA))
        )
        found = connection.execute(
            "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = %s::regnamespace", (FORMER_SCHEMA,)
        )
        for (definition,) in found.fetchall():
            connection.execute(definition.replace(SCHEMA, FORMER_SCHEMA))
        versions = sql.Identifier(FORMER_SCHEMA, "alembic_version")
        connection.execute(sql.SQL("UPDATE {} SET version_num = '0016'").format(versions))
