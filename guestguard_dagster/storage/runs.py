"""Dagster runs as the product knows them: which messages a run works on, whether it lives, what it held."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.storage.database import Database


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of a run's process. `age` is measured on the database's clock."""

    run_id: str
    host: str
    pid: int
    beat_at: datetime
    age: timedelta


# the messages in :ids, locked in the one order in which everybody locks messages (storage.locks)
_LOCKED = (
    "SELECT id FROM guestguard.scheduled_messages WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"
)


class RunRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, run_id: str, message_ids: Sequence[UUID], *, lifts_hold: bool) -> None:
        """Note that a run works on these messages. One that an operator started lifts their hold, once."""
        with self._database.transaction() as connection:
            noted = connection.execute(
                text(
                    "INSERT INTO guestguard.message_runs (message_id, run_id, created_at) "
                    "SELECT id, :run_id, clock_timestamp() FROM guestguard.scheduled_messages "
                    "WHERE id = ANY(CAST(:ids AS uuid[])) ON CONFLICT DO NOTHING RETURNING message_id"
                ),
                {"run_id": run_id, "ids": list(message_ids)},
            ).scalars()
            if lifts_hold:
                connection.execute(
                    text(
                        "UPDATE guestguard.scheduled_messages SET held_at = NULL, held_reason = NULL, "
                        "not_before = NULL, waiting_reason = NULL, updated_at = clock_timestamp() "
                        f"WHERE id IN ({_LOCKED}) AND held_at IS NOT NULL"
                    ),
                    {"ids": list(noted)},
                )

    def hold(
        self, run_id: str, message_ids: Sequence[UUID], *, reason: str, terminated_at: datetime | None = None
    ) -> int:
        """Hold what this terminated run left unfinished, once per run and message; returns how many are now held.

        `terminated_at` (default: now) spares the messages that another run has taken up since.
        """
        with self._database.transaction() as connection:
            return connection.execute(
                text(
                    f"""
                    WITH noted AS (
                        INSERT INTO guestguard.message_runs AS r (message_id, run_id, held_at)
                        SELECT id, :run_id, clock_timestamp() FROM guestguard.scheduled_messages
                        WHERE id = ANY(CAST(:ids AS uuid[]))
                        ON CONFLICT (message_id, run_id) DO UPDATE SET held_at = clock_timestamp()
                            WHERE r.held_at IS NULL
                        RETURNING message_id
                    )
                    UPDATE guestguard.scheduled_messages m
                    SET held_at = clock_timestamp(), held_reason = :reason, updated_at = clock_timestamp()
                    FROM noted
                    WHERE m.id IN ({_LOCKED}) AND m.id = noted.message_id
                      AND m.status IN ('scheduled', 'sending') AND m.held_at IS NULL
                      AND NOT EXISTS (
                        SELECT 1 FROM guestguard.message_runs later
                        WHERE later.message_id = m.id AND later.run_id <> :run_id
                          AND later.created_at > COALESCE(:terminated_at, clock_timestamp())
                      )
                    """
                ),
                {"run_id": run_id, "ids": list(message_ids), "reason": reason, "terminated_at": terminated_at},
            ).rowcount

    def runs_of(self, message_id: UUID) -> list[str]:
        """The ids of the runs that worked on a message, oldest first."""
        with self._database.transaction() as connection:
            return list(
                connection.execute(
                    text(
                        "SELECT run_id FROM guestguard.message_runs WHERE message_id = :id ORDER BY created_at, run_id"
                    ),
                    {"id": message_id},
                ).scalars()
            )

    def beat(self, run_id: str, *, host: str, pid: int) -> None:
        """A sign of life of this run's process."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                text(
                    "INSERT INTO guestguard.run_heartbeats (run_id, host, pid, beat_at) "
                    "VALUES (:run_id, :host, :pid, clock_timestamp()) "
                    "ON CONFLICT (run_id) DO UPDATE SET host = :host, pid = :pid, beat_at = clock_timestamp()"
                ),
                {"run_id": run_id, "host": host, "pid": pid},
            )

    def heartbeats(self, run_ids: Sequence[str]) -> dict[str, Heartbeat]:
        """The last sign of life of each of these runs; runs that gave none are missing."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                text(
                    "SELECT run_id, host, pid, beat_at, clock_timestamp() - beat_at AS age "
                    "FROM guestguard.run_heartbeats WHERE run_id = ANY(:ids)"
                ),
                {"ids": list(run_ids)},
            )
            return {row.run_id: Heartbeat(row.run_id, row.host, row.pid, row.beat_at, row.age) for row in rows}
