"""What `guestguard export`, `guestguard replay-ledger` and `guestguard doctor` do."""

from datetime import datetime
from pathlib import Path

from guestguard_dagster.clock import in_utc
from guestguard_dagster.domain.days import Days
from guestguard_dagster.local.console import tell
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.here import settings_here
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.operations.health import Level, examine
from guestguard_dagster.operations.ledger_replay import ReplayRefused, replay
from guestguard_dagster.reporting.export import Dataset, ParquetMissing, as_csv, as_parquet
from guestguard_dagster.storage.database import Database, DatabaseFailed
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.ledger import Ledger

_DEFAULT_DAYS = 30
_SIGNS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.ERROR: ("✗", "red")}


def run_export(
    project: Path, dataset: str, *, first: datetime | None, last: datetime | None, form: str, output: Path | None
) -> None:
    """Write the statistics of some days to a file, or as CSV to the terminal.

    Raises SettingsInvalid, and LocalServiceError for what is asked for and cannot be.
    """
    if form == "parquet" and output is None:
        raise LocalServiceError("Parquet is not for reading in a terminal; give --output a file")
    settings = settings_here(project)
    with Database(settings.require_database_url(), application_name="guestguard-export") as database:
        today = Days.containing(database.now(), settings.operator_zone)
        until = last.date() if last is not None else today.last
        since = first.date() if first is not None else Days.only(until, today.zone).widened(_DEFAULT_DAYS - 1).first
        try:
            days = Days(since, until, today.zone)
            if form == "parquet":
                data = as_parquet(database, Dataset(dataset), days)
            else:
                data = as_csv(database, Dataset(dataset), days).encode()
        except (ValueError, ParquetMissing) as problem:
            raise LocalServiceError(str(problem)) from None
    if output is None:
        tell(data.decode().rstrip("\n"))
    else:
        output.write_bytes(data)
        tell(f"{days}: written to {output}")


def run_replay_ledger(project: Path, *, dry_run: bool, lost_at: datetime | None, restored_to: datetime | None) -> None:
    """Replay the ledger over a restored database, and say what became of it.

    Instants without a zone are in UTC. Raises SettingsInvalid, and LocalServiceError for what cannot be.
    """
    settings = settings_here(project)
    try:
        with (
            Database(settings.require_database_url(), application_name="guestguard-replay") as database,
            Ledger.from_settings(settings) as ledger,
        ):
            report = replay(
                database,
                ledger,
                dry_run=dry_run,
                lost_at=lost_at and in_utc(lost_at),
                restored_to=restored_to and in_utc(restored_to),
            )
    except (ReplayRefused, StreamFailed, DatabaseFailed) as problem:
        raise LocalServiceError(str(problem)) from None
    for sentence in report.sentences():
        tell(sentence)
    for message_id, guests in report.left.items():
        gone = " (not here any more)" if message_id in report.unknown_messages else ""
        tell(f"  message {message_id}{gone}: {guests} guests have it")
    for message_id in report.held_messages:
        tell(f"  message {message_id}: held")
    if not dry_run:
        tell("Now run the job replay_events, for events of the lost time that were acknowledged.")


def run_doctor(project: Path) -> int:
    """Say how every part stands, and what to do about those that do not. Returns the exit code: 1 when one fails.

    Raises SettingsInvalid.
    """
    settings = settings_here(project)
    with Database(settings.require_database_url(), application_name="guestguard-doctor") as database:
        health = examine(database, settings, stream=declare_stream(settings))
    for finding in health.findings:
        sign, colour = _SIGNS[finding.level]
        tell(f"{sign} {finding.name.replace('_', ' ')}: {finding.sentence}", colour=colour)
    return 1 if health.level is Level.ERROR else 0
