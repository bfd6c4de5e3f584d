"""What reports say beyond statistics: what failed and why, which events are over, and whom no message reached."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, select

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import CollaboratorRole, Event, RsvpStatus, User
from guestguard_dagster.domain.messages import MessageChannel, MessageKind
from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.rows import EVENT_COLUMNS, USER_COLUMNS
from guestguard_dagster.storage.tables.people import event_collaborators, events, guests, users


@dataclass(frozen=True, slots=True)
class Failure:
    """Deliveries that failed, or whose fate is unknown, for one reason. `retryable` of them may be tried again."""

    status: DeliveryStatus
    provider: str | None
    error: str
    deliveries: int
    retryable: int


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message of an event that began to be sent, and its deliveries by where they stand."""

    kind: MessageKind
    channel: MessageChannel
    send_at: datetime
    outcomes: Mapping[DeliveryStatus, int]

    @property
    def recipients(self) -> int:
        return sum(self.outcomes.values())


@dataclass(frozen=True, slots=True)
class UnreachedGuest:
    """A guest to whom at least one message should have gone and none did; how the last of them stands, and why."""

    name: str
    status: DeliveryStatus
    reason: str | None


class ReportFacts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def failures(self, days: Days, *, limit: int) -> list[Failure]:
        """Of the deliveries that were due on these days, the commonest reasons first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    """
                    SELECT b.status, b.provider, COALESCE(b.error_class, b.reason, 'no reason given') AS error,
                        count(*) AS deliveries, count(*) FILTER (WHERE b.retryable) AS retryable
                    FROM (
                        SELECT d.* FROM scheduled_messages m
                        JOIN message_deliveries d ON d.message_id = m.id
                        WHERE m.status IN ('sending', 'sent', 'failed') AND m.send_at >= :start AND m.send_at < :end
                        UNION ALL
                        SELECT d.* FROM message_deliveries d
                        WHERE d.message_id IS NULL AND d.created_at >= :start AND d.created_at < :end
                    ) b
                    WHERE b.status IN ('failed', 'unknown')
                    GROUP BY 1, 2, 3 ORDER BY deliveries DESC, 1, 2, 3 LIMIT :limit
                    """
                ),
                {"start": days.start, "end": days.end, "limit": limit},
            )
            return [
                Failure(DeliveryStatus(row.status), row.provider, row.error, row.deliveries, row.retryable)
                for row in rows
            ]

    def ended_events(self, days: Days) -> list[tuple[Event, User]]:
        """The events that were over on these days, cancelled ones left out, each with its host."""
        ended_at = func.coalesce(events.c.ends_at, events.c.starts_at)
        is_host = and_(
            event_collaborators.c.event_id == events.c.id, event_collaborators.c.role == CollaboratorRole.OWNER
        )
        query = (
            select(*EVENT_COLUMNS, *(column.label(f"host_{column.name}") for column in USER_COLUMNS))
            .join(event_collaborators, is_host)
            .join(users, users.c.id == event_collaborators.c.user_id)
            .where(ended_at >= days.start, ended_at < days.end, events.c.cancelled_at.is_(None))
            .order_by(ended_at, events.c.id)
        )
        with self._database.transaction() as connection:
            rows = [row._asdict() for row in connection.execute(query)]
        return [
            (
                Event(**{name: value for name, value in row.items() if not name.startswith("host_")}),
                User(row["host_id"], row["host_email"], row["host_name"]),
            )
            for row in rows
        ]

    def messages_of(self, event_id: UUID) -> list[SentMessage]:
        """The event's messages that had anybody to go to, in the order in which they were due."""
        found: dict[UUID, SentMessage] = {}
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    """
                    SELECT m.id, m.kind, m.channel, m.send_at, d.status, count(*) AS deliveries
                    FROM scheduled_messages m
                    JOIN message_deliveries d ON d.message_id = m.id
                    WHERE m.event_id = :event_id AND m.status IN ('sending', 'sent', 'failed')
                    GROUP BY m.id, d.status ORDER BY m.send_at, m.id, d.status
                    """
                ),
                {"event_id": event_id},
            ).all()
        outcomes: dict[UUID, dict[DeliveryStatus, int]] = {}
        for row in rows:
            outcomes.setdefault(row.id, {})[DeliveryStatus(row.status)] = row.deliveries
            found[row.id] = SentMessage(
                MessageKind(row.kind), MessageChannel(row.channel), row.send_at, outcomes[row.id]
            )
        return list(found.values())

    def answers(self, event_id: UUID) -> dict[RsvpStatus, int]:
        """The present guests of an event by their RSVP."""
        query = (
            select(guests.c.rsvp_status, func.count())
            .where(guests.c.event_id == event_id, guests.c.removed_at.is_(None))
            .group_by(guests.c.rsvp_status)
        )
        with self._database.transaction() as connection:
            counted: dict[str, int] = dict(connection.execute(query).all())
        return {status: counted.get(status, 0) for status in RsvpStatus}

    def unreached(self, event_id: UUID, *, limit: int) -> list[UnreachedGuest]:
        """Present guests who should have got a message and got none, by name."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    """
                    SELECT g.name, last.status, last.reason
                    FROM guests g
                    JOIN LATERAL (
                        SELECT d.status, d.reason FROM message_deliveries d
                        WHERE d.guest_id = g.id AND d.message_id IS NOT NULL
                            AND (d.status <> 'skipped' OR d.reason = 'no_address')
                        ORDER BY d.id DESC LIMIT 1
                    ) last ON true
                    WHERE g.event_id = :event_id AND g.removed_at IS NULL AND NOT EXISTS (
                        SELECT 1 FROM message_deliveries d
                        WHERE d.guest_id = g.id AND d.status IN ('sent', 'delivered', 'complained')
                    )
                    ORDER BY lower(g.name), g.id LIMIT :limit
                    """
                ),
                {"event_id": event_id, "limit": limit},
            )
            return [UnreachedGuest(row.name, DeliveryStatus(row.status), row.reason) for row in rows]
