"""The outbox: events that are written down in the transaction they tell of, and published on NATS afterwards.

So nothing is lost while NATS is away. An event may be published twice; its id is its Nats-Msg-Id.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.storage.database import Database, sql


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    id: UUID
    type: NotificationType
    payload: bytes = field(repr=False)


def put_in_outbox(connection: Connection, kind: NotificationType, payload: Mapping[str, Any]) -> None:
    """Write an event down, to be published once this transaction is committed."""
    connection.execute(
        sql("INSERT INTO outgoing_events (type, payload) VALUES (:type, CAST(:payload AS jsonb))"),
        {"type": kind, "payload": json.dumps(payload)},
    )


class OutboxRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, *, limit: int = 500) -> list[OutgoingEvent]:
        """The events that are not published yet, the oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    "SELECT id, type, CAST(payload AS text) AS payload FROM outgoing_events "
                    "WHERE published_at IS NULL ORDER BY created_at, id LIMIT :limit"
                ),
                {"limit": limit},
            )
            return [OutgoingEvent(row.id, NotificationType(row.type), row.payload.encode()) for row in rows]

    def mark_published(self, event_ids: Collection[UUID]) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "UPDATE outgoing_events SET published_at = clock_timestamp() "
                    "WHERE id = ANY(CAST(:ids AS uuid[])) AND published_at IS NULL"
                ),
                {"ids": list(event_ids)},
            )
