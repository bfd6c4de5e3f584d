"""What decides when messages may leave, read for thousands of them at once: no texts, and each event once."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Connection, Uuid, bindparam, func, select

from guestguard_dagster.domain.departures import Departure
from guestguard_dagster.domain.events import Event
from guestguard_dagster.storage.rows import EVENT_COLUMNS, TIMES_COLUMNS, event_from, times_from
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages
from guestguard_dagster.storage.tables.people import events

_NAMED = messages.c.id == func.any(bindparam("message_ids", type_=ARRAY(Uuid)))
_TIMES = select(*TIMES_COLUMNS, func.clock_timestamp().label("read_at"))
_EVENTS = select(*EVENT_COLUMNS).where(events.c.id == func.any(bindparam("event_ids", type_=ARRAY(Uuid))))


def read_departures(connection: Connection, message_ids: Collection[UUID]) -> dict[UUID, Departure]:
    """The departures of these messages by id; ids that do not exist are missing."""
    return find_departures(connection, _NAMED, message_ids=list(message_ids))


def find_departures(connection: Connection, condition: ColumnElement[bool], **values: object) -> dict[UUID, Departure]:
    """The departures of the messages that a condition on scheduled_messages finds, by id."""
    rows = connection.execute(_TIMES.where(condition), values).all()
    if not rows:
        return {}
    event_ids = list({row.event_id for row in rows})
    found: dict[UUID, Event] = {
        row.id: event_from(row) for row in connection.execute(_EVENTS, {"event_ids": event_ids})
    }
    departures = {}
    for *times_values, read_at in rows:
        times = times_from(times_values)
        # An event that was deleted meanwhile took its messages with it.
        if event := found.get(times.event_id):
            departures[times.id] = Departure(times, event, read_at)
    return departures
