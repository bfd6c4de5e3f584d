"""Statistics, computed in the database: each refresh replaces the rows of one day, whatever they were before.

A delivery belongs to the day on which it was due: its message's `send_at`, or for a notification the moment it
was written down. Latencies are counted from there, and only for first rounds: a retry leaves late on purpose.
What was computed is read in `storage.statistics.reading`.
"""

from typing import Any

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import HANDED_OFF_STATUSES, DeliveryStatus
from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.operations.retention import Kept, kept_since

# All attempts: those that were followed by another one, and each delivery's newest.
_ATTEMPTS = """
    SELECT provider, account, outcome, duration_ms, error_class, attempted_at FROM delivery_attempts
    UNION ALL
    SELECT provider, account, outcome, duration_ms, error_class, attempted_at FROM message_deliveries
    -- an attempt is written down when it is answered, and the row may change later on
    WHERE attempted_at IS NOT NULL AND updated_at >= :start
"""

_BEGAN = "m.status IN ('sending', 'sent', 'failed')"

# Every delivery that was due from :start to :end.
_DUE_DELIVERIES = f"""
    SELECT b.*,
        CASE WHEN round = 1 AND handed_off_at IS NOT NULL
            THEN GREATEST(date_part('epoch', handed_off_at - due_at), 0) END AS hand_off,
        CASE WHEN round = 1 AND status = 'delivered'
            THEN GREATEST(date_part('epoch', settled_at - due_at), 0) END AS arrival
    FROM (
        SELECT d.message_id, d.event_id, d.channel, d.status, d.retryable, d.round, d.provider, d.account,
            d.error_class, d.handed_off_at, d.settled_at, m.kind, m.send_at AS due_at
        FROM scheduled_messages m
        JOIN message_deliveries d ON d.message_id = m.id
        WHERE {_BEGAN} AND m.send_at >= :start AND m.send_at < :end
        UNION ALL
        SELECT d.message_id, d.event_id, d.channel, d.status, d.retryable, d.round, d.provider, d.account,
            d.error_class, d.handed_off_at, d.settled_at, COALESCE(n.type, memo.kind, 'other'), d.created_at
        FROM message_deliveries d
        LEFT JOIN notifications n ON n.id = d.notification_id
        LEFT JOIN memos memo ON memo.id = d.memo_id
        WHERE d.message_id IS NULL AND d.created_at >= :start AND d.created_at < :end
    ) b
"""

_OUTCOME_COLUMNS = ", ".join(["recipients", *DeliveryStatus, "retryable"])
_MESSAGE_COLUMNS = (
    f"message_id, day, event_id, kind, channel, status, send_at, {_OUTCOME_COLUMNS}, first_handed_off_at, "
    "last_handed_off_at, hand_off_p50, hand_off_p95, delivered_p50, delivered_p95"
)
_EXCLUDED = ", ".join(f"EXCLUDED.{column}" for column in _MESSAGE_COLUMNS.split(", "))
_OUTCOMES = ", ".join(
    [
        "count(b.status)",
        *(f"count(*) FILTER (WHERE b.status = '{status}')" for status in DeliveryStatus),
        "count(*) FILTER (WHERE b.status = 'failed' AND b.retryable)",
    ]
)
_SUMMED_OUTCOMES = ", ".join(f"sum({column})" for column in _OUTCOME_COLUMNS.split(", "))
_HANDED_OFF = "b.status IN ({})".format(", ".join(f"'{status}'" for status in sorted(HANDED_OFF_STATUSES)))


def _percentiles(column: str, *fractions: float) -> str:
    return ", ".join(f"percentile_cont({fraction}) WITHIN GROUP (ORDER BY {column})" for fraction in fractions)


