"""What could be tried again of the messages of some days, and why some of it would not leave."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import DeliveryStatus, RetryFilter
from guestguard_dagster.domain.departures import RetryObstacle
from guestguard_dagster.domain.messages import MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.storage.conditions import guest_address, guest_is_suppressed, is_in_audience
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.recording import may_be_retried
from guestguard_dagster.storage.messages.departures import read_departures
from guestguard_dagster.storage.tables.deliveries import message_deliveries as deliveries
from guestguard_dagster.storage.tables.messages import scheduled_messages as messages
from guestguard_dagster.storage.tables.people import events, guests

_BEGAN = (MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.FAILED)


@dataclass(frozen=True, slots=True)
class RetryGroup:
    """Deliveries of one message that failed alike. Of `deliveries`, as things stand now `leaving` would be handed off;
    the others' guests were removed, have answered or unsubscribed since, or have no address.

    `obstacle` says why nothing of the message can be tried again now, if so.
    """

    message_id: UUID
    event_id: UUID
    event_name: str
    kind: MessageKind
    channel: MessageChannel
    obstacle: RetryObstacle | None
    status: DeliveryStatus
    provider: str | None
    error_class: str | None
    deliveries: int
    leaving: int


class RetryRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(
        self,
        days: Days,
        which: RetryFilter,
        *,
        message_ids: Collection[UUID] | None = None,
        sending_number: str | None = None,
    ) -> list[RetryGroup]:
        """What fits of the messages that were due on these days, by message, then the most deliveries first."""
        kinds = (deliveries.c.status, deliveries.c.provider, deliveries.c.error_class)
        query = (
            select(
                messages.c.id,
                *kinds,
                func.count().label("deliveries"),
                func.count().filter(_would_leave(sending_number)).label("leaving"),
            )
            .select_from(messages)
            .join(events, events.c.id == messages.c.event_id)
            .join(deliveries, deliveries.c.message_id == messages.c.id)
            .join(guests, guests.c.id == deliveries.c.guest_id)
            .where(
                messages.c.status.in_(_BEGAN),
                messages.c.send_at >= days.start,
                messages.c.send_at < days.end,
                may_be_retried(which),
            )
            .group_by(messages.c.id, events.c.id, *kinds)
            .order_by(messages.c.send_at, messages.c.id, func.count().desc(), *kinds)
        )
        if message_ids is not None:
            query = query.where(messages.c.id.in_(message_ids))
        with self._database.transaction() as connection:
            rows = connection.execute(query).all()
            departures = read_departures(connection, {row.id for row in rows})
        groups = []
        for row in rows:
            departure = departures.get(row.id)
            if departure is None:
                continue  # deleted between the two statements
            groups.append(
                RetryGroup(
                    message_id=row.id,
                    event_id=departure.event.id,
                    event_name=departure.event.name,
                    kind=departure.message.kind,
                    channel=departure.message.channel,
                    obstacle=departure.obstacle_to_retry,
                    status=DeliveryStatus(row.status),
                    provider=row.provider,
                    error_class=row.error_class,
                    deliveries=row.deliveries,
                    leaving=row.leaving,
                )
            )
        return groups


def _would_leave(sending_number: str | None) -> ColumnElement[bool]:
    reachable = [
        and_(
            messages.c.channel == channel,
            guest_address(channel).is_not(None),
            ~guest_is_suppressed(channel, sending_number=sending_number),
        )
        for channel in MessageChannel
    ]
    return and_(is_in_audience(guests, messages.c.audience), or_(*reachable))
