"""An SMTP server on loopback and a sender that knows it, for the tests of SMTP."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.smtp.connect import SmtpAccess, SmtpTimeouts
from guestguard_dagster.senders.smtp.sending import SmtpSender
from guestguard_dagster_tests.loopback.smtp import SmtpFeatures, SmtpLoopback
from guestguard_dagster_tests.loopback.smtp_features import USUAL
from guestguard_dagster_tests.senders.smtp.servers import PATIENT, Start


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server with the given features, and a sender that knows it."""
    with ExitStack() as stack:

        def start_both(
            features: SmtpFeatures = USUAL, connections: int = 1, timeouts: SmtpTimeouts = PATIENT, port: int = 0
        ) -> tuple[SmtpLoopback, SmtpSender]:
            server = stack.enter_context(SmtpLoopback(features, port))
            access = SmtpAccess("127.0.0.1", server.port, "none", "client.test", timeouts=timeouts)
            sender = SmtpSender(access, MailComposer("events@guestguard.example"), connections=connections)
            stack.callback(sender.close)
            return server, sender

        yield start_both


@pytest.fixture(params=[True, False], ids=["pipelining", "step-by-step"])
def features(request: pytest.FixtureRequest) -> SmtpFeatures:
    return SmtpFeatures(pipelining=request.param)
