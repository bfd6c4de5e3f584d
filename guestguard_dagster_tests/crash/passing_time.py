"""Time that passes in the database alone, so that nobody has to wait for it."""

from datetime import timedelta

from sqlalchemy import text

from guestguard_dagster.storage.database import Database

_INSTANTS = """
    SELECT c.table_name, array_agg(CAST(c.column_name AS text)) FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'guestguard_messaging' AND t.table_type = 'BASE TABLE'
      AND c.data_type = 'timestamp with time zone' AND c.is_generated = 'NEVER'
    GROUP BY c.table_name
"""


def let_leases_run_out(database: Database) -> None:
    """As if a minute had passed over batches that some process holds, dead or alive."""
    _execute(
        database,
        "UPDATE delivery_batches SET lease_expires_at = clock_timestamp() WHERE lease_expires_at > clock_timestamp()",
    )


def let_waits_pass(database: Database) -> None:
    """As if what waits for its next try, for its provider or for a run's turn had waited long enough."""
    _execute(
        database,
        "UPDATE delivery_batches SET not_before = clock_timestamp() "
        "WHERE state = 'pending' AND not_before > clock_timestamp()",
        "UPDATE delivery_batches SET lease_expires_at = clock_timestamp() "
        "WHERE state = 'sending' AND lease_token IS NULL AND lease_expires_at > clock_timestamp()",
        "UPDATE breakers SET open_until = clock_timestamp() WHERE open_until > clock_timestamp()",
        "UPDATE rate_buckets SET theoretical_arrival = clock_timestamp() WHERE theoretical_arrival > clock_timestamp()",
    )


def let_a_day_pass_over_batches(database: Database) -> None:
    """As if every fixed request had been called first a day ago: too long for a repeat."""
    _execute(database, "UPDATE delivery_batches SET handed_off_at = handed_off_at - interval '1 day'")


def let_time_pass(database: Database, time: timedelta) -> None:
    """As if so much time had passed over all rows; statistics keep their days."""
    with database.transaction() as connection:
        columns = connection.execute(text(_INSTANTS)).all()
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # no trigger takes it for news
        for table, names in columns:
            changes = ", ".join(f"{name} = {name} - :time" for name in names)
            connection.execute(text(f"UPDATE {table} SET {changes}"), {"time": time})  # noqa: S608


def let_run_requests_run_out(database: Database) -> None:
    """As if a minute and a half had passed since the last sign of the runs that were requested."""
    _execute(
        database,
        "UPDATE scheduled_messages SET asked_until = clock_timestamp() "
        "WHERE status IN ('scheduled', 'sending') AND asked_until > clock_timestamp()",
    )


def live_leases(database: Database) -> int:
    """How many batches are held at present."""
    with database.transaction() as connection:
        held: int = connection.execute(
            text("SELECT count(*) FROM delivery_batches WHERE lease_expires_at > clock_timestamp()")
        ).scalar_one()
        return held


def has_half_a_statement(database: Database) -> bool:
    """Whether PostgreSQL waits for the rest of what some process began to say."""
    with database.transaction() as connection:
        waiting: bool = connection.execute(
            text(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
                "AND state = 'active' AND wait_event_type = 'Client')"
            )
        ).scalar_one()
        return waiting


def _execute(database: Database, *statements: str) -> None:
    with database.transaction(durable=False) as connection:
        for statement in statements:
            connection.execute(text(statement))
