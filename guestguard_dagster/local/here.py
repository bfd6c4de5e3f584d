"""The settings that a command finds where it is run."""

from pathlib import Path

from guestguard_dagster.local.folder import DEFAULT_NAME, DataFolder
from guestguard_dagster.settings import Settings, load_settings


def settings_here(project: Path) -> Settings:
    """The settings of this folder, or else of the services that run in it. Raises SettingsInvalid."""
    settings = load_settings(env_file=project / ".env")
    running = DataFolder(project / DEFAULT_NAME).running()
    if settings.database_url is None and running is not None:
        return load_settings(environ=running.environ, env_file=project / ".env")
    return settings
