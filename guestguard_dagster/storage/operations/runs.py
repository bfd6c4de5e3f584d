"""Dagster runs as the product knows them: which messages a run works on, whether it lives, what it held."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from guestguard_dagster.domain.messages import HoldOwner
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.holds import hold_messages, lift_run_holds


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of a run's process. `age` is measured on the database's clock."""

    run_id: str
    host: str
    pid: int
    beat_at: datetime
    age: timedelta


class RunRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, run_id: str, message_ids: Sequence[UUID], *, repeats: Collection[str] = ()) -> None:
        """Note that a run works on these messages. One that repeats runs which were terminated lifts, once, what
        these hold; what a host or an operator holds stays."""
        with self._database.transaction() as connection:
            noted = connection.execute(
                text(
                    "INSERT INTO message_runs (message_id, run_id, created_at) "
                    "SELECT id, :run_id, clock_timestamp() FROM scheduled_messages "
                    "WHERE id = ANY(CAST(:ids AS uuid[])) ON CONFLICT DO NOTHING RETURNING message_id"
                ),
                {"run_id": run_id, "ids": list(message_ids)},
            ).scalars()
            if repeats:
                lift_run_holds(connection, list(noted), repeats)

    def hold(
        self, run_id: str, message_ids: Sequence[UUID], *, reason: str, terminated_at: datetime | None = None
    ) -> int:
        """Hold what this terminated run left unfinished, once per run and message; returns how many are now held.

        `terminated_at` (default: now) spares the messages that another run has taken up since.
        """
        with self._database.transaction() as connection:
            left = connection.execute(
                text(
                    """
                    INSERT INTO message_runs AS r (message_id, run_id, held_at)
                    SELECT id, :run_id, clock_timestamp() FROM scheduled_messages
                    WHERE id = ANY(CAST(:ids AS uuid[]))
                    ON CONFLICT (message_id, run_id) DO UPDATE SET held_at = clock_timestamp()
                        WHERE r.held_at IS NULL
                    RETURNING message_id, EXISTS (
                        SELECT FROM message_runs later
                        WHERE later.message_id = r.message_id AND later.run_id <> :run_id
                          AND later.created_at > COALESCE(:terminated_at, clock_timestamp())
                    ) AS taken_up
                    """
                ),
                {"run_id": run_id, "ids": list(message_ids), "terminated_at": terminated_at},
            )
            ids = [row.message_id for row in left if not row.taken_up]
            return len(hold_messages(connection, ids, by=HoldOwner.RUN, reason=reason, run_id=run_id))

    def runs_of(self, message_id: UUID) -> list[str]:
        """The ids of the runs that worked on a message, oldest first."""
        with self._database.transaction() as connection:
            return list(
                connection.execute(
                    text("SELECT run_id FROM message_runs WHERE message_id = :id ORDER BY created_at, run_id"),
                    {"id": message_id},
                ).scalars()
            )

    def beat(self, run_id: str, *, host: str, pid: int) -> None:
        """A sign of life of this run's process."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                text(
                    "INSERT INTO run_heartbeats (run_id, host, pid, beat_at) "
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
                    "FROM run_heartbeats WHERE run_id = ANY(:ids)"
                ),
                {"ids": list(run_ids)},
            )
            return {row.run_id: Heartbeat(row.run_id, row.host, row.pid, row.beat_at, row.age) for row in rows}