class StatsRepo:
    """Each method takes one day, replaces its rows in one transaction, and returns how many they are now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refresh_messages(self, day: Days) -> int:
        """message_delivery_stats: one row for every message that began to be sent, also with an empty audience."""
        return self._replace(
            "message_delivery_stats",
            day,
            f"""
            WITH due AS ({_DUE_DELIVERIES})
            INSERT INTO message_delivery_stats ({_MESSAGE_COLUMNS})
            SELECT m.id, :day, m.event_id, m.kind, m.channel, m.status, m.send_at,
                {_OUTCOMES}, min(b.handed_off_at), max(b.handed_off_at),
                {_percentiles("b.hand_off", 0.5, 0.95)}, {_percentiles("b.arrival", 0.5, 0.95)}
            FROM scheduled_messages m LEFT JOIN due b ON b.message_id = m.id
            WHERE {_BEGAN} AND m.send_at >= :start AND m.send_at < :end
            GROUP BY m.id
            ON CONFLICT (message_id) DO UPDATE SET ({_MESSAGE_COLUMNS}, computed_at) = ({_EXCLUDED}, now())
            """,
        )

    def refresh_events(self, day: Days) -> int:
        """event_delivery_stats: one row for every event that was written about, its notifications included.

        The messages are taken from message_delivery_stats, which comes first.
        """
        return self._replace(
            "event_delivery_stats",
            day,
            f"""
            WITH due AS ({_DUE_DELIVERIES})
            INSERT INTO event_delivery_stats (day, event_id, messages, {_OUTCOME_COLUMNS})
            SELECT :day, event_id, sum(messages), {_SUMMED_OUTCOMES}
            FROM (
                SELECT event_id, 1 AS messages, {_OUTCOME_COLUMNS}
                FROM message_delivery_stats WHERE day = :day
                UNION ALL
                SELECT b.event_id, 0, {_OUTCOMES}
                FROM due b WHERE b.message_id IS NULL AND b.event_id IS NOT NULL GROUP BY b.event_id
            ) counted
            GROUP BY event_id
            """,
        )

    def refresh_days(self, day: Days) -> int:
        """daily_delivery_stats, by channel, kind, provider and outcome, and the day's latencies by channel."""
        self._replace(
            "daily_latency_stats",
            day,
            f"""
            WITH due AS ({_DUE_DELIVERIES})
            INSERT INTO daily_latency_stats (day, channel, handed_off, delivered,
                hand_off_p50, hand_off_p95, hand_off_p99, delivered_p50, delivered_p95, delivered_p99)
            SELECT :day, b.channel, count(b.hand_off), count(b.arrival),
                {_percentiles("b.hand_off", 0.5, 0.95, 0.99)}, {_percentiles("b.arrival", 0.5, 0.95, 0.99)}
            FROM due b GROUP BY b.channel
            """,
        )
        return self._replace(
            "daily_delivery_stats",
            day,
            f"""
            WITH due AS ({_DUE_DELIVERIES})
            INSERT INTO daily_delivery_stats (day, channel, kind, provider, outcome, deliveries,
                hand_off_p50, hand_off_p95, delivered_p50, delivered_p95)
            SELECT :day, b.channel, b.kind, COALESCE(b.provider, 'none'), b.status, count(*),
                {_percentiles("b.hand_off", 0.5, 0.95)}, {_percentiles("b.arrival", 0.5, 0.95)}
            FROM due b GROUP BY b.channel, b.kind, COALESCE(b.provider, 'none'), b.status
            """,
        )

    def refresh_providers(self, day: Days) -> int | None:
        """provider_health: the day's hand-offs by what was answered, and what became of the deliveries that were due.

        None, and nothing is changed, when attempts of the day were deleted already: they could not be counted again.
        """
        with self._database.transaction() as connection:
            if kept_since(connection, Kept.ATTEMPTS) > day.start:
                return None
        return self._replace(
            "provider_health",
            day,
            f"""
            WITH due AS ({_DUE_DELIVERIES}), answered AS (
                SELECT provider, account, count(*) AS attempts,
                    count(*) FILTER (WHERE outcome = 'sent') AS taken,
                    count(*) FILTER (WHERE outcome = 'permanent') AS permanent,
                    count(*) FILTER (WHERE outcome = 'transient') AS transient,
                    count(*) FILTER (WHERE outcome = 'provider_wide') AS provider_wide,
                    count(*) FILTER (WHERE outcome = 'unknown') AS unknown,
                    percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_ms / 1000.0) AS answer,
                    mode() WITHIN GROUP (ORDER BY error_class) AS commonest_error
                FROM ({_ATTEMPTS}) attempts
                WHERE attempted_at >= :start AND attempted_at < :end
                GROUP BY provider, account
            ), became AS (
                SELECT b.provider, b.account, count(*) FILTER (WHERE {_HANDED_OFF}) AS handed_off,
                    count(*) FILTER (WHERE b.status = 'delivered') AS delivered,
                    count(*) FILTER (WHERE b.status = 'bounced') AS bounced,
                    count(*) FILTER (WHERE b.status = 'complained') AS complained,
                    count(*) FILTER (WHERE b.status = 'failed' AND b.error_class = 'no_such_mailbox')
                        AS refused_mailboxes
                FROM due b WHERE b.provider IS NOT NULL AND b.account IS NOT NULL
                GROUP BY b.provider, b.account
            )
            INSERT INTO provider_health (day, provider, account, attempts, taken, permanent, transient,
                provider_wide, unknown, answer_p50, answer_p95, commonest_error,
                handed_off, delivered, bounced, complained, refused_mailboxes)
            SELECT :day, provider, account, COALESCE(attempts, 0), COALESCE(taken, 0), COALESCE(permanent, 0),
                COALESCE(transient, 0), COALESCE(provider_wide, 0), COALESCE(unknown, 0), answer[1], answer[2],
                commonest_error, COALESCE(handed_off, 0), COALESCE(delivered, 0), COALESCE(bounced, 0),
                COALESCE(complained, 0), COALESCE(refused_mailboxes, 0)
            FROM answered FULL JOIN became USING (provider, account)
            """,
        )

    def _replace(self, table: str, day: Days, insertion: str) -> int:
        with self._database.transaction() as connection:
            # Two runs may refresh the same day at once: the second waits, and then counts what is there by then.
            connection.execute(
                sql("SELECT pg_advisory_xact_lock(hashtext(:table), CAST(:day AS date) - DATE '2000-01-01')"),
                {"table": table, "day": day.first},
            )
            connection.execute(sql(f"DELETE FROM {table} WHERE day = :day"), {"day": day.first})
            return connection.execute(sql(insertion), _values(day)).rowcount


def _values(day: Days) -> dict[str, Any]:
    return {
        "day": day.first,
        "start": day.start,
        "end": day.end,
    }
