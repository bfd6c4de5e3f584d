"""Some cells of the honesty table for the providers that no other test here sends through."""

from collections.abc import Iterator

import pytest

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.providers import Provider, batch_size
from guestguard_dagster_tests.crash.scenarios import SCENARIOS
from guestguard_dagster_tests.crash.scene import GUESTS, Scene

BATCHES = {provider: batch_size(provider) for provider in Provider}
BY_FAULT = {scenario.fault: scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def postgres() -> Iterator[FragilePostgres]:
    with FragilePostgres() as server:
        yield server


@pytest.mark.parametrize(
    ("fault", "provider", "unknown"),
    [
        ("connection refused", Provider.SES, 0),
        ("connection refused", Provider.TWILIO, 0),
        ("connection dropped after the provider has it", Provider.SES, 3),
        ("connection dropped after the provider has it", Provider.TWILIO, 3),
        ("SIGKILL before the call", Provider.SES, BATCHES[Provider.SES]),
        ("SIGKILL after the call", Provider.TWILIO, BATCHES[Provider.TWILIO]),
        ("database gone during the call", Provider.SES, 0),
        ("database gone during the call", Provider.TWILIO, 0),
        ("restored from a backup", Provider.SMTP, BATCHES[Provider.SMTP]),
        ("restored from a backup", Provider.RESEND, BATCHES[Provider.RESEND]),
        ("restored from a backup", Provider.SES, BATCHES[Provider.SES]),
        ("restored from a backup", Provider.TWILIO, BATCHES[Provider.TWILIO]),
    ],
)
def test_whoever_cannot_be_told_to_have_a_message_is_unknown_and_everyone_else_has_one(
    postgres: FragilePostgres, fault: str, provider: Provider, unknown: int
) -> None:
    with postgres.new_database() as database:
        verdict = BY_FAULT[fault].play(Scene(provider, database, postgres))

    assert verdict.breaches == {}
    assert verdict.states[DeliveryStatus.UNKNOWN] == unknown
    assert verdict.states[DeliveryStatus.SENT] == GUESTS - unknown
