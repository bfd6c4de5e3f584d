"""How far messages are, and their recipients by outcome."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages import recipients


class ProgressRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def statuses(self, message_ids: Sequence[UUID]) -> dict[UUID, MessageStatus]:
        """How each of these messages stands; ids that do not exist are missing."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                text("SELECT id, status FROM scheduled_messages WHERE id = ANY(CAST(:ids AS uuid[]))"),
                {"ids": list(message_ids)},
            )
            return {row.id: MessageStatus(row.status) for row in rows}

    def outcomes(self, message_ids: Sequence[UUID]) -> Counter[DeliveryStatus]:
        """Recipients of all these messages by delivery status."""
        with self._database.transaction() as connection:
            stats = recipients.stats(connection, message_ids)
        return sum((Counter(each.by_status) for each in stats.values()), Counter())
