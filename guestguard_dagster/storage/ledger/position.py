"""This database beside its ledger: up to where it knows what the ledger knows, and what it has yet to write there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.domain.ledger import LedgerEntry, LedgerMark
from guestguard_dagster.storage.database import DATABASE_IDENTITY, Database, sql

# As Position has them.
POSITION = "stream, stream_created_at, sequence, verified_at, complete_from, behind_since, unknown_batches"

# Why a delivery is `unknown` after a restore.
LEFT_BEFORE_RESTORE = "left_before_restore"
MAY_HAVE_LEFT = "may_have_left_before_restore"

# After NATS has lost what was in it, so much is written into it again.
_WRITTEN_AGAIN = timedelta(days=1)
# What left less long ago is being recorded by the process that hands it off.
_SETTLES_WITHIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Position:
    """All that lies in the stream up to `sequence` was known here at `verified_at`."""

    stream: str
    stream_created_at: datetime
    sequence: int
    verified_at: datetime
    complete_from: datetime
    behind_since: datetime | None
    unknown_batches: int | None


@dataclass(frozen=True, slots=True)
class ThisDatabase:
    """Its clock, which database it is, and the installation that it belongs to."""

    now: datetime
    identity: str
    installation_id: UUID


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Batches that left and are not in the ledger, the oldest first, and up to when there are no others.

    `is_all` says that there are no more of them behind these.
    """

    entries: tuple[LedgerEntry, ...]
    complete_until: datetime
    is_all: bool


def settle_what_had_left(connection: Connection, ids: Sequence[UUID | str]) -> None:
    """Of notifications and system mails that are written down in this transaction, by their ids: those that left before
    a restore, and those whose event had come before the end of a gap, are `unknown` at once, and never leave.
    """
    connection.execute(
        sql(
            """
            UPDATE message_deliveries d
            SET status = 'unknown', outcome = 'unknown', reason = found.reason, attempted_at = found.left_at,
                settled_at = clock_timestamp(), updated_at = clock_timestamp()
            FROM (
                SELECT written.id, l.left_at, CASE WHEN l.id IS NULL THEN :may_have_left ELSE :left END AS reason
                FROM unnest(CAST(:ids AS uuid[])) AS written (id)
                LEFT JOIN ledger_left l ON l.id = written.id
                WHERE l.id IS NOT NULL OR EXISTS (
                    SELECT FROM notifications n JOIN ledger_gaps g ON n.published_at <= g.until
                    WHERE n.id = written.id)
            ) found
            WHERE d.message_id IS NULL AND d.status = 'pending' AND d.id IN (
                SELECT id FROM message_deliveries WHERE notification_id = found.id
                UNION ALL SELECT id FROM message_deliveries WHERE memo_id = found.id)
            """
        ),
        {"ids": [str(id) for id in ids], "left": LEFT_BEFORE_RESTORE, "may_have_left": MAY_HAVE_LEFT},
    )


class LedgerRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self) -> ThisDatabase:
        """Who it is that is held against the ledger, and when."""
        with self._database.transaction() as connection:
            row = connection.execute(
                sql(f"SELECT clock_timestamp(), {DATABASE_IDENTITY}, (SELECT id FROM installation)")
            ).one()
        return ThisDatabase(*row)

    def position(self) -> Position | None:
        """None before the first check."""
        with self._database.transaction() as connection:
            row = connection.execute(sql(f"SELECT {POSITION} FROM ledger_position")).one_or_none()
        return None if row is None else Position(*row)

    def begin(self, stream: str, created_at: datetime) -> Position:
        """There is a ledger from now on, and everything in it is yet to be looked at, unless somebody began before."""
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "INSERT INTO ledger_position "
                    "(stream, stream_created_at, sequence, verified_at, complete_from) "
                    "VALUES (:stream, :created_at, 0, :created_at, clock_timestamp()) ON CONFLICT DO NOTHING"
                ),
                {"stream": stream, "created_at": created_at},
            )
            return Position(*connection.execute(sql(f"SELECT {POSITION} FROM ledger_position")).one())

    def begin_anew(self, stream: str, created_at: datetime, sequence: int) -> Position:
        """The stream is another one, or has lost its end: look behind `sequence`, and write the last day down again."""
        with self._database.transaction() as connection:
            row = connection.execute(
                sql(
                    "UPDATE ledger_position SET stream = :stream, stream_created_at = :created_at, "
                    "sequence = :sequence, "
                    "complete_from = GREATEST(complete_from, clock_timestamp() - CAST(:again AS interval)) "
                    f"RETURNING {POSITION}"
                ),
                {"stream": stream, "created_at": created_at, "sequence": sequence, "again": _WRITTEN_AGAIN},
            ).one()
            position = Position(*row)
            connection.execute(
                sql(
                    "UPDATE delivery_batches SET recorded_at = NULL "
                    "WHERE recorded_at IS NOT NULL AND handed_off_at >= :since"
                ),
                {"since": position.complete_from},
            )
        return position

    def unknown(self, entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
        """Those whose batch this database does not know to have left, and has not deleted since either."""
        if not entries:
            return []
        with self._database.transaction() as connection:
            unknown = connection.execute(
                sql(
                    """
                    SELECT e.place
                    FROM unnest(CAST(:ids AS bigint[]), CAST(:keys AS uuid[])) WITH ORDINALITY AS e (id, key, place)
                    WHERE NOT EXISTS (
                        SELECT FROM delivery_batches b
                        WHERE b.id = e.id AND b.key = e.key AND b.handed_off_at IS NOT NULL
                    ) AND NOT EXISTS (
                        SELECT FROM ledger_deleted_batches b WHERE b.key = e.key AND b.batch_id = e.id
                    )
                    ORDER BY e.place
                    """
                ),
                {"ids": [entry.batch_id for entry in entries], "keys": [entry.key for entry in entries]},
            )
            return [entries[place - 1] for place in unknown.scalars()]

    def knows_mark(self, number: int) -> bool:
        """Whether this database has counted so far."""
        with self._database.transaction() as connection:
            counted: int = connection.execute(sql("SELECT mark_number FROM ledger_position")).scalar_one()
        return number <= counted

    def count_mark(self, complete_until: datetime) -> LedgerMark | None:
        """The next mark, to be written once this is committed; None where there is nothing yet to vouch for."""
        with self._database.transaction() as connection:
            row = connection.execute(
                sql(
                    "UPDATE ledger_position SET mark_number = mark_number + 1 "
                    "WHERE complete_from < :until AND behind_since IS NULL "
                    "RETURNING mark_number, clock_timestamp() AS now, complete_from, "
                    "(SELECT id FROM installation) AS installation_id"
                ),
                {"until": complete_until},
            ).one_or_none()
        return (
            None
            if row is None
            else LedgerMark(row.mark_number, row.now, row.complete_from, complete_until, row.installation_id)
        )

    def advance(self, to: Position, sequence: int, *, verified_at: datetime | None = None) -> None:
        """What lies between the position `to` and this sequence is known here; never moves backwards."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                sql(
                    "UPDATE ledger_position SET sequence = GREATEST(sequence, :sequence), "
                    "verified_at = GREATEST(verified_at, CAST(:verified_at AS timestamptz)) "
                    "WHERE stream = :stream AND stream_created_at = :created_at AND behind_since IS NULL"
                ),
                {
                    "sequence": sequence,
                    "verified_at": verified_at,
                    "stream": to.stream,
                    "created_at": to.stream_created_at,
                },
            )

    def stop(self, at: Position, *, unknown_batches: int, sequence: int) -> None:
        """Nothing leaves any more, because of an unknown entry at `sequence`, unless that was replayed meanwhile."""
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "UPDATE ledger_position "
                    "SET behind_since = clock_timestamp(), unknown_batches = :unknown "
                    "WHERE behind_since IS NULL AND stream = :stream AND stream_created_at = :created_at "
                    "AND sequence < :sequence"
                ),
                {
                    "unknown": unknown_batches,
                    "sequence": sequence,
                    "stream": at.stream,
                    "created_at": at.stream_created_at,
                },
            )

    def stop_by_hand(self) -> None:
        """An operator knows that the database was restored; nothing leaves until the ledger is replayed."""
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "UPDATE ledger_position SET behind_since = clock_timestamp(), unknown_batches = 0 "
                    "WHERE behind_since IS NULL"
                )
            )

    def unrecorded(self, *, limit: int = 500) -> Unrecorded:
        """What left a while ago without its entry, as far as the ledger is to have it."""
        with self._database.transaction() as connection:
            until = connection.execute(
                sql(
                    "SELECT LEAST(clock_timestamp() - CAST(:settles AS interval), min(xact_start)) "
                    "FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
                ),
                {"settles": _SETTLES_WITHIN},
            ).scalar_one()
            rows = connection.execute(
                sql(
                    """
                    SELECT b.id, b.key, b.queue_id, b.message_id, b.handed_off_at, COALESCE(b.provider, '') AS provider,
                        COALESCE(b.account, '') AS account, b.endpoint IS NOT NULL AS repeatable,
                        (SELECT id FROM installation) AS installation_id, members.*
                    FROM (
                        SELECT * FROM delivery_batches
                        WHERE handed_off_at IS NOT NULL AND recorded_at IS NULL AND handed_off_at < :until
                          AND handed_off_at >= (SELECT complete_from FROM ledger_position)
                        ORDER BY handed_off_at LIMIT :limit
                    ) b
                    CROSS JOIN LATERAL (
                        SELECT COALESCE(array_agg(COALESCE(d.notification_id, d.memo_id, d.guest_id)), '{}')
                                AS recipients, COALESCE(max(d.id), 0) AS highest
                        FROM message_deliveries d WHERE d.batch_id = b.id
                    ) members
                    ORDER BY b.handed_off_at
                    """
                ),
                {"until": until, "limit": limit},
            ).all()
        entries = tuple(
            LedgerEntry(
                batch_id=row.id,
                key=row.key,
                queue_id=row.queue_id,
                message_id=row.message_id,
                recipients=tuple(row.recipients),
                handed_off_at=row.handed_off_at,
                highest_delivery_id=row.highest,
                provider=row.provider,
                account=row.account,
                repeatable=row.repeatable,
                installation_id=row.installation_id,
            )
            for row in rows
        )
        is_all = len(entries) < limit
        return Unrecorded(entries, until if is_all else entries[-1].handed_off_at, is_all)

    def mark_recorded(self, entries: Collection[LedgerEntry]) -> None:
        """These are in the ledger. A batch that was given back meanwhile has another key, and leaves with that one."""
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "UPDATE delivery_batches b SET recorded_at = clock_timestamp() "
                    "FROM unnest(CAST(:ids AS bigint[]), CAST(:keys AS uuid[])) AS e (id, key) "
                    "WHERE b.id = e.id AND b.key = e.key AND b.recorded_at IS NULL"
                ),
                {"ids": [entry.batch_id for entry in entries], "keys": [entry.key for entry in entries]},
            )

    def tidy(self, *, keep: timedelta) -> None:
        """Delete what no check and no replay can need any more."""
        with self._database.transaction() as connection:
            connection.execute(
                sql(
                    "DELETE FROM ledger_deleted_batches WHERE deleted_at < "
                    "(SELECT verified_at - interval '1 day' FROM ledger_position)"
                )
            )
            for table in ("ledger_left", "ledger_gaps"):
                connection.execute(
                    sql(f"DELETE FROM {table} WHERE created_at < clock_timestamp() - CAST(:keep AS interval)"),
                    {"keep": keep},
                )
