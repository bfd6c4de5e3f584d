"""The first tables: events, guests, messages, deliveries"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breakers",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("open_seconds", sa.Integer(), nullable=False),
        sa.Column("probe_token", sa.Uuid(), nullable=True),
        sa.Column("probe_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_breakers")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("venue", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("phone_region", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "provider_batches",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("members", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("first_called_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_batches")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "rate_buckets",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("theoretical_arrival", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_rate_buckets")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "run_heartbeats",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_heartbeats")),
        schema="guestguard_messaging",
    )
    op.create_table(
        "suppressions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), server_default="all", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_suppressions_channel")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppressions")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "uq_suppressions_active",
        "suppressions",
        ["channel", "address", "scope"],
        unique=True,
        schema="guestguard_messaging",
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "uq_users_email_folded",
        "users",
        [sa.literal_column("lower(email)")],
        unique=True,
        schema="guestguard_messaging",
    )
    op.create_table(
        "event_collaborators",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'editor', 'viewer')", name=op.f("ck_event_collaborators_role")),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["guestguard_messaging.events.id"],
            name=op.f("fk_event_collaborators_event_id_events"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["guestguard_messaging.users.id"],
            name=op.f("fk_event_collaborators_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_id", "user_id", name=op.f("pk_event_collaborators")),
        schema="guestguard_messaging",
    )
    op.create_index(
        op.f("ix_event_collaborators_user_id"),
        "event_collaborators",
        ["user_id"],
        unique=False,
        schema="guestguard_messaging",
    )
    op.create_index(
        "uq_event_collaborators_owner",
        "event_collaborators",
        ["event_id"],
        unique=True,
        schema="guestguard_messaging",
        postgresql_where=sa.text("role = 'owner'"),
    )
    op.create_table(
        "guests",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("rsvp_status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("rsvp_token", sa.Text(), nullable=False),
        sa.Column("plus_ones", sa.Integer(), server_default="0", nullable=False),
        sa.Column("responded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "rsvp_status IN ('pending', 'attending', 'declined', 'maybe')", name=op.f("ck_guests_rsvp_status")
        ),
        sa.ForeignKeyConstraint(
            ["event_id"], ["guestguard_messaging.events.id"], name=op.f("fk_guests_event_id_events"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guests")),
        sa.UniqueConstraint("rsvp_token", name=op.f("uq_guests_rsvp_token")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_guests_event_id_rsvp_status",
        "guests",
        ["event_id", "rsvp_status"],
        unique=False,
        schema="guestguard_messaging",
    )
    op.create_table(
        "scheduled_messages",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("send_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("send_at_is_custom", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("survives_event_cancel", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("ask_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("asked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waiting_reason", sa.Text(), nullable=True),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("audience_frozen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recipient_count", sa.Integer(), nullable=True),
        sa.Column("preflighted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "audience IN ('everyone', 'attending', 'pending', 'declined', 'maybe')",
            name=op.f("ck_scheduled_messages_audience"),
        ),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_scheduled_messages_channel")),
        sa.CheckConstraint(
            "kind IN ('broadcast', 'reminder_7_day', 'reminder_3_day_last_call', 'reminder_1_day', 'reminder_day_of')",
            name=op.f("ck_scheduled_messages_kind"),
        ),
        sa.CheckConstraint(
            "status = 'draft' OR status = 'cancelled' OR send_at IS NOT NULL",
            name=op.f("ck_scheduled_messages_send_at_known"),
        ),
        sa.CheckConstraint(
            "status IN ('draft', 'scheduled', 'sending', 'sent', 'cancelled', 'failed')",
            name=op.f("ck_scheduled_messages_status"),
        ),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["guestguard_messaging.users.id"],
            name=op.f("fk_scheduled_messages_created_by_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["guestguard_messaging.events.id"],
            name=op.f("fk_scheduled_messages_event_id_events"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduled_messages")),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_scheduled_messages_due",
        "scheduled_messages",
        ["send_at"],
        unique=False,
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'scheduled'"),
    )
    op.create_index(
        op.f("ix_scheduled_messages_event_id"),
        "scheduled_messages",
        ["event_id"],
        unique=False,
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_scheduled_messages_sending",
        "scheduled_messages",
        ["id"],
        unique=False,
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.create_index(
        "uq_scheduled_messages_event_reminder",
        "scheduled_messages",
        ["event_id", "kind"],
        unique=True,
        schema="guestguard_messaging",
        postgresql_where=sa.text("kind <> 'broadcast'"),
    )
    op.create_table(
        "message_deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("guest_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retryable", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("round", sa.Integer(), server_default="1", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("handed_off_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_message_deliveries_channel")),
        sa.CheckConstraint(
            "status IN ('pending', 'sending', 'sent', 'delivered', 'bounced', 'complained', 'failed', 'suppressed', 'skipped', 'unknown')",
            name=op.f("ck_message_deliveries_status"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"],
            ["guestguard_messaging.provider_batches.id"],
            name=op.f("fk_message_deliveries_batch_id_provider_batches"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["guestguard_messaging.events.id"],
            name=op.f("fk_message_deliveries_event_id_events"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["guest_id"],
            ["guestguard_messaging.guests.id"],
            name=op.f("fk_message_deliveries_guest_id_guests"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["guestguard_messaging.scheduled_messages.id"],
            name=op.f("fk_message_deliveries_message_id_scheduled_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_deliveries")),
        sa.UniqueConstraint(
            "message_id",
            "guest_id",
            "channel",
            name=op.f("uq_message_deliveries_message_id_guest_id_channel"),
        ),
        schema="guestguard_messaging",
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index(
        "ix_message_deliveries_batch_id",
        "message_deliveries",
        ["batch_id"],
        unique=False,
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.create_index(
        op.f("ix_message_deliveries_guest_id"),
        "message_deliveries",
        ["guest_id"],
        unique=False,
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_message_deliveries_pending",
        "message_deliveries",
        ["message_id", "id"],
        unique=False,
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_message_deliveries_provider_message_id",
        "message_deliveries",
        ["provider_message_id"],
        unique=False,
        schema="guestguard_messaging",
        postgresql_where=sa.text("provider_message_id IS NOT NULL"),
    )
    op.create_index(
        "ix_message_deliveries_sending",
        "message_deliveries",
        ["message_id", "id"],
        unique=False,
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.create_table(
        "message_runs",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["guestguard_messaging.scheduled_messages.id"],
            name=op.f("fk_message_runs_message_id_scheduled_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", "run_id", name=op.f("pk_message_runs")),
        schema="guestguard_messaging",
    )
    op.create_index(
        op.f("ix_message_runs_run_id"), "message_runs", ["run_id"], unique=False, schema="guestguard_messaging"
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("provider_message_id", sa.Text(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('sent', 'permanent', 'transient', 'provider_wide', 'unknown', 'dry_run')",
            name=op.f("ck_delivery_attempts_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["guestguard_messaging.message_deliveries.id"],
            name=op.f("fk_delivery_attempts_delivery_id_message_deliveries"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_attempts")),
        sa.UniqueConstraint("delivery_id", "lease_token", name=op.f("uq_delivery_attempts_delivery_id_lease_token")),
        schema="guestguard_messaging",
    )


def downgrade() -> None:
    op.drop_table("delivery_attempts", schema="guestguard_messaging")
    op.drop_index(op.f("ix_message_runs_run_id"), table_name="message_runs", schema="guestguard_messaging")
    op.drop_table("message_runs", schema="guestguard_messaging")
    op.drop_index(
        "ix_message_deliveries_sending",
        table_name="message_deliveries",
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.drop_index(
        "ix_message_deliveries_provider_message_id",
        table_name="message_deliveries",
        schema="guestguard_messaging",
        postgresql_where=sa.text("provider_message_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_message_deliveries_pending",
        table_name="message_deliveries",
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.drop_index(
        op.f("ix_message_deliveries_guest_id"), table_name="message_deliveries", schema="guestguard_messaging"
    )
    op.drop_index(
        "ix_message_deliveries_batch_id",
        table_name="message_deliveries",
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.drop_table("message_deliveries", schema="guestguard_messaging")
    op.drop_index(
        "uq_scheduled_messages_event_reminder",
        table_name="scheduled_messages",
        schema="guestguard_messaging",
        postgresql_where=sa.text("kind <> 'broadcast'"),
    )
    op.drop_index(
        "ix_scheduled_messages_sending",
        table_name="scheduled_messages",
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'sending'"),
    )
    op.drop_index(
        op.f("ix_scheduled_messages_event_id"), table_name="scheduled_messages", schema="guestguard_messaging"
    )
    op.drop_index(
        "ix_scheduled_messages_due",
        table_name="scheduled_messages",
        schema="guestguard_messaging",
        postgresql_where=sa.text("status = 'scheduled'"),
    )
    op.drop_table("scheduled_messages", schema="guestguard_messaging")
    op.drop_index("ix_guests_event_id_rsvp_status", table_name="guests", schema="guestguard_messaging")
    op.drop_table("guests", schema="guestguard_messaging")
    op.drop_index(
        "uq_event_collaborators_owner",
        table_name="event_collaborators",
        schema="guestguard_messaging",
        postgresql_where=sa.text("role = 'owner'"),
    )
    op.drop_index(
        op.f("ix_event_collaborators_user_id"), table_name="event_collaborators", schema="guestguard_messaging"
    )
    op.drop_table("event_collaborators", schema="guestguard_messaging")
    op.drop_index("uq_users_email_folded", table_name="users", schema="guestguard_messaging")
    op.drop_table("users", schema="guestguard_messaging")
    op.drop_index(
        "uq_suppressions_active",
        table_name="suppressions",
        schema="guestguard_messaging",
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.drop_table("suppressions", schema="guestguard_messaging")
    op.drop_table("run_heartbeats", schema="guestguard_messaging")
    op.drop_table("rate_buckets", schema="guestguard_messaging")
    op.drop_table("provider_batches", schema="guestguard_messaging")
    op.drop_table("events", schema="guestguard_messaging")
    op.drop_table("breakers", schema="guestguard_messaging")
