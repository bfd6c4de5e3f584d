"""A setting replaces the part that would be started here; what we wrote ourselves is no setting of the user's."""

from pathlib import Path

import pytest

from guestguard_dagster.local.env_file import write_block
from guestguard_dagster.local.plan import plan_all_local, plan_from_settings
from guestguard_dagster.settings import Settings, SettingsInvalid


@pytest.fixture(autouse=True)
def bare_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_settings_all_is_started_here(tmp_path: Path) -> None:
    assert _parts(tmp_path) == {"postgres", "nats", "mail"}


@pytest.mark.parametrize(
    ("setting", "left"),
    [
        ("DATABASE_URL=postgresql://db.internal/guestguard", {"nats", "mail"}),
        ("NATS_URL=nats://nats.internal:4222", {"postgres", "mail"}),
        ("SMTP_HOST=smtp.example.com", {"postgres", "nats"}),
        ("RESEND_API_KEY=re_123", {"postgres", "nats"}),
        ("SES_REGION=eu-central-1", {"postgres", "nats"}),
    ],
)
@pytest.mark.parametrize("where", ["shell", "file"])
def test_a_setting_replaces_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, left: set[str], where: str
) -> None:
    if where == "shell":
        monkeypatch.setenv(*setting.split("=", 1))
    else:
        (tmp_path / ".env").write_text(setting)
    assert _parts(tmp_path) == left


def test_an_empty_setting_counts_as_unset(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=\nNATS_URL=\nSMTP_HOST=\n")
    assert _parts(tmp_path) == {"postgres", "nats", "mail"}


@pytest.mark.parametrize("is_in_shell_too", [False, True])
def test_what_services_wrote_is_started_here_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_shell_too: bool
) -> None:
    written = {"DATABASE_URL": "postgresql://127.0.0.1:5433/guestguard", "NATS_URL": "nats://127.0.0.1:4223"}
    write_block(tmp_path / ".env", {**written, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1025"})
    if is_in_shell_too:
        for name, value in written.items():
            monkeypatch.setenv(name, value)
    assert _parts(tmp_path) == {"postgres", "nats", "mail"}


def test_the_shell_may_replace_what_services_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_block(tmp_path / ".env", {"DATABASE_URL": "postgresql://127.0.0.1:5433/guestguard"})
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.internal/guestguard")
    assert plan_from_settings(tmp_path).environ["DATABASE_URL"] == "postgresql://db.internal/guestguard"


def test_a_mail_provider_chosen_now_outdoes_the_smtp_entries_of_services(tmp_path: Path) -> None:
    write_block(tmp_path / ".env", {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1025"})
    path = tmp_path / ".env"
    path.write_text("SES_REGION=eu-central-1\n" + path.read_text())
    assert "SMTP_HOST" not in plan_from_settings(tmp_path).environ


def test_smtp_details_without_a_host_are_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SMTP_PORT=2525\nSMTP_USERNAME=ada\n")
    with pytest.raises(SettingsInvalid, match="SMTP_HOST is not set, but SMTP_PORT, SMTP_USERNAME is"):
        plan_from_settings(tmp_path)


def test_file_and_shell_that_disagree_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("NATS_URL=nats://one:4222\n")
    monkeypatch.setenv("NATS_URL", "nats://two:4222")
    with pytest.raises(SettingsInvalid, match="NATS_URL"):
        plan_from_settings(tmp_path)


def test_other_variables_of_the_file_reach_the_children(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("AWS_PROFILE=party\n")
    assert plan_from_settings(tmp_path).environ["AWS_PROFILE"] == "party"


def test_the_demo_ignores_every_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEND_API_KEY", "re_123")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.internal/guestguard")
    plan = plan_all_local()
    assert plan.starts_postgres
    assert plan.starts_mail_catcher
    assert plan.environ.keys().isdisjoint({"RESEND_API_KEY", "DATABASE_URL"})


def _parts(project: Path) -> set[str]:
    plan = plan_from_settings(project)
    parts = {"postgres": plan.starts_postgres, "nats": plan.starts_nats, "mail": plan.starts_mail_catcher}
    return {name for name, is_started in parts.items() if is_started}
