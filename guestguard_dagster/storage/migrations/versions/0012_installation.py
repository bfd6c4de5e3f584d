"""The installation's own id, by which providers' callbacks about its mail are known"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("id", sa.Uuid(), server_default=sa.func.gen_random_uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "uq_installation_one_row", "installation", [sa.text("(true)")], unique=True, schema="guestguard_messaging"
    )
    op.execute("INSERT INTO guestguard_messaging.installation DEFAULT VALUES")


def downgrade() -> None:
    op.drop_table("installation", schema="guestguard_messaging")
