"""The batches whose bodies retention empties, found by their age"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_provider_batches_with_body",
        "provider_batches",
        ["first_called_at"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("body IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_provider_batches_with_body", table_name="provider_batches", schema="guestguard_messaging")
