"""Senders to the providers on loopback, as a worker opens them: the product's own, with timeouts to choose."""

import os
from dataclasses import dataclass, field
from enum import StrEnum

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.senders.base import Mail, Sender, Text
from guestguard_dagster.senders.log import LogSender
from guestguard_dagster.senders.picker import Senders
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.resend.sdk import ResendAccount
from guestguard_dagster.senders.resend.sending import ResendSender
from guestguard_dagster.senders.ses.sending import SesAccess, SesSender
from guestguard_dagster.senders.smtp.connect import SmtpAccess, SmtpTimeouts
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster.senders.twilio.sending import TwilioAccess, TwilioSender
from guestguard_dagster_tests.loopback import resend, ses, twilio

FROM = "events@guestguard.example"
SMTP_USER = "mailer"
SMTP_PASSWORD = "the right password"

_AS_FAST_AS_IT_GOES = 10_000


class Provider(StrEnum):
    SMTP = "smtp"
    RESEND = "resend"
    SES = "ses"
    TWILIO = "twilio"

    @property
    def channel(self) -> MessageChannel:
        return MessageChannel.SMS if self is Provider.TWILIO else MessageChannel.EMAIL


@dataclass(frozen=True, slots=True)
class Access:
    """How a worker reaches a provider. `patience` is every timeout in seconds; `connections` are SMTP's to choose.

    `key` is the password or API key if it is not the right one.
    """

    provider: Provider
    port: int
    patience: float = 60
    connections: int = 4
    logs_in: bool = False
    key: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def open_senders(access: Access) -> Senders:
    """The provider's sender; nothing goes by the other channel."""
    if access.provider is Provider.TWILIO:
        return Senders(LogSender(MessageChannel.EMAIL), _twilio(access))
    openers = {Provider.SMTP: _smtp, Provider.RESEND: _resend, Provider.SES: _ses}
    return Senders(openers[access.provider](access), LogSender(MessageChannel.SMS))


def batch_size(provider: Provider) -> int:
    """How many leave in one batch."""
    senders = open_senders(Access(provider, port=0))
    try:
        return senders.for_channel(provider.channel).batch_size
    finally:
        senders.close()


def _smtp(access: Access) -> Sender[Mail]:
    server = SmtpAccess(
        host="127.0.0.1",
        port=access.port,
        tls="none",
        greeting_name="guestguard.example",
        username=SMTP_USER if access.logs_in else None,
        password=(access.key or SMTP_PASSWORD) if access.logs_in else None,
        timeouts=SmtpTimeouts(access.patience, access.patience, access.patience),
    )
    return SmtpSender(server, MailComposer(FROM), connections=access.connections)


def _resend(access: Access) -> Sender[Mail]:
    account = ResendAccount(access.key or resend.API_KEY, access.url, (access.patience, access.patience))
    return ResendSender(account, FROM, requests_per_second=_AS_FAST_AS_IT_GOES)


def _ses(access: Access) -> Sender[Mail]:
    # Where every AWS client looks for them first. This is the worker's own process.
    os.environ["AWS_ACCESS_KEY_ID"] = access.key or ses.ACCESS_KEY_ID
    os.environ["AWS_SECRET_ACCESS_KEY"] = "loopback-secret"
    service = SesAccess("eu-central-1", endpoint_url=access.url, timeouts=(access.patience, access.patience))
    return SesSender(service, MailComposer(FROM))


def _twilio(access: Access) -> Sender[Text]:
    account = TwilioAccess(
        account_sid=twilio.ACCOUNT_SID,
        auth_token=access.key or twilio.AUTH_TOKEN,
        from_number=twilio.FROM_NUMBER,
        base_url=access.url,
        timeouts=(access.patience, access.patience),
    )
    return TwilioSender(account, messages_per_second=_AS_FAST_AS_IT_GOES)
