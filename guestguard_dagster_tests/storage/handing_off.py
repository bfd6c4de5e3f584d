"""One process' hand-offs, step by step, without any provider."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, select

from guestguard_dagster.domain.messages import Message
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries import DeliveryRepo, FixedBatch, Lease, Settlement
from guestguard_dagster.storage.schema import message_deliveries

A_MINUTE = timedelta(minutes=1)
ACCOUNT = "resend:0123456789ab"


@dataclass
class HandingOff:
    """Leases, marks and folds as one process; `account` is whose its hand-offs are."""

    database: Database
    account: str = ACCOUNT
    deliveries: DeliveryRepo = field(init=False)

    def __post_init__(self) -> None:
        self.deliveries = DeliveryRepo(self.database)

    def lease(
        self,
        *messages: Message,
        size: int = 100,
        per_source: int = 100,
        after: int = 0,
        duration: timedelta = A_MINUTE,
    ) -> Lease:
        cursors = {message.id: after for message in messages}
        return self.deliveries.lease(cursors, size=size, per_source=per_source, duration=duration)

    def mark(self, lease: Lease, *, in_batch: bool = False, duration: timedelta = A_MINUTE) -> UUID | None:
        """All rows of the lease are about to leave, in one batch if asked; returns the batch."""
        members = ids_of(lease)
        batch = FixedBatch(uuid4(), "/emails/batch", members, b"compressed request") if in_batch else None
        with self.database.transaction() as connection:
            self.deliveries.mark_sending(
                connection,
                lease.token,
                [(batch, members)],
                provider="resend",
                account=self.account,
                duration=duration,
            )
        return batch.id if batch else None

    def fold(self, token: UUID, *settlements: Settlement, ago: timedelta = timedelta()) -> None:
        with self.database.transaction() as connection:
            self.deliveries.fold(
                connection, token, settlements, provider="resend", account=self.account, run_id="run", ago=ago
            )


def ids_of(lease: Lease) -> tuple[int, ...]:
    return tuple(facts.delivery_id for facts in lease.recipients)


def read_delivery(database: Database, delivery_id: int) -> Row[Any]:
    with database.transaction() as connection:
        return connection.execute(select(message_deliveries).where(message_deliveries.c.id == delivery_id)).one()


def statuses(database: Database, delivery_ids: Sequence[int]) -> list[str]:
    """In the order of the ids given."""
    return [read_delivery(database, delivery_id).status for delivery_id in delivery_ids]
