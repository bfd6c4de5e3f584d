"""Several things at the same instant, each on a thread and a connection of its own."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import text

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import Refused

_PATIENCE_SECONDS = 30


def race(actions: Sequence[Callable[[], object]]) -> list[object]:
    """Start all actions at once; their results in order, a refusal in place of the result. Other errors are raised."""
    start = Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        start.wait(_PATIENCE_SECONDS)
        try:
            return action()
        except Refused as refusal:
            return refusal

    with ThreadPoolExecutor(len(actions)) as threads:
        return list(threads.map(run, actions))


def wait_until_blocked(database: Database) -> None:
    """Return once some statement in this database waits for a lock that another transaction holds."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with database.transaction() as connection:
            if connection.execute(waiting).scalar_one():
                return
        time.sleep(0.01)
    raise AssertionError("nothing waits for a lock")
