"""What `guestguard web` and `guestguard token` do."""

from datetime import timedelta
from pathlib import Path

import uvicorn

from guestguard_dagster import logs
from guestguard_dagster.local.console import tell
from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.here import settings_here
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.users import UserRepo
from guestguard_dagster.web.app import create_app
from guestguard_dagster.web.auth import BearerTokens


def run_web(project: Path, *, host: str, port: int) -> None:
    """Serve the application in the foreground. Raises SettingsInvalid."""
    settings = settings_here(project)
    logs.configure("guestguard-web", debug=settings.is_development)
    # What a proxy says of the caller is believed from FORWARDED_ALLOW_IPS alone, which uvicorn reads itself.
    uvicorn.run(create_app(settings), host=host, port=port, log_config=None, access_log=False, server_header=False)


def run_token(project: Path, *, email: str, name: str | None, hours: float, operator: bool) -> None:
    """Print a bearer token of a user, who is made if a name is given.

    Raises SettingsInvalid, and LocalServiceError for an unknown user.
    """
    settings = settings_here(project)
    tokens = BearerTokens.from_settings(settings)
    with Database(settings.require_database_url(), application_name="guestguard-token") as database:
        users = UserRepo(database)
        user = users.get_or_create(email=email, name=name) if name else users.by_email(email)
    if user is None:
        raise LocalServiceError("there is no user with this address; give --name as well to make one")
    tell(tokens.mint(user.id, lasts=timedelta(hours=hours), is_operator=operator))
