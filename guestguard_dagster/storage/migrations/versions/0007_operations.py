"""Reports and the memos that carry them, alerts, ticks of sensors; mailboxes that a provider refused at once"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _id() -> sa.Column[object]:
    return sa.Column("id", sa.Uuid(), server_default=sa.func.gen_random_uuid(), nullable=False)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _instant(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True))


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "delivery_reports",
        _id(),
        *_texts("kind"),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("event_id", sa.Uuid()),
        *_texts("title", "html", "summary"),
        sa.Column("is_empty", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        _now("created_at"),
        _now("updated_at"),
        sa.CheckConstraint("kind IN ('daily', 'weekly', 'event')", name=op.f("ck_delivery_reports_kind")),
        sa.CheckConstraint("(kind = 'event') = (event_id IS NOT NULL)", name=op.f("ck_delivery_reports_event_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_reports")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "uq_delivery_reports_period",
        "delivery_reports",
        ["kind", "first_day"],
        unique=True,
        schema="guestguard_messaging",
        postgresql_where=sa.text("event_id IS NULL"),
    )
    op.create_index(
        "uq_delivery_reports_event",
        "delivery_reports",
        ["event_id"],
        unique=True,
        schema="guestguard_messaging",
        postgresql_where=sa.text("event_id IS NOT NULL"),
    )
    op.create_table(
        "alerts",
        _id(),
        *_texts("subject", "title", "detail"),
        sa.Column("link", sa.Text()),
        _now("opened_at"),
        _instant("closed_at"),
        _instant("told_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "uq_alerts_open",
        "alerts",
        ["subject"],
        unique=True,
        schema="guestguard_messaging",
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "sensor_ticks",
        *_texts("sensor"),
        _now("ticked_at"),
        sa.PrimaryKeyConstraint("sensor", name=op.f("pk_sensor_ticks")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "memos",
        _id(),
        *_texts("kind", "occasion", "address", "name", "subject", "text", "html"),
        _now("created_at"),
        sa.CheckConstraint("kind IN ('report', 'alert')", name=op.f("ck_memos_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memos")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "uq_memos_occasion_address_folded",
        "memos",
        ["occasion", sa.text("lower(address)")],
        unique=True,
        schema="guestguard_messaging",
    )
    op.add_column("message_deliveries", sa.Column("memo_id", sa.Uuid()), schema="guestguard_messaging")
    op.create_unique_constraint(
        "uq_message_deliveries_memo_id", "message_deliveries", ["memo_id"], schema="guestguard_messaging"
    )
    op.create_foreign_key(
        "fk_message_deliveries_memo_id_memos",
        "message_deliveries",
        "memos",
        ["memo_id"],
        ["id"],
        source_schema="guestguard_messaging",
        referent_schema="guestguard_messaging",
        ondelete="CASCADE",
    )
    op.alter_column("message_deliveries", "event_id", nullable=True, schema="guestguard_messaging")
    op.add_column(
        "provider_health",
        sa.Column("refused_mailboxes", sa.BigInteger(), server_default="0", nullable=False),
        schema="guestguard_messaging",
    )


def downgrade() -> None:
    op.drop_column("provider_health", "refused_mailboxes", schema="guestguard_messaging")
    op.execute("DELETE FROM guestguard_messaging.message_deliveries WHERE event_id IS NULL")
    op.alter_column("message_deliveries", "event_id", nullable=False, schema="guestguard_messaging")
    op.drop_column("message_deliveries", "memo_id", schema="guestguard_messaging")
    for table in ("memos", "sensor_ticks", "alerts", "delivery_reports"):
        op.drop_table(table, schema="guestguard_messaging")
