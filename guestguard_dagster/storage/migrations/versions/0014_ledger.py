"""What holds the database against its ledger: a position, what was deleted, what had left, and gaps"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# A batch that the ledger knows and the database has deleted is not one that the database has lost. What was recorded
# before the last look was seen by it.
_FUNCTIONS = """
CREATE FUNCTION guestguard_messaging.remember_deleted_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO guestguard_messaging.ledger_deleted_batches (batch_id, key)
    SELECT OLD.id, OLD.key FROM guestguard_messaging.ledger_position p
    WHERE OLD.recorded_at IS NULL OR OLD.recorded_at >= p.verified_at
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE FUNCTION guestguard_messaging.rename_returned_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO guestguard_messaging.ledger_deleted_batches (batch_id, key)
    SELECT OLD.id, OLD.key FROM guestguard_messaging.ledger_position ON CONFLICT DO NOTHING;
    NEW.key = gen_random_uuid();
    NEW.recorded_at = NULL;
    RETURN NEW;
END
$$
"""
# One that was marked and given back, because nothing of it left, is another one when it is marked again.
_TRIGGERS = """
CREATE TRIGGER deleted_batch_is_remembered AFTER DELETE ON guestguard_messaging.delivery_batches
FOR EACH ROW WHEN (OLD.handed_off_at IS NOT NULL) EXECUTE FUNCTION guestguard_messaging.remember_deleted_batch();
CREATE TRIGGER returned_batch_is_another BEFORE UPDATE OF handed_off_at ON guestguard_messaging.delivery_batches
FOR EACH ROW WHEN (OLD.handed_off_at IS NOT NULL AND NEW.handed_off_at IS NULL)
EXECUTE FUNCTION guestguard_messaging.rename_returned_batch()
"""


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.add_column("delivery_batches", _instant("recorded_at", nullable=True), schema="guestguard_messaging")
    op.create_index(
        "ix_delivery_batches_unrecorded",
        "delivery_batches",
        ["handed_off_at"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("handed_off_at IS NOT NULL AND recorded_at IS NULL"),
    )
    op.create_table(
        "ledger_position",
        sa.Column("is_the_one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        _instant("stream_created_at"),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        _instant("verified_at"),
        _instant("complete_from"),
        sa.Column("mark_number", sa.BigInteger(), server_default="0", nullable=False),
        _instant("behind_since", nullable=True),
        sa.Column("unknown_batches", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("is_the_one", name="pk_ledger_position"),
        sa.CheckConstraint("is_the_one", name=op.f("ck_ledger_position_is_the_one")),
        sa.CheckConstraint(
            "(behind_since IS NULL) = (unknown_batches IS NULL)", name=op.f("ck_ledger_position_behind")
        ),
        schema="guestguard_messaging",
    )
    op.create_table(
        "ledger_deleted_batches",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        _now("deleted_at"),
        sa.PrimaryKeyConstraint("key", "batch_id", name="pk_ledger_deleted_batches"),
        schema="guestguard_messaging",
    )
    op.create_table(
        "ledger_left",
        sa.Column("id", sa.Uuid(), nullable=False),
        _instant("left_at"),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_left"),
        schema="guestguard_messaging",
    )
    op.create_table(
        "ledger_gaps",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _instant("since"),
        _instant("until"),
        _now("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_gaps"),
        schema="guestguard_messaging",
    )
    op.execute(_FUNCTIONS)
    op.execute(_TRIGGERS)


def downgrade() -> None:
    op.execute("DROP TRIGGER deleted_batch_is_remembered ON guestguard_messaging.delivery_batches")
    op.execute("DROP TRIGGER returned_batch_is_another ON guestguard_messaging.delivery_batches")
    op.execute("DROP FUNCTION guestguard_messaging.remember_deleted_batch()")
    op.execute("DROP FUNCTION guestguard_messaging.rename_returned_batch()")
    for table in ("ledger_gaps", "ledger_left", "ledger_deleted_batches", "ledger_position"):
        op.drop_table(table, schema="guestguard_messaging")
    op.drop_index("ix_delivery_batches_unrecorded", table_name="delivery_batches", schema="guestguard_messaging")
    op.drop_column("delivery_batches", "recorded_at", schema="guestguard_messaging")
