"""How the deliveries of one message stand, and whom it would reach: what hosts and operators ask and decide.

Every function works within the caller's transaction. `storage.deliveries.recording` writes what becomes of them.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, and_, func, select

from guestguard_dagster.domain.deliveries import (
    DeliveryCount,
    DeliveryStats,
    DeliveryStatus,
    Recipient,
    RecipientCount,
)
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.storage.conditions import guest_address, guest_is_suppressed, is_in_audience
from guestguard_dagster.storage.deliveries.recording import live_status
from guestguard_dagster.storage.tables.deliveries import delivery_batches
from guestguard_dagster.storage.tables.deliveries import message_deliveries as deliveries
from guestguard_dagster.storage.tables.people import guests


def stats(connection: Connection, message_ids: Collection[UUID]) -> dict[UUID, DeliveryStats]:
    kinds = (deliveries.c.message_id, live_status().label("status"), deliveries.c.reason, deliveries.c.retryable)
    query = (
        select(*kinds, func.count().label("deliveries"))
        .select_from(deliveries)
        .join(delivery_batches, delivery_batches.c.id == deliveries.c.batch_id, isouter=True)
        .where(deliveries.c.message_id.in_(message_ids))
        .group_by(*kinds)
        .order_by(*kinds)
    )
    counts: dict[UUID, list[DeliveryCount]] = {message_id: [] for message_id in message_ids}
    for row in connection.execute(query):
        counts[row.message_id].append(
            DeliveryCount(DeliveryStatus(row.status), row.reason, row.retryable, row.deliveries)
        )
    return {message_id: DeliveryStats(tuple(entries)) for message_id, entries in counts.items()}


def page(
    connection: Connection, message_id: UUID, *, statuses: Collection[DeliveryStatus], after: UUID | None, limit: int
) -> list[Recipient]:
    """The next `limit` recipients behind the guest `after`, by guest id: the order that the unique index keeps."""
    query = (
        select(
            deliveries.c.id.label("delivery_id"),
            deliveries.c.guest_id,
            deliveries.c.channel,
            live_status().label("status"),
            deliveries.c.reason,
            deliveries.c.round,
            guests.c.name,
            guests.c.email,
            guests.c.phone,
            guests.c.rsvp_status,
            guests.c.rsvp_token,
            guests.c.removed_at,
        )
        .join(guests, guests.c.id == deliveries.c.guest_id)
        .join(delivery_batches, delivery_batches.c.id == deliveries.c.batch_id, isouter=True)
        .where(deliveries.c.message_id == message_id, live_status().in_(statuses))
        .order_by(deliveries.c.guest_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(deliveries.c.guest_id > after)
    return [
        Recipient(
            **row._asdict()
            | {
                "channel": MessageChannel(row.channel),
                "status": DeliveryStatus(row.status),
                "rsvp_status": RsvpStatus(row.rsvp_status),
            }
        )
        for row in connection.execute(query)
    ]


def count(
    connection: Connection,
    event_id: UUID,
    audience: MessageAudience,
    channel: MessageChannel,
    *,
    sending_number: str | None,
) -> RecipientCount:
    address = guest_address(channel)
    suppressed = and_(address.is_not(None), guest_is_suppressed(channel, sending_number=sending_number))
    query = select(
        func.count().label("total"),
        func.count().filter(address.is_(None)).label("without_address"),
        func.count().filter(suppressed).label("suppressed"),
    ).where(guests.c.event_id == event_id, is_in_audience(guests, audience))
    return RecipientCount(**connection.execute(query).one()._asdict())
