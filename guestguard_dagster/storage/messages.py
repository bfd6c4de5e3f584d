"""Scheduled messages: what a host does with them, when they may leave, and how they end.

How their deliveries stand is asked in `storage.recipients`; the engine works on deliveries in `storage.deliveries`.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    DateTime,
    Select,
    Update,
    Uuid,
    and_,
    any_,
    cast,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from guestguard_dagster.domain.deliveries import (
    ALL_RETRYABLE,
    DeliveryNews,
    DeliveryStats,
    DeliveryStatus,
    Recipient,
    RecipientCount,
    RetryFilter,
)
from guestguard_dagster.domain.messages import (
    EDITABLE_STATUSES,
    CancelReason,
    Message,
    MessageAudience,
    MessageChanges,
    MessageChannel,
    MessageDraft,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.domain.placeholders import require_template
from guestguard_dagster.storage import deliveries, recipients
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import (
    EventCancelled,
    MessageNotEditable,
    MessageNotFound,
    MessageNotHoldable,
    MessageNotRetryable,
    ReminderExists,
    SendTimeMissing,
    StaleVersion,
)
from guestguard_dagster.storage.locks import lock_message, share_events, share_user
from guestguard_dagster.storage.paging import page_behind
from guestguard_dagster.storage.rows import MESSAGE_COLUMNS, message_from
from guestguard_dagster.storage.schema import events
from guestguard_dagster.storage.schema import scheduled_messages as messages

# Small enough for every provider; a sender takes what it is given.
RETRY_BATCH_SIZE = 50

_RETRYABLE_STATUSES = frozenset({MessageStatus.SENT, MessageStatus.FAILED})
_HOLDABLE_STATUSES = frozenset({MessageStatus.SCHEDULED, MessageStatus.SENDING})


class MessageRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    # What a host does.

    def create(self, draft: MessageDraft) -> Message:
        """Raises EventNotFound, EventCancelled, UserNotFound (its author), ReminderExists and TemplateRefused."""
        return self.create_batch([draft])[0]

    def create_batch(self, drafts: Sequence[MessageDraft]) -> list[Message]:
        """Create all of the drafts or none; returns them in their order. Raises what `create` raises."""
        with self._database.transaction() as connection:
            for event in share_events(connection, {draft.event_id for draft in drafts}).values():
                if event.cancelled_at is not None:
                    raise EventCancelled(event.id)
            for author in sorted({draft.created_by for draft in drafts if draft.created_by is not None}):
                share_user(connection, author)
            return insert_messages(connection, drafts)

    def get(self, message_id: UUID) -> Message:
        """Raises MessageNotFound."""
        with self._database.transaction() as connection:
            row = connection.execute(select(*MESSAGE_COLUMNS).where(messages.c.id == message_id)).one_or_none()
        if row is None:
            raise MessageNotFound(message_id)
        return message_from(row)

    def list_by_event(
        self,
        event_id: UUID,
        *,
        statuses: Collection[MessageStatus] = tuple(MessageStatus),
        after: UUID | None = None,
        limit: int = 100,
        latest_first: bool = False,
    ) -> list[Message]:
        """The next `limit` messages behind the message `after`, by send_at; those without one count as the latest."""
        place = (func.coalesce(messages.c.send_at, cast("infinity", DateTime(timezone=True))), messages.c.id)
        query = select(*MESSAGE_COLUMNS).where(messages.c.event_id == event_id, messages.c.status.in_(statuses))
        with self._database.transaction() as connection:
            rows = connection.execute(page_behind(query, place, after=after, limit=limit, latest_first=latest_first))
            return [message_from(row) for row in rows]

    def update(self, message_id: UUID, changes: MessageChanges, *, expected_version: int) -> Message:
        """Change a draft or scheduled message that is still as the editor saw it.

        Raises MessageNotFound, MessageNotEditable, StaleVersion, TemplateRefused, and SendTimeMissing when it would be
        scheduled without a send_at.
        """
        with self._database.transaction() as connection:
            message = lock_message(connection, message_id)
            if message.status not in EDITABLE_STATUSES:
                raise MessageNotEditable(message_id, message.status)
            if message.version != expected_version:
                raise StaleVersion(message_id, expected_version, message.version)
            values = {name: value for name, value in asdict(changes).items() if value is not None}
            send_at = values.get("send_at", message.send_at)
            if send_at is None and values.get("status", message.status) is MessageStatus.SCHEDULED:
                raise SendTimeMissing(message_id)
            channel = values.get("channel", message.channel)
            require_template(channel, values.get("subject", message.subject), values.get("body", message.body))
            if message.kind is not MessageKind.BROADCAST and send_at != message.send_at:
                values["send_at_is_custom"] = True
            return edit_message(connection, message_id, **values)

    def cancel(self, message_id: UUID) -> Message:
        """The host decides against a draft or scheduled message. Raises MessageNotFound and MessageNotEditable."""
        return self._edit_unsent(message_id, None, status=MessageStatus.CANCELLED, status_reason=CancelReason.HOST)

    def promote_to_scheduled(self, message_id: UUID, *, expected_version: int | None = None) -> Message:
        """Send now: schedule a draft or scheduled message for this instant of the database's clock.

        Raises MessageNotFound and MessageNotEditable, and StaleVersion when it is no longer as its sender saw it.
        """
        return self._edit_unsent(
            message_id,
            expected_version,
            status=MessageStatus.SCHEDULED,
            send_at=func.clock_timestamp(),
            send_at_is_custom=messages.c.kind != MessageKind.BROADCAST,
        )

    # When a message may leave.

    def list_due(self, *, lookahead: timedelta = timedelta(), limit: int = 1000) -> list[Message]:
        """The scheduled messages that may leave within `lookahead` from now, the earliest first."""
        query = (
            select(*MESSAGE_COLUMNS)
            # now() and not clock_timestamp(): only a stable function can bound the scan of the index.
            .where(messages.c.status == MessageStatus.SCHEDULED, messages.c.send_at <= func.now() + lookahead)
            .where(or_(messages.c.not_before.is_(None), messages.c.not_before <= func.now() + lookahead), _may_leave())
            .order_by(messages.c.send_at, messages.c.id)
            .limit(limit)
        )
        with self._database.transaction() as connection:
            return [message_from(row) for row in connection.execute(query)]

    def claim_for_sending(self, message_id: UUID) -> Message | None:
        """Take a due message from `scheduled` to `sending`; None when it is not due, not free to leave, or taken.

        Of any number of processes that try, exactly one gets the message.
        """
        with self._database.transaction() as connection:
            row = connection.execute(_claim([message_id]).returning(*MESSAGE_COLUMNS)).one_or_none()
        return None if row is None else message_from(row)

    def claim_due(self, message_ids: Collection[UUID]) -> list[UUID]:
        """Claim those of `message_ids` that are due and free to leave, in one statement; returns the claimed ones."""
        with self._database.transaction() as connection:
            return list(connection.execute(_claim(message_ids).returning(messages.c.id)).scalars())

    def expire_started(self, message_ids: Collection[UUID] | None = None) -> list[UUID]:
        """Cancel what could only leave after its event has started, reason `event_started`; returns the cancelled ones.

        That is a scheduled message, held or not, whose send_at lies before the start, when the start has come. A
        message whose send_at is the start or later (a thank-you) was meant so by its host and leaves as planned.
        `message_ids` narrows this to some messages; None means all of them.
        """
        overdue = and_(
            messages.c.status == MessageStatus.SCHEDULED,
            messages.c.send_at <= func.now(),
            exists().where(events.c.id == messages.c.event_id, _came_too_late()),
        )
        with self._database.transaction() as connection:
            if message_ids is None:
                message_ids = list(connection.execute(select(messages.c.id).where(overdue)).scalars())
            statement = (
                update(messages)
                .where(messages.c.id.in_(_locked(message_ids)), overdue)
                .values(_edited(status=MessageStatus.CANCELLED, status_reason=CancelReason.EVENT_STARTED))
                .returning(messages.c.id)
            )
            return list(connection.execute(statement).scalars())

    def expire(self, message_ids: Collection[UUID]) -> list[UUID]:
        """Cancel scheduled messages that can only leave after their event has started; returns the cancelled ones."""
        statement = (
            update(messages)
            .where(messages.c.id.in_(_locked(message_ids)), messages.c.status == MessageStatus.SCHEDULED)
            .values(_edited(status=MessageStatus.CANCELLED, status_reason=CancelReason.EVENT_STARTED))
            .returning(messages.c.id)
        )
        with self._database.transaction() as connection:
            return list(connection.execute(statement).scalars())

    def hold(self, message_ids: Collection[UUID], *, reason: str) -> list[UUID]:
        """Let these scheduled or sending messages wait until they are resumed; returns those that are held only now."""
        statement = (
            update(messages)
            .where(messages.c.id.in_(_locked(message_ids)))
            .where(messages.c.status.in_(_HOLDABLE_STATUSES), messages.c.held_at.is_(None))
            .values(held_at=func.clock_timestamp(), held_reason=reason, updated_at=func.clock_timestamp())
            .returning(messages.c.id)
        )
        with self._database.transaction() as connection:
            return list(connection.execute(statement).scalars())

    def resume(self, message_id: UUID) -> Message:
        """Let a held message go on at once. Raises MessageNotFound and MessageNotHoldable."""
        with self._database.transaction() as connection:
            message = lock_message(connection, message_id)
            if message.status not in _HOLDABLE_STATUSES:
                raise MessageNotHoldable(message_id, message.status)
            return _write(
                connection,
                message_id,
                held_at=None,
                held_reason=None,
                asked_until=None,
                not_before=None,
                waiting_reason=None,
            )

    # How a message ends.

    def mark_sent(self, message_id: UUID) -> bool:
        """End a `sending` message whose audience is frozen and wholly settled; False when it is not so far."""
        return self._finish(message_id, MessageStatus.SENT, None)

    def mark_failed(self, message_id: UUID, reason: str) -> bool:
        """End a `sending` message of which nothing could be sent; False when a delivery is unsettled still."""
        return self._finish(message_id, MessageStatus.FAILED, reason)

    def retry_failed(self, message_id: UUID, which: RetryFilter = ALL_RETRYABLE) -> int:
        """Open a new round for the failed deliveries that may be tried again; returns how many.

        If there are any, the message is `sending` again and the send job does the rest. Raises MessageNotFound,
        MessageNotRetryable (it has not ended yet) and EventCancelled.
        """
        with self._database.transaction() as connection:
            message = lock_message(connection, message_id)
            if message.status not in _RETRYABLE_STATUSES:
                raise MessageNotRetryable(message_id, message.status)
            cancelled = select(events.c.cancelled_at).where(events.c.id == message.event_id)
            if connection.execute(cancelled).scalar_one() is not None and not message.survives_event_cancel:
                raise EventCancelled(message.event_id)
            reopened = deliveries.reopen(connection, message_id, which, batch_size=RETRY_BATCH_SIZE)
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

    # How its deliveries stand.

    def record_delivery(self, delivery_id: int, news: DeliveryNews) -> DeliveryStatus:
        """Let news move one delivery forward, never back; returns its status then. Raises DeliveryNotFound."""
        with self._database.transaction() as connection:
            return deliveries.record(connection, delivery_id, news)

    def delivery_stats(self, message_id: UUID) -> DeliveryStats:
        """The deliveries of a message by status and reason; empty when its audience is not frozen yet."""
        with self._database.transaction() as connection:
            return recipients.stats(connection, message_id)

    def load_recipients(
        self,
        message_id: UUID,
        *,
        statuses: Collection[DeliveryStatus] = tuple(DeliveryStatus),
        page_size: int = 1000,
    ) -> Iterator[Recipient]:
        """The frozen audience in the order of guest ids, read page by page as it is consumed."""
        after: UUID | None = None
        while True:
            with self._database.transaction() as connection:
                page = recipients.page(connection, message_id, statuses=statuses, after=after, limit=page_size)
            yield from page
            if len(page) < page_size:
                return
            after = page[-1].guest_id

    def count_recipients(
        self,
        event_id: UUID,
        audience: MessageAudience,
        channel: MessageChannel,
        *,
        sending_number: str | None = None,
    ) -> RecipientCount:
        """Whom a message would be for if it left now. `sending_number` (E.164) counts its STOPs, too."""
        with self._database.transaction() as connection:
            return recipients.count(connection, event_id, audience, channel, sending_number=sending_number)

    def _edit_unsent(self, message_id: UUID, expected_version: int | None, **values: object) -> Message:
        with self._database.transaction() as connection:
            message = lock_message(connection, message_id)
            if message.status not in EDITABLE_STATUSES:
                raise MessageNotEditable(message_id, message.status)
            if expected_version not in (None, message.version):
                raise StaleVersion(message_id, expected_version, message.version)
            return edit_message(connection, message_id, **values)

    def _finish(self, message_id: UUID, status: MessageStatus, reason: str | None) -> bool:
        with self._database.transaction() as connection:
            message = lock_message(connection, message_id)
            if message.status is not MessageStatus.SENDING:
                return False
            if status is MessageStatus.SENT and message.audience_frozen_at is None:
                return False
            # Asked only now that the message is locked, so that no retry can open one of them meanwhile.
            if recipients.any_unsettled(connection, message_id):
                return False
            _write(connection, message_id, status=status, status_reason=reason, finished_at=func.clock_timestamp())
            return True


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
    return _write(connection, message_id, **_edited(**values))


def _write(connection: Connection, message_id: UUID, **values: object) -> Message:
    statement = (
        update(messages)
        .where(messages.c.id == message_id)
        .values({"updated_at": func.clock_timestamp()} | values)
        .returning(*MESSAGE_COLUMNS)
    )
    return message_from(connection.execute(statement).one())


def _edited(**values: object) -> dict[str, object]:
    """An edit is a new version; runs that were asked for the old one no longer count, nor does what it waited for."""
    return {
        "version": messages.c.version + 1,
        "asked_until": None,
        "not_before": None,
        "waiting_reason": None,
        "updated_at": func.clock_timestamp(),
    } | values


def _claim(message_ids: Collection[UUID]) -> Update:
    return (
        update(messages)
        .where(
            messages.c.id.in_(_locked(message_ids)),
            messages.c.status == MessageStatus.SCHEDULED,
            messages.c.send_at <= func.clock_timestamp(),
            or_(messages.c.not_before.is_(None), messages.c.not_before <= func.clock_timestamp()),
            _may_leave(),
        )
        .values(
            status=MessageStatus.SENDING,
            started_at=func.clock_timestamp(),
            not_before=None,
            waiting_reason=None,
            updated_at=func.clock_timestamp(),
        )
    )


def _locked(message_ids: Collection[UUID]) -> Select[UUID]:
    """The ids of these messages, locked in the order of `storage.locks` before the statement around it writes them."""
    row = messages.alias()
    wanted = row.c.id == any_(cast(list(message_ids), ARRAY(Uuid)))
    return select(row.c.id).where(wanted).order_by(row.c.id).with_for_update(key_share=True)


def _may_leave() -> ColumnElement[bool]:
    """Not held, the event not cancelled (or the message survives that), and not too late for the event."""
    event_allows = exists().where(
        events.c.id == messages.c.event_id,
        or_(events.c.cancelled_at.is_(None), messages.c.survives_event_cancel),
        ~_came_too_late(),
    )
    return and_(messages.c.held_at.is_(None), event_allows)


def _came_too_late() -> ColumnElement[bool]:
    """The event has started, and the message was meant to leave before that."""
    return and_(messages.c.send_at < events.c.starts_at, events.c.starts_at <= func.clock_timestamp())
