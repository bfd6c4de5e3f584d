"""A run's sign of life, written down by a thread: a run whose process is gone can be told from a slow one."""

import logging
import os
import socket
from threading import Event, Thread
from types import TracebackType

from guestguard_dagster.storage.database import Database, DatabaseFailed
from guestguard_dagster.storage.operations.runs import RunRepo

log = logging.getLogger(__name__)

BEAT_EVERY_SECONDS = 15.0


class RunHeartbeat:
    """Beats from enter to exit. A beat that cannot be written is logged, and tried again with the next one."""

    def __init__(self, database: Database, run_id: str) -> None:
        self._runs = RunRepo(database)
        self._run_id = run_id
        self._ended = Event()
        self._thread = Thread(target=self._beat_on, name="run-heartbeat", daemon=True)

    def __enter__(self) -> "RunHeartbeat":
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=BEAT_EVERY_SECONDS)

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_EVERY_SECONDS):
            self._beat()

    def _beat(self) -> None:
        try:
            self._runs.beat(self._run_id, host=socket.gethostname(), pid=os.getpid())
        except DatabaseFailed as error:
            log.warning("run %s could not give its sign of life: %s", self._run_id, error)
