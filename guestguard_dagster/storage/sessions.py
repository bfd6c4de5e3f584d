"""What holds for every connection of ours: directly to PostgreSQL for its session, through PgBouncer for a transaction.

PgBouncer in transaction mode gives each transaction whichever server connection is free. What a session sets or
prepares there meets the next client, and is missing where our next transaction goes.
"""

from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from guestguard_dagster.storage.tables.base import SCHEMA

DRIVER = "postgresql+guestguard"

_SETTINGS = {
    "statement_timeout": "120s",
    # A transaction that falls silent is of a process that is frozen, or on a host that is gone: its locks are freed.
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    # Statements name tables alone. Only ours are looked through: where one is missing, no other is taken for it.
    "search_path": SCHEMA,
    # The default is made for spinning disks, and has the planner read whole tables instead of fifty rows by their key.
    "random_page_cost": "1.1",
    # To compile a statement takes longer than any of ours runs.
    "jit": "off",
}
# Behind PgBouncer the number that the client was given is made up: nothing is set there that the next one would find.
_SET_FOR_SESSION = (
    "SELECT CASE pg_backend_pid() WHEN %s THEN ARRAY["
    + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())
    + "] END"
)
_BEGIN_WITH_SETTINGS = "; ".join(["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items())])


class PooledOrDirect(PGDialect_psycopg):
    """psycopg's dialect, whose connections notice whether they lead through PgBouncer.

    Directly, the settings are made once per connection, and statements are prepared as psycopg does. Through PgBouncer
    the settings travel with each BEGIN, so that they cost no round trip, and nothing is prepared.
    """

    supports_statement_cache = True

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        connection: Any = super().connect(*cargs, **cparams, autocommit=True)
        try:
            settings = connection.execute(_SET_FOR_SESSION, (connection.info.backend_pid,)).fetchone()
            if settings == (None,):
                # BEGIN is ours to say
                connection.prepare_threshold = None
            else:
                connection.autocommit = False
        except BaseException:
            connection.close()
            raise
        return connection

    def _get_default_schema_name(self, _connection: Any) -> str:
        """What reflection leaves unnamed: our tables are always named with their schema."""
        return "public"

    def do_begin(self, dbapi_connection: Any) -> None:
        if dbapi_connection.prepare_threshold is None:
            dbapi_connection.execute(_BEGIN_WITH_SETTINGS)


registry.register(DRIVER.replace("+", "."), __name__, PooledOrDirect.__name__)
