"""Callbacks that supersede each other: a guest's STOP and START belong to one thread, in which the newest counts"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("provider_callbacks", sa.Column("thread", sa.Text()), schema="guestguard_messaging")
    op.create_index(
        "ix_provider_callbacks_thread",
        "provider_callbacks",
        ["thread", "id"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("thread IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_column("provider_callbacks", "thread", schema="guestguard_messaging")
