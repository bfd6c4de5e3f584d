"""Batches are what the engine works on: open deliveries are carried over into them, also those under way"""

from uuid import UUID, uuid5

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_STORED = (
    "status IN ('pending', 'sent', 'delivered', 'bounced', 'complained', 'failed', 'suppressed', 'skipped', 'unknown')"
)
_STORED_BEFORE = _STORED.replace("'pending', ", "'pending', 'sending', ")
_SIZE = 50
_NOTIFICATIONS = ("confirmation", "fraud_alert", "invitation")
_MEMOS = ("report", "alert")

# What is under way keeps its lease and its fixed request, with the key that the provider knows it by; a request that
# carried several messages becomes a batch of each of them, and its repeat settles each one's own deliveries.
_CARRY_OVER = f"""
CREATE TEMPORARY TABLE carried ON COMMIT DROP AS
SELECT id AS delivery_id,
    dense_rank() OVER (ORDER BY source_id, status, batch_id NULLS FIRST, next_attempt_at NULLS FIRST, chunk) AS batch_id
FROM (
    SELECT id, source_id, status, batch_id, CASE WHEN status = 'pending' THEN next_attempt_at END AS next_attempt_at,
        CASE WHEN status = 'pending' THEN
            (row_number() OVER (PARTITION BY source_id, status, next_attempt_at ORDER BY id) - 1) / {_SIZE} END AS chunk
    FROM guestguard_messaging.message_deliveries WHERE status IN ('pending', 'sending')
) open_deliveries;

INSERT INTO guestguard_messaging.delivery_batches (id, key, queue_id, message_id, state, size, not_before, lease_expires_at,
    provider, account, endpoint, members, body, handed_off_at)
OVERRIDING SYSTEM VALUE
SELECT b.batch_id, COALESCE(request.id, gen_random_uuid()), b.queue_id, b.message_id, b.status, b.size, b.not_before,
    CASE WHEN b.status = 'sending' THEN COALESCE(b.lease_expires_at, now()) END,
    CASE WHEN b.status = 'sending' THEN b.provider END, CASE WHEN b.status = 'sending' THEN b.account END,
    request.endpoint, request.members, request.body,
    CASE WHEN b.status = 'sending' THEN COALESCE(request.first_called_at, b.first_attempt_at, now()) END
FROM (
    SELECT c.batch_id, (array_agg(d.source_id))[1] AS queue_id, (array_agg(d.message_id))[1] AS message_id,
        min(d.status) AS status, count(*) AS size, max(d.next_attempt_at) AS not_before,
        max(d.lease_expires_at) AS lease_expires_at, min(d.provider) AS provider, min(d.account) AS account,
        CASE WHEN min(d.status) = 'sending' THEN (array_agg(d.batch_id))[1] END AS request_id,
        min(d.first_attempt_at) AS first_attempt_at
    FROM carried c JOIN guestguard_messaging.message_deliveries d ON d.id = c.delivery_id GROUP BY c.batch_id
) b
LEFT JOIN guestguard_messaging.provider_batches request ON request.id = b.request_id;

SELECT setval(pg_get_serial_sequence('guestguard_messaging.delivery_batches', 'id'),
    GREATEST((SELECT max(batch_id) FROM carried), 1), EXISTS (SELECT FROM carried));

UPDATE guestguard_messaging.message_deliveries d SET new_batch_id = c.batch_id, status = 'pending'
FROM carried c WHERE d.id = c.delivery_id;
"""

_QUEUES = {
    **{kind: uuid5(UUID("6d0ac6b4-6f5c-4c0e-9a0c-64b0ad3d9d5e"), kind) for kind in _NOTIFICATIONS},
    **{kind: uuid5(UUID("0b7a4f0e-4c1f-4e0b-8c3e-1f0f7a5f6f52"), kind) for kind in _MEMOS},
}

