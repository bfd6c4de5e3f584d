"""What the rows say about the deliveries of a message."""

from collections import Counter
from typing import Any

from sqlalchemy import Row, literal, select

from guestguard_dagster.domain.events import Guest
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries.recording import live_status
from guestguard_dagster.storage.tables.deliveries import delivery_attempts, delivery_batches, message_deliveries


def deliveries_of(database: Database, message: Message) -> list[Row[Any]]:
    """The rows of a message in the order of their ids; `live` is their status, with `sending` as the batch says."""
    query = (
        select(message_deliveries, live_status().label("live"))
        .join(delivery_batches, delivery_batches.c.id == message_deliveries.c.batch_id, isouter=True)
        .where(message_deliveries.c.message_id == message.id)
    )
    with database.transaction() as connection:
        return list(connection.execute(query.order_by(message_deliveries.c.id)))


def batches_of(database: Database, message: Message) -> list[Row[Any]]:
    """The batches of a message in the order in which they were formed."""
    query = select(delivery_batches).where(delivery_batches.c.message_id == message.id)
    with database.transaction() as connection:
        return list(connection.execute(query.order_by(delivery_batches.c.id)))


def delivery_of(database: Database, message: Message, guest: Guest) -> Row[Any]:
    return next(row for row in deliveries_of(database, message) if row.guest_id == guest.id)


def outcomes_of(database: Database, message: Message) -> Counter[tuple[str, str | None]]:
    """Recipients by status and reason."""
    return Counter((row.live, row.reason) for row in deliveries_of(database, message))


def statuses_of(database: Database, message: Message) -> Counter[str]:
    return Counter(row.live for row in deliveries_of(database, message))


def attempts_of(database: Database, delivery_id: int) -> list[Row[Any]]:
    """The hand-offs of one delivery, oldest first: the newest that settled it lives in the delivery itself."""
    earlier = select(*delivery_attempts.c).where(delivery_attempts.c.delivery_id == delivery_id)
    values = {"id": literal(None), "delivery_id": message_deliveries.c.id, "run_id": delivery_batches.c.run_id}
    names = [column.name for column in delivery_attempts.c]
    newest = (
        select(*((values[name] if name in values else message_deliveries.c[name]).label(name) for name in names))
        .join(delivery_batches, delivery_batches.c.id == message_deliveries.c.batch_id, isouter=True)
        .where(message_deliveries.c.id == delivery_id, message_deliveries.c.attempted_at.is_not(None))
    )
    with database.transaction() as connection:
        return [*connection.execute(earlier.order_by(delivery_attempts.c.id)), *connection.execute(newest)]
