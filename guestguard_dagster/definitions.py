"""The front door: what Dagster loads. `build_defs` is the one place that wires jobs, sensors and resources."""

from collections.abc import Mapping
from typing import Any

from dagster import Definitions, EnvVar

from guestguard_dagster import logs
from guestguard_dagster.jobs.send_scheduled import send_scheduled
from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.sensors.due_messages import due_messages
from guestguard_dagster.sensors.run_watch import hold_terminated, run_watch
from guestguard_dagster.settings import load_settings


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> Definitions:
    """Everything of production, with some resources replaced for a test."""
    return Definitions(
        jobs=[send_scheduled],
        sensors=[due_messages, run_watch, hold_terminated],
        resources={
            "database": DatabaseResource(url=EnvVar("DATABASE_URL")),
            "senders": SendersResource(),
            **(resource_overrides or {}),
        },
    )


logs.configure("guestguard", debug=load_settings().is_development)
defs = build_defs()
