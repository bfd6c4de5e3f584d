"""What has to be started here: every part that the settings do not place elsewhere."""

import os
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.local import env_file
from guestguard_dagster.senders.registry import configured_provider
from guestguard_dagster.settings import Settings, SettingsInvalid, load_settings

# The mail catcher is reached over SMTP: these would lead to it, and away from it.
_SMTP_DETAILS = ("smtp_port", "smtp_username", "smtp_password", "smtp_tls")


@dataclass(frozen=True, slots=True)
class Plan:
    """`settings` are those given by shell and `.env`, without what `guestguard services` wrote there itself.

    `environ` is the environment for child processes before the addresses of the parts started here.
    """

    settings: Settings
    environ: dict[str, str]

    @property
    def starts_postgres(self) -> bool:
        return self.settings.database_url is None

    @property
    def starts_nats(self) -> bool:
        return self.settings.nats_url is None

    @property
    def starts_mail_catcher(self) -> bool:
        return configured_provider(MessageChannel.EMAIL, self.settings) is None


def plan_from_settings(project: Path) -> Plan:
    """Start what shell and `.env` leave open. Raises SettingsInvalid."""
    env_path = project / ".env"
    written_by_us = env_file.read_block(env_path)
    settings = load_settings(env_file=env_path, leaving_out=written_by_us)
    plan = Plan(settings, {**_other_variables(env_path), **settings.as_environ()})
    details = [name.upper() for name in _SMTP_DETAILS if name in settings.model_fields_set]
    if plan.starts_mail_catcher and details:
        raise SettingsInvalid(
            f"SMTP_HOST is not set, but {', '.join(details)} is: "
            "set SMTP_HOST too, or remove the rest to use the mail catcher"
        )
    return plan


def plan_all_local() -> Plan:
    """Start everything here, whatever shell and `.env` say: nothing can leave this machine."""
    return Plan(Settings(), _other_variables(None))


def _other_variables(env_path: Path | None) -> dict[str, str]:
    """The shell's and the file's variables that are no settings of ours."""
    ours = {name.upper() for name in Settings.model_fields}
    file = dotenv_values(env_path) if env_path is not None else {}
    merged = {**os.environ, **{name: value for name, value in file.items() if value is not None}}
    return {name: value for name, value in merged.items() if name not in ours}
