"""The one settings path: environment variables and the project's `.env`, read once into a typed, frozen object.

Dagster loads `.env` over the shell's variables, so in its processes the file has already won. Everywhere else this
module takes the same values, or refuses: where the two differ it names the variables instead of guessing which one was
meant. Values never appear in an error or a repr.
"""

import os
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from guestguard_dagster.domain.addresses import email_as_kept
from guestguard_dagster.domain.local_time import zone_named

SmtpTls = Literal["none", "starttls", "implicit"]
JwtAlgorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

# Whoever mentions the threshold takes it from here.
FRAUD_ALERT_FROM_SCORE = 60

# How other mail software spells the same choice.
_TLS_SPELLINGS = {
    "true": "starttls",
    "1": "starttls",
    "false": "none",
    "0": "none",
    "ssl": "implicit",
    "tls": "implicit",
}


class SettingsInvalid(ValueError):
    """A setting is missing, malformed or contradicts another; the text names the variable and what to do."""


class Settings(BaseModel):
    """Every setting, under the name of its environment variable in lower case. See .env.example for their meaning."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    env: str = "production"
    database_url: SecretStr | None = None
    dagster_database_url: SecretStr | None = None
    nats_url: SecretStr | None = None
    nats_creds_file: Path | None = None
    nats_nkey_seed_file: Path | None = None
    nats_token: SecretStr | None = None
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_tls_ca_file: Path | None = None
    nats_tls_cert_file: Path | None = None
    nats_tls_key_file: Path | None = None
    nats_stream: str = "GUESTGUARD"
    nats_subject_prefix: str = "guestguard"
    nats_subject_rsvp_confirmed: str | None = None
    nats_subject_fraud_scored: str | None = None
    nats_subject_invitation_send: str | None = None
    nats_consumer_rsvp_confirmed: str | None = None
    nats_consumer_fraud_scored: str | None = None
    nats_consumer_invitation_send: str | None = None
    nats_subject_provider_callback: str = "guestguard.provider.callback"
    nats_consumer_provider_callback: str = "callback-applier"
    nats_ledger_stream: str | None = None
    nats_subject_ledger: str = "guestguard.ledger"
    keep_ledger_days: int = Field(default=35, ge=1)
    nats_max_deliveries: int = Field(default=8, ge=1)
    nats_linger_seconds: float = Field(default=10, ge=0, le=300)
    fraud_alert_from_score: float = FRAUD_ALERT_FROM_SCORE
    public_base_url: str = "http://localhost:8000"
    rsvp_path: str = "/rsvp/"
    guestguard_secret_key: SecretStr | None = None

    jwt_issuer: str = "guestguard"
    jwt_audience: str = "guestguard-api"
    jwt_algorithm: JwtAlgorithm = "HS256"
    jwt_secret: SecretStr | None = None
    jwt_public_key_file: Path | None = None
    sign_in_url: str | None = None
    operator_emails: str = ""
    operator_timezone: str = "UTC"
    dagster_url: str | None = None
    alert_webhook_url: SecretStr | None = None
    metrics_token: SecretStr | None = None

    statistics_since: date = date(2025, 1, 1)
    rate_checks_from_volume: int = Field(default=200, ge=1)
    keep_run_logs_days: int = Field(default=30, ge=1)
    keep_attempts_days: int = Field(default=180, ge=7)
    # repeats of a batch need its body for 23 hours
    keep_batch_bodies_days: int = Field(default=3, ge=2)

    resend_api_key: SecretStr | None = None
    resend_from_email: str | None = None
    resend_from_name: str = "GuestGuard"
    resend_base_url: str = "https://api.resend.com"
    resend_requests_per_second: float = Field(default=5, gt=0)
    resend_webhook_secret: SecretStr | None = None

    smtp_host: str | None = None
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_from_email: str | None = None
    smtp_from_name: str = "GuestGuard"
    smtp_tls: SmtpTls = "starttls"
    smtp_ca_file: Path | None = None
    smtp_connections: int = Field(default=4, ge=1, le=50)
    smtp_mails_per_second: float | None = Field(default=None, gt=0)

    ses_region: str | None = None
    ses_from_email: str | None = None
    ses_from_name: str = "GuestGuard"
    ses_configuration_set: str | None = None
    ses_endpoint_url: str | None = None
    ses_sns_topic_arn: str | None = None

    twilio_account_sid: str | None = None
    twilio_auth_token: SecretStr | None = None
    twilio_from_number: str | None = None
    twilio_messaging_service_sid: str | None = None
    twilio_base_url: str | None = None
    twilio_messages_per_second: float = Field(default=1, gt=0)

    @field_validator("smtp_tls", mode="before")
    @classmethod
    def _tls_as_people_spell_it(cls, value: object) -> object:
        return _TLS_SPELLINGS.get(value.casefold(), value.casefold()) if isinstance(value, str) else value

    @field_validator("public_base_url", "resend_base_url", "sign_in_url", "dagster_url")
    @classmethod
    def _is_a_web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        if value is not None and not value.isascii():
            raise ValueError("must be ASCII; write the domain in its xn-- form and encode the path")
        return value

    @field_validator("operator_timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if zone_named(value) is None:
            raise ValueError("must be an IANA name such as Europe/Berlin")
        return value

    @property
    def is_development(self) -> bool:
        return self.env.casefold() in {"development", "dev", "local"}

    @property
    def operator_zone(self) -> ZoneInfo:
        """On whose clock days begin: in statistics, reports, backfills and schedules."""
        return ZoneInfo(self.operator_timezone)

    @property
    def operator_addresses(self) -> tuple[str, ...]:
        return tuple(address for given in self.operator_emails.split(",") if (address := email_as_kept(given)))

    @cached_property
    def rsvp_link_prefix(self) -> str:
        """What a guest's token is appended to, e.g. `https://rsvp.example.com/rsvp/`."""
        return self.public_base_url.rstrip("/") + "/" + self.rsvp_path.strip("/") + "/"

    def require_database_url(self) -> str:
        if self.database_url is None:
            raise SettingsInvalid(
                "DATABASE_URL is not set; write it into .env, or run `guestguard services` for a local database"
            )
        return self.database_url.get_secret_value()

    def require_dagster_database_url(self) -> str:
        """Where Dagster keeps its own tables: DAGSTER_DATABASE_URL, else `public` of DATABASE_URL's database.

        Always with the driver that dagster-postgres is made for: SQLAlchemy reads a bare postgresql:// as psycopg 3.
        """
        url = self.dagster_database_url.get_secret_value() if self.dagster_database_url else self.require_database_url()
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise SettingsInvalid(
                "the address of Dagster's database cannot be read; "
                "write it like postgresql+psycopg2://user:password@host:5432/database"
            ) from None
        return parsed.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)

    def as_environ(self) -> dict[str, str]:
        """The settings that were given, as environment variables for a child process. It carries the secrets."""
        given = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        return {
            name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in given.items()
            if value is not None
        }

    def require_secret_key(self) -> str:
        if self.guestguard_secret_key is None:
            raise SettingsInvalid(
                "GUESTGUARD_SECRET_KEY is not set; it signs the links in mails. "
                "Write a long random value into .env, or run `guestguard services` for a local one"
            )
        return self.guestguard_secret_key.get_secret_value()


