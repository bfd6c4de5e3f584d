"""What the rest of the product has to know of a provider: each provider's folder has one such entry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from guestguard_dagster.domain.callbacks import CallbackContent
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.rendering.addresses import AddressInvalid
from guestguard_dagster.senders.base import Sender
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.settings import Settings, SettingsInvalid


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of one channel.

    `chosen_by` are the settings that make it configured: all of them, or one of each inner tuple.
    `open_sender` raises SettingsInvalid where the settings are there only by half. It imports the provider's SDK, which
    this entry must not: SDKs take long to import. `from_name` is whose service mail comes through: "Ada via
    {from_name}". `sending_number` (E.164) is what STOPs of SMS belong to. `read_callback` is for providers that call
    back; the webhook of the same name verifies what it is given.
    """

    name: str
    channel: MessageChannel
    chosen_by: tuple[str | tuple[str, ...], ...]
    open_sender: Callable[[Settings], Sender[Any]]
    from_name: Callable[[Settings], str] | None = None
    sending_number: Callable[[Settings], str | None] | None = None
    read_callback: Callable[[Mapping[str, Any]], CallbackContent] | None = None

    def is_configured(self, settings: Settings) -> bool:
        return not self.missing_variables(settings)

    def missing_variables(self, settings: Settings) -> list[str]:
        """What must be set to choose this provider, and is not."""
        alternatives = [(names,) if isinstance(names, str) else names for names in self.chosen_by]
        return [
            " or ".join(name.upper() for name in names)
            for names in alternatives
            if all(getattr(settings, name) is None for name in names)
        ]


def composer_for(variable: str, from_email: str | None, *, because: str) -> MailComposer:
    """Composes mail from the address that `variable` gives. Raises SettingsInvalid when it is missing or none."""
    if from_email is None:
        raise SettingsInvalid(f"{variable} is not set although {because}; write the address that mail comes from")
    try:
        return MailComposer(from_email)
    except AddressInvalid as problem:
        raise SettingsInvalid(f"{variable}: {problem}") from None
