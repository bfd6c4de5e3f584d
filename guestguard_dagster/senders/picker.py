"""Which provider carries email and which carries SMS: decided by the settings that are present, once, at start."""

import logging
import socket
from dataclasses import dataclass
from typing import Any

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.rendering.addresses import AddressInvalid
from guestguard_dagster.senders.base import Mail, Sender, Text
from guestguard_dagster.senders.log import LogSender
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.smtp.connect import SmtpAccess
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster.settings import Settings, SettingsInvalid

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Senders:
    """One sender per channel.

    `sending_number` (E.164) is what STOP suppressions of SMS belong to, if it is known. `from_name` is whose service
    mail comes through: "Ada via {from_name}".
    """

    email: Sender[Mail]
    sms: Sender[Text]
    sending_number: str | None = None
    from_name: str = "GuestGuard"

    def for_channel(self, channel: MessageChannel) -> Sender[Any]:
        """The sender of this channel; it takes Mail or Text accordingly."""
        return self.email if channel is MessageChannel.EMAIL else self.sms

    def close(self) -> None:
        self.email.close()
        self.sms.close()


def pick_senders(settings: Settings) -> Senders:
    """Resend, else SMTP, else SES, else the log, for email; Twilio, else the log, for SMS.

    Raises SettingsInvalid where a provider is configured by half.
    """
    return Senders(_email_sender(settings), _sms_sender(settings), settings.twilio_from_number, _from_name(settings))


def announce(senders: Senders) -> None:
    """Log, at the start of a process that sends, where its mail and texts will go."""
    for channel, sender in ((MessageChannel.EMAIL, senders.email), (MessageChannel.SMS, senders.sms)):
        if sender.provider == "log":
            logger.warning(
                "no provider for %s is configured: every %s is only looked at, none is sent", channel, channel
            )
        else:
            logger.info("%s goes through %s, account %s", channel, sender.provider, sender.account)


def _email_sender(settings: Settings) -> Sender[Mail]:
    if settings.resend_api_key is not None:
        return _resend_sender(settings, settings.resend_api_key.get_secret_value())
    if settings.smtp_host is not None:
        return _smtp_sender(settings, settings.smtp_host)
    if settings.ses_region is not None:
        return _ses_sender(settings, settings.ses_region)
    return LogSender(MessageChannel.EMAIL)


def _from_name(settings: Settings) -> str:
    if settings.resend_api_key is not None:
        return settings.resend_from_name
    return settings.ses_from_name if settings.smtp_host is None and settings.ses_region else settings.smtp_from_name


def _sms_sender(settings: Settings) -> Sender[Text]:
    needed = {
        "TWILIO_ACCOUNT_SID": settings.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": settings.twilio_auth_token,
        "TWILIO_FROM_NUMBER or TWILIO_MESSAGING_SERVICE_SID": (
            settings.twilio_from_number or settings.twilio_messaging_service_sid
        ),
    }
    missing = [name for name, value in needed.items() if value is None]
    if not missing:
        return _twilio_sender(settings)
    if len(missing) < len(needed):
        logger.warning("Twilio cannot be used: %s is not set", ", ".join(missing))
    return LogSender(MessageChannel.SMS)


def _smtp_sender(settings: Settings, host: str) -> SmtpSender:
    composer = _composer("SMTP_FROM_EMAIL", settings.smtp_from_email, because="SMTP_HOST is set")
    if (settings.smtp_username is None) != (settings.smtp_password is None):
        raise SettingsInvalid("SMTP_USERNAME and SMTP_PASSWORD belong together: set both, or neither")
    if settings.smtp_ca_file is not None and not settings.smtp_ca_file.is_file():
        raise SettingsInvalid(f"SMTP_CA_FILE: there is no file {settings.smtp_ca_file}")
    access = SmtpAccess(
        host=host,
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


def _resend_sender(settings: Settings, api_key: str) -> Sender[Mail]:
    # The SDKs take long to import: only the one that is used is.
    from guestguard_dagster.senders.resend.sdk import ResendAccount
    from guestguard_dagster.senders.resend.sending import ResendSender

    composer = _composer("RESEND_FROM_EMAIL", settings.resend_from_email, because="RESEND_API_KEY is set")
    account = ResendAccount(api_key, settings.resend_base_url)
    return ResendSender(account, composer.from_email, requests_per_second=settings.resend_requests_per_second)


def _ses_sender(settings: Settings, region: str) -> Sender[Mail]:
    composer = _composer("SES_FROM_EMAIL", settings.ses_from_email, because="SES_REGION is set")
    try:
        from guestguard_dagster.senders.ses.sending import SesAccess, SesSender
    except ModuleNotFoundError as error:
        raise SettingsInvalid(
            f"SES_REGION is set, but the package {error.name} is missing; "
            "install the extra: pip install 'guestguard-dagster[ses]'"
        ) from None
    return SesSender(SesAccess(region, settings.ses_configuration_set, settings.ses_endpoint_url), composer)


def _twilio_sender(settings: Settings) -> Sender[Text]:
    from guestguard_dagster.senders.twilio.sending import TwilioAccess, TwilioSender

    number = settings.twilio_from_number
    if number is not None and number.startswith("+") and to_e164(number, None) != number:
        raise SettingsInvalid("TWILIO_FROM_NUMBER is not a phone number; write it like +15005550006, without spaces")
    access = TwilioAccess(
        account_sid=settings.twilio_account_sid or "",
        auth_token=settings.twilio_auth_token.get_secret_value() if settings.twilio_auth_token else "",
        from_number=number,
        messaging_service_sid=settings.twilio_messaging_service_sid,
        callback_base_url=settings.public_base_url,
        base_url=settings.twilio_base_url,
    )
    return TwilioSender(access, messages_per_second=settings.twilio_messages_per_second)


def _composer(variable: str, from_email: str | None, *, because: str) -> MailComposer:
    if from_email is None:
        raise SettingsInvalid(f"{variable} is not set although {because}; write the address that mail comes from")
    try:
        return MailComposer(from_email)
    except AddressInvalid as problem:
        raise SettingsInvalid(f"{variable}: {problem}") from None


def _greeting_name(from_email: str) -> str:
    """Who EHLO says we are: this host's full name, else the domain that the mail comes from. Asks no DNS."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else from_email.rpartition("@")[2]