_CARRY_BACK = f"""
INSERT INTO guestguard_messaging.provider_batches (id, provider, account, endpoint, members, body, first_called_at)
SELECT DISTINCT ON (key) key, provider, account, endpoint, members, body, handed_off_at
FROM guestguard_messaging.delivery_batches WHERE state = 'sending' AND body IS NOT NULL;

UPDATE guestguard_messaging.message_deliveries d
SET status = CASE WHEN b.state = 'sending' THEN 'sending' ELSE d.status END,
    provider = CASE WHEN b.state = 'sending' THEN b.provider ELSE d.provider END,
    account = CASE WHEN b.state = 'sending' THEN b.account ELSE d.account END,
    old_batch_id = CASE WHEN b.state = 'sending' AND b.body IS NOT NULL THEN b.key END,
    next_attempt_at = b.not_before, lease_expires_at = CASE WHEN b.state = 'sending' THEN b.lease_expires_at END
FROM guestguard_messaging.delivery_batches b WHERE b.id = d.batch_id AND b.state <> 'done' AND d.status = 'pending';

UPDATE guestguard_messaging.message_deliveries d SET drain_id = COALESCE(
    (SELECT b.queue_id FROM guestguard_messaging.delivery_batches b WHERE b.id = d.batch_id),
    (SELECT q.id FROM (VALUES {", ".join(f"('{kind}', CAST('{id}' AS uuid))" for kind, id in _QUEUES.items())})
        AS q (kind, id) WHERE q.kind = COALESCE(
            (SELECT n.type FROM guestguard_messaging.notifications n WHERE n.id = d.notification_id),
            (SELECT m.kind FROM guestguard_messaging.memos m WHERE m.id = d.memo_id))),
    gen_random_uuid())
WHERE d.message_id IS NULL;

INSERT INTO guestguard_messaging.delivery_attempts (delivery_id, round, run_id, provider, account, outcome, provider_message_id,
    error_class, error_code, error_detail, duration_ms, attempted_at)
SELECT d.id, d.round, b.run_id, d.provider, d.account, d.outcome, d.provider_message_id,
    d.error_class, d.error_code, d.error_detail, COALESCE(d.duration_ms, 0), d.attempted_at
FROM guestguard_messaging.message_deliveries d LEFT JOIN guestguard_messaging.delivery_batches b ON b.id = d.batch_id
WHERE d.attempted_at IS NOT NULL;
"""


def _instant(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True))


def upgrade() -> None:
    op.create_table(
        "delivery_batches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("queue_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid()),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        _instant("not_before"),
        sa.Column("lease_token", sa.Uuid()),
        _instant("lease_expires_at"),
        sa.Column("provider", sa.Text()),
        sa.Column("account", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("endpoint", sa.Text()),
        sa.Column("members", postgresql.ARRAY(sa.BigInteger())),
        sa.Column("body", sa.LargeBinary()),
        _instant("handed_off_at"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('pending', 'leased', 'sending', 'done')", name=op.f("ck_delivery_batches_state")),
        sa.PrimaryKeyConstraint("id", name="pk_delivery_batches"),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["guestguard_messaging.scheduled_messages.id"],
            name="fk_delivery_batches_message_id_scheduled_messages",
            ondelete="CASCADE",
        ),
        schema="guestguard_messaging",
        postgresql_with={"fillfactor": "70"},
    )
    op.add_column("message_deliveries", sa.Column("new_batch_id", sa.BigInteger()), schema="guestguard_messaging")
    op.execute(_CARRY_OVER)
    for name, columns, where in (
        ("ix_delivery_batches_open", ["queue_id", "not_before", "id"], "state <> 'done'"),
        ("ix_delivery_batches_message_id", ["message_id"], "message_id IS NOT NULL"),
        ("ix_delivery_batches_with_body", ["handed_off_at"], "body IS NOT NULL"),
    ):
        op.create_index(
            name, "delivery_batches", columns, schema="guestguard_messaging", postgresql_where=sa.text(where)
        )
    _make_deliveries_lean()
    op.drop_table("provider_batches", schema="guestguard_messaging")
    op.drop_column("delivery_attempts", "lease_token", schema="guestguard_messaging")
    op.create_index(
        "ix_delivery_attempts_delivery_id", "delivery_attempts", ["delivery_id"], schema="guestguard_messaging"
    )
    for column in ("frozen_through", "checked_through"):
        op.add_column("scheduled_messages", sa.Column(column, sa.Uuid()), schema="guestguard_messaging")
    op.create_index("ix_guests_event_id_id", "guests", ["event_id", "id"], schema="guestguard_messaging")


