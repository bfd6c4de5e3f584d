"""Which installation this is: one id for each database, made when it was migrated."""

from functools import cached_property

from sqlalchemy import select

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.tables.operations import installation


class InstallationRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def id(self) -> str:
        """A UUID as text, read once. Every hand-off carries it, so that no other installation takes its callbacks."""
        with self._database.transaction() as connection:
            return str(connection.execute(select(installation.c.id)).scalar_one())
