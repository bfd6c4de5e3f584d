"""Notifications, events that could not be used, and events that are yet to be published."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.domain.notifications import NotificationStatus
from guestguard_dagster.storage.tables.base import SCHEMA, created_at, id_column, instant, metadata, one_of, updated_at
from guestguard_dagster.storage.tables.people import events, guests

notifications = Table(
    "notifications",
    metadata,
    id_column(),
    # which types there are is checked by a constraint that migrations keep: a new type comes with one
    Column("type", Text, nullable=False),
    # null where no mail is made of the event and the id names nothing here
    Column("event_id", Uuid, ForeignKey(events.c.id, ondelete="CASCADE"), index=True),
    Column("guest_id", Uuid, ForeignKey(guests.c.id, ondelete="CASCADE"), index=True),
    Column("channel", Text, nullable=False, server_default=MessageChannel.EMAIL),
    # These four follow the notification's delivery: a trigger keeps them, whoever moves the delivery.
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("provider_message_id", Text),
    Column("error", Text),
    Column("duplicate_of", Uuid, ForeignKey(f"{SCHEMA}.notifications.id", ondelete="SET NULL")),
    Column("stream", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # when JetStream stored the event
    instant("published_at", required=True),
    # what makes two events of a type the same
    Column("identity", Text, nullable=False),
    # the event as it was read
    Column("payload", JSONB, nullable=False),
    created_at(),
    updated_at(),
    one_of("channel", MessageChannel),
    one_of("status", NotificationStatus),
    # The instant too: a stream that is deleted and made anew begins at sequence 1 again.
    UniqueConstraint("stream", "sequence", "published_at"),
    Index("ix_notifications_identity", "type", "identity"),
    Index("ix_notifications_duplicate_of", "duplicate_of", postgresql_where=text("duplicate_of IS NOT NULL")),
    postgresql_with={"fillfactor": "80"},
)


dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("type", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    instant("published_at", required=True),
    # the event's Nats-Msg-Id
    Column("message_id", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("deliveries", Integer, nullable=False),
    created_at(),
    instant("replayed_at"),
    instant("dismissed_at"),
    UniqueConstraint("stream", "sequence", "published_at"),
    Index("ix_dead_letters_open", "id", postgresql_where=text("replayed_at IS NULL AND dismissed_at IS NULL")),
)


outgoing_events = Table(
    "outgoing_events",
    metadata,
    # Also the Nats-Msg-Id.
    id_column(),
    Column("type", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    created_at(),
    instant("published_at"),
    Index("ix_outgoing_events_waiting", "created_at", "id", postgresql_where=text("published_at IS NULL")),
)
