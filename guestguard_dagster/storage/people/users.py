"""Users: the people behind events, one per email address."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from guestguard_dagster.domain.addresses import email_as_kept
from guestguard_dagster.domain.events import User
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import UserNotFound
from guestguard_dagster.storage.rows import USER_COLUMNS, user_from
from guestguard_dagster.storage.tables.people import users


class UserRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get_or_create(self, *, email: str, name: str) -> User:
        """The user with this address, in whatever spelling; a new one gets `name`."""
        email = email_as_kept(email) or ""
        with self._database.transaction() as connection:
            connection.execute(insert(users).values(email=email, name=name).on_conflict_do_nothing())
            known = select(*USER_COLUMNS).where(func.lower(users.c.email) == func.lower(email))
            return user_from(connection.execute(known).one())

    def by_email(self, email: str) -> User | None:
        """The user with this address, in whatever spelling, or None."""
        query = select(*USER_COLUMNS).where(func.lower(users.c.email) == func.lower(email_as_kept(email) or ""))
        with self._database.transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else user_from(row)

    def get(self, user_id: UUID) -> User:
        """Raises UserNotFound."""
        with self._database.transaction() as connection:
            row = connection.execute(select(*USER_COLUMNS).where(users.c.id == user_id)).one_or_none()
        if row is None:
            raise UserNotFound(user_id)
        return user_from(row)
