"""Writes docs/honesty.md: every fault with every provider, and what the rows said after recovery.

`python -m guestguard_dagster_tests.crash.honesty` takes some minutes; it ends with an error if anybody was lost or got
a mail twice. With `--soak`, half an hour more: the soak with its full number of mails; without it, what the last soak
wrote stays.
"""

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import text

from guestguard_dagster_tests.crash.fragile_postgres import FragilePostgres
from guestguard_dagster_tests.crash.killing import new_seed
from guestguard_dagster_tests.crash.limits import LIMITS
from guestguard_dagster_tests.crash.neighbours import NEIGHBOURS
from guestguard_dagster_tests.crash.providers import Provider, batch_size
from guestguard_dagster_tests.crash.random_instants import Caught, How, catch_workers
from guestguard_dagster_tests.crash.scenarios import SCENARIOS
from guestguard_dagster_tests.crash.scene import GUESTS, Scenario, Scene
from guestguard_dagster_tests.crash.soak import PROVIDERS, Plan, soak
from guestguard_dagster_tests.crash.soak_report import DOCUMENT, SoakResult, section_of
from guestguard_dagster_tests.crash.tables import NAMES, states, table
from guestguard_dagster_tests.crash.verdict import Verdict

_PACKAGES = ("guestguard-dagster", "sqlalchemy", "psycopg", "resend", "boto3", "twilio")
_CAUGHT_GUESTS = 2000
_CAUGHT_TIMES = 50
# Of several messages, or of some providers only: a table with all of them.
_BESIDE = (*LIMITS, *NEIGHBOURS)

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

_READING = f"""\
Resend recognises a repeated request by its idempotency key, so an interrupted hand-off is repeated byte for byte and
nobody is left in doubt. SMTP, SES and Twilio cannot recognise a repeat: what was leaving when the process died, or when
the answer was lost, stays `unknown`, at most one batch for each dead process (SMTP {batch_size(Provider.SMTP)},
SES {batch_size(Provider.SES)}, Twilio {batch_size(Provider.TWILIO)}). A callback of the provider, or an operator, can
settle it later.
"""


@dataclass(frozen=True, slots=True)
class Cell:
    scenario: Scenario
    provider: Provider
    verdict: Verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=DOCUMENT)
    parser.add_argument("--soak", action="store_true", help="pull the plug at full speed as well")
    options = parser.parse_args()
    seed = new_seed()
    with FragilePostgres() as postgres:
        cells = list(_play_all(postgres))
        caught = list(_catch_all(postgres, seed))
        soaks = list(_soak_all(postgres, seed)) if options.soak else []
        versions = _versions(postgres)
    last = options.output.read_text() if options.output.exists() else ""
    options.output.write_text(_document(cells, caught, section_of(last, *soaks), versions))
    verdicts = [*_verdicts(cells, caught), *(result.verdict for result in soaks)]
    breaches = [verdict.breaches for verdict in verdicts if verdict.breaches]
    if breaches:
        raise SystemExit(f"the promise was broken: {breaches}")


def _play_all(postgres: FragilePostgres) -> Iterator[Cell]:
    for provider in Provider:
        for scenario in (*SCENARIOS, *_BESIDE):
            if provider not in scenario.providers:
                continue
            with postgres.new_database() as database:
                verdict = scenario.play(Scene(provider, database, postgres))
            print(f"{NAMES[provider]}, {scenario.fault}: {verdict}", flush=True)
            yield Cell(scenario, provider, verdict)


def _catch_all(postgres: FragilePostgres, seed: int) -> Iterator[Caught]:
    for provider in Provider:
        for how in How:
            result = catch_workers(postgres, provider, how, guests=_CAUGHT_GUESTS, times=_CAUGHT_TIMES, seed=seed)
            print(f"{NAMES[provider]}, {how}, {result.times} times: {result.verdict}", flush=True)
            yield result


def _soak_all(postgres: FragilePostgres, seed: int) -> Iterator[SoakResult]:
    for provider in PROVIDERS:
        result = soak(postgres, Plan(provider), seed)
        print(result, flush=True)
        yield result


def _document(cells: Sequence[Cell], caught: Sequence[Caught], soak_section: str, versions: str) -> str:
    verdicts = list(_verdicts(cells, caught))
    parts = [
        _INTRODUCTION,
        f"In all {len(cells)} cells and {len(caught)} runs at random instants below, "
        f"{sum(v.guests for v in verdicts):,} guests: "
        f"**{sum(v.lost for v in verdicts)} lost, {sum(v.doubled for v in verdicts)} doubled**.\n",
        _READING,
        "## Every fault, every provider\n",
        f"One message to {GUESTS} guests each.\n",
        *(_provider_table(provider, cells) for provider in Provider),
        "What strikes:\n",
        _explanations(SCENARIOS),
        "## Limits, and neighbours\n",
        "What a server limits, what one recipient brings about, and what messages in one run do to each other.\n",
        _beside_table(cells),
        "What happens, and what is promised beyond that nobody is lost or gets a message twice:\n",
        _explanations(_BESIDE),
        "## At random instants\n",
        f"One message to {_CAUGHT_GUESTS:,} guests each; the worker processes are caught by real signals, some in "
        f"their first steps, most in the middle of hand-offs (seed {caught[0].seed}). *Arrived* counts the unknown "
        "ones that did arrive.\n",
        _caught_table(caught),
        f"{soak_section}\n",
        f"{versions}\n",
    ]
    return "\n".join(parts)


def _explanations(scenarios: Sequence[Scenario]) -> str:
    return "\n".join(f"- *{scenario.fault}*: {scenario.how}" for scenario in scenarios) + "\n"


def _provider_table(provider: Provider, cells: Sequence[Cell]) -> str:
    rows = [
        (cell.scenario.fault, *states(cell.verdict), cell.verdict.lost, cell.verdict.doubled)
        for cell in cells
        if cell.provider is provider and cell.scenario in SCENARIOS
    ]
    header = ("fault", "sent", "failed", "unknown", "lost", "doubled")
    return f"### {NAMES[provider]}\n\n{table(header, rows)}"


def _beside_table(cells: Sequence[Cell]) -> str:
    header = ("what happens", "provider", "guests", "sent", "failed", "unknown", "lost", "doubled", "kept")
    rows = [
        (
            *(scenario.fault, NAMES[cell.provider], cell.verdict.guests, *states(cell.verdict)),
            *(cell.verdict.lost, cell.verdict.doubled, "no" if cell.verdict.breaches else "yes"),
        )
        for scenario in _BESIDE
        for cell in cells
        if cell.scenario is scenario
    ]
    return table(header, rows)


def _caught_table(caught: Sequence[Caught]) -> str:
    header = ("provider", "what happens", "times", "sent", "failed", "unknown", "arrived", "lost", "doubled")
    rows = [
        (
            *(NAMES[result.provider], result.how, result.times, *states(result.verdict)),
            *(result.verdict.arrived_unknown, result.verdict.lost, result.verdict.doubled),
        )
        for result in caught
    ]
    return table(header, rows)


def _verdicts(cells: Sequence[Cell], caught: Sequence[Caught]) -> Iterator[Verdict]:
    yield from (cell.verdict for cell in cells)
    yield from (result.verdict for result in caught)


def _versions(postgres: FragilePostgres) -> str:
    with postgres.new_database() as database, database.transaction() as connection:
        server: str = connection.execute(text("SHOW server_version")).scalar_one()
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return f"Made with Python {platform.python_version()}, PostgreSQL {server}, {packages}."


if __name__ == "__main__":
    main()
