"""A hold says whose it is, and a message when it last probed a paused provider"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Until now only the reason said who holds a message. Whatever is not known to be a run's is for a person to lift.
_CARRY_OVER = """
    UPDATE guestguard_messaging.scheduled_messages
    SET held_by = CASE WHEN held_reason LIKE 'an operator terminated run %' THEN 'run' ELSE 'host' END,
        held_run_id = substring(held_reason FROM '^an operator terminated run ([^;]+);')
    WHERE held_at IS NOT NULL
"""


def upgrade() -> None:
    op.add_column(
        "scheduled_messages", sa.Column("probed_at", sa.DateTime(timezone=True)), schema="guestguard_messaging"
    )
    op.add_column("scheduled_messages", sa.Column("held_by", sa.Text()), schema="guestguard_messaging")
    op.add_column("scheduled_messages", sa.Column("held_run_id", sa.Text()), schema="guestguard_messaging")
    op.create_check_constraint(
        "held_by", "scheduled_messages", "held_by IN ('host', 'operator', 'run')", schema="guestguard_messaging"
    )
    op.execute(_CARRY_OVER)


def downgrade() -> None:
    for column in ("held_run_id", "held_by", "probed_at"):
        op.drop_column("scheduled_messages", column, schema="guestguard_messaging")
