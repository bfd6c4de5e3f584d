"""What hosts follow once a message leaves: its recipients one by one, its progress, and what a guest ever got."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, select

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel, MessageKind
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.storage.conditions import guest_address, guest_is_suppressed, is_in_audience
from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.deliveries.recording import live_status
from guestguard_dagster.storage.tables.deliveries import delivery_batches
from guestguard_dagster.storage.tables.deliveries import message_deliveries as deliveries
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages
from guestguard_dagster.storage.tables.notifications import notifications
from guestguard_dagster.storage.tables.people import guests

# How far back the present rate looks.
RATE_WINDOW = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One recipient of a message, as a host reads it. `address` is the guest's email or phone as known now."""

    delivery_id: int
    guest_id: UUID
    guest_name: str
    address: str | None = field(repr=False)
    channel: MessageChannel
    status: DeliveryStatus
    reason: str | None
    retryable: bool
    round: int
    provider: str | None
    error_class: str | None
    error_code: str | None
    error_detail: str | None
    handed_off_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How fast a message leaves. `per_second` counts what was settled within RATE_WINDOW."""

    total: int
    unsettled: int
    per_second: float

    @property
    def time_left(self) -> timedelta | None:
        """At the present rate; None while nothing moves."""
        return timedelta(seconds=self.unsettled / self.per_second) if self.per_second > 0 else None


@dataclass(frozen=True, slots=True)
class SentToGuest:
    """One delivery to a guest: of a message, with its kind and subject, or of a notification of some type."""

    delivery_id: int
    message_id: UUID | None
    kind: MessageKind | None
    notification: NotificationType | None
    subject: str | None
    channel: MessageChannel
    status: DeliveryStatus
    reason: str | None
    created_at: datetime
    handed_off_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class NamedGuest:
    guest_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The guests of an audience whom a channel cannot reach, by why."""

    without_address: tuple[NamedGuest, ...]
    suppressed: tuple[NamedGuest, ...]


class DeliveryLogRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def progress_of(self, message_id: UUID) -> Progress:
        with self._database.transaction() as connection:
            row = connection.execute(
                sql(
                    """
                    SELECT count(*) AS total, count(*) FILTER (WHERE status = 'pending') AS unsettled,
                           count(*) FILTER (WHERE settled_at > clock_timestamp() - CAST(:window AS interval)) AS recent
                    FROM message_deliveries WHERE message_id = :message_id
                    """
                ),
                {"message_id": message_id, "window": RATE_WINDOW},
            ).one()
        return Progress(row.total, row.unsettled, row.recent / RATE_WINDOW.total_seconds())

    def deliveries_of(
        self,
        message_id: UUID,
        *,
        statuses: Collection[DeliveryStatus] = tuple(DeliveryStatus),
        after: int = 0,
        limit: int = 100,
    ) -> list[DeliveryRecord]:
        """The next `limit` recipients behind the delivery `after`, by delivery id."""
        query = (
            select(
                deliveries.c.id.label("delivery_id"),
                deliveries.c.guest_id,
                guests.c.name.label("guest_name"),
                guests.c.email,
                guests.c.phone,
                deliveries.c.channel,
                live_status().label("status"),
                deliveries.c.reason,
                deliveries.c.retryable,
                deliveries.c.round,
                deliveries.c.provider,
                deliveries.c.error_class,
                deliveries.c.error_code,
                deliveries.c.error_detail,
                deliveries.c.handed_off_at,
                deliveries.c.settled_at,
            )
            .join(guests, guests.c.id == deliveries.c.guest_id)
            .join(delivery_batches, delivery_batches.c.id == deliveries.c.batch_id, isouter=True)
            .where(deliveries.c.message_id == message_id, live_status().in_(statuses), deliveries.c.id > after)
            .order_by(deliveries.c.id)
            .limit(limit)
        )
        with self._database.transaction() as connection:
            rows = [row._asdict() for row in connection.execute(query)]
        records = []
        for values in rows:
            email, phone = values.pop("email"), values.pop("phone")
            channel = MessageChannel(values.pop("channel"))
            status = DeliveryStatus(values.pop("status"))
            address = email if channel is MessageChannel.EMAIL else phone
            records.append(DeliveryRecord(**values, address=address, channel=channel, status=status))
        return records

    def sent_to_guest(self, guest_id: UUID, *, after: int | None = None, limit: int = 100) -> list[SentToGuest]:
        """The next `limit` deliveries to a guest, the newest first, behind (older than) the delivery `after`."""
        query = (
            select(
                deliveries.c.id.label("delivery_id"),
                deliveries.c.message_id,
                messages.c.kind,
                notifications.c.type.label("notification"),
                messages.c.subject,
                deliveries.c.channel,
                live_status().label("status"),
                deliveries.c.reason,
                deliveries.c.created_at,
                deliveries.c.handed_off_at,
                deliveries.c.settled_at,
            )
            .join_from(deliveries, messages, messages.c.id == deliveries.c.message_id, isouter=True)
            .join(notifications, notifications.c.id == deliveries.c.notification_id, isouter=True)
            .join(delivery_batches, delivery_batches.c.id == deliveries.c.batch_id, isouter=True)
            .where(deliveries.c.guest_id == guest_id)
            .order_by(deliveries.c.id.desc())
            .limit(limit)
        )
        if after is not None:
            query = query.where(deliveries.c.id < after)
        with self._database.transaction() as connection:
            return [
                SentToGuest(
                    **row._asdict()
                    | {
                        "kind": MessageKind(row.kind) if row.kind else None,
                        "notification": NotificationType(row.notification) if row.notification else None,
                        "channel": MessageChannel(row.channel),
                        "status": DeliveryStatus(row.status),
                    }
                )
                for row in connection.execute(query)
            ]

    def unreachable(
        self,
        event_id: UUID,
        audience: MessageAudience,
        channel: MessageChannel,
        *,
        sending_number: str | None,
        limit: int,
    ) -> Unreachable:
        """The guests of an audience that this channel cannot reach, by name; at most `limit` for each reason."""
        address = guest_address(channel)
        suppressed = and_(address.is_not(None), guest_is_suppressed(channel, sending_number=sending_number))
        audience_guests = (
            select(guests.c.id, guests.c.name)
            .where(guests.c.event_id == event_id, is_in_audience(guests, audience))
            .order_by(guests.c.name, guests.c.id)
            .limit(limit)
        )
        with self._database.transaction() as connection:
            without, blocked = (
                tuple(NamedGuest(row.id, row.name) for row in connection.execute(audience_guests.where(reason)))
                for reason in (address.is_(None), suppressed)
            )
        return Unreachable(without_address=without, suppressed=blocked)
