"""Hand-offs of batches as the engine does them, in their order, to a provider that counts: and a database to lose."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Connection, Row, text

from guestguard_dagster.delivery.ledger import LedgerGuard
from guestguard_dagster.domain.ledger import LedgerEntry
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.storage.conditions import BATCH_MAY_LEAVE, NOTHING_IS_STOPPED
from guestguard_dagster.storage.database import DATABASE_IDENTITY, Database
from guestguard_dagster.streams.ledger import Ledger

BATCH_SIZE = 5

_CLAIM = text(
    f"""
    UPDATE scheduled_messages SET status = 'sending', audience_frozen_at = clock_timestamp()
    WHERE id = :id AND audience_frozen_at IS NULL AND held_at IS NULL AND send_at <= clock_timestamp()
      AND {NOTHING_IS_STOPPED}
    RETURNING id
    """  # noqa: S608 - put together from a constant
)
_FREEZE = text(
    """
    INSERT INTO message_deliveries (message_id, event_id, guest_id, channel)
    SELECT :id, event_id, id, 'email' FROM guests WHERE event_id = :event_id ORDER BY id
    ON CONFLICT (message_id, guest_id, channel) DO NOTHING
    """
)
_PENDING = text("SELECT id FROM message_deliveries WHERE message_id = :id AND status = 'pending' ORDER BY id")
_MARK = text(
    f"""
    UPDATE delivery_batches b
    SET state = 'sending', handed_off_at = clock_timestamp(), provider = 'smtp', account = 'smtp:1'
    WHERE b.id = (
        SELECT b.id FROM delivery_batches b
        LEFT JOIN scheduled_messages m ON m.id = b.message_id
        WHERE b.state = 'pending' AND m.held_at IS NULL AND {BATCH_MAY_LEAVE}
          AND b.queue_id = COALESCE(:queue_id, b.queue_id)
        ORDER BY b.id LIMIT 1 FOR UPDATE OF b SKIP LOCKED
    )
    RETURNING b.id, b.key, b.queue_id, b.message_id, b.handed_off_at, {DATABASE_IDENTITY} AS database
    """  # noqa: S608
)


@dataclass
class Arrived:
    """What the provider took, by message (None: other mail) and recipient."""

    mails: Counter[tuple[UUID | None, UUID]] = field(default_factory=Counter)

    def of(self, message: Message) -> int:
        return sum(count for (message_id, _), count in self.mails.items() if message_id == message.id)

    @property
    def doubled(self) -> list[tuple[UUID | None, UUID]]:
        return [mail for mail, count in self.mails.items() if count > 1]


class Process:
    """One process that sends: its own connections, its own guard."""

    def __init__(self, url: str, ledger: Ledger, arrived: Arrived) -> None:
        self.database = Database(url, application_name="guestguard-tests")
        self.guard = LedgerGuard(self.database, ledger)
        self._ledger = ledger
        self._arrived = arrived

    def close(self) -> None:
        self.database.close()

    def freeze(self, message: Message) -> None:
        """The audience is written down and divided into batches, once."""
        with self.database.transaction() as connection:
            if not connection.execute(_CLAIM, {"id": message.id}).all():
                return
            connection.execute(_FREEZE, {"id": message.id, "event_id": message.event_id})
            ids = list(connection.execute(_PENDING, {"id": message.id}).scalars())
            form_batches(connection, ids, message.id, message.id)

    def send(self, *, batches: int = 1000, queue_id: UUID | None = None) -> int:
        """Hand off so many batches of whatever is pending, or of this queue; returns how many left."""
        left = 0
        while left < batches and self.guard.may_send(queue_id):
            batch = self._mark(queue_id)
            if batch is None or not self.guard.may_send(queue_id, marked_in=batch.database):
                break
            members = self._members(batch)
            recorded = self._ledger.record([_entry(batch, members)])
            for member in members:
                self._arrived.mails[batch.message_id, member.recipient] += 1
            self._settle(batch, recorded)
            left += 1
        return left

    def _mark(self, queue_id: UUID | None) -> Row[Any] | None:
        with self.database.transaction() as connection:
            return connection.execute(_MARK, {"queue_id": queue_id}).one_or_none()

    def _members(self, batch: Row[Any]) -> Sequence[Row[Any]]:
        with self.database.transaction() as connection:
            return connection.execute(
                text(
                    "SELECT id, COALESCE(notification_id, memo_id, guest_id) AS recipient "
                    "FROM message_deliveries WHERE batch_id = :id AND status = 'pending'"
                ),
                {"id": batch.id},
            ).all()

    def _settle(self, batch: Row[Any], recorded: bool) -> None:
        with self.database.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE message_deliveries SET status = 'sent', outcome = 'sent', "
                    "settled_at = clock_timestamp() WHERE batch_id = :id AND status = 'pending'"
                ),
                {"id": batch.id},
            )
            connection.execute(
                text(
                    "UPDATE delivery_batches SET state = 'done', "
                    "recorded_at = CASE WHEN :recorded THEN clock_timestamp() END WHERE id = :id"
                ),
                {"id": batch.id, "recorded": recorded},
            )


def form_batches(connection: Connection, ids: Sequence[int], queue_id: UUID, message_id: UUID | None) -> None:
    """Divide these deliveries into batches of five."""
    for start in range(0, len(ids), BATCH_SIZE):
        members = list(ids[start : start + BATCH_SIZE])
        connection.execute(
            text(
                "WITH formed AS (INSERT INTO delivery_batches (queue_id, message_id, size) "
                "VALUES (:queue_id, :message_id, :size) RETURNING id) "
                "UPDATE message_deliveries SET batch_id = (SELECT id FROM formed) WHERE id = ANY(:ids)"
            ),
            {"queue_id": queue_id, "message_id": message_id, "size": len(members), "ids": members},
        )


def _entry(batch: Row[Any], members: Collection[Row[Any]]) -> LedgerEntry:
    return LedgerEntry(
        batch_id=batch.id,
        key=batch.key,
        queue_id=batch.queue_id,
        message_id=batch.message_id,
        recipients=tuple(member.recipient for member in members),
        handed_off_at=batch.handed_off_at,
        highest_delivery_id=max((member.id for member in members), default=0),
        provider="smtp",
        account="smtp:1",
    )


@contextmanager
def copied(server_url: str, original_url: str) -> Iterator[str]:
    """A copy of a database, as a backup of this instant that is restored later; everybody is disconnected for it."""
    original, copy = original_url.rpartition("/")[2], f"test_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (original,),
        )
        admin.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{original}" STRATEGY file_copy'.encode())
        yield original_url.rpartition("/")[0] + f"/{copy}"
        admin.execute(f'DROP DATABASE "{copy}" WITH (FORCE)'.encode())


def outcomes(database: Database, message: Message) -> dict[tuple[str, str | None], int]:
    """Deliveries by status and reason."""
    with database.transaction() as connection:
        rows = connection.execute(
            text("SELECT status, reason, count(*) AS n FROM message_deliveries WHERE message_id = :id GROUP BY 1, 2"),
            {"id": message.id},
        )
        return {(row.status, row.reason): row.n for row in rows}
