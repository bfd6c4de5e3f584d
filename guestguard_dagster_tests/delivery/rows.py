"""What the rows say about the deliveries of a message."""

from collections import Counter
from typing import Any

from sqlalchemy import Row, select

from guestguard_dagster.domain.events import Guest
from guestguard_dagster.domain.messages import Message
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.schema import delivery_attempts, message_deliveries


def deliveries_of(database: Database, message: Message) -> list[Row[Any]]:
    """The rows of a message in the order of their ids."""
    query = select(message_deliveries).where(message_deliveries.c.message_id == message.id)
    with database.transaction() as connection:
        return list(connection.execute(query.order_by(message_deliveries.c.id)))


def delivery_of(database: Database, message: Message, guest: Guest) -> Row[Any]:
    return next(row for row in deliveries_of(database, message) if row.guest_id == guest.id)


def outcomes_of(database: Database, message: Message) -> Counter[tuple[str, str | None]]:
    """Recipients by status and reason."""
    return Counter((row.status, row.reason) for row in deliveries_of(database, message))


def statuses_of(database: Database, message: Message) -> Counter[str]:
    return Counter(row.status for row in deliveries_of(database, message))


def attempts_of(database: Database, delivery_id: int) -> list[Row[Any]]:
    """The hand-offs of one delivery, oldest first."""
    query = select(delivery_attempts).where(delivery_attempts.c.delivery_id == delivery_id)
    with database.transaction() as connection:
        return list(connection.execute(query.order_by(delivery_attempts.c.id)))