_FILE_SETTINGS = {name for name in Settings.model_fields if name.endswith("_file")}


def load_settings(
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    leaving_out: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings from `.env` in the working directory and the environment.

    An empty value counts as unset, and so does exactly what `leaving_out` names. Raises SettingsInvalid when both
    sources name a variable with different values, or when a value cannot be read.
    """
    file_path = Path.cwd() / ".env" if env_file is None else env_file
    ignored = (leaving_out or {}).items()
    shell = dict((os.environ if environ is None else environ).items() - ignored)
    file = {name: value for name, value in dotenv_values(file_path).items() if value is not None}
    file = dict(file.items() - ignored)

    names = {name.upper() for name in Settings.model_fields}
    differing = sorted(name for name in names & file.keys() & shell.keys() if file[name] != shell[name])
    if differing:
        raise SettingsInvalid(
            f"{', '.join(differing)}: set in {file_path} and in the shell, with different values. "
            "Dagster would take the file's. Remove one of the two, or, if you have just edited the file, "
            "restart this process"
        )
    merged = {name.lower(): value for name in names if (value := file.get(name, shell.get(name, "")))}
    for name in _FILE_SETTINGS & merged.keys():
        merged[name] = str(file_path.parent / merged[name])
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        problems = "; ".join(f"{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors())
        raise SettingsInvalid(f"settings cannot be read: {problems}") from None
