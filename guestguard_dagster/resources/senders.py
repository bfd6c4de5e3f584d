"""The senders for email and SMS, picked by which settings are present."""

from dagster import ConfigurableResource, InitResourceContext
from pydantic import PrivateAttr

from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.senders.picker import Senders, announce, pick_senders
from guestguard_dagster.settings import load_settings


class SendersResource(ConfigurableResource["SendersResource"]):
    """Has no fields: provider keys stay in the environment, where no run config and no page can show them."""

    _senders: Senders | None = PrivateAttr(default=None)
    _is_for_a_run: bool = PrivateAttr(default=False)

    def setup_for_execution(self, context: InitResourceContext) -> None:
        self._is_for_a_run = context.run_id is not None

    def teardown_after_execution(self, _context: InitResourceContext) -> None:
        if self._senders is not None:
            self._senders.close()

    def get(self) -> Senders:
        if self._senders is None:
            self._senders = pick_senders(load_settings())
            if self._is_for_a_run:
                announce(self._senders)
        return self._senders

    def open_context(self, database: DatabaseResource, *, run_id: str) -> SendContext:
        """What every step of a send needs, over these senders. Use it as a context manager."""
        return SendContext.open(database.get(), self.get(), load_settings(), run_id=run_id)
