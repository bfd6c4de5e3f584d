"""Hosts, events, their collaborators and guests; and addresses that are not to be written to."""

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Time,
    Uuid,
    text,
)

from guestguard_dagster.domain.events import CollaboratorRole, RsvpStatus
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.storage.tables.base import created_at, id_column, instant, metadata, one_of, updated_at

users = Table(
    "users",
    metadata,
    id_column(),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    created_at(),
    Index("uq_users_email_folded", text("lower(email)"), unique=True),
)


events = Table(
    "events",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("venue", Text, nullable=False),
    instant("starts_at", required=True),
    instant("ends_at"),
    Column("timezone", Text, nullable=False),
    Column("phone_region", Text),
    # on the event's clock, both or neither
    Column("email_quiet_from", Time),
    Column("email_quiet_until", Time),
    Column("sms_quiet_from", Time, server_default="21:00"),
    Column("sms_quiet_until", Time, server_default="09:00"),
    # how the event's mails look; null: as GuestGuard's own
    Column("accent", Text),
    Column("logo_url", Text),
    Column("sender_name", Text),
    Column("postal_address", Text),
    instant("cancelled_at"),
    created_at(),
    updated_at(),
)


event_collaborators = Table(
    "event_collaborators",
    metadata,
    Column("event_id", Uuid, ForeignKey(events.c.id, ondelete="CASCADE"), nullable=False),
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    created_at(),
    PrimaryKeyConstraint("event_id", "user_id"),
    one_of("role", CollaboratorRole),
    Index("uq_event_collaborators_owner", "event_id", unique=True, postgresql_where=text("role = 'owner'")),
)


guests = Table(
    "guests",
    metadata,
    id_column(),
    Column("event_id", Uuid, ForeignKey(events.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("phone", Text),
    Column("rsvp_status", Text, nullable=False, server_default=RsvpStatus.PENDING),
    Column("rsvp_token", Text, nullable=False, unique=True),
    Column("plus_ones", Integer, nullable=False, server_default="0"),
    instant("responded_at"),
    instant("removed_at"),
    created_at(),
    one_of("rsvp_status", RsvpStatus),
    Index("ix_guests_event_id_rsvp_status", "event_id", "rsvp_status"),
    # an audience is frozen in chunks, in the order of ids
    Index("ix_guests_event_id_id", "event_id", "id"),
)


suppressions = Table(
    "suppressions",
    metadata,
    id_column(),
    Column("channel", Text, nullable=False),
    # the key of domain.addresses for email, E.164 for SMS
    Column("address", Text, nullable=False),
    # 'all', 'host:<user id>' or 'number:<sending number>'
    Column("scope", Text, nullable=False, server_default="all"),
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    created_at(),
    instant("lifted_at"),
    one_of("channel", MessageChannel),
    Index(
        "uq_suppressions_active",
        "channel",
        "address",
        "scope",
        unique=True,
        postgresql_where=text("lifted_at IS NULL"),
    ),
)
