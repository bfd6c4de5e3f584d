"""Run requests: that a message needs a run, that nobody else requests one meanwhile, and how long it waits.

A run request is one conditional UPDATE: it raises `ask_no` and holds until `asked_until`. A live run renews it, and one
that ends in order clears it; one that has run out means that nobody works on the message, and that its run crashed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.storage.database import Database

RUN_REQUEST_HOLDS_FOR = timedelta(seconds=90)
LOOK_AHEAD = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class MessageRunRequest:
    """A run requested for one message: `due_at` is its send_at, or the present for one that is late or `sending`.

    `ran_out` says that the request before was neither renewed nor ended in order: its run crashed, or never came.
    """

    message_id: UUID
    event_id: UUID
    ask_no: int
    due_at: datetime
    ran_out: bool = False


@dataclass(frozen=True, slots=True)
class Deferral:
    """A scheduled message, as it was at `version`, waits until an instant (timezone-aware)."""

    message_id: UUID
    version: int
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class BlockedChannel:
    """A channel whose provider account takes nothing until `until`; `probe` allows one message to try."""

    until: datetime
    reason: str
    probe: bool


# in the order of storage.locks
_LOCKED = "SELECT id FROM scheduled_messages WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"


class RunRequestRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, message_ids: Collection[UUID]) -> list[MessageRunRequest]:
        """Request a run for those of these messages that still need one, oldest first; two callers never get the same.

        Needing one are, not held and without a live run, the scheduled that are due within LOOK_AHEAD and the
        `sending` that wait for nothing.
        """
        if not message_ids:
            return []
        with self._database.transaction() as connection:
            rows = connection.execute(
                text(
                    """
                    WITH wanted AS (
                        SELECT id, asked_until IS NOT NULL AS ran_out FROM scheduled_messages
                        WHERE id = ANY(CAST(:ids AS uuid[])) AND held_at IS NULL
                          AND (asked_until IS NULL OR asked_until <= now())
                          AND CASE status
                              WHEN 'scheduled' THEN GREATEST(send_at, not_before) <= now() + :look_ahead
                              WHEN 'sending' THEN not_before IS NULL OR not_before <= now()
                              ELSE false END
                        ORDER BY id FOR UPDATE SKIP LOCKED
                    )
                    UPDATE scheduled_messages m
                    SET ask_no = m.ask_no + 1, updated_at = clock_timestamp(),
                        asked_until = GREATEST(m.send_at, m.not_before, clock_timestamp()) + :holds,
                        waiting_reason = CASE WHEN m.not_before > now() THEN m.waiting_reason END
                    FROM wanted WHERE m.id = wanted.id
                    RETURNING m.id, m.event_id, m.ask_no, wanted.ran_out,
                        GREATEST(m.send_at, m.not_before, clock_timestamp()) AS due_at
                    """
                ),
                {"ids": list(message_ids), "look_ahead": LOOK_AHEAD, "holds": RUN_REQUEST_HOLDS_FOR},
            )
            requests = [MessageRunRequest(row.id, row.event_id, row.ask_no, row.due_at, row.ran_out) for row in rows]
        return sorted(requests, key=lambda request: (request.due_at, request.message_id))

    def defer_blocked(self, blocked_channels: Mapping[MessageChannel, BlockedChannel]) -> list[UUID]:
        """Let the messages of blocked channels wait, but for one of each that allows a probe; returns those."""
        if not blocked_channels:
            return []
        with self._database.transaction() as connection:
            probes = [
                _defer_all_but_a_probe(connection, channel, blocked) for channel, blocked in blocked_channels.items()
            ]
        return [probe for probe in probes if probe is not None]

    def renew(self, message_ids: Sequence[UUID]) -> None:
        """A run is queued for, or working on, these messages: no other run is needed for a while."""
        if not message_ids:
            return
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                text(
                    """
                    UPDATE scheduled_messages
                    SET asked_until = :holds + GREATEST(
                        clock_timestamp(), CASE status WHEN 'scheduled' THEN GREATEST(send_at, not_before) END)
                    WHERE id IN (
                        SELECT id FROM scheduled_messages
                        WHERE id = ANY(CAST(:ids AS uuid[])) AND status IN ('scheduled', 'sending')
                          AND (asked_until IS NOT NULL OR status = 'sending')
                        ORDER BY id FOR UPDATE SKIP LOCKED
                    )
                    """
                ),
                {"ids": list(message_ids), "holds": RUN_REQUEST_HOLDS_FOR},
            )

    def defer(self, message_ids: Sequence[UUID], *, wait: timedelta, reason: str) -> None:
        """Let these `sending` messages wait; the sensor requests a run again when the wait is over."""
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    f"""
                    UPDATE scheduled_messages
                    SET not_before = clock_timestamp() + :wait, waiting_reason = :reason, asked_until = NULL,
                        updated_at = clock_timestamp()
                    WHERE id IN ({_LOCKED}) AND status = 'sending'
                    """
                ),
                {"ids": list(message_ids), "wait": wait, "reason": reason},
            )

    def defer_scheduled(self, waits: Sequence[Deferral]) -> None:
        """Let scheduled messages wait, each until its instant, unless somebody edited them since they were read."""
        if not waits:
            return
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    f"""
                    UPDATE scheduled_messages m
                    SET not_before = w.until, waiting_reason = w.reason, asked_until = NULL,
                        updated_at = clock_timestamp()
                    FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[]), CAST(:untils AS timestamptz[]),
                        CAST(:reasons AS text[])) AS w (id, version, until, reason)
                    WHERE m.id IN ({_LOCKED}) AND m.id = w.id AND m.version = w.version AND m.status = 'scheduled'
                    """
                ),
                {
                    "ids": [wait.message_id for wait in waits],
                    "versions": [wait.version for wait in waits],
                    "untils": [wait.until for wait in waits],
                    "reasons": [wait.reason for wait in waits],
                },
            )

    def wake(self, *, reason: str) -> None:
        """What these messages waited for has come: a run may be requested at once."""
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    """
                    UPDATE scheduled_messages
                    SET not_before = NULL, waiting_reason = NULL, updated_at = clock_timestamp(),
                        asked_until = CASE WHEN asked_until > clock_timestamp()
                            THEN LEAST(asked_until, clock_timestamp() + :holds) END
                    WHERE id IN (
                        SELECT id FROM scheduled_messages
                        WHERE status IN ('scheduled', 'sending') AND waiting_reason = :reason
                        ORDER BY id FOR NO KEY UPDATE
                    )
                    """
                ),
                {"reason": reason, "holds": RUN_REQUEST_HOLDS_FOR},
            )

    def take_over(self, *, reason: str) -> list[UUID]:
        """The `sending` messages that wait for this reason: this run works on them from now on."""
        with self._database.transaction() as connection:
            taken = connection.execute(
                text(
                    """
                    UPDATE scheduled_messages
                    SET not_before = NULL, waiting_reason = NULL, updated_at = clock_timestamp(),
                        asked_until = clock_timestamp() + :holds
                    WHERE id IN (
                        SELECT id FROM scheduled_messages
                        WHERE status = 'sending' AND waiting_reason = :reason AND held_at IS NULL
                        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
                    ) AND status = 'sending'
                    RETURNING id
                    """
                ),
                {"reason": reason, "holds": RUN_REQUEST_HOLDS_FOR},
            )
            return list(taken.scalars())

    def requeue(self, message_ids: Sequence[UUID]) -> None:
        """This run leaves these messages as they are; the next tick may request another run at once."""
        with self._database.transaction() as connection:
            connection.execute(
                text(
                    "UPDATE scheduled_messages SET asked_until = NULL "
                    f"WHERE id IN ({_LOCKED}) AND status IN ('scheduled', 'sending')"
                ),
                {"ids": list(message_ids)},
            )


def _defer_all_but_a_probe(connection: Connection, channel: MessageChannel, blocked: BlockedChannel) -> UUID | None:
    """Let the channel's messages wait, but for one when the pause allows a probe; returns that one.

    It is the one that a run was requested for already, else the one that probed longest ago, or never: where a message
    of its own keeps the provider from taking anything, the next probe is another one.
    """
    candidates = """
        SELECT id FROM scheduled_messages
        WHERE channel = :channel AND held_at IS NULL
          AND ((status = 'scheduled' AND send_at <= now() + :look_ahead) OR status = 'sending')
          AND (not_before IS NULL OR not_before <= now())
    """
    without_run = "(asked_until IS NULL OR asked_until <= now())"
    values = {"channel": channel, "look_ahead": LOOK_AHEAD}
    probe: UUID | None = None
    if blocked.probe:
        first = f"{candidates} ORDER BY {without_run}, probed_at NULLS FIRST, send_at, id LIMIT 1"
        probe = connection.execute(text(first), values).scalar_one_or_none()
        connection.execute(
            text(f"UPDATE scheduled_messages SET probed_at = clock_timestamp() WHERE id = :probe AND {without_run}"),
            {"probe": probe},
        )
    connection.execute(
        text(
            f"""
            UPDATE scheduled_messages
            SET not_before = GREATEST(:until, clock_timestamp() + interval '30 seconds'),
                waiting_reason = :reason, updated_at = clock_timestamp()
            WHERE id IN (
                {candidates} AND id IS DISTINCT FROM CAST(:probe AS uuid) AND {without_run}
                FOR UPDATE SKIP LOCKED
            )
            """
        ),
        {**values, "until": blocked.until, "reason": blocked.reason, "probe": probe},
    )
    return probe
