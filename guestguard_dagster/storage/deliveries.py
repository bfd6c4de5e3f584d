"""Delivery rows around a hand-off: lease, mark `sending`, refuse, release, fold outcomes back.

A lease is on delivery rows only, for the minute around a hand-off. Rows move forward by the moves of
`domain.deliveries`; the WHERE clauses here are those moves in SQL.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.outcomes import ATTEMPT_OUTCOMES, Outcome
from guestguard_dagster.storage.database import Database, sql


class GroupStale(Exception):
    """Some row of a leased group is another process's now, or may no longer leave."""


class RecipientFacts(NamedTuple):
    """What is known now about one delivery and its guest. `email`, `phone` and `rsvp_token` never reach a log.

    `source_id` is what the delivery is worked off under: its message's id, or the drain of its kind of notification.
    Mail to somebody who is not a guest (a host) has no `guest_id`, and none of a guest's facts.
    """

    delivery_id: int
    source_id: UUID
    guest_id: UUID | None
    round: int
    attempts: int
    first_attempt_at: datetime | None
    guest_name: str
    email: str | None
    phone: str | None
    rsvp_status: str
    rsvp_token: str
    removed: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one process to hand off `recipients` until the lease expires on the database's clock."""

    token: UUID
    recipients: tuple[RecipientFacts, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A leased row that is settled without a hand-off: skipped, suppressed, or failed by its own content."""

    delivery_id: int
    status: DeliveryStatus
    reason: str


@dataclass(frozen=True, slots=True)
class FixedBatch:
    """A request that the provider recognises when it is repeated; `body` is zlib-compressed."""

    id: UUID
    endpoint: str
    members: tuple[int, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one hand-off means for its row. `outcome` is None when the mail certainly never left.

    `status` is the row's next state: `pending` again from `next_attempt_at`, `sending` still (a repeat follows from
    `next_attempt_at`), or settled. `burns_attempt` counts it against the bounded retries.
    """

    delivery_id: int
    round: int
    status: DeliveryStatus
    outcome: Outcome | None
    reason: str | None = None
    retryable: bool = False
    burns_attempt: bool = False
    next_attempt_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What is left of one source. `wake_in` is how long none of its rows can move."""

    source_id: UUID
    pending: int
    sending: int
    wake_in: timedelta


FACTS = """
    d.id AS delivery_id, d.source_id, d.guest_id, d.round, d.attempts, d.first_attempt_at,
    COALESCE(g.name, '') AS guest_name, g.email, g.phone, COALESCE(g.rsvp_status, 'pending') AS rsvp_status,
    COALESCE(g.rsvp_token, '') AS rsvp_token, g.removed_at IS NOT NULL AS removed
"""

# One look-up by key for each delivery, whatever the planner believes: OFFSET 0 keeps it from reading all guests
# instead, which it would as soon as its statistics know a large event.
GUEST = "LEFT JOIN LATERAL (SELECT * FROM guestguard.guests WHERE id = d.guest_id OFFSET 0) g ON true"

# nobody holds it: no lease, or one that ran out
FREE = "(d.lease_expires_at IS NULL OR d.lease_expires_at <= clock_timestamp())"


class DeliveryRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def lease(self, cursors: Mapping[UUID, int], *, size: int, per_source: int, duration: timedelta) -> Lease:
        """Lease up to `size` free pending rows, at most `per_source` of each source, behind its cursor (a delivery id).

        Rows that another process has locked or leased are passed over. The rows stay `pending`.
        """
        token = uuid4()
        # A lease that is lost with the machine only means that the rows are free again: no need to wait for the disk.
        with self._database.transaction(durable=False) as connection:
            rows = connection.execute(
                sql(
                    f"""
                    WITH picked AS (
                        SELECT d.id
                        FROM unnest(CAST(:ids AS uuid[]), CAST(:afters AS bigint[])) AS m (id, after)
                        CROSS JOIN LATERAL (
                            SELECT d.id FROM guestguard.message_deliveries d
                            WHERE d.source_id = m.id AND d.status = 'pending'
                              AND (d.source_id, d.id) > (m.id, m.after) AND {FREE}
                              AND (d.next_attempt_at IS NULL OR d.next_attempt_at <= clock_timestamp())
                            ORDER BY d.id LIMIT :per_source FOR UPDATE SKIP LOCKED
                        ) d
                        LIMIT {size:d}  -- in figures: a plan kept for later would take a parameter for a tenth of all
                    ), leased AS (
                        UPDATE guestguard.message_deliveries d
                        SET lease_token = :token, lease_expires_at = clock_timestamp() + :duration
                        FROM picked WHERE d.id = picked.id
                        RETURNING d.id, d.source_id, d.guest_id, d.round, d.attempts, d.first_attempt_at
                    )
                    SELECT {FACTS} FROM leased d {GUEST}
                    ORDER BY d.source_id, d.id
                    """
                ),
                {
                    "ids": list(cursors),
                    "afters": list(cursors.values()),
                    "per_source": per_source,
                    "token": token,
                    "duration": duration,
                },
            )
            return Lease(token, tuple(facts_from(row) for row in rows))

    def mark_sending(
        self,
        connection: Connection,
        token: UUID,
        batches: Sequence[tuple[FixedBatch | None, Sequence[int]]],
        *,
        provider: str,
        account: str,
        duration: timedelta,
    ) -> None:
        """Write down that these rows are about to leave; renews their lease. The caller's commit must be durable.

        Each entry of `batches` is a fixed request and its delivery ids (None where a repeat cannot be recognised).
        Raises GroupStale when at least one row is no longer ours, or may no longer leave (message held, guest removed
        or no longer in the audience): roll back, and hand nothing off. Safe to repeat when the answer to a commit was
        lost.
        """
        for batch, _ in batches:
            if batch is not None:
                connection.execute(
                    sql(
                        "INSERT INTO guestguard.provider_batches (id, provider, account, endpoint, members, body) "
                        "VALUES (:id, :provider, :account, :endpoint, :members, :body) ON CONFLICT DO NOTHING"
                    ),
                    {
                        "id": batch.id,
                        "provider": provider,
                        "account": account,
                        "endpoint": batch.endpoint,
                        "members": list(batch.members),
                        "body": batch.body,
                    },
                )
        marks = [
            {"id": member, "batch_id": str(batch.id) if batch else None}
            for batch, members in batches
            for member in members
        ]
        marked = connection.execute(
            sql(
                """
                UPDATE guestguard.message_deliveries d
                SET status = 'sending', provider = :provider, account = :account, batch_id = m.batch_id,
                    lease_expires_at = clock_timestamp() + :duration, next_attempt_at = NULL,
                    first_attempt_at = COALESCE(d.first_attempt_at, clock_timestamp()),
                    updated_at = clock_timestamp()
                FROM json_to_recordset(CAST(:marks AS json)) AS m (id bigint, batch_id uuid)
                WHERE d.id = m.id AND d.lease_token = :token AND d.status IN ('pending', 'sending')
                  AND d.lease_expires_at > clock_timestamp()
                  AND (d.message_id IS NULL OR EXISTS (
                      SELECT FROM guestguard.scheduled_messages s
                      JOIN guestguard.events e ON e.id = s.event_id
                      JOIN guestguard.guests g ON g.id = d.guest_id
                      WHERE s.id = d.message_id AND s.status = 'sending' AND s.held_at IS NULL
                        AND (e.cancelled_at IS NULL OR s.survives_event_cancel)
                        AND g.removed_at IS NULL AND (s.audience = 'everyone' OR g.rsvp_status = s.audience)
                  ))
                """
            ),
            {
                "provider": provider,
                "account": account,
                "duration": duration,
                "token": token,
                "marks": json.dumps(marks),
            },
        ).rowcount
        if marked != len(marks):
            raise GroupStale(f"{len(marks) - marked} of {len(marks)} leased deliveries may not leave from here now")

    def refuse(self, connection: Connection, token: UUID, refusals: Sequence[Refusal]) -> None:
        """Settle leased rows that are not to be handed off."""
        if not refusals:
            return
        connection.execute(
            sql(
                """
                UPDATE guestguard.message_deliveries d
                SET status = r.status, reason = r.reason, retryable = false, lease_token = NULL,
                    lease_expires_at = NULL, next_attempt_at = NULL,
                    settled_at = clock_timestamp(), updated_at = clock_timestamp()
                FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]))
                    AS r (id, status, reason)
                WHERE d.id = r.id AND d.lease_token = :token AND d.status = 'pending'
                """
            ),
            {
                "token": token,
                "ids": [refusal.delivery_id for refusal in refusals],
                "statuses": [refusal.status for refusal in refusals],
                "reasons": [refusal.reason for refusal in refusals],
            },
        )

    def release(self, token: UUID, *, marked_too: bool = False) -> None:
        """Give rows back at once instead of letting the lease run out.

        With `marked_too` also those marked `sending`: only for a caller that has written down what of them left.
        """
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                sql(
                    "UPDATE guestguard.message_deliveries "
                    "SET status = 'pending', lease_token = NULL, lease_expires_at = NULL "
                    "WHERE lease_token = :token AND (status = 'pending' OR (status = 'sending' AND :marked_too))"
                ),
                {"token": token, "marked_too": marked_too},
            )

    def fold(
        self,
        connection: Connection,
        token: UUID,
        settlements: Sequence[Settlement],
        *,
        provider: str,
        account: str,
        run_id: str,
        ago: timedelta,
    ) -> None:
        """Record one attempt per answered hand-off, and move the rows. The answers came `ago` before now.

        An attempt is never refused: it is proof. (Only a delivery that was deleted meanwhile takes none.) A row moves
        when this process still holds it, or when the news proves a hand-off that nobody knew of (`unknown`, `failed` or
        taken over meanwhile). Safe to repeat when the answer to a commit was lost.
        """
        if not settlements:
            return
        connection.execute(
            sql(
                """
                WITH news AS MATERIALIZED (
                    SELECT * FROM json_to_recordset(CAST(:news AS json)) AS n (id bigint, round int, status text,
                        reason text, retryable bool, burns int, wait interval, outcome text, provider_message_id text,
                        error_class text, error_code text, error_detail text, duration_ms int)
                ), attempts AS (
                    INSERT INTO guestguard.delivery_attempts (delivery_id, lease_token, round, run_id, provider,
                        account, outcome, provider_message_id, error_class, error_code, error_detail, duration_ms,
                        attempted_at)
                    SELECT n.id, :token, n.round, :run_id, :provider,
                        :account, n.outcome, n.provider_message_id, n.error_class, n.error_code, n.error_detail,
                        n.duration_ms, clock_timestamp() - CAST(:ago AS interval)
                    FROM news n
                    WHERE n.outcome IS NOT NULL
                      AND EXISTS (SELECT 1 FROM guestguard.message_deliveries d WHERE d.id = n.id)
                    ON CONFLICT (delivery_id, lease_token) DO NOTHING
                )
                UPDATE guestguard.message_deliveries d
                SET status = n.status, reason = n.reason, retryable = n.retryable,
                    attempts = d.attempts + n.burns, next_attempt_at = clock_timestamp() + n.wait,
                    error_class = n.error_class, error_code = n.error_code, error_detail = n.error_detail,
                    provider_message_id = COALESCE(n.provider_message_id, d.provider_message_id),
                    lease_token = NULL,
                    lease_expires_at = CASE WHEN n.status = 'sending' THEN clock_timestamp() + n.wait END,
                    handed_off_at = CASE WHEN n.status = 'sent' THEN clock_timestamp() - CAST(:ago AS interval)
                        ELSE d.handed_off_at END,
                    settled_at = CASE WHEN n.status IN ('pending', 'sending') THEN NULL ELSE clock_timestamp() END,
                    updated_at = clock_timestamp()
                FROM news n
                WHERE d.id = n.id AND (
                    (d.status = 'sending' AND d.lease_token = :token)
                    OR (n.status = 'sent' AND d.status IN ('pending', 'sending', 'unknown', 'failed'))
                    OR (n.status = 'failed' AND d.status = 'unknown' AND d.round = n.round)
                )
                """
            ),
            {
                "news": json.dumps([_news(settlement) for settlement in settlements]),
                "ago": ago,
                "token": token,
                "run_id": run_id,
                "provider": provider,
                "account": account,
            },
        )

    def close_batches(self, connection: Connection, batch_ids: Sequence[UUID]) -> None:
        """The provider has answered for these batches."""
        if batch_ids:
            connection.execute(
                sql(
                    "UPDATE guestguard.provider_batches SET answered_at = clock_timestamp() "
                    "WHERE id = ANY(CAST(:ids AS uuid[]))"
                ),
                {"ids": list(batch_ids)},
            )

    def unsettled(self, source_ids: Sequence[UUID]) -> list[Unsettled]:
        """What is left of these sources; those with nothing left are not listed."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    """
                    SELECT source_id, count(*) FILTER (WHERE status = 'pending') AS pending,
                           count(*) FILTER (WHERE status = 'sending') AS sending,
                           min(GREATEST(next_attempt_at, lease_expires_at, clock_timestamp()))
                               - clock_timestamp() AS wake_in
                    FROM guestguard.message_deliveries
                    WHERE source_id = ANY(CAST(:source_ids AS uuid[])) AND status IN ('pending', 'sending')
                    GROUP BY source_id
                    """
                ),
                {"source_ids": list(source_ids)},
            )
            return [Unsettled(row.source_id, row.pending, row.sending, max(row.wake_in, timedelta())) for row in rows]


def facts_from(row: Row[Any]) -> RecipientFacts:
    """One row of the FACTS columns, which are in the order of the fields."""
    return RecipientFacts._make(row)


def _news(settlement: Settlement) -> dict[str, object]:
    """One settlement as `fold` reads it; without an outcome, nothing was attempted."""
    wait, outcome = settlement.next_attempt_in, settlement.outcome
    news: dict[str, object] = {
        "id": settlement.delivery_id,
        "round": settlement.round,
        "status": settlement.status,
        "reason": settlement.reason,
        "retryable": settlement.retryable,
        "burns": int(settlement.burns_attempt),
        "wait": None if wait is None else f"{wait.total_seconds()} seconds",
    }
    if outcome is not None and outcome.outcome in ATTEMPT_OUTCOMES:
        news |= {
            "outcome": outcome.outcome,
            "provider_message_id": outcome.provider_message_id,
            "error_class": outcome.error_class,
            "error_code": outcome.error_code,
            "error_detail": outcome.detail,
            "duration_ms": outcome.duration_ms,
        }
    return news
