"""Every provider, once, in the order in which they are chosen.

A new provider is a folder and a line here; one that calls back has a webhook, too.
"""

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.provider import Provider
from guestguard_dagster.senders.resend.provider import RESEND
from guestguard_dagster.senders.ses.provider import SES
from guestguard_dagster.senders.smtp.provider import SMTP
from guestguard_dagster.senders.twilio.provider import TWILIO
from guestguard_dagster.settings import Settings

PROVIDERS: tuple[Provider, ...] = (
    RESEND,
    SMTP,
    SES,
    TWILIO,
)


def providers_of(channel: MessageChannel) -> list[Provider]:
    return [provider for provider in PROVIDERS if provider.channel is channel]


def providers_that_call_back() -> list[Provider]:
    return [provider for provider in PROVIDERS if provider.read_callback is not None]


def provider_named(name: str) -> Provider:
    """Raises KeyError."""
    return {provider.name: provider for provider in PROVIDERS}[name]


def configured_provider(channel: MessageChannel, settings: Settings) -> Provider | None:
    """The first one whose settings are present."""
    return next((provider for provider in providers_of(channel) if provider.is_configured(settings)), None)


def sending_number(settings: Settings) -> str | None:
    """The number (E.164) that STOPs of SMS belong to, if it is known; callbacks need it without a sender, too."""
    numbers = [provider.sending_number(settings) for provider in PROVIDERS if provider.sending_number is not None]
    return next((number for number in numbers if number is not None), None)
