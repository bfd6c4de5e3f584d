"""Limits of a server, and messages that share a run: nobody is to blame for what others bring about."""

from collections.abc import Iterator

import pytest

from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.limits import LIMITS
from guestguard_dagster_tests.crash.neighbours import NEIGHBOURS
from guestguard_dagster_tests.crash.providers import Provider
from guestguard_dagster_tests.crash.scene import Scenario, Scene


@pytest.fixture(scope="module")
def postgres() -> Iterator[FragilePostgres]:
    with FragilePostgres() as server:
        yield server


@pytest.mark.parametrize("scenario", [*LIMITS, *NEIGHBOURS], ids=lambda scenario: scenario.fault)
def test_nobody_suffers_from_the_limits_of_a_server_or_from_a_neighbour(
    postgres: FragilePostgres, scenario: Scenario
) -> None:
    with postgres.new_database() as database:
        verdict = scenario.play(Scene(Provider.SMTP, database, postgres))

    assert verdict.breaches == {}
