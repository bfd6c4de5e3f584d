"""A mail server on loopback that takes its time, so that whatever happens, happens in the middle of hand-offs."""

from collections.abc import Iterator

import pytest

from guestguard_dagster_tests.crash.loopbacks import slow
from guestguard_dagster_tests.crash.providers import Provider
from guestguard_dagster_tests.loopback.resend import ResendLoopback
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture
def slow_mail_server(mail_server: SmtpLoopback) -> SmtpLoopback:
    """It has every mail for some milliseconds before it says so."""
    mail_server.faults.add(slow(Provider.SMTP))
    return mail_server


@pytest.fixture
def resend() -> Iterator[ResendLoopback]:
    with ResendLoopback() as server:
        yield server
