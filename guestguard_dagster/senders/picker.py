"""Which provider carries email and which carries SMS: decided by the settings that are present, once, at start."""

import logging
from dataclasses import dataclass
from typing import Any

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.base import Mail, Sender, Text
from guestguard_dagster.senders.log import LogSender
from guestguard_dagster.senders.registry import configured_provider, providers_of, sending_number
from guestguard_dagster.settings import Settings

logger = logging.getLogger(__name__)

_DEFAULT_FROM_NAME = "GuestGuard"


@dataclass(frozen=True, slots=True)
class Senders:
    """One sender per channel.

    `sending_number` (E.164) is what STOP suppressions of SMS belong to, if it is known. `from_name` is whose service
    mail comes through: "Ada via {from_name}".
    """

    email: Sender[Mail]
    sms: Sender[Text]
    sending_number: str | None = None
    from_name: str = _DEFAULT_FROM_NAME

    def for_channel(self, channel: MessageChannel) -> Sender[Any]:
        """The sender of this channel; it takes Mail or Text accordingly."""
        return self.email if channel is MessageChannel.EMAIL else self.sms

    def close(self) -> None:
        self.email.close()
        self.sms.close()


def pick_senders(settings: Settings) -> Senders:
    """For each channel the first provider of the registry that is configured, else the log.

    Raises SettingsInvalid where a provider is configured by half.
    """
    email = configured_provider(MessageChannel.EMAIL, settings)
    from_name = email.from_name(settings) if email and email.from_name else _DEFAULT_FROM_NAME
    return Senders(
        _sender_for(MessageChannel.EMAIL, settings),
        _sender_for(MessageChannel.SMS, settings),
        sending_number(settings),
        from_name,
    )


def announce(senders: Senders) -> None:
    """Log, at the start of a process that sends, where its mail and texts will go."""
    for channel, sender in ((MessageChannel.EMAIL, senders.email), (MessageChannel.SMS, senders.sms)):
        if sender.provider == "log":
            logger.warning(
                "no provider for %s is configured: every %s is only looked at, none is sent", channel, channel
            )
        else:
            logger.info("%s goes through %s, account %s", channel, sender.provider, sender.account)


def _sender_for(channel: MessageChannel, settings: Settings) -> Sender[Any]:
    provider = configured_provider(channel, settings)
    if provider is not None:
        return provider.open_sender(settings)
    for other in providers_of(channel):
        missing = other.missing_variables(settings)
        if len(missing) < len(other.chosen_by):
            logger.warning("%s cannot be used: %s is not set", other.name, ", ".join(missing))
    return LogSender(channel)
