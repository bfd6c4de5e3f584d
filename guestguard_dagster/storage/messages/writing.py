"""What every write of a message has in common: a new row, an edit, and the order in which rows are locked.

Every function works within the caller's transaction.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Uuid,
    any_,
    cast,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from guestguard_dagster.domain.messages import Message, MessageDraft, MessageStatus
from guestguard_dagster.domain.placeholders import require_template
from guestguard_dagster.domain.reminders import (
    CreateReminder,
    ExpireReminder,
    RearmReminder,
    ReminderChange,
    RescheduleReminder,
)
from guestguard_dagster.storage.errors import ReminderExists
from guestguard_dagster.storage.rows import MESSAGE_COLUMNS, message_from
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages

NOT_WAITING: dict[str, None] = {"not_before": None, "waiting_reason": None}


def insert_messages(connection: Connection, drafts: Sequence[MessageDraft]) -> list[Message]:
    """Write messages of events that this transaction has locked; returns them in order.

    Raises ReminderExists, and TemplateRefused for a subject or body that could not be rendered.
    """
    for draft in drafts:
        require_template(draft.channel, draft.subject, draft.body)
    rows = [asdict(draft) | {"id": uuid4()} for draft in drafts]
    if not rows:
        return []
    statement = insert(messages).on_conflict_do_nothing().returning(*MESSAGE_COLUMNS)
    created = {row.id: message_from(row) for row in connection.execute(statement, rows)}
    for row in rows:
        if row["id"] not in created:
            raise ReminderExists(row["event_id"], row["kind"])
    return [created[row["id"]] for row in rows]


def edit_message(connection: Connection, message_id: UUID, **values: object) -> Message:
    """Write an edit of a message that this transaction has locked."""
    return write_message(connection, message_id, **edited(**values))


def apply_reminder_change(connection: Connection, change: ReminderChange) -> None:
    """Write what the move of an event does to one of its reminders. The event and its messages are locked."""
    match change:
        case CreateReminder(draft):
            insert_messages(connection, [draft])
        case RescheduleReminder(message_id, send_at):
            edit_message(connection, message_id, send_at=send_at)
        case RearmReminder(message_id, send_at):
            edit_message(connection, message_id, send_at=send_at, status=MessageStatus.SCHEDULED, status_reason=None)
        case ExpireReminder(message_id, send_at, reason):
            edit_message(connection, message_id, send_at=send_at, status=MessageStatus.CANCELLED, status_reason=reason)


def write_message(connection: Connection, message_id: UUID, **values: object) -> Message:
    statement = (
        update(messages)
        .where(messages.c.id == message_id)
        .values({"updated_at": func.clock_timestamp()} | values)
        .returning(*MESSAGE_COLUMNS)
    )
    return message_from(connection.execute(statement).one())


def edited(**values: object) -> dict[str, object]:
    """An edit is a new version: runs requested for the old one no longer count, nor does what it waited for."""
    return {
        "version": messages.c.version + 1,
        "asked_until": None,
        **NOT_WAITING,
        "updated_at": func.clock_timestamp(),
    } | values


def locked(
    message_ids: Collection[UUID], only: Callable[[FromClause], ColumnElement[bool]] | None = None
) -> Select[UUID]:
    """The ids of these messages, or `only` some of them, locked in the order of `storage.locks`.

    Alone, or within the statement that writes them.
    """
    row = messages.alias()
    query = select(row.c.id).where(among(message_ids, row))
    if only is not None:
        query = query.where(only(row))
    return query.order_by(row.c.id).with_for_update(key_share=True)


def among(message_ids: Collection[UUID], row: FromClause = messages) -> ColumnElement[bool]:
    """One of these, however many they are: a single bound value."""
    return row.c.id == any_(array_of(message_ids, Uuid))


def array_of(values: Iterable[object], kind: Any) -> ColumnElement[Any]:
    """Values of one kind (a column type) as a single bound array."""
    return cast(literal(list(values), ARRAY(kind)), ARRAY(kind))
