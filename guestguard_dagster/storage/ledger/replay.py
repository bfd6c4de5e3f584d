"""What a replay of the ledger writes: what had left is `unknown`, what may have left is held, the rest goes on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.domain.ledger import LedgerEntry
from guestguard_dagster.domain.ledger_gaps import Span
from guestguard_dagster.domain.messages import HoldOwner
from guestguard_dagster.storage.database import sql
from guestguard_dagster.storage.ledger.position import LEFT_BEFORE_RESTORE, MAY_HAVE_LEFT, POSITION, Position
from guestguard_dagster.storage.messages.holds import hold_messages

HELD_REASON = "may have left before the database was restored: the ledger has a gap"

# What is proof of a hand-off, or already in doubt, stays as it is.
_NOT_KNOWN_TO_HAVE_LEFT = "('pending', 'failed', 'suppressed', 'skipped')"

_UNKNOWN = """status = 'unknown', reason = :reason, retryable = false, outcome = 'unknown',
    settled_at = clock_timestamp(), updated_at = clock_timestamp()"""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """What may have left in a gap: messages that are held now, and deliveries of no message that are `unknown` now."""

    held_messages: tuple[UUID, ...]
    deliveries: int


def lock(connection: Connection) -> Position:
    """The position, after a check; nobody else can replay from it until the end of the transaction."""
    row = connection.execute(sql(f"SELECT {POSITION} FROM ledger_position FOR UPDATE")).one()
    return Position(*row)


def known_messages(connection: Connection, message_ids: Sequence[UUID]) -> set[UUID]:
    rows = connection.execute(
        sql("SELECT id FROM scheduled_messages WHERE id = ANY(CAST(:ids AS uuid[]))"),
        {"ids": list(message_ids)},
    )
    return set(rows.scalars())


def mark_guests_left(connection: Connection, entries: Sequence[LedgerEntry]) -> Mapping[UUID, int]:
    """Guests of these batches have their message: `unknown`, also where the audience is not frozen yet.

    Returns how many rows of each message changed.
    """
    pairs = [(entry, guest_id) for entry in entries if entry.message_id is not None for guest_id in entry.recipients]
    if not pairs:
        return {}
    rows = connection.execute(
        sql(
            f"""
            WITH left_us AS MATERIALIZED (
                SELECT DISTINCT ON (message_id, guest_id) * FROM unnest(CAST(:messages AS uuid[]),
                    CAST(:guests AS uuid[]), CAST(:instants AS timestamptz[]), CAST(:providers AS text[]),
                    CAST(:accounts AS text[])) AS l (message_id, guest_id, left_at, provider, account)
                ORDER BY message_id, guest_id, left_at DESC
            ), updated AS (
                UPDATE message_deliveries d
                SET {_UNKNOWN}, attempted_at = l.left_at, provider = l.provider, account = l.account
                FROM left_us l
                WHERE d.message_id = l.message_id AND d.guest_id = l.guest_id AND d.status IN {_NOT_KNOWN_TO_HAVE_LEFT}
                RETURNING d.message_id
            ), written AS (
                INSERT INTO message_deliveries (message_id, event_id, guest_id, channel, status, reason,
                    outcome, attempted_at, provider, account, settled_at)
                SELECT m.id, m.event_id, g.id, m.channel, 'unknown', :reason, 'unknown', l.left_at, l.provider,
                    l.account, clock_timestamp()
                FROM left_us l
                JOIN scheduled_messages m ON m.id = l.message_id AND m.audience_frozen_at IS NULL
                JOIN guests g ON g.id = l.guest_id AND g.event_id = m.event_id
                ON CONFLICT (message_id, guest_id, channel) DO NOTHING
                RETURNING message_id
            )
            SELECT message_id, count(*) AS rows
            FROM (SELECT * FROM updated UNION ALL SELECT * FROM written) changed GROUP BY message_id
            """
        ),
        {
            "messages": [entry.message_id for entry, _ in pairs],
            "guests": [guest_id for _, guest_id in pairs],
            "instants": [entry.handed_off_at for entry, _ in pairs],
            "providers": [entry.provider for entry, _ in pairs],
            "accounts": [entry.account for entry, _ in pairs],
            "reason": LEFT_BEFORE_RESTORE,
        },
    )
    return {row.message_id: row.rows for row in rows}


def mark_others_left(connection: Connection, entries: Sequence[LedgerEntry]) -> int:
    """Notifications and system mails of these batches have left; those that are not here are remembered, so that they
    do not leave when they are written down again. Returns how many deliveries changed.
    """
    pairs = [(id, entry) for entry in entries if entry.message_id is None for id in entry.recipients]
    if not pairs:
        return 0
    given = {
        "ids": [id for id, _ in pairs],
        "instants": [entry.handed_off_at for _, entry in pairs],
        "providers": [entry.provider for _, entry in pairs],
        "accounts": [entry.account for _, entry in pairs],
    }
    connection.execute(
        sql(
            """
            INSERT INTO ledger_left (id, left_at)
            SELECT l.id, max(l.left_at)
            FROM unnest(CAST(:ids AS uuid[]), CAST(:instants AS timestamptz[])) AS l (id, left_at)
            WHERE NOT EXISTS (SELECT FROM notifications n WHERE n.id = l.id)
              AND NOT EXISTS (SELECT FROM memos m WHERE m.id = l.id)
            GROUP BY l.id ON CONFLICT DO NOTHING
            """
        ),
        given,
    )
    return connection.execute(
        sql(
            f"""
            UPDATE message_deliveries d
            SET {_UNKNOWN}, attempted_at = l.left_at, provider = l.provider, account = l.account
            FROM (
                SELECT DISTINCT ON (id) * FROM unnest(CAST(:ids AS uuid[]), CAST(:instants AS timestamptz[]),
                    CAST(:providers AS text[]), CAST(:accounts AS text[])) AS l (id, left_at, provider, account)
                ORDER BY id, left_at DESC
            ) l
            WHERE d.message_id IS NULL AND (d.notification_id = l.id OR d.memo_id = l.id)
              AND d.status IN {_NOT_KNOWN_TO_HAVE_LEFT}
            """
        ),
        given | {"reason": LEFT_BEFORE_RESTORE},
    ).rowcount


def end_emptied_batches(connection: Connection) -> None:
    """Batches with nothing left to send are done."""
    connection.execute(
        sql(
            """
            UPDATE delivery_batches b SET state = 'done', lease_token = NULL, lease_expires_at = NULL
            WHERE b.state IN ('pending', 'leased') AND NOT EXISTS (
                SELECT FROM message_deliveries d WHERE d.batch_id = b.id AND d.status = 'pending')
            """
        )
    )


def hold_what_may_have_left(connection: Connection, gaps: Sequence[Span]) -> InDoubt:
    """Hold every message that was due within, or before the end of, a gap and still has somebody to be sent to.

    What of notifications and system mails had not left by then is `unknown`; those of the gap that are written down
    again later will be, too.
    """
    if not gaps:
        return InDoubt((), 0)
    end = max(gap.until for gap in gaps)
    connection.execute(
        sql(
            "INSERT INTO ledger_gaps (since, until) "
            "SELECT * FROM unnest(CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[]))"
        ),
        {"since": [gap.since for gap in gaps], "until": [gap.until for gap in gaps]},
    )
    may_have_left = connection.execute(
        sql(
            """
            SELECT m.id FROM scheduled_messages m
            WHERE m.status IN ('scheduled', 'sending') AND m.held_at IS NULL
              AND m.send_at <= :end
              AND (m.audience_frozen_at IS NULL OR EXISTS (
                SELECT FROM message_deliveries d WHERE d.message_id = m.id AND d.status = 'pending'))
            """
        ),
        {"end": end},
    ).scalars()
    held = hold_messages(connection, list(may_have_left), by=HoldOwner.OPERATOR, reason=HELD_REASON)
    deliveries = connection.execute(
        sql(
            f"""
            UPDATE message_deliveries d SET {_UNKNOWN}
            WHERE d.message_id IS NULL AND d.status = 'pending' AND d.created_at <= :end
            """
        ),
        {"reason": MAY_HAVE_LEFT, "end": end},
    ).rowcount
    return InDoubt(tuple(held), deliveries)


def skip_ids(connection: Connection, *, highest_delivery_id: int, highest_batch_id: int) -> None:
    """Ids that the lost history gave are never given again: callbacks and mail programs still know them."""
    for table, highest in (("message_deliveries", highest_delivery_id), ("delivery_batches", highest_batch_id)):
        connection.execute(
            sql(
                f"""
                SELECT setval(sequence, :highest) FROM (
                    SELECT CAST(pg_get_serial_sequence('{table}', 'id') AS regclass) AS sequence
                ) s WHERE :highest > COALESCE(pg_sequence_last_value(sequence), 0)
                """
            ),
            {"highest": highest},
        )


def go_on(connection: Connection, sequence: int, *, complete_from: datetime | None) -> None:
    """The ledger is replayed up to this sequence: what is not held goes on."""
    connection.execute(
        sql(
            "UPDATE ledger_position SET behind_since = NULL, unknown_batches = NULL, "
            "sequence = GREATEST(sequence, :sequence), verified_at = clock_timestamp(), "
            "complete_from = GREATEST(complete_from, CAST(:complete_from AS timestamptz))"
        ),
        {"sequence": sequence, "complete_from": complete_from},
    )
