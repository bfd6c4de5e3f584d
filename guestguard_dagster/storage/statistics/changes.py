"""Which days' statistics are out of date: what changed since the last look, however late the news came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from guestguard_dagster.domain.deliveries import LEASE_TIME
from guestguard_dagster.storage.database import Database, sql


class Source(StrEnum):
    """The tables that statistics are computed from."""

    MESSAGES = "scheduled_messages"
    DELIVERIES = "message_deliveries"
    NOTIFICATIONS = "notifications"
    ATTEMPTS = "delivery_attempts"


@dataclass(frozen=True, slots=True)
class Change:
    """So many rows of a source that belong to this day of the operator's zone changed."""

    source: Source
    day: date
    rows: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that changed before `until`, which is where the next look begins."""

    until: datetime
    found: tuple[Change, ...]


# How long a transaction of ours may be open before it writes for the first time.
YOUNG = timedelta(seconds=5)

# What a transaction that is still open has written carries a time after its start: before the oldest start, nothing is
# missing. One that is open and has written nothing yet is not listed, but it is young.
_UNTIL = """
    SELECT LEAST(clock_timestamp() - CAST(:young AS interval), min(xact_start))
    FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL
"""

_CHANGED = {
    Source.MESSAGES: """
        SELECT CAST(send_at AT TIME ZONE :zone AS date) AS day, count(*) AS rows FROM scheduled_messages
        WHERE updated_at >= :since AND updated_at < :until AND status IN ('sending', 'sent', 'failed')
        GROUP BY 1 ORDER BY 1
    """,
    Source.DELIVERIES: """
        SELECT CAST(m.send_at AT TIME ZONE :zone AS date) AS day, count(*) AS rows
        FROM message_deliveries d JOIN scheduled_messages m ON m.id = d.message_id
        WHERE d.updated_at >= :since AND d.updated_at < :until
        GROUP BY 1 ORDER BY 1
    """,
    Source.NOTIFICATIONS: """
        SELECT CAST(created_at AT TIME ZONE :zone AS date) AS day, count(*) AS rows FROM message_deliveries
        WHERE updated_at >= :since AND updated_at < :until AND message_id IS NULL
        GROUP BY 1 ORDER BY 1
    """,
    # An attempt carries the time of its answer, and is written down within its lease. The newest lives in its delivery.
    Source.ATTEMPTS: """
        SELECT CAST(attempted_at AT TIME ZONE :zone AS date) AS day, count(*) AS rows
        FROM (
            SELECT attempted_at FROM delivery_attempts
            WHERE attempted_at >= CAST(:since AS timestamptz) - CAST(:lease AS interval) AND attempted_at < :until
            UNION ALL
            SELECT attempted_at FROM message_deliveries
            WHERE updated_at >= :since AND updated_at < :until AND attempted_at IS NOT NULL
        ) attempts
        GROUP BY 1 ORDER BY 1
    """,
}


class ChangeRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self, since: datetime | None, zone: ZoneInfo) -> Changes:
        """What changed from `since` (timezone-aware) on. Without it nothing is looked at, and `until` is the present.

        Looks that begin where the one before ended miss nothing, even of transactions that commit late.
        """
        with self._database.transaction() as connection:
            until: datetime = connection.execute(sql(_UNTIL), {"young": YOUNG}).scalar_one()
            if since is None:
                return Changes(until, ())
            if until <= since:
                return Changes(since, ())
            return Changes(until, tuple(_found(connection, since, until, zone)))


def _found(connection: Connection, since: datetime, until: datetime, zone: ZoneInfo) -> Sequence[Change]:
    values = {"since": since, "until": until, "zone": zone.key, "lease": LEASE_TIME}
    return [
        Change(source, row.day, row.rows)
        for source, query in _CHANGED.items()
        for row in connection.execute(sql(query), values)
    ]
