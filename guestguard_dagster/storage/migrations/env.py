"""Alembic's entry point. The connection is handed in by `storage.migrate`, never opened here."""

from alembic import context

from guestguard_dagster.storage.tables import (  # noqa: F401 - each puts its tables into the same metadata
    deliveries,
    ledger,
    messages,
    notifications,
    operations,
    people,
    providers,
    statistics,
)
from guestguard_dagster.storage.tables.base import SCHEMA, metadata


def _only_our_schema(name: str | None, type_: str, _parents: object) -> bool:
    return type_ != "schema" or name == SCHEMA


connection = context.config.attributes["connection"]
# What is compared with the code is read with the names of schemas.
connection.exec_driver_sql("SET LOCAL search_path = public")
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="alembic_version",
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=_only_our_schema,
)

with context.begin_transaction():
    context.run_migrations()
connection.exec_driver_sql(f"SET LOCAL search_path = {SCHEMA}")
