"""How a message ends, and begins again when its failed recipients are tried again. Every function works within the
caller's transaction."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Text, Uuid, and_, exists, func, select, update

from guestguard_dagster.domain.deliveries import (
    MAY_HAVE_LEFT_STATUSES,
    BatchState,
    RetryFilter,
)
from guestguard_dagster.domain.departures import RetryObstacle
from guestguard_dagster.domain.messages import MessageChannel, MessageStatus
from guestguard_dagster.storage.deliveries import recording
from guestguard_dagster.storage.deliveries.batches import BATCH_SIZE
from guestguard_dagster.storage.errors import EventCancelled, MessageNotRetryable, MessageTooLate
from guestguard_dagster.storage.locks import lock_message
from guestguard_dagster.storage.messages.departures import read_departures
from guestguard_dagster.storage.messages.holds import NOT_HELD
from guestguard_dagster.storage.messages.writing import NOT_WAITING, among, array_of, edit_message, locked
from guestguard_dagster.storage.tables.deliveries import delivery_batches, message_deliveries
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages

_IS_FROZEN = messages.c.audience_frozen_at.is_not(None)


def has_open_deliveries(message_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Something of the message is still to be done."""
    return exists().where(delivery_batches.c.queue_id == message_id, delivery_batches.c.state != BatchState.DONE)


def settled(connection: Connection, message_ids: Collection[UUID]) -> dict[UUID, MessageChannel]:
    """Those of these messages that are `sending`, frozen, and have nothing left to do, each with its channel."""
    query = select(messages.c.id, messages.c.channel).where(
        among(message_ids), messages.c.status == MessageStatus.SENDING, _IS_FROZEN, ~has_open_deliveries(messages.c.id)
    )
    return {row.id: MessageChannel(row.channel) for row in connection.execute(query)}


def mark_sent(connection: Connection, message_ids: Collection[UUID]) -> list[UUID]:
    """End the frozen ones that have nothing left to do; returns them."""
    return _end(connection, message_ids, _IS_FROZEN, status=MessageStatus.SENT, status_reason=None)


def mark_failed(connection: Connection, reasons: Mapping[UUID, str]) -> list[UUID]:
    """End those of which nothing left and nothing is left to do, each for its reason; returns them."""
    if not reasons:
        return []
    nothing_left = ~exists().where(
        message_deliveries.c.message_id == messages.c.id, message_deliveries.c.status.in_(MAY_HAVE_LEFT_STATUSES)
    )
    why = (
        func.unnest(array_of(reasons.keys(), Uuid), array_of(reasons.values(), Text))
        .table_valued("id", "reason")
        .render_derived(name="why")
    )
    of_the_message = and_(nothing_left, why.c.id == messages.c.id)
    return _end(connection, reasons.keys(), of_the_message, status=MessageStatus.FAILED, status_reason=why.c.reason)


def _end(
    connection: Connection, message_ids: Collection[UUID], condition: ColumnElement[bool], **values: Any
) -> list[UUID]:
    # Their deliveries are looked at only now that the messages are locked, so that no retry opens one meanwhile.
    connection.execute(locked(message_ids))
    statement = (
        update(messages)
        .where(
            among(message_ids),
            messages.c.status == MessageStatus.SENDING,
            condition,
            ~has_open_deliveries(messages.c.id),
        )
        .values(
            NOT_HELD
            | {
                "asked_until": None,
                **NOT_WAITING,
                "finished_at": func.clock_timestamp(),
                "updated_at": func.clock_timestamp(),
            }
            | values
        )
        .returning(messages.c.id)
    )
    return list(connection.execute(statement).scalars())


def reopen(connection: Connection, message_id: UUID, which: RetryFilter) -> int:
    """Open a new round for the deliveries that may be tried again; returns how many."""
    message = lock_message(connection, message_id)
    # Read under the lock, so by the clock and the event of now.
    obstacle = read_departures(connection, [message_id])[message_id].obstacle_to_retry
    match obstacle:
        case None:
            pass
        case RetryObstacle.EVENT_CANCELLED:
            raise EventCancelled(message.event_id)
        case RetryObstacle.EVENT_STARTED | RetryObstacle.TIME_PASSED:
            raise MessageTooLate(message_id, obstacle)
        case _:
            raise MessageNotRetryable(message_id, message.status)
    reopened = recording.reopen(connection, message_id, which, batch_size=BATCH_SIZE)
    if reopened:
        edit_message(
            connection,
            message_id,
            status=MessageStatus.SENDING,
            status_reason=None,
            checked_through=None,
            preflighted_at=None,
            finished_at=None,
        )
    return reopened
