"""Notifications of events on NATS with their deliveries, and dead letters"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TYPES = "type IN ('confirmation', 'fraud_alert', 'invitation')"
_STATUSES = (
    "status IN ('pending', 'sending', 'sent', 'delivered', 'bounced', 'complained', 'failed', 'suppressed', "
    "'skipped', 'unknown', 'duplicate')"
)

# A notification stands as its delivery does, whoever moves that one: a run, a callback, a retry.
_FOLLOW = """
CREATE FUNCTION guestguard_messaging.notification_follows_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE guestguard_messaging.notifications
    SET status = NEW.status, reason = NEW.reason, provider_message_id = NEW.provider_message_id,
        error = NULLIF(concat_ws(' ', NEW.error_class, NEW.error_code, NEW.error_detail), ''),
        updated_at = clock_timestamp()
    WHERE id = NEW.notification_id;
    RETURN NULL;
END
$$
"""
_TRIGGER = """
CREATE TRIGGER notification_follows_delivery AFTER UPDATE OF status ON guestguard_messaging.message_deliveries
FOR EACH ROW WHEN (
    NEW.notification_id IS NOT NULL
    AND (OLD.status, OLD.reason, OLD.provider_message_id, OLD.error_class, OLD.error_code)
        IS DISTINCT FROM (NEW.status, NEW.reason, NEW.provider_message_id, NEW.error_class, NEW.error_code)
)
EXECUTE FUNCTION guestguard_messaging.notification_follows_delivery()
"""


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid()),
        sa.Column("guest_id", sa.Uuid()),
        sa.Column("channel", sa.Text(), server_default="email", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("provider_message_id", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("duplicate_of", sa.Uuid()),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(_TYPES, name=op.f("ck_notifications_type")),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_notifications_channel")),
        sa.CheckConstraint(_STATUSES, name=op.f("ck_notifications_status")),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
        sa.UniqueConstraint("stream", "sequence", "published_at", name="uq_notifications_stream_sequence_published_at"),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["guestguard_messaging.events.id"],
            name="fk_notifications_event_id_events",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["guest_id"],
            ["guestguard_messaging.guests.id"],
            name="fk_notifications_guest_id_guests",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["duplicate_of"],
            ["guestguard_messaging.notifications.id"],
            name="fk_notifications_duplicate_of_notifications",
            ondelete="SET NULL",
        ),
        schema="guestguard_messaging",
        postgresql_with={"fillfactor": "80"},
    )
    for column in ("event_id", "guest_id"):
        op.create_index(f"ix_notifications_{column}", "notifications", [column], schema="guestguard_messaging")
    op.create_index("ix_notifications_identity", "notifications", ["type", "identity"], schema="guestguard_messaging")
    op.create_index(
        "ix_notifications_duplicate_of",
        "notifications",
        ["duplicate_of"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("duplicate_of IS NOT NULL"),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("message_id", sa.Text()),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True)),
        sa.Column("dismissed_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(_TYPES, name=op.f("ck_dead_letters_type")),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letters"),
        sa.UniqueConstraint("stream", "sequence", "published_at", name="uq_dead_letters_stream_sequence_published_at"),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_dead_letters_open",
        "dead_letters",
        ["id"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("replayed_at IS NULL AND dismissed_at IS NULL"),
    )
    op.add_column("message_deliveries", sa.Column("notification_id", sa.Uuid()), schema="guestguard_messaging")
    op.create_unique_constraint(
        "uq_message_deliveries_notification_id",
        "message_deliveries",
        ["notification_id"],
        schema="guestguard_messaging",
    )
    op.create_foreign_key(
        "fk_message_deliveries_notification_id_notifications",
        "message_deliveries",
        "notifications",
        ["notification_id"],
        ["id"],
        source_schema="guestguard_messaging",
        referent_schema="guestguard_messaging",
        ondelete="CASCADE",
    )
    op.execute(_FOLLOW)
    op.execute(_TRIGGER)


def downgrade() -> None:
    op.execute("DELETE FROM guestguard_messaging.message_deliveries WHERE notification_id IS NOT NULL")
    op.execute("DROP TRIGGER notification_follows_delivery ON guestguard_messaging.message_deliveries")
    op.execute("DROP FUNCTION guestguard_messaging.notification_follows_delivery")
    op.drop_column("message_deliveries", "notification_id", schema="guestguard_messaging")
    op.drop_table("dead_letters", schema="guestguard_messaging")
    op.drop_table("notifications", schema="guestguard_messaging")
