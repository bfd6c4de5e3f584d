"""One settings path: the same values for every process, or a refusal that names the variable and never its value."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from guestguard_dagster.settings import FRAUD_ALERT_FROM_SCORE, Settings, SettingsInvalid, load_settings


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_shell_and_file_are_merged(env_file: Path) -> None:
    env_file.write_text("SMTP_HOST=mail.example.com\n")
    settings = load_settings(environ={"SMTP_PORT": "2525"}, env_file=env_file)
    assert (settings.smtp_host, settings.smtp_port) == ("mail.example.com", 2525)


def test_a_value_that_differs_is_refused_by_name_without_the_value(env_file: Path) -> None:
    env_file.write_text("NATS_URL=nats://user:hunter2@one\nSMTP_HOST=same\n")
    with pytest.raises(SettingsInvalid, match="NATS_URL: set in ") as refusal:
        load_settings(environ={"NATS_URL": "nats://user:swordfish@two", "SMTP_HOST": "same"}, env_file=env_file)
    assert "SMTP_HOST" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)
    assert "swordfish" not in str(refusal.value)


def test_an_empty_value_in_the_file_against_the_shells_is_refused_too(env_file: Path) -> None:
    # Dagster would take the empty one.
    env_file.write_text("NATS_URL=\n")
    with pytest.raises(SettingsInvalid, match="NATS_URL"):
        load_settings(environ={"NATS_URL": "nats://two"}, env_file=env_file)


def test_exactly_what_is_left_out_counts_as_unset(env_file: Path) -> None:
    env_file.write_text("NATS_URL=nats://ours\n")
    ours = {"NATS_URL": "nats://ours"}
    assert load_settings(environ={}, env_file=env_file, leaving_out=ours).nats_url is None
    theirs = load_settings(environ={"NATS_URL": "nats://theirs"}, env_file=env_file, leaving_out=ours)
    assert theirs.nats_url is not None
    assert theirs.nats_url.get_secret_value() == "nats://theirs"


def test_a_malformed_value_is_named_and_not_shown(env_file: Path) -> None:
    with pytest.raises(SettingsInvalid, match="SMTP_PORT: ") as refusal:
        load_settings(environ={"SMTP_PORT": "hunter2"}, env_file=env_file)
    assert "hunter2" not in str(refusal.value)


def test_secrets_are_not_in_the_repr(env_file: Path) -> None:
    settings = load_settings(
        environ={"RESEND_API_KEY": "re_hunter2", "DATABASE_URL": "x://u:hunter2@h"}, env_file=env_file
    )
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("spelling", "meaning"),
    [("true", "starttls"), ("STARTTLS", "starttls"), ("false", "none"), ("none", "none"), ("SSL", "implicit")],
)
def test_smtp_tls_may_be_spelt_as_elsewhere(env_file: Path, spelling: str, meaning: str) -> None:
    assert load_settings(environ={"SMTP_TLS": spelling}, env_file=env_file).smtp_tls == meaning


@pytest.mark.parametrize("value", ["localhost:8000", "ftp://example.com", "javascript:alert(1)"])
def test_links_can_only_begin_with_a_web_address(env_file: Path, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"PUBLIC_BASE_URL: .*must start with http"):
        load_settings(environ={"PUBLIC_BASE_URL": value}, env_file=env_file)


def test_links_that_mail_could_not_carry_are_refused(env_file: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"PUBLIC_BASE_URL: .*must be ASCII"):
        load_settings(environ={"PUBLIC_BASE_URL": "https://gäste.example"}, env_file=env_file)


@pytest.mark.parametrize(
    "given", ["postgresql://u:p%25w@h:1/d", "postgres://u:p%25w@h:1/d", "postgresql+psycopg://u:p%25w@h:1/d"]
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "DAGSTER_DATABASE_URL"])
def test_dagsters_database_has_the_driver_that_dagster_needs(env_file: Path, name: str, given: str) -> None:
    url = make_url(load_settings(environ={name: given}, env_file=env_file).require_dagster_database_url())
    assert url.drivername == "postgresql+psycopg2"
    assert (url.host, url.port, url.database, url.password) == ("h", 1, "d", "p%w")


def test_an_unset_database_says_what_to_do(env_file: Path) -> None:
    settings = load_settings(environ={}, env_file=env_file)
    for required in (settings.require_database_url, settings.require_dagster_database_url, settings.require_secret_key):
        with pytest.raises(SettingsInvalid, match=r"is not set; .*guestguard services"):
            required()


def test_given_settings_survive_the_way_through_a_childs_environment(env_file: Path) -> None:
    environ = {"RESEND_API_KEY": "re_1", "SMTP_PORT": "25", "SMTP_CONNECTIONS": "9", "SMTP_CA_FILE": "ca.pem"}
    settings = load_settings(environ=environ, env_file=env_file)
    assert settings.as_environ() == {**environ, "SMTP_CA_FILE": str(env_file.parent / "ca.pem")}
    elsewhere = load_settings(environ=settings.as_environ(), env_file=env_file.parent / "other" / ".env")
    assert elsewhere == settings


def test_what_people_read_names_the_threshold_of_fraud_alerts() -> None:
    project = Path(__file__).parent.parent
    assert Settings().fraud_alert_from_score == FRAUD_ALERT_FROM_SCORE
    assert f"raise no alert. Default: {FRAUD_ALERT_FROM_SCORE}\n" in (project / ".env.example").read_text()
    assert f"From score {FRAUD_ALERT_FROM_SCORE} up" in (project / "docs/events.md").read_text()


def test_the_example_file_names_every_setting_and_explains_it() -> None:
    example = (Path(__file__).parent.parent / ".env.example").read_text()
    lines = example.splitlines()
    named = [line.partition("=")[0] for line in lines if line and not line.startswith("#")]
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)
    assert [name for name in named if not _is_explained(lines, f"{name}=")] == []


def _is_explained(lines: list[str], line: str) -> bool:
    """A comment stands above it, or above the group of lines that share it."""
    above = next(other for other in reversed(lines[: lines.index(line)]) if not other or other.startswith("#"))
    return above.startswith("# ")


def test_days_begin_on_the_operators_clock_which_must_exist(env_file: Path) -> None:
    berlin = load_settings(environ={"OPERATOR_TIMEZONE": "Europe/Berlin"}, env_file=env_file)
    assert berlin.operator_zone.key == "Europe/Berlin"
    with pytest.raises(SettingsInvalid, match=r"OPERATOR_TIMEZONE: .*IANA name"):
        load_settings(environ={"OPERATOR_TIMEZONE": "Middle/Earth"}, env_file=env_file)


def test_operators_are_listed_with_commas(env_file: Path) -> None:
    settings = load_settings(environ={"OPERATOR_EMAILS": " ops@example.com, ,boss@example.com"}, env_file=env_file)
    assert settings.operator_addresses == ("ops@example.com", "boss@example.com")
