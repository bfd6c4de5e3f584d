"""The web: answers kept under idempotency keys, callbacks of providers, events to be published, and events' branding"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_BRANDING = ("accent", "logo_url", "sender_name", "postal_address")


def upgrade() -> None:
    for name in _BRANDING:
        op.add_column("events", sa.Column(name, sa.Text()), schema="guestguard_messaging")
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("media_type", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["guestguard_messaging.users.id"], name="fk_idempotency_keys_user_id_users", ondelete="CASCADE"
        ),
        schema="guestguard_messaging",
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], schema="guestguard_messaging")
    op.create_table(
        "provider_callbacks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("callback_key", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB()),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), server_default=sa.text("now()")),
        sa.Column("applied_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_provider_callbacks"),
        sa.UniqueConstraint("provider", "callback_key", name="uq_provider_callbacks_provider_callback_key"),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_provider_callbacks_waiting",
        "provider_callbacks",
        ["next_try_at"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.create_table(
        "outgoing_events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_outgoing_events"),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_outgoing_events_waiting",
        "outgoing_events",
        ["created_at", "id"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("published_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("outgoing_events", schema="guestguard_messaging")
    op.drop_table("provider_callbacks", schema="guestguard_messaging")
    op.drop_table("idempotency_keys", schema="guestguard_messaging")
    for name in reversed(_BRANDING):
        op.drop_column("events", name, schema="guestguard_messaging")
