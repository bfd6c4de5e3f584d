"""Writes docs/honesty.md: every fault with every provider, and what the rows said after recovery.

`python -m guestguard_dagster_tests.crash.honesty` takes some minutes; it ends with an error if anybody was lost or got
a mail twice.
"""

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.killing import new_seed
from guestguard_dagster_tests.crash.providers import Provider
from guestguard_dagster_tests.crash.scenarios import GUESTS, SCENARIOS, Scenario, Scene
from guestguard_dagster_tests.crash.soak import How, Soak, soak
from guestguard_dagster_tests.crash.verdict import Verdict

_DOCUMENT = Path(__file__).parents[2] / "docs" / "honesty.md"
_NAMES = {Provider.SMTP: "SMTP", Provider.RESEND: "Resend", Provider.SES: "SES", Provider.TWILIO: "Twilio"}
_PACKAGES = ("guestguard-dagster", "sqlalchemy", "psycopg", "resend", "boto3", "twilio")
_SOAK_GUESTS = 2000
_SOAK_TIMES = 50

_INTRODUCTION = """\
# What the rows say when something breaks

A guest must never get a message twice, and must never be forgotten: whoever got no message has a row that says so.
Where a message may have left and nobody can tell, the row says `unknown`, and nothing is sent again by itself.

This page is written by `make honesty`. It sends real messages through the real senders to providers on loopback, lets
one fault strike in the middle, lets everything recover as it would by itself, and compares the rows with what arrived.

- **sent**, **failed**, **unknown**: what the rows say at the end. Nothing is left `pending` or `sending`.
- **lost**: guests with neither a message nor a row that says why.
- **doubled**: guests with more than one message.
"""

_READING = """\
Resend recognises a repeated request by its idempotency key, so an interrupted hand-off is repeated byte for byte and
nobody is left in doubt. SMTP, SES and Twilio cannot recognise a repeat: what was leaving when the process died, or when
the answer was lost, stays `unknown`, at most one batch (SMTP and SES 50, Twilio 20) for each dead process. A callback
of the provider, or an operator, can settle it later.
"""


@dataclass(frozen=True, slots=True)
class Cell:
    scenario: Scenario
    provider: Provider
    verdict: Verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=_DOCUMENT)
    options = parser.parse_args()
    seed = new_seed()
    with FragilePostgres() as postgres:
        cells = list(_play_all(postgres))
        soaks = list(_soak_all(postgres, seed))
        versions = _versions(postgres)
    options.output.write_text(_document(cells, soaks, versions))
    breaches = [verdict.breaches for verdict in _verdicts(cells, soaks) if verdict.breaches]
    if breaches:
        raise SystemExit(f"the promise was broken: {breaches}")


def _play_all(postgres: FragilePostgres) -> Iterator[Cell]:
    for provider in Provider:
        for scenario in SCENARIOS:
            with postgres.new_database() as database:
                verdict = scenario.play(Scene(provider, database, postgres))
            print(f"{_NAMES[provider]}, {scenario.fault}: {verdict}", flush=True)
            yield Cell(scenario, provider, verdict)


def _soak_all(postgres: FragilePostgres, seed: int) -> Iterator[Soak]:
    for provider in Provider:
        for how in How:
            result = soak(postgres, provider, how, guests=_SOAK_GUESTS, times=_SOAK_TIMES, seed=seed)
            print(f"{_NAMES[provider]}, {how}, {result.caught} times: {result.verdict}", flush=True)
            yield result


def _document(cells: Sequence[Cell], soaks: Sequence[Soak], versions: str) -> str:
    verdicts = list(_verdicts(cells, soaks))
    parts = [
        _INTRODUCTION,
        f"In all {len(cells)} cells and {len(soaks)} long runs below, {sum(v.guests for v in verdicts):,} guests: "
        f"**{sum(v.lost for v in verdicts)} lost, {sum(v.doubled for v in verdicts)} doubled**.\n",
        _READING,
        "## Every fault, every provider\n",
        f"One message to {GUESTS} guests each.\n",
        *(_provider_table(provider, cells) for provider in Provider),
        "What strikes:\n",
        "\n".join(f"- *{scenario.fault}*: {scenario.how}" for scenario in SCENARIOS) + "\n",
        "## At random instants\n",
        f"One message to {_SOAK_GUESTS:,} guests each; the worker processes are caught by real signals, some in their "
        f"first steps, most in the middle of hand-offs (seed {soaks[0].seed}). *Arrived* counts the unknown ones that "
        "did arrive.\n",
        _soak_table(soaks),
        f"{versions}\n",
    ]
    return "\n".join(parts)


def _provider_table(provider: Provider, cells: Sequence[Cell]) -> str:
    rows = [
        (cell.scenario.fault, *_states(cell.verdict), cell.verdict.lost, cell.verdict.doubled)
        for cell in cells
        if cell.provider is provider
    ]
    header = ("fault", "sent", "failed", "unknown", "lost", "doubled")
    return f"### {_NAMES[provider]}\n\n{_table(header, rows)}"


def _soak_table(soaks: Sequence[Soak]) -> str:
    header = ("provider", "what happens", "times", "sent", "failed", "unknown", "arrived", "lost", "doubled")
    rows = [
        (
            _NAMES[result.provider],
            result.how,
            result.caught,
            *_states(result.verdict),
            result.verdict.arrived_unknown,
            result.verdict.lost,
            result.verdict.doubled,
        )
        for result in soaks
    ]
    return _table(header, rows)


def _states(verdict: Verdict) -> tuple[int, int, int]:
    states = verdict.states
    return states[DeliveryStatus.SENT], states[DeliveryStatus.FAILED], states[DeliveryStatus.UNKNOWN]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    numbers = [isinstance(value, int) for value in rows[0]]
    rule = "|".join("---:" if is_number else "---" for is_number in numbers)
    lines = [" | ".join(str(value) for value in row) for row in (header, *rows)]
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])]) + "\n"


def _verdicts(cells: Sequence[Cell], soaks: Sequence[Soak]) -> Iterator[Verdict]:
    yield from (cell.verdict for cell in cells)
    yield from (result.verdict for result in soaks)


def _versions(postgres: FragilePostgres) -> str:
    with postgres.new_database() as database, database.transaction() as connection:
        server: str = connection.execute(text("SHOW server_version")).scalar_one()
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return f"Made with Python {platform.python_version()}, PostgreSQL {server}, {packages}."


if __name__ == "__main__":
    main()
