"""How the engine is hurried in tests."""

from datetime import timedelta

import pytest

from guestguard_dagster.delivery import dispatch as dispatching


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run leaves whatever has to wait, however short, to the next run."""
    monkeypatch.setattr(dispatching, "_LONGEST_STAY", timedelta(0))
