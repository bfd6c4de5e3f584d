"""What a materialization of statistics shows: its numbers, a table, and a chart of the day or of the month before."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from dagster import MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from guestguard_dagster.domain.days import Days
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.reporting.charts import Series, as_data_uri, stacked_bars
from guestguard_dagster.reporting.outcomes import COLOURS, outcome_series
from guestguard_dagster.storage.statistics.reading import Outcomes, StatsReader

Metadata = dict[str, Any]
T = TypeVar("T")

_TREND = 29  # and the day itself
_LARGEST = 20
_ANSWERS = {
    "taken": "#2e8b57",
    "transient": "#e0b645",
    "permanent": "#e08e45",
    "unknown": "#8e6bbf",
    "provider_wide": "#c0392b",
}


def messages_metadata(reader: StatsReader, day: Days) -> Metadata:
    """The day's largest messages, and when they were due."""
    messages = reader.messages(day, limit=_LARGEST)
    hours = reader.outcomes_by_hour(day)
    return {
        "chart": _chart(
            f"Deliveries on {day} by the hour their message was due",
            [f"{hour:02}" for hour in range(24)],
            outcome_series([hours.get(hour, {}) for hour in range(24)]),
        ),
        **_counts(hours.values()),
        "largest messages": _table(
            {
                "event": message.event_name or "(deleted)",
                "kind": message.kind,
                "channel": message.channel.value,
                "status": message.status.value,
                "recipients": message.recipients,
                **_shown(message.outcomes),
                "hand-off p95": _seconds(message.hand_off_p95),
                "message": str(message.message_id),
            }
            for message in messages
        ),
    }


def events_metadata(reader: StatsReader, day: Days) -> Metadata:
    """The day's events with the most recipients, and how many events were written about."""
    events = reader.events(day, limit=_LARGEST)
    trend = reader.events_by_day(day.widened(_TREND))
    return {
        "chart": _trend_chart(
            "Events written about per day", day, [Series("events", "#4a3aa8", _by_day(day, trend, 0))]
        ),
        "events": trend.get(day.first, 0),
        "largest events": _table(
            {
                "event": event.event_name or "(deleted)",
                "messages": event.messages,
                "recipients": event.recipients,
                **_shown(event.outcomes),
                "id": str(event.event_id),
            }
            for event in events
        ),
    }


def days_metadata(reader: StatsReader, day: Days) -> Metadata:
    """The day by channel, kind, provider and outcome, its latencies, and the month before."""
    trend = reader.outcomes_by_day(day.widened(_TREND))
    return {
        "chart": _trend_chart("Deliveries per day by outcome", day, outcome_series(_by_day(day, trend, {}))),
        **_counts([trend.get(day.first, {})]),
        **{
            f"{latency.channel} {name} (s)": MetadataValue.float(round(seconds, 3))
            for latency in reader.latencies(day)
            for name, seconds in (
                ("hand-off p50", latency.hand_off_p50),
                ("hand-off p95", latency.hand_off_p95),
                ("delivered p95", latency.delivered_p95),
            )
            if seconds is not None
        },
        "by kind and outcome": _table(
            {
                "channel": row.channel.value,
                "kind": row.kind,
                "provider": row.provider,
                "outcome": row.outcome.value,
                "deliveries": row.deliveries,
                "hand-off p50": _seconds(row.hand_off_p50),
                "hand-off p95": _seconds(row.hand_off_p95),
                "delivered p50": _seconds(row.delivered_p50),
                "delivered p95": _seconds(row.delivered_p95),
            }
            for row in reader.daily(day)
        ),
    }


def providers_metadata(reader: StatsReader, day: Days) -> Metadata:
    """The day's provider accounts, and the answers of the month before."""
    trend = reader.providers(day.widened(_TREND))
    answers: dict[str, Counter[date]] = {answer: Counter() for answer in _ANSWERS}
    for row in trend:
        for answer, counted in answers.items():
            counted[row.day] += getattr(row, answer)
    today = [row for row in trend if row.day == day.first]
    return {
        "chart": _trend_chart(
            "Hand-offs per day by the provider's answer",
            day,
            [Series(answer, _ANSWERS[answer], _by_day(day, counted, 0)) for answer, counted in answers.items()],
        ),
        "attempts": sum(row.attempts for row in today),
        "accounts": _table(
            {
                "provider": row.provider,
                "account": row.account,
                "attempts": row.attempts,
                **{answer: getattr(row, answer) for answer in _ANSWERS},
                "answer p50": _seconds(row.answer_p50),
                "answer p95": _seconds(row.answer_p95),
                "commonest error": row.commonest_error or "",
                "bounced": row.bounced,
                "complained": row.complained,
            }
            for row in today
        ),
    }


def _counts(counted: Iterable[Outcomes]) -> Metadata:
    """Deliveries in all and by outcome: plain numbers, which the UI draws over the days."""
    total: Counter[DeliveryStatus] = Counter()
    for outcomes in counted:
        total.update(outcomes)
    return {"deliveries": total.total(), **_shown(total)}


def _shown(outcomes: Outcomes) -> dict[str, int]:
    return {status.value: outcomes.get(status, 0) for status in COLOURS}


def _by_day(day: Days, trend: Mapping[date, T], nothing: T) -> list[T]:
    return [trend.get(each.first, nothing) for each in day.widened(_TREND)]


def _trend_chart(title: str, day: Days, series: Sequence[Series]) -> MetadataValue[Any]:
    return _chart(title, [f"{each.first:%d %b}" for each in day.widened(_TREND)], series)


def _chart(title: str, labels: Sequence[str], series: Sequence[Series]) -> MetadataValue[Any]:
    return MetadataValue.md(f"![{title}]({as_data_uri(stacked_bars(title, labels, series))})")


def _table(rows: Iterable[Mapping[str, str | int | float]]) -> TableMetadataValue:
    records = [TableRecord(dict(row)) for row in rows]
    names = list(records[0].data) if records else ["nothing on this day"]
    return MetadataValue.table(records, schema=TableSchema([TableColumn(name) for name in names]))


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s"
