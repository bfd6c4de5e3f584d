"""SendContexts over the test's database and the providers on loopback."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from guestguard_dagster.delivery.pace import NORMAL_PACE, Pace
from guestguard_dagster.delivery.send_context import SendContext
from guestguard_dagster.domain.deliveries import LEASE_TIME
from guestguard_dagster.senders.picker import Senders, pick_senders
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.loopback import twilio
from guestguard_dagster_tests.loopback.resend import API_KEY, ResendLoopback
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback
from guestguard_dagster_tests.loopback.twilio import TwilioLoopback

# For events whose texts may leave whenever the tests run.
NEVER_QUIET: dict[str, Any] = {"sms_quiet_from": None, "sms_quiet_until": None}


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture
def resend() -> Iterator[ResendLoopback]:
    with ResendLoopback() as server:
        yield server


@pytest.fixture
def text_server() -> Iterator[TwilioLoopback]:
    with TwilioLoopback() as server:
        yield server


def smtp_settings(server: SmtpLoopback, **more: object) -> dict[str, object]:
    """Mail goes to this server, without TLS."""
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": server.port,
        "smtp_tls": "none",
        "smtp_from_email": "events@guestguard.example",
        **more,
    }


def resend_settings(server: ResendLoopback, **more: object) -> dict[str, object]:
    return {
        "resend_api_key": API_KEY,
        "resend_base_url": server.url,
        "resend_from_email": "events@guestguard.example",
        "resend_requests_per_second": 1000,
        **more,
    }


def twilio_settings(server: TwilioLoopback, **more: object) -> dict[str, object]:
    return {
        "twilio_account_sid": twilio.ACCOUNT_SID,
        "twilio_auth_token": twilio.AUTH_TOKEN,
        "twilio_from_number": twilio.FROM_NUMBER,
        "twilio_base_url": server.url,
        "twilio_messages_per_second": 1000,
        **more,
    }


@dataclass
class SendContextOpener:
    """Opens SendContexts as processes of their own would: each with its own connections to everything.

    `pace` is that of those opened from now on.
    """

    database_url: str
    opened: ExitStack = field(default_factory=ExitStack)
    count: int = 0
    pace: Pace = NORMAL_PACE

    def __call__(
        self,
        *settings: dict[str, object],
        database_url: str | None = None,
        senders: Senders | None = None,
        lease_time: timedelta = LEASE_TIME,
    ) -> SendContext:
        """`settings` say which providers there are; `senders`, opened by the caller, take their place."""
        merged: dict[str, Any] = {"guestguard_secret_key": "a secret for tests only"}
        for part in settings:
            merged |= part
        values = Settings.model_validate(merged)
        self.count += 1
        database = self.opened.enter_context(Database(database_url or self.database_url))
        senders = senders or pick_senders(values)
        self.opened.callback(senders.close)
        return self.opened.enter_context(
            SendContext.open(
                database, senders, values, run_id=f"run-{self.count}", lease_time=lease_time, pace=self.pace
            )
        )


@pytest.fixture
def open_sending(database_url: str) -> Iterator[SendContextOpener]:
    opener = SendContextOpener(database_url)
    with opener.opened:
        yield opener


@pytest.fixture
def sending(open_sending: SendContextOpener, mail_server: SmtpLoopback) -> SendContext:
    """A send context that sends mail through the mail server, and no texts."""
    return open_sending(smtp_settings(mail_server))


@pytest.fixture
def resend_sending(open_sending: SendContextOpener, resend: ResendLoopback) -> SendContext:
    return open_sending(resend_settings(resend))
