"""A small soak. The full one: `python -m guestguard_dagster_tests.crash.soak`."""

from collections import Counter
from pathlib import Path

import pytest

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.killing import new_seed
from guestguard_dagster_tests.crash.providers import Provider
from guestguard_dagster_tests.crash.soak import PROVIDERS, Plan, soak
from guestguard_dagster_tests.crash.soak_report import SoakResult, section_of, write_result
from guestguard_dagster_tests.crash.verdict import Verdict


@pytest.mark.parametrize("provider", PROVIDERS)
def test_runs_and_databases_killed_at_full_speed_lose_nobody_and_send_nothing_twice(
    provider: Provider,
) -> None:
    with FragilePostgres() as postgres:
        result = soak(postgres, Plan(provider, mails=3000, kills=3, database_kills=1), new_seed())

    print(result)
    assert result.verdict.breaches == {}
    assert (result.verdict.guests, result.kills, result.database_kills) == (3000, 3, 1)


def test_a_result_takes_the_place_of_the_last_one_of_its_provider_and_leaves_the_rest(tmp_path: Path) -> None:
    document = tmp_path / "honesty.md"
    document.write_text("before\n<!-- soak -->\n<!-- end of soak -->\nafter\n")

    write_result(document, result_of(Provider.RESEND, kills=7))
    write_result(document, result_of(Provider.SMTP, kills=8))
    write_result(document, result_of(Provider.SMTP, kills=9))

    written = document.read_text()
    assert written.startswith("before\n<!-- soak -->\n")
    assert written.endswith("<!-- end of soak -->\nafter\n")
    kills = [line.split(" | ")[2] for line in written.splitlines() if line.startswith(("| SMTP", "| Resend"))]
    assert kills == ["9", "7"]
    assert section_of(written) in written


def result_of(provider: Provider, *, kills: int) -> SoakResult:
    verdict = Verdict(10, 10, 0, 0, 0, Counter({DeliveryStatus.SENT: 10}), 0, 0)
    return SoakResult(provider, kills, 1, 1, 2.0, verdict)
