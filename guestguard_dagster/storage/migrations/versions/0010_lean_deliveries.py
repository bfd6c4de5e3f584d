"""Deliveries of a message take no room in the indexes of notifications and memos, and are leased within their page"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ONE_PER = ("notification_id", "memo_id")


def upgrade() -> None:
    for column in _ONE_PER:
        name = f"uq_message_deliveries_{column}"
        op.drop_constraint(name, "message_deliveries", schema="guestguard_messaging")
        op.create_index(
            name,
            "message_deliveries",
            [column],
            schema="guestguard_messaging",
            unique=True,
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.execute("ALTER TABLE guestguard_messaging.message_deliveries SET (fillfactor = 45)")


def downgrade() -> None:
    op.execute("ALTER TABLE guestguard_messaging.message_deliveries SET (fillfactor = 70)")
    for column in _ONE_PER:
        name = f"uq_message_deliveries_{column}"
        op.drop_index(name, table_name="message_deliveries", schema="guestguard_messaging")
        op.create_unique_constraint(name, "message_deliveries", [column], schema="guestguard_messaging")
