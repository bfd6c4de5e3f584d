"""The database, and with it the run's sign of life: whatever works on our tables is seen to be alive."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from guestguard_dagster.delivery.heartbeat import RunHeartbeat
from guestguard_dagster.storage.database import Database


class DatabaseResource(ConfigurableResource["DatabaseResource"]):
    """GuestGuard's PostgreSQL. `url` comes from DATABASE_URL in the environment, never from run config."""

    url: str

    _database: Database | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator["DatabaseResource"]:
        with ExitStack() as stack:
            self._database = stack.enter_context(Database(self.url, application_name="guestguard-run"))
            if context.run_id is not None:
                stack.enter_context(RunHeartbeat(self._database, context.run_id))
            yield self

    def get(self) -> Database:
        if self._database is None:
            self._database = Database(self.url)
        return self._database
