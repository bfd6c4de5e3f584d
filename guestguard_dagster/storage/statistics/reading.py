"""Computed statistics, as metadata, charts, reports and rate checks read them. `computing` has their meaning.

Latencies are in seconds since the deliveries were due.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Table, select

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.messages import MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database, sql

Outcomes = Mapping[DeliveryStatus, int]


@dataclass(frozen=True, slots=True)
class DailyRow:
    """One row of daily_delivery_stats."""

    day: date
    channel: MessageChannel
    kind: str
    provider: str
    outcome: DeliveryStatus
    deliveries: int
    hand_off_p50: float | None
    hand_off_p95: float | None
    delivered_p50: float | None
    delivered_p95: float | None


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One day's latencies on one channel."""

    day: date
    channel: MessageChannel
    handed_off: int
    delivered: int
    hand_off_p50: float | None
    hand_off_p95: float | None
    hand_off_p99: float | None
    delivered_p50: float | None
    delivered_p95: float | None
    delivered_p99: float | None


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One provider account's day: hand-offs by answer, and what became of the deliveries that were due."""

    day: date
    provider: str
    account: str
    attempts: int
    taken: int
    permanent: int
    transient: int
    provider_wide: int
    unknown: int
    answer_p50: float | None
    answer_p95: float | None
    commonest_error: str | None
    handed_off: int
    delivered: int
    bounced: int
    complained: int
    refused_mailboxes: int


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message's deliveries by where they stand. `event_name` is None when the event was deleted since."""

    message_id: UUID
    event_id: UUID
    event_name: str | None
    kind: str
    channel: MessageChannel
    status: MessageStatus
    send_at: datetime
    recipients: int
    outcomes: Outcomes
    hand_off_p50: float | None
    hand_off_p95: float | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event's deliveries of some days by where they stand. `event_name` is None when it was deleted since."""

    event_id: UUID
    event_name: str | None
    messages: int
    recipients: int
    outcomes: Outcomes


class StatsReader:
    def __init__(self, database: Database) -> None:
        self._database = database

    def daily(self, days: Days) -> list[DailyRow]:
        return [
            DailyRow(
                **_computed(row) | {"channel": MessageChannel(row.channel), "outcome": DeliveryStatus(row.outcome)}
            )
            for row in self._read(
                "SELECT * FROM daily_delivery_stats WHERE day BETWEEN :first AND :last "
                "ORDER BY day, channel, kind, provider, outcome",
                days,
            )
        ]

    def latencies(self, days: Days) -> list[LatencyRow]:
        return [
            LatencyRow(**_computed(row) | {"channel": MessageChannel(row.channel)})
            for row in self._read(
                "SELECT * FROM daily_latency_stats WHERE day BETWEEN :first AND :last ORDER BY day, channel",
                days,
            )
        ]

    def providers(self, days: Days) -> list[ProviderRow]:
        return [
            ProviderRow(**_computed(row))
            for row in self._read(
                "SELECT * FROM provider_health WHERE day BETWEEN :first AND :last ORDER BY day, provider, account",
                days,
            )
        ]

    def outcomes_by_day(self, days: Days) -> Mapping[date, Outcomes]:
        """Deliveries by where they stand; days without any are missing."""
        found: dict[date, dict[DeliveryStatus, int]] = {}
        for row in self._read(
            "SELECT day, outcome, sum(deliveries) AS deliveries FROM daily_delivery_stats "
            "WHERE day BETWEEN :first AND :last GROUP BY day, outcome ORDER BY day, outcome",
            days,
        ):
            found.setdefault(row.day, {})[DeliveryStatus(row.outcome)] = int(row.deliveries)
        return found

    def outcomes_by_hour(self, days: Days) -> dict[int, Outcomes]:
        """The messages' deliveries by the hour, on the operator's clock, at which they were due."""
        rows = self._read(
            "SELECT CAST(date_part('hour', send_at AT TIME ZONE :zone) AS int) AS hour, "
            f"{_summed(*DeliveryStatus)} FROM message_delivery_stats "
            "WHERE day BETWEEN :first AND :last GROUP BY 1 ORDER BY 1",
            days,
            zone=days.zone.key,
        )
        return {row.hour: _outcomes(row) for row in rows}

    def events_by_day(self, days: Days) -> dict[date, int]:
        """How many events were written about; days without any are missing."""
        rows = self._read(
            "SELECT day, count(*) AS events FROM event_delivery_stats "
            "WHERE day BETWEEN :first AND :last GROUP BY day ORDER BY day",
            days,
        )
        return {row.day: row.events for row in rows}

    def messages(self, days: Days, *, limit: int) -> list[MessageRow]:
        """The messages with the most recipients."""
        rows = self._read(
            "SELECT s.*, e.name AS event_name FROM message_delivery_stats s "
            "LEFT JOIN events e ON e.id = s.event_id "
            "WHERE s.day BETWEEN :first AND :last ORDER BY s.recipients DESC, s.message_id LIMIT :limit",
            days,
            limit=limit,
        )
        return [_message_row(row) for row in rows]

    def events(self, days: Days, *, limit: int) -> list[EventRow]:
        """The events with the most recipients, their days summed up."""
        rows = self._read(
            f"""
            SELECT s.*, e.name AS event_name
            FROM (
                SELECT event_id, {_summed("messages", "recipients", *DeliveryStatus)}
                FROM event_delivery_stats WHERE day BETWEEN :first AND :last GROUP BY event_id
            ) s LEFT JOIN events e ON e.id = s.event_id
            ORDER BY s.recipients DESC, s.event_id LIMIT :limit
            """,
            days,
            limit=limit,
        )
        return [
            EventRow(row.event_id, row.event_name, int(row.messages), int(row.recipients), _outcomes(row))
            for row in rows
        ]

    def rows_of(self, table: Table, days: Days) -> Sequence[Row[Any]]:
        """All columns of one of the tables in `storage.tables.statistics`, in the order of their key."""
        query = select(table).where(table.c.day.between(days.first, days.last))
        with self._database.transaction() as connection:
            return connection.execute(query.order_by(table.c.day, *table.primary_key)).all()

    def _read(self, query: str, days: Days, **values: object) -> list[Row[Any]]:
        with self._database.transaction() as connection:
            return list(connection.execute(sql(query), {"first": days.first, "last": days.last, **values}))


def _summed(*columns: str) -> str:
    return ", ".join(f"sum({column}) AS {column}" for column in columns)


def _computed(row: Row[Any]) -> dict[str, Any]:
    values = row._asdict()
    del values["computed_at"]
    return values


def _outcomes(row: Row[Any]) -> Outcomes:
    """The counts that are not zero."""
    counts = {status: int(getattr(row, status)) for status in DeliveryStatus}
    return {status: count for status, count in counts.items() if count}


def _message_row(row: Row[Any]) -> MessageRow:
    return MessageRow(
        message_id=row.message_id,
        event_id=row.event_id,
        event_name=row.event_name,
        kind=row.kind,
        channel=MessageChannel(row.channel),
        status=MessageStatus(row.status),
        send_at=row.send_at,
        recipients=row.recipients,
        outcomes=_outcomes(row),
        hand_off_p50=row.hand_off_p50,
        hand_off_p95=row.hand_off_p95,
    )
