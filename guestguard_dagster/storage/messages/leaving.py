"""Which messages are due, who claims them, and which come too late. Every function works within the caller's
transaction."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    FromClause,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    exists,
    func,
    or_,
    select,
    text,
    update,
)

from guestguard_dagster.domain.departures import Departure
from guestguard_dagster.domain.messages import CancelReason, MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.storage.conditions import NOTHING_IS_STOPPED, comes_too_late, event_allows, is_being_sent
from guestguard_dagster.storage.messages.departures import find_departures
from guestguard_dagster.storage.messages.writing import NOT_WAITING, among, array_of, edited, locked
from guestguard_dagster.storage.rows import MESSAGE_COLUMNS
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages
from guestguard_dagster.storage.tables.people import events

_IS_REMINDER = messages.c.kind != MessageKind.BROADCAST
# now() and not clock_timestamp(): only a stable function can bound the scan of the index.
_WITHOUT_RUN_REQUEST = or_(messages.c.asked_until.is_(None), messages.c.asked_until <= func.now())


def due(
    *, lookahead: timedelta, limit: int, channels: Collection[MessageChannel], only_without_run: bool
) -> Select[tuple[Any, ...]]:
    """The scheduled messages that may leave within `lookahead` from now, the earliest first."""
    query = (
        select(*MESSAGE_COLUMNS)
        .where(messages.c.status == MessageStatus.SCHEDULED, messages.c.send_at <= func.now() + lookahead)
        .where(or_(messages.c.not_before.is_(None), messages.c.not_before <= func.now() + lookahead), _may_leave())
        .order_by(messages.c.send_at, messages.c.id)
        .limit(limit)
    )
    return _narrowed(query, channels, only_without_run=only_without_run)


def unfinished(*, limit: int, channels: Collection[MessageChannel]) -> Select[tuple[Any, ...]]:
    """The ids of `sending` messages that no live run works on and that wait for nothing, the earliest first."""
    query = (
        select(messages.c.id)
        .where(is_being_sent(messages))
        .where(or_(messages.c.not_before.is_(None), messages.c.not_before <= func.now()))
        .order_by(messages.c.send_at, messages.c.id)
        .limit(limit)
    )
    return _narrowed(query, channels, only_without_run=True)


def _narrowed(
    query: Select[tuple[Any, ...]], channels: Collection[MessageChannel], *, only_without_run: bool
) -> Select[tuple[Any, ...]]:
    if set(channels) != set(MessageChannel):
        query = query.where(messages.c.channel.in_(channels))
    return query.where(_WITHOUT_RUN_REQUEST) if only_without_run else query


def claim(connection: Connection, message_ids: Collection[UUID]) -> list[UUID]:
    """Take those that are due and free to leave from `scheduled` to `sending`; returns them."""
    # A statement of its own: what follows sees the rows, and their events, as they are under the lock.
    due_ids = list(connection.execute(locked(message_ids, _is_due)).scalars())
    if not due_ids:
        return []
    reminders = find_departures(connection, and_(among(due_ids), _IS_REMINDER))
    expired = {message_id for message_id, reminder in reminders.items() if reminder.words_have_expired}
    statement = (
        update(messages)
        .where(among([each for each in due_ids if each not in expired]), _is_due(messages), _may_leave())
        .where(text(NOTHING_IS_STOPPED))
        .values(
            status=MessageStatus.SENDING,
            started_at=func.clock_timestamp(),
            **NOT_WAITING,
            updated_at=func.clock_timestamp(),
        )
        .returning(messages.c.id)
    )
    return list(connection.execute(statement).scalars())


def find_late(connection: Connection, message_ids: Collection[UUID] | None) -> list[tuple[Departure, CancelReason]]:
    """The scheduled messages, of these or of all, that would leave too late now, and why."""
    overdue = and_(messages.c.status == MessageStatus.SCHEDULED, messages.c.send_at <= func.now())
    if message_ids is not None:
        overdue = and_(overdue, among(message_ids))
    came_too_late = exists().where(events.c.id == messages.c.event_id, comes_too_late(messages, events))
    found = find_departures(connection, and_(overdue, or_(_IS_REMINDER, came_too_late)))
    return [(each, reason) for each in found.values() if (reason := each.too_late_at(each.read_at))]


def expire(connection: Connection, late: Sequence[tuple[Departure, CancelReason]]) -> list[UUID]:
    """Cancel scheduled messages if they and their events are still as they were read; returns the cancelled ones."""
    if not late:
        return []
    connection.execute(locked([departure.message.id for departure, _ in late]))
    as_read = (
        func.unnest(
            array_of([departure.message.id for departure, _ in late], Uuid),
            array_of([departure.message.version for departure, _ in late], Integer),
            array_of([departure.event.updated_at for departure, _ in late], DateTime(timezone=True)),
            array_of([reason for _, reason in late], Text),
        )
        .table_valued("id", "version", "event_updated_at", "reason")
        .render_derived(name="as_read")
    )
    statement = (
        update(messages)
        .where(
            messages.c.id == as_read.c.id,
            messages.c.version == as_read.c.version,
            messages.c.status == MessageStatus.SCHEDULED,
            events.c.id == messages.c.event_id,
            events.c.updated_at == as_read.c.event_updated_at,
        )
        .values(edited(status=MessageStatus.CANCELLED, status_reason=as_read.c.reason))
        .returning(messages.c.id)
    )
    return list(connection.execute(statement).scalars())


def _is_due(row: FromClause) -> ColumnElement[bool]:
    """Scheduled, at or after its instant, and waiting for nothing."""
    return and_(
        row.c.status == MessageStatus.SCHEDULED,
        row.c.send_at <= func.clock_timestamp(),
        or_(row.c.not_before.is_(None), row.c.not_before <= func.clock_timestamp()),
    )


def _may_leave() -> ColumnElement[bool]:
    """Not held, the event not cancelled (or the message survives that), and not too late for the event."""
    event_allows_it = exists().where(
        events.c.id == messages.c.event_id,
        event_allows(messages, events),
        ~comes_too_late(messages, events),
    )
    return and_(messages.c.held_at.is_(None), event_allows_it)
