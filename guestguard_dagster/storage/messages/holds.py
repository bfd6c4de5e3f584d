"""Who stopped a message, and why: a hold keeps it where it is until its owner, or a person, lifts it.

Every function works within the caller's transaction.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, or_, update

from guestguard_dagster.domain.messages import HoldOwner, Message, MessageStatus
from guestguard_dagster.storage.errors import MessageNotHoldable
from guestguard_dagster.storage.locks import lock_message
from guestguard_dagster.storage.messages.writing import NOT_WAITING, locked, write_message
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages

HOLDABLE_STATUSES = frozenset({MessageStatus.SCHEDULED, MessageStatus.SENDING})

NOT_HELD: dict[str, None] = {"held_at": None, "held_by": None, "held_run_id": None, "held_reason": None}

# Whoever lifts a hold wants the message to go on: it waits for nothing else either.
_GOES_ON: dict[str, None] = NOT_HELD | NOT_WAITING


def hold_messages(
    connection: Connection, message_ids: Collection[UUID], *, by: HoldOwner, reason: str, run_id: str | None = None
) -> list[UUID]:
    """Let these scheduled or sending messages wait until they are resumed; returns those that `by` holds only now.

    A person's hold takes the place of a terminated run's, so that re-executing that run does not lift it.
    """
    free: ColumnElement[bool] = messages.c.held_at.is_(None)
    if by is not HoldOwner.RUN:
        free = or_(free, messages.c.held_by == HoldOwner.RUN)
    statement = (
        update(messages)
        .where(messages.c.id.in_(locked(message_ids)), messages.c.status.in_(HOLDABLE_STATUSES), free)
        .values(
            held_at=func.clock_timestamp(),
            held_by=by,
            held_run_id=run_id,
            held_reason=reason,
            # The run that was requested ends in order: it did not crash.
            asked_until=None,
            updated_at=func.clock_timestamp(),
        )
        .returning(messages.c.id)
    )
    return list(connection.execute(statement).scalars())


def lift_run_holds(connection: Connection, message_ids: Collection[UUID], run_ids: Collection[str]) -> None:
    """Let go on what the termination of one of these runs held, and nothing that a person holds."""
    of_these = and_(messages.c.held_by == HoldOwner.RUN, messages.c.held_run_id.in_(run_ids))
    connection.execute(
        update(messages)
        .where(messages.c.id.in_(locked(message_ids)), of_these)
        .values(_GOES_ON | {"updated_at": func.clock_timestamp()})
    )


def resume_message(connection: Connection, message_id: UUID) -> Message:
    """Let a message go on at once, whoever holds it. Raises MessageNotFound and MessageNotHoldable."""
    message = lock_message(connection, message_id)
    if message.status not in HOLDABLE_STATUSES:
        raise MessageNotHoldable(message_id, message.status)
    return write_message(connection, message_id, asked_until=None, **_GOES_ON)
