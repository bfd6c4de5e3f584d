"""The tables that the statistics assets fill. They refer to nothing, so that they outlive what they were counted from.

`day` is a day of the operator's zone: the day that a delivery was due, or for attempts the day they were made.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
)

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.storage.tables.base import metadata


def _day() -> Column[object]:
    return Column("day", Date, nullable=False)


def _names(*columns: str) -> list[Column[object]]:
    return [Column(name, Text, nullable=False) for name in columns]


def _counts(*columns: str) -> list[Column[object]]:
    return [Column(name, BigInteger, nullable=False) for name in columns]


def _seconds(*columns: str) -> list[Column[object]]:
    return [Column(name, Double) for name in columns]


def _outcomes() -> list[Column[object]]:
    """Deliveries by where they stand: one column per DeliveryStatus."""
    return _counts("recipients", *DeliveryStatus, "retryable")


def _computed_at() -> Column[object]:
    return Column("computed_at", DateTime(timezone=True), nullable=False, server_default=func.now())


message_delivery_stats = Table(
    "message_delivery_stats",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    _day(),
    Column("event_id", Uuid, nullable=False),
    *_names("kind", "channel", "status"),
    Column("send_at", DateTime(timezone=True), nullable=False),
    *_outcomes(),
    Column("first_handed_off_at", DateTime(timezone=True)),
    Column("last_handed_off_at", DateTime(timezone=True)),
    *_seconds("hand_off_p50", "hand_off_p95", "delivered_p50", "delivered_p95"),
    _computed_at(),
    Index("ix_message_delivery_stats_day", "day"),
    Index("ix_message_delivery_stats_event_id", "event_id"),
)

event_delivery_stats = Table(
    "event_delivery_stats",
    metadata,
    _day(),
    Column("event_id", Uuid, nullable=False),
    Column("messages", Integer, nullable=False),
    *_outcomes(),
    _computed_at(),
    PrimaryKeyConstraint("day", "event_id"),
    Index("ix_event_delivery_stats_event_id", "event_id"),
)

daily_delivery_stats = Table(
    "daily_delivery_stats",
    metadata,
    _day(),
    # provider is 'none' where nothing was handed to one
    *_names("channel", "kind", "provider", "outcome"),
    *_counts("deliveries"),
    *_seconds("hand_off_p50", "hand_off_p95", "delivered_p50", "delivered_p95"),
    _computed_at(),
    PrimaryKeyConstraint("day", "channel", "kind", "provider", "outcome"),
)

daily_latency_stats = Table(
    "daily_latency_stats",
    metadata,
    _day(),
    *_names("channel"),
    *_counts("handed_off", "delivered"),
    *_seconds("hand_off_p50", "hand_off_p95", "hand_off_p99", "delivered_p50", "delivered_p95", "delivered_p99"),
    _computed_at(),
    PrimaryKeyConstraint("day", "channel"),
)

provider_health = Table(
    "provider_health",
    metadata,
    _day(),
    *_names("provider", "account"),
    # hand-offs by what the provider answered
    *_counts("attempts", "taken", "permanent", "transient", "provider_wide", "unknown"),
    *_seconds("answer_p50", "answer_p95"),
    Column("commonest_error", Text),
    # what became of the deliveries that were due
    *_counts("handed_off", "delivered", "bounced", "complained"),
    # ... of which the provider said at once that there is no such mailbox: they bounced without having been taken
    Column("refused_mailboxes", BigInteger, nullable=False, server_default="0"),
    _computed_at(),
    PrimaryKeyConstraint("day", "provider", "account"),
)
