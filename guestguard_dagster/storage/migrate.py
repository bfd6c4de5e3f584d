"""Brings our schema to the newest version. Safe to run twice and by several processes at once."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.tables.base import FORMER_SCHEMA, SCHEMA

# An arbitrary constant that every migrating process locks on.
_MIGRATION_LOCK = 0x6775657374


class SchemaNameTaken(Exception):
    """Our schema cannot have its name in this database; the text says why, and what to do."""


def migrate(database: Database, *, to: str = "head") -> tuple[str | None, str]:
    """Upgrade to revision `to`; returns (revision before, revision after). A second process waits for the first."""
    with database.engine.connect() as connection, connection.begin():
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        _require_no_role_of_its_name(connection)
        _rename_former_schema(connection)
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        before = _current_revision(connection)
        command.upgrade(alembic_config(connection), to)
        after = _current_revision(connection)
    if after is None:
        raise RuntimeError(f"migrating to {to!r} left no version in {SCHEMA}.alembic_version")
    return before, after


def _require_no_role_of_its_name(connection: Connection) -> None:
    """Raises SchemaNameTaken: such a role would find our tables in place of its own."""
    named = text("SELECT count(*) FROM pg_roles WHERE rolname = :name")
    if connection.execute(named, {"name": SCHEMA}).scalar_one():
        raise SchemaNameTaken(
            f"the database has a role called {SCHEMA}, as our schema is: whoever signs in as it would find our tables "
            "in place of its own; rename the role"
        )


def _rename_former_schema(connection: Connection) -> None:
    """A schema of the former name is ours where it holds our tables, and nothing has the new name yet."""
    inspector = inspect(connection)
    is_ours = inspector.has_table("scheduled_messages", schema=FORMER_SCHEMA)
    if is_ours and SCHEMA not in inspector.get_schema_names():
        connection.execute(text(f"ALTER SCHEMA {FORMER_SCHEMA} RENAME TO {SCHEMA}"))


def current_revision(database: Database) -> str | None:
    """The version that the database is at, or None if it was never migrated."""
    with database.engine.connect() as connection:
        return _current_revision(connection)


def newest_revision() -> str:
    """The version that this code needs."""
    head = ScriptDirectory.from_config(alembic_config(None)).get_current_head()
    if head is None:
        raise RuntimeError("no migrations are packaged with guestguard_dagster")
    return head


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version", schema=SCHEMA):
        return None
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()


def alembic_config(connection: Connection | None) -> Config:
    """Alembic's own commands for our schema, over an open connection; None where none is needed."""
    config = Config()
    config.set_main_option("script_location", str(files("guestguard_dagster.storage") / "migrations"))
    config.attributes["connection"] = connection
    return config
