"""One process' hand-offs, step by step, without any provider."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, select

from guestguard_dagster.domain.messages import Message, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries import recording
from guestguard_dagster.storage.deliveries.batches import Batch, BatchRepo, FixedRequest, Lease
from guestguard_dagster.storage.deliveries.recording import Settlement
from guestguard_dagster.storage.tables.deliveries import delivery_attempts, delivery_batches, message_deliveries
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message

A_MINUTE = timedelta(minutes=1)
ACCOUNT = "resend:0123456789ab"
BODY = b"compressed request"


@dataclass
class HandingOff:
    """Leases, marks and settles as one process; `account` is whose its hand-offs are."""

    database: Database
    account: str = ACCOUNT
    run_id: str = "run"
    batches: BatchRepo = field(init=False)

    def __post_init__(self) -> None:
        self.batches = BatchRepo(self.database)

    def lease(
        self, *messages: Message, limit: int = 100, per_queue: int = 100, duration: timedelta = A_MINUTE
    ) -> Lease:
        queue_ids = [message.id for message in messages]
        return self.batches.lease(queue_ids, limit=limit, per_queue=per_queue, duration=duration)

    def mark(self, lease: Lease, *, fixed: bool = False, duration: timedelta = A_MINUTE) -> None:
        """All batches of the lease are about to leave, if asked with a request that can be repeated."""
        with self.database.transaction() as connection:
            self.batches.mark_sending(
                connection,
                lease.token,
                [(batch, fixed_request(batch) if fixed else None) for batch in lease.batches],
                provider="resend",
                account=self.account,
                run_id=self.run_id,
                duration=duration,
            )

    def settle(
        self,
        lease: Lease,
        *settlements: Settlement,
        ago: timedelta = timedelta(),
        repeat_in: timedelta | None = None,
    ) -> frozenset[int]:
        """The answers to all batches of the lease; returns the batches that were still this process' own."""
        with self.database.transaction() as connection:
            ids = [batch.id for batch in lease.batches]
            held = self.batches.close(connection, lease.token, ids, repeat_in=repeat_in)
            recording.settle(
                connection,
                settlements,
                held=held,
                provider="resend",
                account=self.account,
                run_id=self.run_id,
                ago=ago,
            )
            return held


def a_message(database: Database, *sizes: int) -> Message:
    """A message that is being sent, with batches of so many recipients, in this order; one of two unless told."""
    event = make_event(database)
    message = make_message(database, event, status=MessageStatus.SENDING, audience_frozen_at=database.now())
    for size in sizes or (2,):
        make_deliveries(database, message, make_guests(database, event, size))
    return message


def fixed_request(batch: Batch) -> FixedRequest:
    members = tuple(recipient.delivery_id for recipient in batch.recipients)
    return FixedRequest("/emails/batch", members, BODY)


def ids_of(lease: Lease) -> tuple[int, ...]:
    """The leased deliveries, batch by batch."""
    return tuple(recipient.delivery_id for batch in lease.batches for recipient in batch.recipients)


def read_delivery(database: Database, delivery_id: int) -> Row[Any]:
    """The row; `live` is its status, with `sending` as its batch says."""
    query = (
        select(message_deliveries, recording.live_status().label("live"))
        .join(delivery_batches, delivery_batches.c.id == message_deliveries.c.batch_id, isouter=True)
        .where(message_deliveries.c.id == delivery_id)
    )
    with database.transaction() as connection:
        return connection.execute(query).one()


def statuses(database: Database, delivery_ids: Sequence[int]) -> list[str]:
    """How they stand, `sending` included, in the order of the ids given."""
    return [read_delivery(database, delivery_id).live for delivery_id in delivery_ids]


def read_batch(database: Database, batch_id: int) -> Row[Any]:
    with database.transaction() as connection:
        return connection.execute(select(delivery_batches).where(delivery_batches.c.id == batch_id)).one()


def batches_of(database: Database, message: Message) -> list[Row[Any]]:
    """In the order in which they were formed."""
    query = select(delivery_batches).where(delivery_batches.c.message_id == message.id).order_by(delivery_batches.c.id)
    with database.transaction() as connection:
        return list(connection.execute(query))


def set_batch(database: Database, batch_id: int, **columns: Any) -> None:
    with database.transaction() as connection:
        connection.execute(delivery_batches.update().where(delivery_batches.c.id == batch_id).values(columns))


def earlier_attempts(database: Database, delivery_id: int) -> list[Row[Any]]:
    """Those that have rows of their own: each was followed by another one, or still may be."""
    query = select(delivery_attempts).where(delivery_attempts.c.delivery_id == delivery_id)
    with database.transaction() as connection:
        return list(connection.execute(query.order_by(delivery_attempts.c.id)))


def outcomes(database: Database, delivery_id: int) -> list[str]:
    """Of all attempts of a delivery, the newest last."""
    newest = read_delivery(database, delivery_id)
    earlier = [attempt.outcome for attempt in earlier_attempts(database, delivery_id)]
    return earlier if newest.attempted_at is None else [*earlier, newest.outcome]
