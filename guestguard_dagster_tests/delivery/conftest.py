"""A mailroom over the test's database and a loopback mail server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from guestguard_dagster.delivery.mailroom import Mailroom
from guestguard_dagster.senders.picker import Senders, pick_senders
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture
def settings(mail_server: SmtpLoopback) -> Settings:
    """Mail goes to the loopback server, without TLS."""
    return Settings.model_validate(
        {
            "smtp_host": "127.0.0.1",
            "smtp_port": mail_server.port,
            "smtp_tls": "none",
            "smtp_from_email": "events@guestguard.example",
            "guestguard_secret_key": "a secret for tests only",
        }
    )


OpenRoom = Callable[..., Mailroom]


@pytest.fixture
def senders(settings: Settings) -> Iterator[Senders]:
    picked = pick_senders(settings)
    yield picked
    picked.close()


@pytest.fixture
def room(database: Database, senders: Senders, settings: Settings) -> Mailroom:
    return Mailroom.open(database, senders, settings, run_id="test-run")


@contextmanager
def another_room(database: Database, settings: Settings, *, run_id: str = "another-run") -> Iterator[Mailroom]:
    """A second process' view: own connections to everything."""
    senders = pick_senders(settings)
    try:
        yield Mailroom.open(database, senders, settings, run_id=run_id)
    finally:
        senders.close()
