"""SMTP's entry in the registry."""

import socket

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.base import Mail, Sender
from guestguard_dagster.senders.provider import Provider, composer_for
from guestguard_dagster.senders.smtp.connect import SmtpAccess
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster.settings import Settings, SettingsInvalid


def _open_sender(settings: Settings) -> Sender[Mail]:
    composer = composer_for("SMTP_FROM_EMAIL", settings.smtp_from_email, because="SMTP_HOST is set")
    if (settings.smtp_username is None) != (settings.smtp_password is None):
        raise SettingsInvalid("SMTP_USERNAME and SMTP_PASSWORD belong together: set both, or neither")
    if settings.smtp_ca_file is not None and not settings.smtp_ca_file.is_file():
        raise SettingsInvalid(f"SMTP_CA_FILE: there is no file {settings.smtp_ca_file}")
    access = SmtpAccess(
        host=settings.smtp_host or "",
        port=settings.smtp_port,
        tls=settings.smtp_tls,
        greeting_name=_greeting_name(composer.from_email),
        username=settings.smtp_username,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        ca_file=settings.smtp_ca_file,
    )
    return SmtpSender(
        access, composer, connections=settings.smtp_connections, mails_per_second=settings.smtp_mails_per_second
    )


def _greeting_name(from_email: str) -> str:
    """Who EHLO says we are: this host's full name, else the domain that the mail comes from. Asks no DNS."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else from_email.rpartition("@")[2]


SMTP = Provider(
    name="smtp",
    channel=MessageChannel.EMAIL,
    chosen_by=("smtp_host",),
    open_sender=_open_sender,
    from_name=lambda settings: settings.smtp_from_name,
)
