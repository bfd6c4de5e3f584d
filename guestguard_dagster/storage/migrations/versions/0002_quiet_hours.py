"""Quiet hours per event and channel: off for email, 21:00 to 09:00 on the event's clock for SMS"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("email_quiet_from", None),
    ("email_quiet_until", None),
    ("sms_quiet_from", "21:00"),
    ("sms_quiet_until", "09:00"),
)


def upgrade() -> None:
    for name, default in _COLUMNS:
        op.add_column("events", sa.Column(name, sa.Time(), server_default=default), schema="guestguard_messaging")


def downgrade() -> None:
    for name, _ in reversed(_COLUMNS):
        op.drop_column("events", name, schema="guestguard_messaging")
