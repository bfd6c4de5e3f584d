"""Audiences: written down once, when a message starts to leave, and looked through before anything of it does.

Both go in the order of guest ids, chunk by chunk, each chunk in a transaction that has locked its messages: a large
audience holds nobody up, any number of runs may share the work, and a run that dies loses one chunk.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection

from guestguard_dagster.storage.conditions import G, M, as_sql, is_being_sent, is_in_audience
from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.deliveries.recipient_facts import GUEST, RecipientFacts, facts
from guestguard_dagster.storage.deliveries.recording import Refusal, refuse

_FACTS = facts(queue="d.message_id")


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How many recipients a batch has at most, by channel."""

    email: int
    sms: int


class Stage(StrEnum):
    """How far the audience of a message that is being sent is."""

    UNFROZEN = "unfrozen"
    UNCHECKED = "unchecked"
    READY = "ready"


# What a check of some recipients finds: who is settled without a hand-off, and the messages that are stopped meanwhile.
Findings = tuple[Sequence[Refusal], Collection[UUID]]


class AudienceRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def stages(self, message_ids: Sequence[UUID]) -> dict[UUID, Stage]:
        """How far each of these messages is that is `sending`, and that nobody holds."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    f"""
                    SELECT id, CASE WHEN audience_frozen_at IS NULL THEN 'unfrozen'
                        WHEN preflighted_at IS NULL THEN 'unchecked' ELSE 'ready' END AS stage
                    FROM scheduled_messages m
                    WHERE id = ANY(CAST(:ids AS uuid[])) AND {as_sql(is_being_sent(M))}
                    """
                ),
                {"ids": list(message_ids)},
            )
            return {row.id: Stage(row.stage) for row in rows}

    def load_recipients(self, message_ids: Sequence[UUID], *, chunk: int, sizes: BatchSizes) -> int:
        """Freeze the next `chunk` guests of each of these messages that is being sent and not wholly frozen.

        One delivery per guest, in batches. Messages that somebody else has locked are left for the next step. Returns
        how many messages were worked on.
        """
        with self._database.transaction() as connection:
            locked = _lock(connection, message_ids, "audience_frozen_at IS NULL")
            if not locked:
                return 0
            values = {"ids": locked, "chunk": chunk, "email_size": sizes.email, "sms_size": sizes.sms}
            rows = connection.execute(sql(_FREEZE), values).all()
            finished = [row.id for row in rows if row.audience_frozen_at is not None]
            if finished:
                connection.execute(sql(_COUNT), {"ids": finished})
            return len(locked)

    def check(
        self, message_ids: Sequence[UUID], *, page: int, find: Callable[[Sequence[RecipientFacts]], Findings]
    ) -> int:
        """Let `find` look at the next `page` pending recipients of each of these messages, and settle whom it refuses.

        Only messages that are frozen and not wholly checked; those that somebody else has locked are left for the next
        step. Returns how many messages were worked on.
        """
        with self._database.transaction() as connection:
            locked = _lock(connection, message_ids, "audience_frozen_at IS NOT NULL AND preflighted_at IS NULL")
            if not locked:
                return 0
            rows = connection.execute(sql(_PAGE), {"ids": locked, "page": page}).all()
            pages: dict[UUID, list[RecipientFacts]] = {message_id: [] for message_id in locked}
            for recipient in map(RecipientFacts._make, rows):
                pages[recipient.queue_id].append(recipient)
            refusals, stopped = find([recipient for members in pages.values() for recipient in members])
            refuse(connection, refusals)
            checked = {message_id: members for message_id, members in pages.items() if message_id not in stopped}
            connection.execute(
                sql(_ADVANCE),
                {
                    "ids": list(checked),
                    "lasts": [members[-1].guest_id if members else None for members in checked.values()],
                    "are_last": [len(members) < page for members in checked.values()],
                },
            )
            return len(checked)

    def recipients_of(self, message_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How many recipients each of these messages has, as far as its audience is frozen."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                sql(
                    "SELECT id, recipient_count FROM scheduled_messages "
                    "WHERE id = ANY(CAST(:ids AS uuid[])) AND recipient_count IS NOT NULL"
                ),
                {"ids": list(message_ids)},
            )
            return {row.id: row.recipient_count for row in rows}


def _lock(connection: Connection, message_ids: Sequence[UUID], condition: str) -> list[UUID]:
    return list(
        connection.execute(
            sql(
                "SELECT id FROM scheduled_messages m "
                f"WHERE id = ANY(CAST(:ids AS uuid[])) AND {as_sql(is_being_sent(M))} AND {condition} "
                "ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
            ),
            {"ids": list(message_ids)},
        ).scalars()
    )


# Whoever has a row already, because a ledger said that the mail had left, keeps it.
_FREEZE = f"""
    WITH chosen AS MATERIALIZED (
        SELECT m.id AS message_id, m.channel, g.event_id, g.id AS guest_id, size,
            row_number() OVER (PARTITION BY m.id ORDER BY g.id) - 1 AS place
        FROM scheduled_messages m
        CROSS JOIN LATERAL (SELECT CASE m.channel WHEN 'email' THEN :email_size ELSE :sms_size END) AS s (size)
        CROSS JOIN LATERAL (
            SELECT g.id, g.event_id FROM guests g
            WHERE g.event_id = m.event_id AND {as_sql(is_in_audience(G, M.c.audience))}
              AND (m.frozen_through IS NULL OR g.id > m.frozen_through)
            ORDER BY g.id LIMIT :chunk
        ) g
        WHERE m.id = ANY(CAST(:ids AS uuid[]))
    ), formed AS (
        INSERT INTO delivery_batches (queue_id, message_id, size)
        SELECT message_id, message_id, count(*) FROM chosen
        GROUP BY message_id, place / size ORDER BY message_id, place / size
        RETURNING id, message_id
    ), numbered AS (
        SELECT id, message_id, row_number() OVER (PARTITION BY message_id ORDER BY id) - 1 AS number FROM formed
    ), written AS (
        INSERT INTO message_deliveries (message_id, event_id, guest_id, channel, batch_id)
        SELECT c.message_id, c.event_id, c.guest_id, c.channel, b.id
        FROM chosen c JOIN numbered b ON b.message_id = c.message_id AND b.number = c.place / c.size
        ORDER BY b.id, c.place
        ON CONFLICT (message_id, guest_id, channel) DO NOTHING
    ), counted AS (
        SELECT message_id, count(*) AS rows, (array_agg(guest_id ORDER BY place DESC))[1] AS last
        FROM chosen GROUP BY message_id
    )
    UPDATE scheduled_messages m
    SET frozen_through = COALESCE(c.last, m.frozen_through), updated_at = clock_timestamp(),
        recipient_count = COALESCE(m.recipient_count, 0) + COALESCE(c.rows, 0),
        audience_frozen_at = CASE WHEN COALESCE(c.rows, 0) < :chunk THEN clock_timestamp() END
    FROM unnest(CAST(:ids AS uuid[])) AS wanted (id) LEFT JOIN counted c ON c.message_id = wanted.id
    WHERE m.id = wanted.id
    RETURNING m.id, m.audience_frozen_at
"""

_COUNT = """
    UPDATE scheduled_messages m
    SET recipient_count = (SELECT count(*) FROM message_deliveries d WHERE d.message_id = m.id)
    WHERE m.id = ANY(CAST(:ids AS uuid[]))
"""

_ADVANCE = """
    UPDATE scheduled_messages m
    SET checked_through = COALESCE(p.last, m.checked_through),
        preflighted_at = CASE WHEN p.is_last THEN clock_timestamp() END, updated_at = clock_timestamp()
    FROM unnest(CAST(:ids AS uuid[]), CAST(:lasts AS uuid[]), CAST(:are_last AS bool[])) AS p (id, last, is_last)
    WHERE m.id = p.id
"""

_PAGE = f"""
    SELECT {_FACTS}
    FROM scheduled_messages m
    CROSS JOIN LATERAL (
        SELECT * FROM message_deliveries d
        WHERE d.message_id = m.id AND d.status = 'pending'
          AND (m.checked_through IS NULL OR d.guest_id > m.checked_through)
        ORDER BY d.guest_id LIMIT :page
    ) d
    {GUEST}
    WHERE m.id = ANY(CAST(:ids AS uuid[]))
    ORDER BY d.message_id, d.guest_id
"""
