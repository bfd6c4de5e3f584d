"""What becomes of a hand-off whose process died: its request is repeated where that is safe, else nobody knows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.deliveries.batches import (
    BATCH_COLUMNS,
    FACTS,
    FREE,
    Batch,
    FixedRequest,
    batches_from,
)
from guestguard_dagster.storage.deliveries.recipient_facts import GUEST

_REPEATABLE = (
    "b.body IS NOT NULL AND b.account = ANY(CAST(:accounts AS text[])) "
    "AND b.handed_off_at > clock_timestamp() - CAST(:within AS interval)"
)


@dataclass(frozen=True, slots=True)
class RepeatableBatch:
    """A batch whose answer never came, leased for its repeat; its recipients are those still waiting for the answer."""

    token: UUID
    batch: Batch
    request: FixedRequest


class InterruptedRepo:
    """Batches that were marked `sending`, and whose lease ran out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lease_repeatable(
        self, queue_ids: Sequence[UUID], *, account: str, within: timedelta, duration: timedelta
    ) -> RepeatableBatch | None:
        """Lease one batch of this account whose answer never came, first handed off less than `within` ago."""
        token = uuid4()
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    f"""
                    WITH picked AS (
                        SELECT b.id FROM delivery_batches b
                        WHERE b.queue_id = ANY(CAST(:queue_ids AS uuid[])) AND b.state <> 'done'
                          AND b.state = 'sending' AND {FREE} AND {_REPEATABLE}
                        ORDER BY b.id LIMIT 1 FOR UPDATE SKIP LOCKED
                    ), leased AS (
                        UPDATE delivery_batches b
                        SET lease_token = :token, lease_expires_at = clock_timestamp() + :duration
                        FROM picked WHERE b.id = picked.id
                        RETURNING b.id, b.key, b.queue_id, b.message_id, b.endpoint, b.members, b.body
                    )
                    SELECT {BATCH_COLUMNS}, {FACTS}, b.endpoint, b.members, b.body
                    FROM leased b
                    LEFT JOIN message_deliveries d ON d.batch_id = b.id AND d.status = 'pending' {GUEST}
                    ORDER BY d.id
                    """
                ),
                {
                    "queue_ids": list(queue_ids),
                    "accounts": [account],
                    "within": within,
                    "token": token,
                    "duration": duration,
                },
            ).all()
        if not rows:
            return None
        (batch,) = batches_from([row[:-3] for row in rows])
        endpoint, members, body = rows[0][-3:]
        return RepeatableBatch(token, batch, FixedRequest(endpoint, tuple(members), body))

    def end(self, queue_ids: Sequence[UUID], *, accounts: Collection[str], within: timedelta) -> int:
        """Batches that were `sending` when their lease ran out, and cannot be repeated, end: their open members become
        `unknown`. Returns how many deliveries that were.

        Only a fixed request of one of `accounts`, first handed off less than `within` ago, can be repeated.
        """
        with self._database.transaction() as connection:
            return connection.execute(
                sql(
                    f"""
                    WITH ended AS (
                        UPDATE delivery_batches b
                        SET state = 'done', lease_token = NULL, lease_expires_at = NULL
                        WHERE b.queue_id = ANY(CAST(:queue_ids AS uuid[])) AND b.state <> 'done'
                          AND b.state = 'sending' AND {FREE} AND ({_REPEATABLE}) IS NOT TRUE
                        RETURNING b.id, b.provider, b.account, b.handed_off_at
                    )
                    UPDATE message_deliveries d
                    SET status = 'unknown', reason = 'hand_off_interrupted', outcome = 'unknown',
                        provider = ended.provider, account = ended.account, attempted_at = ended.handed_off_at,
                        settled_at = clock_timestamp(), updated_at = clock_timestamp()
                    FROM ended WHERE d.batch_id = ended.id AND d.status = 'pending'
                    """
                ),
                {"queue_ids": list(queue_ids), "accounts": list(accounts), "within": within},
            ).rowcount
