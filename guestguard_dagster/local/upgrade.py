"""`guestguard migrate`, with the sentences that a person needs when the database does not answer."""

from sqlalchemy.exc import OperationalError

from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.migrate import SchemaNameTaken, migrate


def upgrade_database(url: str) -> tuple[str | None, str]:
    """Bring the tables up to date; returns the versions (before, after). Raises LocalServiceError."""
    with Database(url, application_name="guestguard-migrate") as database:
        try:
            return migrate(database)
        except SchemaNameTaken as problem:
            raise LocalServiceError(str(problem)) from None
        except OperationalError as error:
            reason = str(error.orig).strip().partition("\n")[0]
            raise LocalServiceError(f"the database that DATABASE_URL names does not answer: {reason}") from error
