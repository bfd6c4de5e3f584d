from collections.abc import Iterator

import pytest
from dagster import DagsterInstance

from guestguard_dagster_tests.dagster_rooms import environment


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(autouse=True)
def the_environment(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[None]:
    """Assets find their database in the environment, as in production."""
    with environment(monkeypatch, database_url, None):
        yield
