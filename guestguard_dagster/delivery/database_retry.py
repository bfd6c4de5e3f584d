"""Waiting for a database that is away: what a hand-off brought is only in memory, so it is not given up lightly."""

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from guestguard_dagster.clock import boot_seconds
from guestguard_dagster.storage.database import DatabaseFailed, DatabaseUnavailable

log = logging.getLogger(__name__)

_GIVE_UP_AFTER_SECONDS = 600.0
_GIVE_UP_STOPPING_AFTER_SECONDS = 20.0
_LONGEST_PAUSE_SECONDS = 5.0

# Lost races (serialisation, deadlock), no room left on disk or in memory, a statement that waited too long for a lock.
_PASSING = ("40", "53", "57014")

Result = TypeVar("Result")


def retry_database(write: Callable[[], Result], stop: Event) -> Result:
    """Repeat `write` while the database cannot be reached; it must be safe to repeat.

    Gives up after ten minutes, or after twenty seconds once the run is being stopped.
    """
    started = boot_seconds()
    pause = 0.1
    while True:
        try:
            return write()
        except DatabaseFailed as error:
            give_up_after = _GIVE_UP_STOPPING_AFTER_SECONDS if stop.is_set() else _GIVE_UP_AFTER_SECONDS
            if not _may_pass(error) or boot_seconds() - started > give_up_after:
                raise
            log.warning("what a hand-off brought cannot be written down yet, trying again: %s", error)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _may_pass(error: DatabaseFailed) -> bool:
    return isinstance(error, DatabaseUnavailable) or (error.sqlstate or "").startswith(_PASSING)
