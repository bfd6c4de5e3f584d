"""What is the same for every recipient of a message, as it stands now: the message, its event and the event's host."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Column, Uuid, and_, any_, bindparam, func, select

from guestguard_dagster.domain.departures import DepartureRules
from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.rows import (
    EVENT_COLUMNS,
    MESSAGE_COLUMNS,
    USER_COLUMNS,
    message_of,
)
from guestguard_dagster.storage.tables.messages import scheduled_messages
from guestguard_dagster.storage.tables.people import event_collaborators, events, users


@dataclass(frozen=True, slots=True)
class MessageContext(DepartureRules):
    """One message with its surroundings; `read_at` is the database's clock when they were read."""

    message: Message
    event: Event
    host: User
    read_at: datetime


_owner = and_(event_collaborators.c.event_id == events.c.id, event_collaborators.c.role == "owner")

# Built once: every batch asks for it, and building it costs more than running it.
_CONTEXTS = (
    select(*MESSAGE_COLUMNS, *EVENT_COLUMNS, *USER_COLUMNS, func.clock_timestamp())
    .join(events, events.c.id == scheduled_messages.c.event_id)
    .join(event_collaborators, _owner)
    .join(users, users.c.id == event_collaborators.c.user_id)
    .where(scheduled_messages.c.id == any_(bindparam("message_ids", type_=ARRAY(Uuid))))
)


class ContextRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, message_ids: Sequence[UUID]) -> dict[UUID, MessageContext]:
        """The contexts of these messages by id, in one read; ids that do not exist are missing."""
        with self._database.transaction() as connection:
            rows = connection.execute(_CONTEXTS, {"message_ids": list(message_ids)})
            contexts = [_context(row) for row in rows]
        return {context.message.id: context for context in contexts}


def _context(row: Sequence[Any]) -> MessageContext:
    values = iter(row)

    def take(columns: Sequence[Column[Any]]) -> dict[str, Any]:
        return {column.name: next(values) for column in columns}

    return MessageContext(
        message=message_of(take(MESSAGE_COLUMNS)),
        event=Event(**take(EVENT_COLUMNS)),
        host=User(**take(USER_COLUMNS)),
        read_at=next(values),
    )
