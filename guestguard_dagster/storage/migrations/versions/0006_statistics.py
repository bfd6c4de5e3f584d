"""Statistics by day, and the indexes that find a day's batches and the rows of the last minutes"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATUSES = (
    "pending",
    "sending",
    "sent",
    "delivered",
    "bounced",
    "complained",
    "failed",
    "suppressed",
    "skipped",
    "unknown",
)
_LATEST = (
    ("scheduled_messages", "updated_at"),
    ("message_deliveries", "updated_at"),
    ("delivery_attempts", "attempted_at"),
)


def _counts(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _names(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _seconds(*names: str) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double()) for name in names]


def _instant(name: str, *, required: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not required)


def _day() -> sa.Column[object]:
    return sa.Column("day", sa.Date(), nullable=False)


def _computed_at() -> sa.Column[object]:
    return sa.Column("computed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "message_delivery_stats",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        _day(),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        *_names("kind", "channel", "status"),
        _instant("send_at", required=True),
        *_counts("recipients", *_STATUSES, "retryable"),
        _instant("first_handed_off_at"),
        _instant("last_handed_off_at"),
        *_seconds("hand_off_p50", "hand_off_p95", "delivered_p50", "delivered_p95"),
        _computed_at(),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_delivery_stats")),
        schema="guestguard_messaging",
    )
    for column in ("day", "event_id"):
        op.create_index(
            f"ix_message_delivery_stats_{column}", "message_delivery_stats", [column], schema="guestguard_messaging"
        )
    op.create_table(
        "event_delivery_stats",
        _day(),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        *_counts("recipients", *_STATUSES, "retryable"),
        _computed_at(),
        sa.PrimaryKeyConstraint("day", "event_id", name=op.f("pk_event_delivery_stats")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_event_delivery_stats_event_id", "event_delivery_stats", ["event_id"], schema="guestguard_messaging"
    )
    op.create_table(
        "daily_delivery_stats",
        _day(),
        *_names("channel", "kind", "provider", "outcome"),
        *_counts("deliveries"),
        *_seconds("hand_off_p50", "hand_off_p95", "delivered_p50", "delivered_p95"),
        _computed_at(),
        sa.PrimaryKeyConstraint("day", "channel", "kind", "provider", "outcome", name=op.f("pk_daily_delivery_stats")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "daily_latency_stats",
        _day(),
        *_names("channel"),
        *_counts("handed_off", "delivered"),
        *_seconds("hand_off_p50", "hand_off_p95", "hand_off_p99", "delivered_p50", "delivered_p95", "delivered_p99"),
        _computed_at(),
        sa.PrimaryKeyConstraint("day", "channel", name=op.f("pk_daily_latency_stats")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "provider_health",
        _day(),
        *_names("provider", "account"),
        *_counts("attempts", "taken", "permanent", "transient", "provider_wide", "unknown"),
        *_seconds("answer_p50", "answer_p95"),
        sa.Column("commonest_error", sa.Text()),
        *_counts("handed_off", "delivered", "bounced", "complained"),
        _computed_at(),
        sa.PrimaryKeyConstraint("day", "provider", "account", name=op.f("pk_provider_health")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "retention_marks",
        sa.Column("what", sa.Text(), nullable=False),
        _instant("kept_since", required=True),
        sa.PrimaryKeyConstraint("what", name=op.f("pk_retention_marks")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_scheduled_messages_began",
        "scheduled_messages",
        ["send_at"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("status IN ('sending', 'sent', 'failed')"),
    )
    op.create_index(
        "ix_message_deliveries_without_message",
        "message_deliveries",
        ["created_at"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("message_id IS NULL"),
    )
    for table, column in _LATEST:
        op.create_index(
            f"ix_{table}_{column}",
            table,
            [column],
            schema="guestguard_messaging",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": "16", "autosummarize": "on"},
        )


def downgrade() -> None:
    for table, column in _LATEST:
        op.drop_index(f"ix_{table}_{column}", table_name=table, schema="guestguard_messaging")
    op.drop_index(
        "ix_message_deliveries_without_message", table_name="message_deliveries", schema="guestguard_messaging"
    )
    op.drop_index("ix_scheduled_messages_began", table_name="scheduled_messages", schema="guestguard_messaging")
    for table in (
        "retention_marks",
        "provider_health",
        "daily_latency_stats",
        "daily_delivery_stats",
        "event_delivery_stats",
        "message_delivery_stats",
    ):
        op.drop_table(table, schema="guestguard_messaging")
