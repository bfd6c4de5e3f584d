"""Deliveries, the batches that they leave in, and attempts that were followed by another."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from guestguard_dagster.domain.deliveries import STORED_STATUSES, BatchState, DeliveryStatus
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.outcomes import ATTEMPT_OUTCOMES
from guestguard_dagster.storage.tables.base import created_at, instant, latest, metadata, one_of, updated_at
from guestguard_dagster.storage.tables.messages import scheduled_messages
from guestguard_dagster.storage.tables.notifications import notifications
from guestguard_dagster.storage.tables.operations import memos
from guestguard_dagster.storage.tables.people import guests

# What the engine works on: deliveries that are leased, marked and handed off together.
delivery_batches = Table(
    "delivery_batches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # the idempotency key that the provider is given; a restored database never uses one for a second time
    Column("key", Uuid, nullable=False, server_default=func.gen_random_uuid()),
    # the message, or the queue of a kind of notification or system mail
    Column("queue_id", Uuid, nullable=False),
    Column("message_id", Uuid, ForeignKey(scheduled_messages.c.id, ondelete="CASCADE")),
    Column("state", Text, nullable=False, server_default=BatchState.PENDING),
    # members when it was formed; those of them that are settled, or moved to another batch, are not subtracted
    Column("size", Integer, nullable=False),
    instant("not_before"),
    Column("lease_token", Uuid),
    instant("lease_expires_at"),
    Column("provider", Text),
    Column("account", Text),
    Column("run_id", Text),
    # The fixed request, where the provider recognises a repeat: its endpoint, delivery ids in the order of its entries,
    # and the bytes as sent, zlib-compressed; emptied by retention.
    Column("endpoint", Text),
    Column("members", ARRAY(BigInteger)),
    Column("body", LargeBinary),
    # when it was first marked `sending`
    instant("handed_off_at"),
    # when it was known to be in the ledger (see storage.ledger.position)
    instant("recorded_at"),
    created_at(),
    one_of("state", BatchState),
    Index("ix_delivery_batches_open", "queue_id", "not_before", "id", postgresql_where=text("state <> 'done'")),
    Index("ix_delivery_batches_message_id", "message_id", postgresql_where=text("message_id IS NOT NULL")),
    Index("ix_delivery_batches_with_body", "handed_off_at", postgresql_where=text("body IS NOT NULL")),
    Index(
        "ix_delivery_batches_unrecorded",
        "handed_off_at",
        postgresql_where=text("handed_off_at IS NOT NULL AND recorded_at IS NULL"),
    ),
    postgresql_with={"fillfactor": "70"},
)


message_deliveries = Table(
    "message_deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("message_id", Uuid, ForeignKey(scheduled_messages.c.id, ondelete="CASCADE")),
    Column("notification_id", Uuid, ForeignKey(notifications.c.id, ondelete="CASCADE")),
    Column("memo_id", Uuid, ForeignKey(memos.c.id, ondelete="CASCADE")),
    # Null for system mail. No foreign key: the message's, or the notification's, goes with its event.
    Column("event_id", Uuid),
    # null for mail to somebody who is not a guest: an event's host
    Column("guest_id", Uuid, ForeignKey(guests.c.id, ondelete="CASCADE"), index=True),
    Column("channel", Text, nullable=False),
    # The batch that it leaves with, or left with. No foreign key: it would cost as much as the row itself.
    Column("batch_id", BigInteger),
    # `sending` is read from the batch: a row is written when it is frozen and when its outcome is known.
    Column("status", Text, nullable=False, server_default=DeliveryStatus.PENDING),
    Column("reason", Text),
    Column("retryable", Boolean, nullable=False, server_default=text("false")),
    Column("round", Integer, nullable=False, server_default="1"),
    # hand-offs of this round that were answered "not now", and since when
    Column("attempts", Integer, nullable=False, server_default="0"),
    instant("first_attempt_at"),
    # provider-wide answers of this round that may be about this recipient alone
    Column("provider_refusals", Integer, nullable=False, server_default="0"),
    # The newest attempt lives here; those before it have rows of their own.
    instant("attempted_at"),
    Column("outcome", Text),
    Column("error_class", Text),
    Column("error_code", Text),
    Column("error_detail", Text),
    Column("duration_ms", Integer),
    Column("provider", Text),
    Column("account", Text),
    Column("provider_message_id", Text),
    instant("handed_off_at"),
    instant("settled_at"),
    created_at(),
    updated_at(),
    UniqueConstraint("message_id", "guest_id", "channel"),
    one_of("channel", MessageChannel),
    one_of("status", STORED_STATUSES),
    Index("ix_message_deliveries_batch_id", "batch_id"),
    Index(
        "ix_message_deliveries_provider_message_id",
        "provider_message_id",
        postgresql_where=text("provider_message_id IS NOT NULL"),
    ),
    Index(
        "uq_message_deliveries_notification_id",
        "notification_id",
        unique=True,
        postgresql_where=text("notification_id IS NOT NULL"),
    ),
    Index("uq_message_deliveries_memo_id", "memo_id", unique=True, postgresql_where=text("memo_id IS NOT NULL")),
    Index("ix_message_deliveries_without_message", "created_at", postgresql_where=text("message_id IS NULL")),
    latest("message_deliveries", "updated_at"),
    # The second version of a row finds room in its page, and then touches no index.
    postgresql_with={"fillfactor": "45"},
)


# Attempts that were followed by another one, or still may be. The newest settled one lives in its delivery.
delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "delivery_id",
        BigInteger,
        ForeignKey(message_deliveries.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("round", Integer, nullable=False),
    Column("run_id", Text),
    Column("provider", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("provider_message_id", Text),
    Column("error_class", Text),
    Column("error_code", Text),
    Column("error_detail", Text),
    Column("duration_ms", Integer, nullable=False, server_default="0"),
    Column("attempted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    one_of("outcome", ATTEMPT_OUTCOMES),
    latest("delivery_attempts", "attempted_at"),
)
