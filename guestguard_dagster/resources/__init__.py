"""Dagster resources: what ops, sensors, assets and checks are given. Each wraps one thing that plain Python provides.

Nothing is decided here: a resource opens and closes what it wraps, and reads the settings that say how.
"""

from typing import Any

from dagster import ConfigurableResource, EnvVar

from guestguard_dagster.resources.database import DatabaseResource
from guestguard_dagster.resources.nats import NatsResource
from guestguard_dagster.resources.senders import SendersResource
from guestguard_dagster.resources.settings import SettingsResource


def production_resources() -> dict[str, ConfigurableResource[Any]]:
    """All of them, by the name under which they are asked for."""
    return {
        "database": DatabaseResource(url=EnvVar("DATABASE_URL")),
        "senders": SendersResource(),
        "nats": NatsResource(),
        "settings": SettingsResource(),
    }
