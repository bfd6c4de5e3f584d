"""Events, their owner and collaborators; and what moving or cancelling one does to its messages."""

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from guestguard_dagster.domain.events import Collaborator, CollaboratorRole, Event, EventBranding, EventDraft, User
from guestguard_dagster.domain.messages import EDITABLE_STATUSES, CancelReason, MessageStatus
from guestguard_dagster.domain.reminders import plan_event_move, seed_auto_reminders
from guestguard_dagster.storage.database import Database, database_now
from guestguard_dagster.storage.errors import (
    CollaboratorNotFound,
    EventCancelled,
    EventNotFound,
    OwnerStays,
    StaleEvent,
)
from guestguard_dagster.storage.locks import lock_event, lock_messages_of, share_events, share_user
from guestguard_dagster.storage.messages.writing import apply_reminder_change, edit_message, insert_messages
from guestguard_dagster.storage.people.guests import read_phones_again
from guestguard_dagster.storage.rows import EVENT_COLUMNS, USER_COLUMNS, event_from, user_from
from guestguard_dagster.storage.tables.people import event_collaborators, events, users


class EventRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, draft: EventDraft, owner_id: UUID) -> Event:
        """Write the event, its owner and its reminders in one transaction. Raises UserNotFound."""
        with self._database.transaction() as connection:
            share_user(connection, owner_id)
            new = insert(events).values(asdict(draft)).returning(*EVENT_COLUMNS)
            event = event_from(connection.execute(new).one())
            connection.execute(
                insert(event_collaborators).values(event_id=event.id, user_id=owner_id, role=CollaboratorRole.OWNER)
            )
            insert_messages(connection, seed_auto_reminders(event, database_now(connection)))
        return event

    def get(self, event_id: UUID) -> Event:
        """Raises EventNotFound."""
        with self._database.transaction() as connection:
            row = connection.execute(select(*EVENT_COLUMNS).where(events.c.id == event_id)).one_or_none()
        if row is None:
            raise EventNotFound(event_id)
        return event_from(row)

    def update(self, event_id: UUID, draft: EventDraft, *, seen_updated_at: datetime | None = None) -> Event:
        """Give the event all of the draft's fields. A new start or zone moves its unsent reminders along; a new phone
        region reads the guests' numbers that could not be read before.

        Raises EventNotFound and EventCancelled, and StaleEvent when it has changed since `seen_updated_at`.
        """
        with self._database.transaction() as connection:
            before = lock_event(connection, event_id)
            if before.cancelled_at is None and seen_updated_at not in (None, before.updated_at):
                raise StaleEvent(event_id)
            return self._write(connection, before, draft)

    def move(self, event_id: UUID, *, starts_at: datetime, timezone: str | None = None) -> Event:
        """Let the event start at another time (timezone-aware), for as long as before, with its unsent reminders.

        Raises EventNotFound and EventCancelled.
        """
        with self._database.transaction() as connection:
            before = lock_event(connection, event_id)
            draft = EventDraft(
                name=before.name,
                venue=before.venue,
                starts_at=starts_at,
                ends_at=before.ends_at and starts_at + (before.ends_at - before.starts_at),
                timezone=timezone or before.timezone,
                phone_region=before.phone_region,
                email_quiet_from=before.email_quiet_from,
                email_quiet_until=before.email_quiet_until,
                sms_quiet_from=before.sms_quiet_from,
                sms_quiet_until=before.sms_quiet_until,
            )
            return self._write(connection, before, draft)

    def set_branding(self, event_id: UUID, branding: EventBranding) -> Event:
        """Mails that leave from now on look like this. Raises EventNotFound and EventCancelled."""
        with self._database.transaction() as connection:
            event = lock_event(connection, event_id)
            if event.cancelled_at is not None:
                raise EventCancelled(event_id)
            return _set(connection, event_id, **asdict(branding))

    def cancel(self, event_id: UUID) -> Event:
        """Cancel the event and what is not sent of it, but for broadcasts that are meant to survive this.

        A message that is `sending` stays so; its remaining guests are skipped at hand-off. Cancelling twice changes
        nothing. Raises EventNotFound.
        """
        with self._database.transaction() as connection:
            event = lock_event(connection, event_id)
            if event.cancelled_at is not None:
                return event
            for message in lock_messages_of(connection, event_id):
                if message.status in EDITABLE_STATUSES and not message.survives_event_cancel:
                    edit_message(
                        connection,
                        message.id,
                        status=MessageStatus.CANCELLED,
                        status_reason=CancelReason.EVENT_CANCELLED,
                    )
            return _set(connection, event_id, cancelled_at=func.clock_timestamp())

    def host_of(self, event_id: UUID) -> User:
        """The event's owner. Raises EventNotFound."""
        query = (
            select(*USER_COLUMNS)
            .join_from(event_collaborators, users)
            .where(event_collaborators.c.event_id == event_id, event_collaborators.c.role == CollaboratorRole.OWNER)
        )
        with self._database.transaction() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise EventNotFound(event_id)
        return user_from(row)

    def collaborators(self, event_id: UUID) -> list[Collaborator]:
        """Everybody who works on the event, in the order they joined; nobody when there is no such event."""
        query = (
            select(*USER_COLUMNS, event_collaborators.c.role)
            .join_from(event_collaborators, users)
            .where(event_collaborators.c.event_id == event_id)
            .order_by(event_collaborators.c.created_at, users.c.id)
        )
        with self._database.transaction() as connection:
            return [
                Collaborator(User(row.id, row.email, row.name), CollaboratorRole(row.role))
                for row in connection.execute(query)
            ]

    def add_collaborator(self, event_id: UUID, user_id: UUID, role: CollaboratorRole) -> None:
        """Let a user work on the event as editor or viewer; the owner stays the owner.

        Raises EventNotFound and UserNotFound, and ValueError for a second owner.
        """
        if role is CollaboratorRole.OWNER:
            raise ValueError(f"event {event_id} has its owner already; add an editor or a viewer")
        with self._database.transaction() as connection:
            share_events(connection, [event_id])
            share_user(connection, user_id)
            joined = upsert(event_collaborators).values(event_id=event_id, user_id=user_id, role=role)
            connection.execute(
                joined.on_conflict_do_update(
                    index_elements=["event_id", "user_id"],
                    set_={"role": role},
                    where=event_collaborators.c.role != CollaboratorRole.OWNER,
                )
            )

    def change_role(self, event_id: UUID, user_id: UUID, role: CollaboratorRole) -> None:
        """Raises CollaboratorNotFound, and OwnerStays for the owner; ValueError for a second owner."""
        if role is CollaboratorRole.OWNER:
            raise ValueError(f"event {event_id} has its owner already; make somebody an editor or a viewer")
        with self._database.transaction() as connection:
            _require_not_the_owner(connection, event_id, user_id)
            connection.execute(update(event_collaborators).where(_membership(event_id, user_id)).values(role=role))

    def remove_collaborator(self, event_id: UUID, user_id: UUID) -> None:
        """Raises CollaboratorNotFound, and OwnerStays for the owner."""
        with self._database.transaction() as connection:
            _require_not_the_owner(connection, event_id, user_id)
            connection.execute(delete(event_collaborators).where(_membership(event_id, user_id)))

    def _write(self, connection: Connection, before: Event, draft: EventDraft) -> Event:
        if before.cancelled_at is not None:
            raise EventCancelled(before.id)
        after = _set(connection, before.id, **asdict(draft))
        if after.phone_region != before.phone_region:
            read_phones_again(connection, after)
        if (after.starts_at, after.timezone) != (before.starts_at, before.timezone):
            messages = lock_messages_of(connection, before.id)
            for change in plan_event_move(before, after, messages, database_now(connection)):
                apply_reminder_change(connection, change)
        return after


def _membership(event_id: UUID, user_id: UUID) -> ColumnElement[bool]:
    return and_(event_collaborators.c.event_id == event_id, event_collaborators.c.user_id == user_id)


def _require_not_the_owner(connection: Connection, event_id: UUID, user_id: UUID) -> None:
    query = select(event_collaborators.c.role).where(_membership(event_id, user_id)).with_for_update()
    role = connection.execute(query).scalar_one_or_none()
    if role is None:
        raise CollaboratorNotFound(event_id, user_id)
    if role == CollaboratorRole.OWNER:
        raise OwnerStays(event_id)


def _set(connection: Connection, event_id: UUID, **values: object) -> Event:
    statement = (
        update(events)
        .where(events.c.id == event_id)
        .values(values | {"updated_at": func.clock_timestamp()})
        .returning(*EVENT_COLUMNS)
    )
    return event_from(connection.execute(statement).one())
