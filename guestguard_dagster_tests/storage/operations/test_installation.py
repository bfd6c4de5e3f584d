"""One id for each database, the same in every process."""

from uuid import UUID

import pytest
from sqlalchemy import text

from guestguard_dagster.storage.database import Database, DatabaseFailed
from guestguard_dagster.storage.migrate import migrate
from guestguard_dagster.storage.operations.installation import InstallationRepo


def test_every_process_reads_the_same_id(database_url: str) -> None:
    with Database(database_url) as one, Database(database_url) as other:
        assert InstallationRepo(one).id == InstallationRepo(other).id
        assert str(UUID(InstallationRepo(one).id)) == InstallationRepo(one).id


def test_two_databases_are_two_installations(database: Database, empty_database_url: str) -> None:
    with Database(empty_database_url) as other:
        migrate(other)
        assert InstallationRepo(other).id != InstallationRepo(database).id


def test_a_database_cannot_have_two_ids(database: Database) -> None:
    with pytest.raises(DatabaseFailed, match="uq_installation_one_row"), database.transaction() as connection:
        connection.execute(text("INSERT INTO installation DEFAULT VALUES"))
