"""`guestguard doctor` and `guestguard export`, as a person runs them."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from guestguard_dagster.cli import cli
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.ticks import TickRepo


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Run":
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DATABASE_URL", database_url)
    return Run()


class Run:
    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)


def test_the_doctor_says_what_is_wrong_and_ends_accordingly(run: Run, database: Database) -> None:
    ill = run("doctor")
    TickRepo(database).note("due_messages")
    well = run("doctor")

    assert ill.exit_code == 1
    assert "✗ daemon: Dagster's daemon has never ticked" in ill.output
    assert well.exit_code == 0, well.output
    assert "✓ daemon:" in well.output
    assert "! email provider: no provider for email is configured" in well.output


def test_statistics_are_exported_to_the_terminal_or_a_file(run: Run, tmp_path: Path) -> None:
    shown = run("export", "days", "--from", "2026-03-01", "--to", "2026-03-02")
    written = run("export", "messages", "--format", "parquet", "--output", "messages.parquet")

    assert shown.exit_code == 0
    assert shown.output.startswith("day,channel,kind,provider,outcome,deliveries,")
    assert written.exit_code == 0
    assert (tmp_path / "messages.parquet").read_bytes().startswith(b"PAR1")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "2026-03-02", "--to", "2026-03-01"], "there is no day from 2026-03-02 to 2026-03-01"),
        (["--format", "parquet"], "give --output a file"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    result = run("export", "days", *arguments)

    assert result.exit_code == 1
    assert sentence in result.output
    assert "Traceback" not in result.output
