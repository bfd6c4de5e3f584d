"""Asking for runs: which messages need one now, and the promise that nobody else asks meanwhile.

An ask is one conditional UPDATE: it raises `ask_no` and holds until `asked_until`. A live run renews it, so an ask that
has run out means that nobody works on the message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.storage.database import Database

ASK_HOLDS_FOR = timedelta(seconds=90)
LOOK_AHEAD = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Ask:
    """One message that needs a run: `due_at` is its send_at, or the present for one that is late or `sending`."""

    message_id: UUID
    event_id: UUID
    ask_no: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class ChannelPause:
    """A channel whose provider account takes nothing until `until`; `probe` allows one message to try."""

    until: datetime
    reason: str
    probe: bool


# in the order of storage.locks
_LOCKED = (
    "SELECT id FROM guestguard.scheduled_messages WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"
)


class AskRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, *, limit: int, pauses: Mapping[MessageChannel, ChannelPause] | None = None) -> list[Ask]:
        """Take the asks that are due within LOOK_AHEAD, oldest first; two callers never get the same one.

        Messages of a paused channel are put off until the pause ends, but for one that may probe.
        """
        pauses = pauses or {}
        with self._database.transaction() as connection:
            probes = [_put_off_all_but_a_probe(connection, channel, pause) for channel, pause in pauses.items()]
            rows = connection.execute(
                text(
                    """
                    -- now() and not clock_timestamp(): only a stable function can bound the scan of the index
                    WITH due AS (
                        SELECT id, send_at FROM guestguard.scheduled_messages
                        WHERE status = 'scheduled' AND send_at <= now() + :look_ahead AND held_at IS NULL
                          AND (not_before IS NULL OR not_before <= now() + :look_ahead)
                          AND (asked_until IS NULL OR asked_until <= now())
                          AND (channel <> ALL(:paused) OR id = ANY(CAST(:probes AS uuid[])))
                        ORDER BY send_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
                    ), unfinished AS (
                        SELECT id, send_at FROM guestguard.scheduled_messages
                        WHERE status = 'sending' AND held_at IS NULL
                          AND (not_before IS NULL OR not_before <= now())
                          AND (asked_until IS NULL OR asked_until <= now())
                          AND (channel <> ALL(:paused) OR id = ANY(CAST(:probes AS uuid[])))
                        ORDER BY send_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
                    ), wanted AS (
                        SELECT * FROM due UNION ALL SELECT * FROM unfinished ORDER BY send_at, id LIMIT :limit
                    )
                    UPDATE guestguard.scheduled_messages m
                    SET ask_no = m.ask_no + 1, updated_at = clock_timestamp(),
                        asked_until = GREATEST(m.send_at, m.not_before, clock_timestamp()) + :holds,
                        waiting_reason = CASE WHEN m.not_before > now() THEN m.waiting_reason END
                    WHERE m.id IN (SELECT id FROM wanted)
                    RETURNING m.id, m.event_id, m.ask_no,
                        GREATEST(m.send_at, m.not_before, clock_timestamp()) AS due_at
                    """
                ),
                {
                    "look_ahead": LOOK_AHEAD,
                    "holds": ASK_HOLDS_FOR,
                    "limit": limit,
                    "paused": [channel.value for channel in pauses],
                    "probes": [message_id for message_id in probes if message_id is not None],
                },
            )
            asks = [Ask(row.id, row.event_id, row.ask_no, row.due_at) for row in rows]
        return sorted(asks, key=lambda ask: (ask.due_at, ask.message_id))

    def renew(self, message_ids: Sequence[UUID]) -> None:
        """A run is queued for, or working on, these messages: nobody else need be asked for a while."""
        if not message_ids:
            return
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                text(
                    """
                    UPDATE guestguard.scheduled_messages
                    SET asked_until = :holds + GREATEST(
                        clock_timestamp(), CASE status WHEN 'scheduled' THEN GREATEST(send_at, not_before) END)
                    WHERE id IN (
                        SELECT id FROM guestguard.scheduled_messages
                        WHERE id = ANY(CAST(:ids AS uuid[])) AND status IN ('scheduled', 'sending')
                          AND (asked_until IS NOT NULL OR status = 'sending')
                        ORDER BY id FOR UPDATE SKIP LOCKED
                    )
                    """
                ),
                {"ids": list(message_ids), "holds": ASK_HOLDS_FOR},
            )

    def put_off(self, message_ids: Sequence[UUID], *, wait: timedelta, reason: str) -> None:
        """Let these messages wait; the sensor asks again when the wait is over."""
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    f"""
                    UPDATE guestguard.scheduled_messages
                    SET not_before = clock_timestamp() + :wait, waiting_reason = :reason, asked_until = NULL,
                        updated_at = clock_timestamp()
                    WHERE id IN ({_LOCKED}) AND status IN ('scheduled', 'sending')
                    """
                ),
                {"ids": list(message_ids), "wait": wait, "reason": reason},
            )

    def wake(self, *, reason: str) -> None:
        """What these messages waited for has come: they may be asked for at once."""
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    """
                    UPDATE guestguard.scheduled_messages
                    SET not_before = NULL, waiting_reason = NULL, updated_at = clock_timestamp(),
                        asked_until = CASE WHEN asked_until > clock_timestamp()
                            THEN LEAST(asked_until, clock_timestamp() + :holds) END
                    WHERE id IN (
                        SELECT id FROM guestguard.scheduled_messages
                        WHERE status IN ('scheduled', 'sending') AND waiting_reason = :reason
                        ORDER BY id FOR NO KEY UPDATE
                    )
                    """
                ),
                {"reason": reason, "holds": ASK_HOLDS_FOR},
            )

    def let_go(self, message_ids: Sequence[UUID]) -> None:
        """This run leaves these messages as they are; the next tick may ask again at once."""
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE guestguard.scheduled_messages SET asked_until = NULL "
                    f"WHERE id IN ({_LOCKED}) AND status IN ('scheduled', 'sending')"
                ),
                {"ids": list(message_ids)},
            )


def _put_off_all_but_a_probe(connection: Connection, channel: MessageChannel, pause: ChannelPause) -> UUID | None:
    """Let the channel's messages wait, but for the oldest when the pause allows a probe; returns that one."""
    candidates = """
        SELECT id FROM guestguard.scheduled_messages
        WHERE channel = :channel AND held_at IS NULL
          AND ((status = 'scheduled' AND send_at <= now() + :look_ahead) OR status = 'sending')
          AND (not_before IS NULL OR not_before <= now())
    """
    values = {"channel": channel, "look_ahead": LOOK_AHEAD}
    probe: UUID | None = None
    if pause.probe:
        oldest = text(f"{candidates} ORDER BY send_at, id LIMIT 1")
        probe = connection.execute(oldest, values).scalar_one_or_none()
    connection.execute(
        text(
            f"""
            UPDATE guestguard.scheduled_messages
            SET not_before = GREATEST(:until, clock_timestamp() + interval '30 seconds'),
                waiting_reason = :reason, updated_at = clock_timestamp()
            WHERE id IN (
                {candidates} AND id IS DISTINCT FROM CAST(:probe AS uuid)
                AND (asked_until IS NULL OR asked_until <= now())
                FOR UPDATE SKIP LOCKED
            )
            """
        ),
        {**values, "until": pause.until, "reason": pause.reason, "probe": probe},
    )
    return probe
