"""How far messages are: recipients by outcome, and the end of those with nothing left to do."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database


class ProgressRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def finish(self, message_ids: Sequence[UUID]) -> dict[UUID, MessageStatus]:
        """End the messages that are frozen and wholly settled; returns those that ended now.

        `failed` when no recipient was, or may have been, handed off although at least one should have been: all
        failed, or only the log backend took them. An audience that was empty, or had all answered or unsubscribed
        meanwhile, is `sent` with 0 recipients.
        """
        with self._database.transaction() as connection:
            # Their rows are looked at only now that the messages are locked, so that no retry opens one meanwhile.
            locked = connection.execute(
                text(
                    "SELECT id FROM guestguard.scheduled_messages WHERE id = ANY(CAST(:ids AS uuid[])) "
                    "AND status = 'sending' AND audience_frozen_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE"
                ),
                {"ids": list(message_ids)},
            ).scalars()
            rows = connection.execute(
                text(
                    """
                    WITH done AS (
                        SELECT m.id, m.channel FROM guestguard.scheduled_messages m
                        WHERE m.id = ANY(CAST(:ids AS uuid[]))
                          AND NOT EXISTS (SELECT FROM guestguard.delivery_batches b
                                          WHERE b.queue_id = m.id AND b.state <> 'done')
                    ), counted AS (
                        SELECT done.id,
                            count(*) FILTER (WHERE d.status IN
                                ('sent', 'delivered', 'bounced', 'complained', 'unknown')) AS left_us,
                            count(*) FILTER (WHERE d.status = 'failed') AS failed,
                            count(*) FILTER (WHERE d.status = 'skipped' AND d.reason = 'log_backend') AS logged,
                            min(d.reason) FILTER (WHERE d.status = 'failed') AS failed_reason,
                            min(done.channel) AS channel
                        FROM done LEFT JOIN guestguard.message_deliveries d ON d.message_id = done.id
                        GROUP BY done.id HAVING count(*) FILTER (WHERE d.status = 'pending') = 0
                    )
                    UPDATE guestguard.scheduled_messages m
                    SET status = CASE WHEN c.left_us = 0 AND c.failed + c.logged > 0 THEN 'failed' ELSE 'sent' END,
                        status_reason = CASE
                            WHEN c.left_us = 0 AND c.logged > 0 THEN 'no ' || c.channel || ' provider configured'
                            WHEN c.left_us = 0 AND c.failed > 0 THEN c.failed_reason END,
                        finished_at = clock_timestamp(), asked_until = NULL, not_before = NULL,
                        waiting_reason = NULL, held_at = NULL, held_reason = NULL, updated_at = clock_timestamp()
                    FROM counted c WHERE m.id = c.id
                    RETURNING m.id, m.status
                    """
                ),
                {"ids": list(locked)},
            )
            return {row.id: MessageStatus(row.status) for row in rows}

    def statuses(self, message_ids: Sequence[UUID]) -> dict[UUID, MessageStatus]:
        """How each of these messages stands; ids that do not exist are missing."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                text("SELECT id, status FROM guestguard.scheduled_messages WHERE id = ANY(CAST(:ids AS uuid[]))"),
                {"ids": list(message_ids)},
            )
            return {row.id: MessageStatus(row.status) for row in rows}

    def outcomes(self, message_ids: Sequence[UUID]) -> Counter[DeliveryStatus]:
        """Recipients of all these messages by delivery status."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                text(
                    "SELECT CASE WHEN d.status = 'pending' AND b.state = 'sending' THEN 'sending' ELSE d.status END "
                    "AS status, count(*) AS recipients FROM guestguard.message_deliveries d "
                    "LEFT JOIN guestguard.delivery_batches b ON b.id = d.batch_id "
                    "WHERE d.message_id = ANY(CAST(:ids AS uuid[])) GROUP BY 1"
                ),
                {"ids": list(message_ids)},
            )
            return Counter({DeliveryStatus(row.status): row.recipients for row in rows})
