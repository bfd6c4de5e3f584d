"""The life of a message: what a host does with it, when it may leave, and how it ends.

How its deliveries stand is asked in `recipients`; the engine works on deliveries in `storage.deliveries`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, DateTime, cast, func, select

from guestguard_dagster.domain.deliveries import (
    ALL_RETRYABLE,
    DeliveryReport,
    DeliveryStats,
    DeliveryStatus,
    Recipient,
    RecipientCount,
    RetryFilter,
)
from guestguard_dagster.domain.departures import Departure
from guestguard_dagster.domain.messages import (
    EDITABLE_STATUSES,
    CancelReason,
    HoldOwner,
    Message,
    MessageAudience,
    MessageChanges,
    MessageChannel,
    MessageDraft,
    MessageKind,
    MessageStatus,
)
from guestguard_dagster.domain.placeholders import require_template
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries import recording
from guestguard_dagster.storage.errors import (
    EventCancelled,
    MessageHeld,
    MessageNotEditable,
    MessageNotFound,
    SendTimeMissing,
    StaleVersion,
)
from guestguard_dagster.storage.locks import lock_message, share_events, share_user
from guestguard_dagster.storage.messages import ending, leaving, recipients
from guestguard_dagster.storage.messages.departures import read_departures
from guestguard_dagster.storage.messages.holds import hold_messages, resume_message
from guestguard_dagster.storage.messages.writing import edit_message, insert_messages
from guestguard_dagster.storage.paging import page_behind
from guestguard_dagster.storage.rows import MESSAGE_COLUMNS, message_from
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages


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

    def update(self, message_id: UUID, changes: MessageChanges, *, expected_version: int | None) -> Message:
        """Change a draft or scheduled message, if it is still at `expected_version`, where one is expected.

        Raises MessageNotFound, MessageNotEditable, StaleVersion, TemplateRefused, and SendTimeMissing when it would be
        scheduled without a send_at.
        """
        with self._database.transaction() as connection:
            message = _lock_unsent(connection, message_id, expected_version)
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

        Raises MessageNotFound and MessageNotEditable, StaleVersion when it is no longer as its sender saw it, and
        MessageHeld: what somebody holds would not leave.
        """
        return self._edit_unsent(
            message_id,
            expected_version,
            may_be_held=False,
            status=MessageStatus.SCHEDULED,
            send_at=func.clock_timestamp(),
            send_at_is_custom=messages.c.kind != MessageKind.BROADCAST,
        )

    # When a message may leave.

    def list_due(
        self,
        *,
        lookahead: timedelta = timedelta(),
        limit: int = 1000,
        channels: Collection[MessageChannel] = tuple(MessageChannel),
        only_without_run: bool = False,
    ) -> list[Message]:
        """The scheduled messages that may leave within `lookahead` from now, the earliest first.

        `only_without_run` leaves out those that a run was requested for and is still expected to take.
        """
        query = leaving.due(lookahead=lookahead, limit=limit, channels=channels, only_without_run=only_without_run)
        with self._database.transaction() as connection:
            return [message_from(row) for row in connection.execute(query)]

    def list_unfinished(
        self, *, limit: int = 1000, channels: Collection[MessageChannel] = tuple(MessageChannel)
    ) -> list[UUID]:
        """The `sending` messages that no live run works on and that wait for nothing, the earliest first."""
        with self._database.transaction() as connection:
            return list(connection.execute(leaving.unfinished(limit=limit, channels=channels)).scalars())

    def departures(self, message_ids: Collection[UUID]) -> dict[UUID, Departure]:
        """What decides when these messages leave, by id and without their texts; ids that do not exist are missing."""
        with self._database.transaction() as connection:
            return read_departures(connection, message_ids)

    def claim_for_sending(self, message_ids: Collection[UUID]) -> list[UUID]:
        """Take those that are due and free to leave from `scheduled` to `sending`; returns them.

        Of any number of processes that try, exactly one gets each message. A reminder whose words no longer hold is
        not taken: `expire_late` cancels it.
        """
        with self._database.transaction() as connection:
            return leaving.claim(connection, message_ids)

    def expire_late(self, message_ids: Collection[UUID] | None = None) -> list[UUID]:
        """Cancel scheduled messages, held or not, that would leave too late now; returns the cancelled ones.

        Reason `event_started`: it was meant to leave before its event's start, which has come. (What is meant for the
        start or later, such as a thank-you, leaves as planned.) Reason `time_passed`: a reminder whose words no longer
        hold. `message_ids` narrows this to some messages; None means all of them.
        """
        with self._database.transaction() as connection:
            late = leaving.find_late(connection, message_ids)
        return self.expire(late)

    def expire(self, late: Sequence[tuple[Departure, CancelReason]]) -> list[UUID]:
        """Cancel these scheduled messages, each for its reason, unless they or their events were edited since they
        were read; returns the cancelled ones."""
        with self._database.transaction() as connection:
            return leaving.expire(connection, late)

    def hold(self, message_ids: Collection[UUID], *, reason: str, by: HoldOwner = HoldOwner.HOST) -> list[UUID]:
        """Let scheduled or sending messages wait until they are resumed; returns those that `by` holds only now."""
        with self._database.transaction() as connection:
            return hold_messages(connection, message_ids, by=by, reason=reason)

    def resume(self, message_id: UUID) -> Message:
        """Let a held message go on at once. Raises MessageNotFound and MessageNotHoldable."""
        with self._database.transaction() as connection:
            return resume_message(connection, message_id)

    # How a message ends.

    def settled(self, message_ids: Collection[UUID]) -> dict[UUID, MessageChannel]:
        """Those that are `sending`, frozen, and have nothing left to do, each with its channel."""
        with self._database.transaction() as connection:
            return ending.settled(connection, message_ids)

    def mark_sent(self, message_ids: Collection[UUID]) -> list[UUID]:
        """End the `sending` messages whose audience is frozen and wholly settled; returns them."""
        with self._database.transaction() as connection:
            return ending.mark_sent(connection, message_ids)

    def mark_failed(self, reasons: Mapping[UUID, str]) -> list[UUID]:
        """End the `sending` messages that are settled and of which nothing left, each for its reason; returns them."""
        with self._database.transaction() as connection:
            return ending.mark_failed(connection, reasons)

    def retry_failed(self, message_id: UUID, which: RetryFilter = ALL_RETRYABLE) -> int:
        """Open a new round for the failed deliveries that may be tried again; returns how many.

        If there are any, the message is `sending` again and the send job does the rest. Raises MessageNotFound,
        MessageNotRetryable (it has not ended yet), EventCancelled, and MessageTooLate (nothing of it may leave now).
        """
        with self._database.transaction() as connection:
            return ending.reopen(connection, message_id, which)

    # How its deliveries stand.

    def record_delivery(self, delivery_id: int, report: DeliveryReport) -> DeliveryStatus:
        """Let a report move one delivery forward, never back; returns its status then. Raises DeliveryNotFound."""
        with self._database.transaction() as connection:
            return recording.record(connection, delivery_id, report)

    def delivery_stats(self, message_ids: Collection[UUID]) -> dict[UUID, DeliveryStats]:
        """The deliveries of each of these messages by status and reason; empty where no audience is frozen yet."""
        with self._database.transaction() as connection:
            return recipients.stats(connection, message_ids)

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

    def _edit_unsent(
        self, message_id: UUID, expected_version: int | None, *, may_be_held: bool = True, **values: object
    ) -> Message:
        with self._database.transaction() as connection:
            message = _lock_unsent(connection, message_id, expected_version)
            if message.held_at is not None and not may_be_held:
                raise MessageHeld(message_id, message.held_by, message.held_reason)
            return edit_message(connection, message_id, **values)


def _lock_unsent(connection: Connection, message_id: UUID, expected_version: int | None) -> Message:
    """Raises MessageNotFound, MessageNotEditable, and StaleVersion where a version is expected."""
    message = lock_message(connection, message_id)
    if message.status not in EDITABLE_STATUSES:
        raise MessageNotEditable(message_id, message.status)
    if expected_version not in (None, message.version):
        raise StaleVersion(message_id, expected_version, message.version)
    return message
