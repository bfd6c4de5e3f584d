"""Waiting until somebody waits for a lock: the moment at which two transactions are known to meet."""

import time

from sqlalchemy import text

from guestguard_dagster.storage.database import Database

_PATIENCE_SECONDS = 30.0


def wait_until_blocked(database: Database, *, sessions: int = 1) -> list[int]:
    """Until so many sessions of this database wait for a lock; returns their process ids."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        with database.transaction() as connection:
            blocked = connection.execute(
                text(
                    "SELECT pid FROM pg_stat_activity "
                    "WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
                )
            ).scalars()
            pids = list(blocked)
        if len(pids) >= sessions:
            return pids
        time.sleep(0.01)
    raise AssertionError(f"no {sessions} sessions waited for a lock within {_PATIENCE_SECONDS:.0f} seconds")
