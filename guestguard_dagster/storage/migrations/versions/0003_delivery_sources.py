"""Deliveries are worked off by source: a message, or the drain that a kind of notification goes through"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATUSES = ("pending", "sending")


def upgrade() -> None:
    op.add_column("message_deliveries", sa.Column("drain_id", sa.Uuid()), schema="guestguard_messaging")
    op.add_column(
        "message_deliveries",
        sa.Column(
            "source_id", sa.Uuid(), sa.Computed("COALESCE(message_id, drain_id)", persisted=True), nullable=False
        ),
        schema="guestguard_messaging",
    )
    op.alter_column("message_deliveries", "guest_id", nullable=True, schema="guestguard_messaging")
    _index_by("source_id")


def downgrade() -> None:
    _index_by("message_id")
    op.execute("DELETE FROM guestguard_messaging.message_deliveries WHERE message_id IS NULL OR guest_id IS NULL")
    op.alter_column("message_deliveries", "guest_id", nullable=False, schema="guestguard_messaging")
    op.drop_column("message_deliveries", "source_id", schema="guestguard_messaging")
    op.drop_column("message_deliveries", "drain_id", schema="guestguard_messaging")


def _index_by(column: str) -> None:
    for status in _STATUSES:
        name = f"ix_message_deliveries_{status}"
        op.drop_index(name, table_name="message_deliveries", schema="guestguard_messaging")
        op.create_index(
            name,
            "message_deliveries",
            [column, "id"],
            schema="guestguard_messaging",
            postgresql_where=sa.text(f"status = '{status}'"),
        )
