"""Callbacks of providers: stored once as they were verified, then applied; and what of ours they are about."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from guestguard_dagster.domain.callbacks import CalledDelivery
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.deliveries.recording import live_status
from guestguard_dagster.storage.tables.deliveries import delivery_attempts, delivery_batches
from guestguard_dagster.storage.tables.deliveries import message_deliveries as deliveries


@dataclass(frozen=True, slots=True)
class StoredCallback:
    """`age` is how long ago it was stored. `payload` may hold addresses and texts: it never reaches a log."""

    id: int
    provider: str
    payload: Mapping[str, Any] = field(repr=False)
    received_at: datetime
    age: timedelta


class CallbackRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def store(self, provider: str, key: str, payload: Mapping[str, Any], *, thread: str | None = None) -> int | None:
        """Keep a verified callback; returns its id, or None when it is known: providers repeat themselves.

        Of callbacks of one `thread` the newest counts, in whatever order they are applied.
        """
        with self._database.transaction() as connection:
            stored: int | None = connection.execute(
                sql(
                    "INSERT INTO provider_callbacks (provider, callback_key, payload, thread) "
                    "VALUES (:provider, :key, CAST(:payload AS jsonb), :thread) "
                    "ON CONFLICT (provider, callback_key) DO NOTHING RETURNING id"
                ),
                {"provider": provider, "key": key, "payload": json.dumps(payload), "thread": thread},
            ).scalar_one_or_none()
            return stored

    def waiting(self, *, limit: int = 200) -> list[StoredCallback]:
        """The callbacks that are to be applied now, in the order they came."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    "SELECT id, provider, payload, received_at, clock_timestamp() - received_at AS age "
                    "FROM provider_callbacks WHERE applied_at IS NULL AND next_try_at <= clock_timestamp() "
                    "ORDER BY id LIMIT :limit"
                ),
                {"limit": limit},
            )
            return [StoredCallback(row.id, row.provider, row.payload or {}, row.received_at, row.age) for row in rows]

    def has_waiting(self, *, for_at_least: timedelta) -> bool:
        """Whether some callback could have been applied this long ago."""
        with self._database.transaction() as connection:
            return bool(
                connection.execute(
                    sql(
                        "SELECT EXISTS (SELECT 1 FROM provider_callbacks "
                        "WHERE applied_at IS NULL AND next_try_at <= now() - CAST(:waited AS interval))"
                    ),
                    {"waited": for_at_least},
                ).scalar_one()
            )

    def find_delivery(self, delivery_id: int | None, provider_message_id: str | None) -> CalledDelivery | None:
        """The delivery with this id, else the one that was handed off under the provider's id, with its hand-offs."""
        if delivery_id is None and provider_message_id is None:
            return None
        named = deliveries.alias()
        handed_off_as = select(named.c.id).where(named.c.provider_message_id == provider_message_id).limit(1)
        with self._database.transaction() as connection:
            rows = connection.execute(
                select(
                    deliveries.c.id,
                    deliveries.c.message_id,
                    deliveries.c.round,
                    deliveries.c.provider_message_id,
                    deliveries.c.attempted_at,
                    live_status().label("status"),
                    delivery_attempts.c.round.label("attempted_round"),
                    delivery_attempts.c.provider_message_id.label("attempt_message_id"),
                )
                .select_from(deliveries)
                .join(delivery_batches, delivery_batches.c.id == deliveries.c.batch_id, isouter=True)
                .join(delivery_attempts, delivery_attempts.c.delivery_id == deliveries.c.id, isouter=True)
                .where(deliveries.c.id == (handed_off_as.scalar_subquery() if delivery_id is None else delivery_id))
            ).all()
        if not rows:
            return None
        delivery = rows[0]
        handed_off = [(delivery.provider_message_id, delivery.round)]
        handed_off += [(row.attempt_message_id, row.attempted_round) for row in rows]
        attempted = {row.attempted_round for row in rows if row.attempted_round is not None}
        if delivery.attempted_at is not None:
            attempted.add(delivery.round)  # the newest attempt lives in the delivery
        return CalledDelivery(
            delivery_id=delivery.id,
            message_id=delivery.message_id,
            status=DeliveryStatus(delivery.status),
            round=delivery.round,
            attempted_rounds=frozenset(attempted),
            rounds_by_message_id={message_id: number for message_id, number in handed_off if message_id is not None},
        )

    @contextmanager
    def newest_in(self, thread: str) -> Iterator[Mapping[str, Any]]:
        """The newest callback's payload of a thread. Within the context nobody else has this thread."""
        with self._database.transaction() as connection:
            connection.execute(sql("SELECT pg_advisory_xact_lock(hashtextextended(:thread, 0))"), {"thread": thread})
            payload: Mapping[str, Any] | None = connection.execute(
                sql("SELECT payload FROM provider_callbacks WHERE thread = :thread ORDER BY id DESC LIMIT 1"),
                {"thread": thread},
            ).scalar_one_or_none()
            yield payload or {}

    def mark_applied(self, callback_id: int, outcome: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "UPDATE provider_callbacks SET applied_at = clock_timestamp(), outcome = :outcome, "
                    "next_try_at = NULL WHERE id = :id AND applied_at IS NULL"
                ),
                {"id": callback_id, "outcome": outcome},
            )

    def try_again(self, callback_id: int, *, after: timedelta) -> None:
        """It came too early: what it is about is not known yet."""
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "UPDATE provider_callbacks "
                    "SET next_try_at = clock_timestamp() + CAST(:after AS interval) "
                    "WHERE id = :id AND applied_at IS NULL"
                ),
                {"id": callback_id, "after": after},
            )