def _make_deliveries_lean() -> None:
    op.drop_constraint("ck_message_deliveries_status", "message_deliveries", schema="guestguard_messaging")
    op.drop_constraint("fk_message_deliveries_event_id_events", "message_deliveries", schema="guestguard_messaging")
    for column in ("source_id", "drain_id", "batch_id", "lease_token", "lease_expires_at", "next_attempt_at"):
        op.drop_column("message_deliveries", column, schema="guestguard_messaging")
    op.alter_column("message_deliveries", "new_batch_id", new_column_name="batch_id", schema="guestguard_messaging")
    for added in (
        sa.Column("provider_refusals", sa.Integer(), server_default="0", nullable=False),
        _instant("attempted_at"),
        sa.Column("outcome", sa.Text()),
        sa.Column("duration_ms", sa.Integer()),
    ):
        op.add_column("message_deliveries", added, schema="guestguard_messaging")
    op.create_check_constraint(
        op.f("ck_message_deliveries_status"), "message_deliveries", _STORED, schema="guestguard_messaging"
    )
    op.create_index("ix_message_deliveries_batch_id", "message_deliveries", ["batch_id"], schema="guestguard_messaging")


def downgrade() -> None:
    op.drop_index("ix_guests_event_id_id", table_name="guests", schema="guestguard_messaging")
    for column in ("frozen_through", "checked_through"):
        op.drop_column("scheduled_messages", column, schema="guestguard_messaging")
    op.create_table(
        "provider_batches",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("members", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("first_called_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        _instant("answered_at"),
        sa.PrimaryKeyConstraint("id", name="pk_provider_batches"),
        schema="guestguard_messaging",
    )
    op.create_index(
        "ix_provider_batches_with_body",
        "provider_batches",
        ["first_called_at"],
        schema="guestguard_messaging",
        postgresql_where=sa.text("body IS NOT NULL"),
    )
    op.drop_constraint("ck_message_deliveries_status", "message_deliveries", schema="guestguard_messaging")
    for added in (
        sa.Column("drain_id", sa.Uuid()),
        sa.Column("old_batch_id", sa.Uuid()),
        sa.Column("lease_token", sa.Uuid()),
        _instant("lease_expires_at"),
        _instant("next_attempt_at"),
    ):
        op.add_column("message_deliveries", added, schema="guestguard_messaging")
    op.execute(_CARRY_BACK)
    for column in ("batch_id", "provider_refusals", "attempted_at", "outcome", "duration_ms"):
        op.drop_column("message_deliveries", column, schema="guestguard_messaging")
    op.alter_column("message_deliveries", "old_batch_id", new_column_name="batch_id", schema="guestguard_messaging")
    op.add_column(
        "message_deliveries",
        sa.Column(
            "source_id", sa.Uuid(), sa.Computed("COALESCE(message_id, drain_id)", persisted=True), nullable=False
        ),
        schema="guestguard_messaging",
    )
    op.create_check_constraint(
        op.f("ck_message_deliveries_status"), "message_deliveries", _STORED_BEFORE, schema="guestguard_messaging"
    )
    op.create_foreign_key(
        "fk_message_deliveries_event_id_events",
        "message_deliveries",
        "events",
        ["event_id"],
        ["id"],
        source_schema="guestguard_messaging",
        referent_schema="guestguard_messaging",
        ondelete="CASCADE",
    )
    op.create_foreign_key(
        "fk_message_deliveries_batch_id_provider_batches",
        "message_deliveries",
        "provider_batches",
        ["batch_id"],
        ["id"],
        source_schema="guestguard_messaging",
        referent_schema="guestguard_messaging",
        ondelete="SET NULL",
    )
    for name, columns, where in (
        ("ix_message_deliveries_pending", ["source_id", "id"], "status = 'pending'"),
        ("ix_message_deliveries_sending", ["source_id", "id"], "status = 'sending'"),
        ("ix_message_deliveries_batch_id", ["batch_id"], "status = 'sending'"),
    ):
        op.create_index(
            name, "message_deliveries", columns, schema="guestguard_messaging", postgresql_where=sa.text(where)
        )
    op.drop_index("ix_delivery_attempts_delivery_id", table_name="delivery_attempts", schema="guestguard_messaging")
    op.add_column(
        "delivery_attempts",
        sa.Column("lease_token", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        schema="guestguard_messaging",
    )
    op.alter_column("delivery_attempts", "lease_token", server_default=None, schema="guestguard_messaging")
    op.create_unique_constraint(
        "uq_delivery_attempts_delivery_id_lease_token",
        "delivery_attempts",
        ["delivery_id", "lease_token"],
        schema="guestguard_messaging",
    )
    op.drop_table("delivery_batches", schema="guestguard_messaging")
