"""Resend's entry in the registry."""

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.base import Mail, Sender
from guestguard_dagster.senders.provider import Provider, composer_for
from guestguard_dagster.senders.resend import callbacks
from guestguard_dagster.settings import Settings


def _open_sender(settings: Settings) -> Sender[Mail]:
    from guestguard_dagster.senders.resend.sdk import ResendAccount
    from guestguard_dagster.senders.resend.sending import ResendSender

    composer = composer_for("RESEND_FROM_EMAIL", settings.resend_from_email, because="RESEND_API_KEY is set")
    api_key = settings.resend_api_key.get_secret_value() if settings.resend_api_key else ""
    account = ResendAccount(api_key, settings.resend_base_url)
    return ResendSender(account, composer.from_email, requests_per_second=settings.resend_requests_per_second)


RESEND = Provider(
    name="resend",
    channel=MessageChannel.EMAIL,
    chosen_by=("resend_api_key",),
    open_sender=_open_sender,
    from_name=lambda settings: settings.resend_from_name,
    read_callback=callbacks.read,
)
