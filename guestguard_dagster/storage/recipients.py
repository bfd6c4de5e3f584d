"""How the deliveries of one message stand, and whom it would reach: what hosts and operators ask and decide.

Every function works within the caller's transaction. What the engine does with deliveries is in `storage.deliveries`.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from guestguard_dagster.domain.deliveries import (
    HANDED_OFF_STATUSES,
    DeliveryCount,
    DeliveryNews,
    DeliveryStats,
    DeliveryStatus,
    Recipient,
    RecipientCount,
    RetryFilter,
    SkipReason,
)
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.storage.errors import DeliveryNotFound
from guestguard_dagster.storage.guests import audience_condition
from guestguard_dagster.storage.schema import guests
from guestguard_dagster.storage.schema import message_deliveries as deliveries
from guestguard_dagster.storage.suppressions import guest_address, guest_is_suppressed

# By then, a provider that took the mail before the answer was lost has called back or delivered it.
_UNKNOWN_RESTS_FOR = timedelta(hours=1)


def stats(connection: Connection, message_ids: Collection[UUID]) -> dict[UUID, DeliveryStats]:
    kinds = (deliveries.c.message_id, deliveries.c.status, deliveries.c.reason, deliveries.c.retryable)
    query = (
        select(*kinds, func.count().label("deliveries"))
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
            deliveries.c.status,
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
        .where(deliveries.c.message_id == message_id, deliveries.c.status.in_(statuses))
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
    ).where(guests.c.event_id == event_id, audience_condition(audience))
    return RecipientCount(**connection.execute(query).one()._asdict())


def record(connection: Connection, delivery_id: int, news: DeliveryNews) -> DeliveryStatus:
    """Move one delivery by the news, if its state allows the move; returns its status then."""
    locked = select(deliveries.c.status).where(deliveries.c.id == delivery_id).with_for_update(key_share=True)
    known = connection.execute(locked).scalar_one_or_none()
    if known is None:
        raise DeliveryNotFound(delivery_id)
    if not DeliveryStatus(known).can_become(news.status):
        return DeliveryStatus(known)
    values: dict[str, Any] = {
        "status": news.status,
        "reason": news.reason,
        "retryable": news.retryable,
        "error_class": news.error_class,
        "error_code": news.error_code,
        "error_detail": news.error_detail,
        "provider_message_id": func.coalesce(news.provider_message_id, deliveries.c.provider_message_id),
        "settled_at": func.clock_timestamp() if news.status.is_settled else None,
        "updated_at": func.clock_timestamp(),
    }
    if news.status in HANDED_OFF_STATUSES:
        values["handed_off_at"] = func.coalesce(deliveries.c.handed_off_at, func.clock_timestamp())
    if news.status.is_settled:
        values |= {"lease_token": None, "lease_expires_at": None, "next_attempt_at": None}
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(values))
    return news.status


def reopen(connection: Connection, message_id: UUID, which: RetryFilter) -> int:
    """Start a new round for the deliveries that may be tried again; returns how many. The message is locked."""
    statement = (
        update(deliveries)
        .where(deliveries.c.message_id == message_id, may_be_retried(which))
        .values(
            status=DeliveryStatus.PENDING,
            round=deliveries.c.round + 1,
            reason=None,
            retryable=False,
            attempts=0,
            first_attempt_at=None,
            next_attempt_at=None,
            error_class=None,
            error_code=None,
            error_detail=None,
            provider_message_id=None,
            batch_id=None,
            lease_token=None,
            lease_expires_at=None,
            settled_at=None,
            updated_at=func.clock_timestamp(),
        )
    )
    return connection.execute(statement).rowcount


def may_be_retried(which: RetryFilter) -> ColumnElement[bool]:
    """The rows of message_deliveries that a retry would open."""
    wanted = or_(
        and_(deliveries.c.status == DeliveryStatus.FAILED, deliveries.c.retryable),
        and_(deliveries.c.status == DeliveryStatus.SKIPPED, deliveries.c.reason == SkipReason.LOG_BACKEND),
    )
    if which.error_classes is not None:
        wanted = and_(wanted, deliveries.c.error_class.in_(which.error_classes))
    if which.unknown_too:
        wanted = or_(wanted, _unknown_for_long())
    return wanted if which.providers is None else and_(wanted, deliveries.c.provider.in_(which.providers))


def _unknown_for_long() -> ColumnElement[bool]:
    rested = func.greatest(deliveries.c.settled_at, deliveries.c.lease_expires_at)
    return and_(deliveries.c.status == DeliveryStatus.UNKNOWN, rested <= func.clock_timestamp() - _UNKNOWN_RESTS_FOR)
