"""Who may see which events: every question here is asked on behalf of one user."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select

from guestguard_dagster.domain.events import CollaboratorRole, Event, User
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.paging import page_behind
from guestguard_dagster.storage.rows import EVENT_COLUMNS, USER_COLUMNS, user_from
from guestguard_dagster.storage.tables.people import event_collaborators, events, users


class AccessRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def user(self, user_id: UUID) -> User | None:
        with self._database.transaction() as connection:
            row = connection.execute(select(*USER_COLUMNS).where(users.c.id == user_id)).one_or_none()
        return None if row is None else user_from(row)

    def event_for(self, event_id: UUID, user_id: UUID) -> tuple[Event, CollaboratorRole] | None:
        """The event and the user's role on it; None when it does not exist, or not for this user."""
        query = _EVENTS.where(events.c.id == event_id, event_collaborators.c.user_id == user_id)
        with self._database.transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _event_and_role(row)

    def events_for(
        self, user_id: UUID, *, after: UUID | None = None, limit: int = 100
    ) -> list[tuple[Event, CollaboratorRole]]:
        """The user's events with their roles, the latest start first, behind the event `after`."""
        query = _EVENTS.where(event_collaborators.c.user_id == user_id)
        place = (events.c.starts_at, events.c.id)
        with self._database.transaction() as connection:
            rows = connection.execute(page_behind(query, place, after=after, limit=limit, latest_first=True))
            return [_event_and_role(row) for row in rows]


_EVENTS: Select[Any] = select(*EVENT_COLUMNS, event_collaborators.c.role).join_from(event_collaborators, events)


def _event_and_role(row: Row[Any]) -> tuple[Event, CollaboratorRole]:
    values = row._asdict()
    role = CollaboratorRole(values.pop("role"))
    return Event(**values), role
