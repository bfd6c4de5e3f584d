"""The one order in which rows are locked: the event, then its messages by id, then their deliveries.

Whoever needs several of them takes them in this order, so that edits, claims, moves and cancellations never deadlock.
Locks are the kind that an UPDATE takes: rows that merely refer to a locked one can still be written.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Connection, select

from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.storage.errors import EventNotFound, MessageNotFound, UserNotFound
from guestguard_dagster.storage.rows import EVENT_COLUMNS, MESSAGE_COLUMNS, event_from, message_from
from guestguard_dagster.storage.tables.messages import scheduled_messages
from guestguard_dagster.storage.tables.people import events, users


def share_user(connection: Connection, user_id: UUID) -> None:
    """Nobody can delete the user until the end of the transaction. Raises UserNotFound."""
    query = select(users.c.id).where(users.c.id == user_id).with_for_update(read=True, key_share=True)
    if connection.execute(query).one_or_none() is None:
        raise UserNotFound(user_id)


def lock_event(connection: Connection, event_id: UUID) -> Event:
    """The event, which nobody else can change or cancel until the end of the transaction."""
    query = select(*EVENT_COLUMNS).where(events.c.id == event_id).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise EventNotFound(event_id)
    return event_from(row)


def share_events(connection: Connection, event_ids: Iterable[UUID]) -> dict[UUID, Event]:
    """The events, which stay as they are until the end of the transaction; others may share them too."""
    wanted = sorted(set(event_ids))
    query = select(*EVENT_COLUMNS).where(events.c.id.in_(wanted)).order_by(events.c.id).with_for_update(read=True)
    found = {row.id: event_from(row) for row in connection.execute(query)}
    for event_id in wanted:
        if event_id not in found:
            raise EventNotFound(event_id)
    return found


def lock_message(connection: Connection, message_id: UUID) -> Message:
    query = select(*MESSAGE_COLUMNS).where(scheduled_messages.c.id == message_id).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise MessageNotFound(message_id)
    return message_from(row)


def lock_messages_of(connection: Connection, event_id: UUID) -> list[Message]:
    """All messages of an event whose row is locked already."""
    query = (
        select(*MESSAGE_COLUMNS)
        .where(scheduled_messages.c.event_id == event_id)
        .order_by(scheduled_messages.c.id)
        .with_for_update(key_share=True)
    )
    return [message_from(row) for row in connection.execute(query)]
