"""Of an account whose rate is too low for several runs, one run uses it, and takes the others' messages over"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rate_buckets", sa.Column("run_token", sa.Uuid()), schema="guestguard_messaging")
    op.add_column("rate_buckets", sa.Column("run_until", sa.DateTime(timezone=True)), schema="guestguard_messaging")


def downgrade() -> None:
    op.drop_column("rate_buckets", "run_until", schema="guestguard_messaging")
    op.drop_column("rate_buckets", "run_token", schema="guestguard_messaging")
