"""Batches around a hand-off: formed, leased, marked `sending`, closed.

A batch is deliveries of one queue (a message, or a kind of notification or system mail) that leave together. It is the
only thing that is ever leased, for the minute around its hand-off. What its members become is in `recording`, what
becomes of a hand-off whose process died in `interrupted`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from guestguard_dagster.storage.conditions import (
    BATCH_MAY_LEAVE,
    E,
    G,
    M,
    as_sql,
    event_allows,
    is_being_sent,
    is_in_audience,
)
from guestguard_dagster.storage.database import DATABASE_IDENTITY, Database, sql
from guestguard_dagster.storage.deliveries.recipient_facts import GUEST, RecipientFacts, facts

# Of batches that are formed before it is known who sends them: small enough for every provider, and a sender takes
# what it is given.
BATCH_SIZE = 50


class BatchStale(Exception):
    """Some leased batch is another process's now, or one of its members may no longer leave."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A leased batch and its unsettled members, none if others have settled them. `key` is its idempotency key."""

    id: int
    key: UUID
    queue_id: UUID
    message_id: UUID | None
    recipients: tuple[RecipientFacts, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one process to hand off `batches` until the lease expires on the database's clock."""

    token: UUID
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class Formed:
    """A new batch."""

    id: int
    key: UUID


@dataclass(frozen=True, slots=True)
class FixedRequest:
    """A request that the provider recognises when it is repeated: `body` is zlib-compressed, `members` are delivery ids
    in the order of the request's entries."""

    endpoint: str
    members: tuple[int, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class OpenBatches:
    """What is left of one queue. `wake_in` is how long none of it can move."""

    queue_id: UUID
    pending: int
    sending: int
    wake_in: timedelta

    @property
    def recipients(self) -> int:
        return self.pending + self.sending


FACTS = facts(queue="b.queue_id")
BATCH_COLUMNS = "b.id AS batch_id, b.key, b.queue_id, b.message_id"

# nobody holds it: no lease, or one that ran out
FREE = "(b.lease_expires_at IS NULL OR b.lease_expires_at <= clock_timestamp())"

# What a message and its guests have to be for a batch to leave: asked by the very commit that lets it leave.
_MAY_LEAVE = f"""
    (b.message_id IS NULL OR EXISTS (
        SELECT FROM scheduled_messages m JOIN events e ON e.id = m.event_id
        WHERE m.id = b.message_id AND {as_sql(is_being_sent(M))} AND {as_sql(event_allows(M, E))}
          AND NOT EXISTS (
            SELECT FROM message_deliveries d JOIN guests g ON g.id = d.guest_id
            WHERE d.batch_id = b.id AND d.status = 'pending' AND NOT {as_sql(is_in_audience(G, M.c.audience))}
          )
    ))
"""


@dataclass(frozen=True, slots=True)
class Marked:
    """When each of these batches was first marked `sending`, and in which database (see DATABASE_IDENTITY)."""

    instants: Mapping[int, datetime]
    database: str


class BatchRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def lease(self, queue_ids: Sequence[UUID], *, limit: int, per_queue: int, duration: timedelta) -> Lease:
        """Lease up to `limit` free batches, at most `per_queue` of each queue, the queues in their order.

        Those that are to be tried again come first: they do not wait for the end of an audience. Batches that another
        process has locked or leased are passed over.
        """
        token = uuid4()
        # A lease that is lost with the machine only means that the batch is free again: no need to wait for the disk.
        with self._database.transaction(durable=False) as connection:
            rows = connection.execute(
                sql(
                    f"""
                    WITH picked AS (
                        SELECT b.id
                        FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS queue (id, place)
                        CROSS JOIN LATERAL (
                            SELECT b.id FROM delivery_batches b
                            WHERE b.queue_id = queue.id AND b.state <> 'done' AND b.state <> 'sending' AND {FREE}
                              AND {BATCH_MAY_LEAVE}
                              AND (b.not_before IS NULL OR b.not_before <= clock_timestamp())
                            ORDER BY b.not_before NULLS LAST, b.id LIMIT {per_queue:d} FOR UPDATE SKIP LOCKED
                        ) b
                        ORDER BY queue.place LIMIT {limit:d}  -- in figures: a plan kept for later would guess them
                    ), leased AS (
                        UPDATE delivery_batches b
                        SET state = 'leased', lease_token = :token, lease_expires_at = clock_timestamp() + :duration
                        FROM picked WHERE b.id = picked.id
                        RETURNING b.id, b.key, b.queue_id, b.message_id
                    )
                    SELECT {BATCH_COLUMNS}, {FACTS}
                    FROM leased b
                    LEFT JOIN message_deliveries d ON d.batch_id = b.id AND d.status = 'pending' {GUEST}
                    ORDER BY b.id, d.id
                    """
                ),
                {"ids": list(queue_ids), "token": token, "duration": duration},
            )
            return Lease(token, batches_from(rows.all()))

    def mark_sending(
        self,
        connection: Connection,
        token: UUID,
        requests: Sequence[tuple[Batch, FixedRequest | None]],
        *,
        provider: str,
        account: str,
        run_id: str,
        duration: timedelta,
    ) -> Marked:
        """Write down that these batches, one at least, are about to leave; renews their lease. The caller's commit must
        be durable.

        Where a repeat cannot be recognised, there is no fixed request. Raises BatchStale
        when at least one batch is no longer ours, or may no longer leave (message held, guest removed or no longer in
        the audience, nothing may leave before the ledger is replayed): roll back, and hand nothing off. Safe to repeat
        when the answer to a commit was lost.
        """
        marked = connection.execute(
            sql(
                f"""
                UPDATE delivery_batches b
                SET state = 'sending', provider = :provider, account = :account, run_id = :run_id,
                    endpoint = r.endpoint, members = CAST(r.members AS bigint[]), body = r.body,
                    handed_off_at = COALESCE(b.handed_off_at, clock_timestamp()),
                    lease_expires_at = clock_timestamp() + :duration, not_before = NULL
                FROM unnest(CAST(:ids AS bigint[]), CAST(:endpoints AS text[]), CAST(:members AS text[]),
                            CAST(:bodies AS bytea[])) AS r (id, endpoint, members, body)
                WHERE b.id = r.id AND b.lease_token = :token AND b.state IN ('leased', 'sending')
                  AND b.lease_expires_at > clock_timestamp() AND {BATCH_MAY_LEAVE} AND {_MAY_LEAVE}
                RETURNING b.id, b.handed_off_at, {DATABASE_IDENTITY} AS database
                """
            ),
            {
                "provider": provider,
                "account": account,
                "run_id": run_id,
                "duration": duration,
                "token": token,
                "ids": [batch.id for batch, _ in requests],
                "endpoints": [request and request.endpoint for _, request in requests],
                "members": [request and _array_of(request.members) for _, request in requests],
                "bodies": [request and request.body for _, request in requests],
            },
        ).all()
        if len(marked) != len(requests):
            stale = len(requests) - len(marked)
            raise BatchStale(f"{stale} of {len(requests)} leased batches may not leave as they are")
        return Marked({row.id: row.handed_off_at for row in marked}, marked[0].database)

    def close(
        self,
        connection: Connection,
        token: UUID,
        batch_ids: Sequence[int],
        *,
        recorded: bool = False,
        repeat_in: timedelta | None = None,
    ) -> frozenset[int]:
        """End these batches that were handed off, or with `repeat_in` let them wait for the repeat of their request.

        `recorded` says that they are in the ledger. Returns those that were still held under `token`; of the others
        somebody else has taken care.
        """
        return frozenset(
            connection.execute(
                sql(
                    """
                    UPDATE delivery_batches
                    SET state = CASE WHEN :repeats THEN 'sending' ELSE 'done' END, lease_token = NULL,
                        recorded_at = CASE WHEN :recorded THEN clock_timestamp() ELSE recorded_at END,
                        lease_expires_at = CASE WHEN :repeats THEN clock_timestamp() + CAST(:wait AS interval) END
                    WHERE id = ANY(CAST(:ids AS bigint[])) AND lease_token = :token AND state IN ('leased', 'sending')
                    RETURNING id
                    """
                ),
                {
                    "ids": list(batch_ids),
                    "token": token,
                    "recorded": recorded,
                    "repeats": repeat_in is not None,
                    "wait": repeat_in,
                },
            ).scalars()
        )

    def move(
        self,
        connection: Connection,
        delivery_ids: Sequence[int],
        origin: Batch,
        *,
        wait: timedelta | None = None,
        token: UUID | None = None,
        duration: timedelta | None = None,
    ) -> Formed:
        """Form a new batch of unsettled members of `origin`, for after `wait`, or leased under `token` at once."""
        formed = connection.execute(
            sql(
                """
                WITH formed AS (
                    INSERT INTO delivery_batches (queue_id, message_id, size, not_before, state,
                        lease_token, lease_expires_at)
                    VALUES (:queue_id, :message_id, :size, clock_timestamp() + CAST(:wait AS interval),
                        CASE WHEN CAST(:token AS uuid) IS NULL THEN 'pending' ELSE 'leased' END,
                        :token, clock_timestamp() + CAST(:duration AS interval))
                    RETURNING id, key
                ), moved AS (
                    UPDATE message_deliveries d SET batch_id = formed.id FROM formed
                    WHERE d.id = ANY(CAST(:ids AS bigint[])) AND d.batch_id = :origin AND d.status = 'pending'
                )
                SELECT id, key FROM formed
                """
            ),
            {
                "queue_id": origin.queue_id,
                "message_id": origin.message_id,
                "size": len(delivery_ids),
                "wait": wait,
                "token": token,
                "duration": duration,
                "ids": list(delivery_ids),
                "origin": origin.id,
            },
        ).one()
        return Formed(formed.id, formed.key)

    def release(self, token: UUID, batch_ids: Sequence[int], *, marked_too: bool = False) -> None:
        """Give batches back at once, instead of letting the lease run out.

        With `marked_too` also those marked `sending`: only for a caller that knows that nothing of them has left.
        """
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                sql(
                    """
                    UPDATE delivery_batches
                    SET state = 'pending', lease_token = NULL, lease_expires_at = NULL,
                        endpoint = NULL, members = NULL, body = NULL, handed_off_at = NULL
                    WHERE id = ANY(CAST(:ids AS bigint[])) AND lease_token = :token
                      AND (state = 'leased' OR (state = 'sending' AND :marked_too))
                    """
                ),
                {"ids": list(batch_ids), "token": token, "marked_too": marked_too},
            )

    def unsettled(self, queue_ids: Sequence[UUID]) -> list[OpenBatches]:
        """What is left of these queues, in recipients; those with nothing left are not listed."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    """
                    SELECT queue_id, COALESCE(sum(size) FILTER (WHERE state <> 'sending'), 0) AS pending,
                           COALESCE(sum(size) FILTER (WHERE state = 'sending'), 0) AS sending,
                           min(GREATEST(not_before, lease_expires_at, clock_timestamp()))
                               - clock_timestamp() AS wake_in
                    FROM delivery_batches
                    WHERE queue_id = ANY(CAST(:queue_ids AS uuid[])) AND state <> 'done'
                    GROUP BY queue_id
                    """
                ),
                {"queue_ids": list(queue_ids)},
            )
            return [OpenBatches(row.queue_id, row.pending, row.sending, max(row.wake_in, timedelta())) for row in rows]


def _array_of(numbers: Iterable[int]) -> str:
    """As PostgreSQL writes an array: arrays of several lengths cannot be one parameter."""
    return "{" + ",".join(map(str, numbers)) + "}"


def batches_from(rows: Iterable[Sequence[Any]]) -> tuple[Batch, ...]:
    """Rows of BATCH_COLUMNS and FACTS, in the order of batches; one without a delivery is a batch without members."""
    batches = []
    for _, group in groupby(rows, itemgetter(0)):
        members = list(group)
        recipients = tuple([RecipientFacts._make(row[4:]) for row in members if row[4] is not None])
        batch_id, key, queue_id, message_id = members[0][:4]
        batches.append(Batch(batch_id, key, queue_id, message_id, recipients))
    return tuple(batches)
