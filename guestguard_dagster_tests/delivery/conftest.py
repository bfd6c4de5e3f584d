"""How the engine is hurried in tests."""

from dataclasses import replace
from datetime import timedelta

import pytest

from guestguard_dagster_tests.send_contexts import SendContextOpener


@pytest.fixture
def hasty(open_sending: SendContextOpener) -> None:
    """A run leaves whatever has to wait, however short, to the next run."""
    open_sending.pace = replace(open_sending.pace, longest_stay=timedelta(0))
