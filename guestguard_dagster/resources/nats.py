"""JetStream, as the settings describe it."""

from dagster import ConfigurableResource

from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.settings import load_settings
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.streams.ledger import Ledger


class NatsResource(ConfigurableResource["NatsResource"]):
    """Has no fields: credentials stay in the environment, where no run config and no page can show them."""

    def open(self) -> JetStream:
        """Use it as a context manager; it connects with its first call. Raises SettingsInvalid."""
        settings = load_settings()
        return JetStream(NatsAccess.from_settings(settings), declare_stream(settings))

    def open_ledger(self) -> Ledger:
        """Use it as a context manager. Without NATS it records nothing."""
        return Ledger.from_settings(load_settings())

    def open_callbacks(self) -> JetStream:
        """The same for the stream of providers' callbacks."""
        settings = load_settings()
        return JetStream(NatsAccess.from_settings(settings), StreamDeclaration.of_callbacks(settings))
