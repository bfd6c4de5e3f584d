"""Audiences: written down once, when a message starts to leave, and looked through before anything of it does."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.deliveries import FACTS, FREE, GUEST, RecipientFacts, Refusal, facts_from


class AudienceRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def freeze(self, message_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Write audiences down once: one row per guest, the count and the instant, in one transaction.

        Returns the recipients of each message that is `sending`. A frozen audience stays as it is.
        """
        with self._database.transaction() as connection:
            sending = connection.execute(
                sql(
                    "SELECT id, audience_frozen_at, recipient_count FROM guestguard.scheduled_messages "
                    "WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'sending' ORDER BY id FOR UPDATE"
                ),
                {"ids": list(message_ids)},
            ).all()
            unfrozen = [row.id for row in sending if row.audience_frozen_at is None]
            counts = {row.id: int(row.recipient_count) for row in sending if row.audience_frozen_at is not None}
            return counts | self._write_down(connection, unfrozen) if unfrozen else counts

    def _write_down(self, connection: Connection, message_ids: Sequence[UUID]) -> dict[UUID, int]:
        connection.execute(
            sql(
                """
                INSERT INTO guestguard.message_deliveries (message_id, event_id, guest_id, channel)
                SELECT m.id, g.event_id, g.id, m.channel
                FROM guestguard.scheduled_messages m
                JOIN guestguard.guests g ON g.event_id = m.event_id AND g.removed_at IS NULL
                    AND (m.audience = 'everyone' OR g.rsvp_status = m.audience)
                WHERE m.id = ANY(CAST(:ids AS uuid[]))
                ORDER BY m.id, g.id
                """
            ),
            {"ids": list(message_ids)},
        )
        frozen = connection.execute(
            sql(
                """
                UPDATE guestguard.scheduled_messages m
                SET audience_frozen_at = clock_timestamp(), updated_at = clock_timestamp(),
                    recipient_count = (SELECT count(*) FROM guestguard.message_deliveries d WHERE d.message_id = m.id)
                WHERE m.id = ANY(CAST(:ids AS uuid[]))
                RETURNING m.id, m.recipient_count
                """
            ),
            {"ids": list(message_ids)},
        )
        return {row.id: row.recipient_count for row in frozen}

    def pending_page(self, cursors: Mapping[UUID, int], *, per_source: int) -> list[RecipientFacts]:
        """The next pending rows of each source behind its cursor (a delivery id), whoever holds them."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    f"""
                    SELECT {FACTS}
                    FROM unnest(CAST(:ids AS uuid[]), CAST(:afters AS bigint[])) AS m (id, after)
                    CROSS JOIN LATERAL (
                        SELECT * FROM guestguard.message_deliveries d
                        WHERE d.source_id = m.id AND d.status = 'pending' AND (d.source_id, d.id) > (m.id, m.after)
                        ORDER BY d.id LIMIT :per_source
                    ) d
                    {GUEST}
                    ORDER BY d.id
                    """
                ),
                {"ids": list(cursors), "afters": list(cursors.values()), "per_source": per_source},
            )
            return [facts_from(row) for row in rows]

    def refuse_pending(self, refusals: Sequence[Refusal]) -> None:
        """Settle pending rows that nobody holds: what the preflight found to be unsendable."""
        if not refusals:
            return
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    f"""
                    UPDATE guestguard.message_deliveries d
                    SET status = r.status, reason = r.reason, settled_at = clock_timestamp(),
                        updated_at = clock_timestamp()
                    FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]))
                        AS r (id, status, reason)
                    WHERE d.id = r.id AND d.status = 'pending' AND {FREE}
                    """
                ),
                {
                    "ids": [refusal.delivery_id for refusal in refusals],
                    "statuses": [refusal.status for refusal in refusals],
                    "reasons": [refusal.reason for refusal in refusals],
                },
            )

    def refuse_all_pending(self, message_id: UUID, status: DeliveryStatus, reason: str) -> int:
        """Settle every pending row of a message alike, e.g. because its template is broken; returns how many."""
        with self._database.transaction() as connection:
            return connection.execute(
                sql(
                    f"UPDATE guestguard.message_deliveries d SET status = :status, reason = :reason, "
                    "settled_at = clock_timestamp(), updated_at = clock_timestamp() "
                    f"WHERE d.message_id = :message_id AND d.status = 'pending' AND {FREE}"
                ),
                {"message_id": message_id, "status": status, "reason": reason},
            ).rowcount
