"""Two processes that hand off."""

import pytest

from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.storage.handing_off import HandingOff


@pytest.fixture
def process(database: Database) -> HandingOff:
    return HandingOff(database)


@pytest.fixture
def other(database: Database) -> HandingOff:
    """Another process."""
    return HandingOff(database, run_id="other run")
