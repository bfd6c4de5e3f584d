"""What becomes of hand-offs whose process died: rows still `sending` when their lease has run out.

Where the provider recognises a repeat, the fixed batch is repeated byte for byte. Everywhere else the row is `unknown`:
it may have left, so it is never sent again by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.deliveries import FACTS, FREE, GUEST, FixedBatch, RecipientFacts, facts_from


@dataclass(frozen=True, slots=True)
class RepeatableBatch:
    """A batch whose answer never came, leased for its repeat. `open_members` are the rows still waiting for it."""

    token: UUID
    batch: FixedBatch
    provider: str
    open_members: tuple[RecipientFacts, ...]


class RecoveryRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def lease_repeatable_batch(
        self, source_ids: Sequence[UUID], *, account: str, within: timedelta, duration: timedelta
    ) -> RepeatableBatch | None:
        """Lease one batch of this account whose answer never came, with all its open rows, whatever their source."""
        token = uuid4()
        with self._database.transaction() as connection:
            batch = connection.execute(
                text(
                    f"""
                    SELECT b.id, b.provider, b.endpoint, b.members, b.body
                    FROM guestguard.provider_batches b
                    WHERE b.id IN (
                        SELECT d.batch_id FROM guestguard.message_deliveries d
                        WHERE d.source_id = ANY(CAST(:source_ids AS uuid[])) AND d.status = 'sending'
                          AND d.batch_id IS NOT NULL AND {FREE}
                    )
                    AND b.account = :account AND b.body IS NOT NULL
                    AND b.first_called_at > clock_timestamp() - CAST(:within AS interval)
                    ORDER BY b.first_called_at LIMIT 1 FOR UPDATE SKIP LOCKED
                    """
                ),
                {"source_ids": list(source_ids), "account": account, "within": within},
            ).one_or_none()
            if batch is None:
                return None
            rows = connection.execute(
                text(
                    f"""
                    WITH leased AS (
                        UPDATE guestguard.message_deliveries d
                        SET lease_token = :token, lease_expires_at = clock_timestamp() + :duration
                        WHERE d.batch_id = :batch_id AND d.status = 'sending' AND {FREE}
                        RETURNING d.id, d.source_id, d.guest_id, d.round, d.attempts, d.first_attempt_at
                    )
                    SELECT {FACTS} FROM leased d {GUEST} ORDER BY d.id
                    """
                ),
                {"token": token, "duration": duration, "batch_id": batch.id},
            )
            members = tuple(facts_from(row) for row in rows)
            if not members:
                return None
            fixed = FixedBatch(batch.id, batch.endpoint, tuple(batch.members), batch.body)
            return RepeatableBatch(token, fixed, batch.provider, members)

    def settle_interrupted(
        self, source_ids: Sequence[UUID], *, repeatable_account: str | None, within: timedelta
    ) -> int:
        """Rows that were `sending` when their lease ran out and cannot be repeated become `unknown`; returns how many.

        Only a batch of `repeatable_account`, first called less than `within` ago, can be repeated.
        """
        with self._database.transaction() as connection:
            return connection.execute(
                text(
                    f"""
                    UPDATE guestguard.message_deliveries d
                    SET status = 'unknown', reason = 'hand_off_interrupted', lease_token = NULL,
                        lease_expires_at = NULL, next_attempt_at = NULL,
                        settled_at = clock_timestamp(), updated_at = clock_timestamp()
                    WHERE d.source_id = ANY(CAST(:source_ids AS uuid[])) AND d.status = 'sending' AND {FREE}
                      AND NOT EXISTS (
                        SELECT 1 FROM guestguard.provider_batches b
                        WHERE b.id = d.batch_id AND b.account = :account AND b.body IS NOT NULL
                          AND b.first_called_at > clock_timestamp() - CAST(:within AS interval)
                      )
                    """
                ),
                {"source_ids": list(source_ids), "account": repeatable_account, "within": within},
            ).rowcount

    def reconcile(self, source_ids: Sequence[UUID]) -> int:
        """Let recorded proof of a hand-off count for rows that missed it; returns how many rows moved."""
        with self._database.transaction() as connection:
            return connection.execute(
                text(
                    """
                    UPDATE guestguard.message_deliveries d
                    SET status = 'sent', reason = NULL, provider_message_id = best.provider_message_id,
                        provider = best.provider, account = best.account, handed_off_at = best.attempted_at,
                        lease_token = NULL, lease_expires_at = NULL, next_attempt_at = NULL,
                        settled_at = clock_timestamp(), updated_at = clock_timestamp()
                    FROM (
                        SELECT DISTINCT ON (a.delivery_id) a.*
                        FROM guestguard.delivery_attempts a
                        JOIN guestguard.message_deliveries open ON open.id = a.delivery_id
                        WHERE open.source_id = ANY(CAST(:source_ids AS uuid[]))
                          AND open.status IN ('pending', 'sending', 'unknown', 'failed') AND a.outcome = 'sent'
                        ORDER BY a.delivery_id, a.attempted_at
                    ) best
                    WHERE d.id = best.delivery_id AND d.status IN ('pending', 'sending', 'unknown', 'failed')
                    """
                ),
                {"source_ids": list(source_ids)},
            ).rowcount
