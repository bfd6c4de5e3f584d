"""The providers on loopback, opened alike, and where in them a fault strikes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from guestguard_dagster_tests.crash.providers import SMTP_PASSWORD, SMTP_USER, Provider
from guestguard_dagster_tests.loopback import resend, ses, smtp, twilio
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind, FaultPlan
from guestguard_dagster_tests.loopback.http_server import HttpResponse
from guestguard_dagster_tests.loopback.smtp_features import USUAL, SmtpFeatures

_PATHS = {
    Provider.RESEND: "/emails/batch",
    Provider.SES: ses.SEND_EMAIL,
    Provider.TWILIO: f"/2010-04-01/Accounts/{twilio.ACCOUNT_SID}/Messages.json",
}


class Loopback(Protocol):
    """What every provider on loopback has."""

    port: int
    faults: FaultPlan

    def recipients(self) -> Counter[str]:
        """How many mails or texts were taken for each address."""
        ...


@contextmanager
def loopback(provider: Provider, port: int = 0, *, features: SmtpFeatures = USUAL) -> Iterator[Loopback]:
    """An SMTP server has these `features`, and knows the user that workers log in as."""
    match provider:
        case Provider.SMTP:
            with smtp.SmtpLoopback(replace(features, users=((SMTP_USER, SMTP_PASSWORD),)), port) as mail_server:
                yield mail_server
        case Provider.RESEND:
            with resend.ResendLoopback(port) as resend_server:
                yield resend_server
        case Provider.SES:
            with ses.SesLoopback(port, max_send_rate=10_000) as ses_server:
                yield ses_server
        case Provider.TWILIO:
            with twilio.TwilioLoopback(port) as twilio_server:
                yield twilio_server


def where(provider: Provider, *, smtp_stage: str = "content") -> str:
    """The `at` of a fault: the path of the call that sends, or this stage of SMTP."""
    return _PATHS.get(provider, smtp_stage)


def http_reply(provider: Provider, response: HttpResponse, *, times: int | None = 1) -> Fault:
    """The call that sends is answered so."""
    return Fault(
        at=where(provider),
        do=FaultKind.REPLY,
        status=response.status,
        reply=response.body.decode(),
        headers=response.headers,
        times=times,
    )


def slow(provider: Provider) -> Fault:
    """Every hand-off takes some milliseconds, so that whatever happens, happens in the middle of hand-offs."""
    return Fault(at=where(provider), do=FaultKind.SLOW, seconds=0.01, times=None)
