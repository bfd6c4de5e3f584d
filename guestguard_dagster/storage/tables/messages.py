"""Scheduled messages and the runs that work on them."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)

from guestguard_dagster.domain.messages import HoldOwner, MessageAudience, MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.storage.tables.base import created_at, id_column, instant, latest, metadata, one_of, updated_at
from guestguard_dagster.storage.tables.people import events, users

scheduled_messages = Table(
    "scheduled_messages",
    metadata,
    id_column(),
    Column("event_id", Uuid, ForeignKey(events.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    instant("send_at"),
    Column("send_at_is_custom", Boolean, nullable=False, server_default=text("false")),
    Column("survives_event_cancel", Boolean, nullable=False, server_default=text("false")),
    Column("created_by", Uuid, ForeignKey(users.c.id, ondelete="SET NULL")),
    Column("version", Integer, nullable=False, server_default="1"),
    # How many times the due-messages sensor has asked for a run, and until when that run request holds.
    Column("ask_no", Integer, nullable=False, server_default="0"),
    instant("asked_until"),
    instant("not_before"),
    Column("waiting_reason", Text),
    # When a message of a paused channel was last the one to try.
    instant("probed_at"),
    instant("held_at"),
    # Whose hold it is, and for a terminated run's, which run's; a hold without an owner counts as a host's.
    Column("held_by", Text),
    Column("held_run_id", Text),
    Column("held_reason", Text),
    # The audience is frozen, and then checked, in the order of guest ids: how far, and when all of it was.
    Column("frozen_through", Uuid),
    instant("audience_frozen_at"),
    Column("recipient_count", Integer),
    Column("checked_through", Uuid),
    instant("preflighted_at"),
    instant("started_at"),
    instant("finished_at"),
    created_at(),
    updated_at(),
    one_of("kind", MessageKind),
    one_of("channel", MessageChannel),
    one_of("audience", MessageAudience),
    one_of("status", MessageStatus),
    one_of("held_by", HoldOwner),
    CheckConstraint("status = 'draft' OR status = 'cancelled' OR send_at IS NOT NULL", name="send_at_known"),
    Index(
        "uq_scheduled_messages_event_reminder",
        "event_id",
        "kind",
        unique=True,
        postgresql_where=text("kind <> 'broadcast'"),
    ),
    Index("ix_scheduled_messages_due", "send_at", postgresql_where=text("status = 'scheduled'")),
    Index("ix_scheduled_messages_sending", "id", postgresql_where=text("status = 'sending'")),
    Index(
        "ix_scheduled_messages_began",
        "send_at",
        postgresql_where=text("status IN ('sending', 'sent', 'failed')"),
    ),
    latest("scheduled_messages", "updated_at"),
)


message_runs = Table(
    "message_runs",
    metadata,
    Column("message_id", Uuid, ForeignKey(scheduled_messages.c.id, ondelete="CASCADE"), nullable=False),
    Column("run_id", Text, nullable=False, index=True),
    instant("held_at"),
    created_at(),
    PrimaryKeyConstraint("message_id", "run_id"),
)
