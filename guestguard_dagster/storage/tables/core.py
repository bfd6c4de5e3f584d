"""The tables, as SQLAlchemy Core. Changes to them are made by a new file under migrations/versions.

Every instant is `timestamptz` in UTC. States are text with a CHECK that names them:
a new state is one migration.
"""

from collections.abc import Iterable

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guestguard_dagster.domain.deliveries import STORED_STATUSES, BatchState, DeliveryStatus
from guestguard_dagster.domain.events import CollaboratorRole, RsvpStatus
from guestguard_dagster.domain.memos import MemoKind
from guestguard_dagster.domain.messages import HoldOwner, MessageAudience, MessageChannel, MessageKind, MessageStatus
from guestguard_dagster.domain.notifications import NotificationStatus, NotificationType
from guestguard_dagster.domain.outcomes import ATTEMPT_OUTCOMES

SCHEMA = "guestguard"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    },
)


def _id() -> Column[object]:
    return Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid())


def _instant(name: str, *, required: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not required)


def _created_at() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _updated_at() -> Column[object]:
    return Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def _one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _latest(table: str, column: str) -> Index:
    """Finds the rows of the last minutes or of a day by block ranges: a few kilobytes, and next to no work to keep."""
    return Index(
        f"ix_{table}_{column}",
        column,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "16", "autosummarize": "on"},
    )


users = Table(
    "users",
    metadata,
    _id(),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    _created_at(),
    Index("uq_users_email_folded", text("lower(email)"), unique=True),
)

events = Table(
    "events",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("venue", Text, nullable=False),
    _instant("starts_at", required=True),
    _instant("ends_at"),
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
    _instant("cancelled_at"),
    _created_at(),
    _updated_at(),
)

event_collaborators = Table(
    "event_collaborators",
    metadata,
    Column("event_id", Uuid, ForeignKey(events.c.id, ondelete="CASCADE"), nullable=False),
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("role", Text, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("event_id", "user_id"),
    _one_of("role", CollaboratorRole),
    Index("uq_event_collaborators_owner", "event_id", unique=True, postgresql_where=text("role = 'owner'")),
)

guests = Table(
    "guests",
    metadata,
    _id(),
    Column("event_id", Uuid, ForeignKey(events.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("phone", Text),
    Column("rsvp_status", Text, nullable=False, server_default=RsvpStatus.PENDING),
    Column("rsvp_token", Text, nullable=False, unique=True),
    Column("plus_ones", Integer, nullable=False, server_default="0"),
    _instant("responded_at"),
    _instant("removed_at"),
    _created_at(),
    _one_of("rsvp_status", RsvpStatus),
    Index("ix_guests_event_id_rsvp_status", "event_id", "rsvp_status"),
    # an audience is frozen in chunks, in the order of ids
    Index("ix_guests_event_id_id", "event_id", "id"),
)

scheduled_messages = Table(
    "scheduled_messages",
    metadata,
    _id(),
    Column("event_id", Uuid, ForeignKey(events.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    _instant("send_at"),
    Column("send_at_is_custom", Boolean, nullable=False, server_default=text("false")),
    Column("survives_event_cancel", Boolean, nullable=False, server_default=text("false")),
    Column("created_by", Uuid, ForeignKey(users.c.id, ondelete="SET NULL")),
    Column("version", Integer, nullable=False, server_default="1"),
    # How many times the due-messages sensor has asked for a run, and until when that ask holds.
    Column("ask_no", Integer, nullable=False, server_default="0"),
    _instant("asked_until"),
    _instant("not_before"),
    Column("waiting_reason", Text),
    # When a message of a paused channel was last the one to try.
    _instant("probed_at"),
    _instant("held_at"),
    # Whose hold it is, and for a terminated run's, which run's; a hold without an owner counts as a host's.
    Column("held_by", Text),
    Column("held_run_id", Text),
    Column("held_reason", Text),
    # The audience is frozen, and then checked, in the order of guest ids: how far, and when all of it was.
    Column("frozen_through", Uuid),
    _instant("audience_frozen_at"),
    Column("recipient_count", Integer),
    Column("checked_through", Uuid),
    _instant("preflighted_at"),
    _instant("started_at"),
    _instant("finished_at"),
    _created_at(),
    _updated_at(),
    _one_of("kind", MessageKind),
    _one_of("channel", MessageChannel),
    _one_of("audience", MessageAudience),
    _one_of("status", MessageStatus),
    _one_of("held_by", HoldOwner),
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
    _latest("scheduled_messages", "updated_at"),
)

message_runs = Table(
    "message_runs",
    metadata,
    Column("message_id", Uuid, ForeignKey(scheduled_messages.c.id, ondelete="CASCADE"), nullable=False),
    Column("run_id", Text, nullable=False, index=True),
    _instant("held_at"),
    _created_at(),
    PrimaryKeyConstraint("message_id", "run_id"),
)

run_heartbeats = Table(
    "run_heartbeats",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("beat_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

notifications = Table(
    "notifications",
    metadata,
    _id(),
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
    Column("duplicate_of", Uuid, ForeignKey("guestguard.notifications.id", ondelete="SET NULL")),
    Column("stream", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # when JetStream stored the event
    _instant("published_at", required=True),
    # what makes two events of a type the same
    Column("identity", Text, nullable=False),
    # the event as it was read
    Column("payload", JSONB, nullable=False),
    _created_at(),
    _updated_at(),
    _one_of("type", NotificationType),
    _one_of("channel", MessageChannel),
    _one_of("status", NotificationStatus),
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
    _instant("published_at", required=True),
    # the event's Nats-Msg-Id
    Column("message_id", Text),
    Column("payload", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("deliveries", Integer, nullable=False),
    _created_at(),
    _instant("replayed_at"),
    _instant("dismissed_at"),
    _one_of("type", NotificationType),
    UniqueConstraint("stream", "sequence", "published_at"),
    Index("ix_dead_letters_open", "id", postgresql_where=text("replayed_at IS NULL AND dismissed_at IS NULL")),
)

memos = Table(
    "memos",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    # what it is about: nobody gets two memos about the same
    Column("occasion", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    _created_at(),
    _one_of("kind", MemoKind),
    Index("uq_memos_occasion_address_folded", "occasion", text("lower(address)"), unique=True),
)

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
    _instant("not_before"),
    Column("lease_token", Uuid),
    _instant("lease_expires_at"),
    Column("provider", Text),
    Column("account", Text),
    Column("run_id", Text),
    # The fixed request, where the provider recognises a repeat: its endpoint, delivery ids in the order of its entries,
    # and the bytes as sent, zlib-compressed; emptied by retention.
    Column("endpoint", Text),
    Column("members", ARRAY(BigInteger)),
    Column("body", LargeBinary),
    # when it was first marked `sending`
    _instant("handed_off_at"),
    # when it was known to be in the ledger (see storage.ledger.position)
    _instant("recorded_at"),
    _created_at(),
    _one_of("state", BatchState),
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
    # Null for a memo. No foreign key: the message's, or the notification's, goes with its event.
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
    _instant("first_attempt_at"),
    # provider-wide answers of this round that may be about this recipient alone
    Column("provider_refusals", Integer, nullable=False, server_default="0"),
    # The newest attempt lives here; those before it have rows of their own.
    _instant("attempted_at"),
    Column("outcome", Text),
    Column("error_class", Text),
    Column("error_code", Text),
    Column("error_detail", Text),
    Column("duration_ms", Integer),
    Column("provider", Text),
    Column("account", Text),
    Column("provider_message_id", Text),
    _instant("handed_off_at"),
    _instant("settled_at"),
    _created_at(),
    _updated_at(),
    UniqueConstraint("message_id", "guest_id", "channel"),
    _one_of("channel", MessageChannel),
    _one_of("status", STORED_STATUSES),
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
    _latest("message_deliveries", "updated_at"),
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
    _one_of("outcome", ATTEMPT_OUTCOMES),
    _latest("delivery_attempts", "attempted_at"),
)

suppressions = Table(
    "suppressions",
    metadata,
    _id(),
    Column("channel", Text, nullable=False),
    # the key of domain.addresses for email, E.164 for SMS
    Column("address", Text, nullable=False),
    # 'all', 'host:<user id>' or 'number:<sending number>'
    Column("scope", Text, nullable=False, server_default="all"),
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    _created_at(),
    _instant("lifted_at"),
    _one_of("channel", MessageChannel),
    Index(
        "uq_suppressions_active",
        "channel",
        "address",
        "scope",
        unique=True,
        postgresql_where=text("lifted_at IS NULL"),
    ),
)

breakers = Table(
    "breakers",
    metadata,
    Column("account", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    _instant("opened_at", required=True),
    _instant("open_until", required=True),
    Column("open_seconds", Integer, nullable=False),
    # the process that won the probe, and until when it may use it
    Column("probe_token", Uuid),
    _instant("probe_expires_at"),
)

rate_buckets = Table(
    "rate_buckets",
    metadata,
    Column("account", Text, primary_key=True),
    # theoretical arrival time of the generic cell rate algorithm
    _instant("theoretical_arrival", required=True),
    # the run that uses the whole rate of an account that is too slow for several, and until when it is known to live
    Column("run_token", Uuid),
    _instant("run_until"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("user_id", Uuid, ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    # of the first answer; null while there is none
    Column("status", Integer),
    Column("body", LargeBinary),
    Column("media_type", Text),
    _created_at(),
    PrimaryKeyConstraint("user_id", "key"),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

provider_callbacks = Table(
    "provider_callbacks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("provider", Text, nullable=False),
    # the same for every repeat of one callback
    Column("callback_key", Text, nullable=False),
    # as it was verified; emptied by retention
    Column("payload", JSONB),
    # of callbacks with the same thread, the newest counts
    Column("thread", Text),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("next_try_at", DateTime(timezone=True), server_default=func.now()),
    _instant("applied_at"),
    # what applying it did
    Column("outcome", Text),
    UniqueConstraint("provider", "callback_key"),
    Index("ix_provider_callbacks_waiting", "next_try_at", postgresql_where=text("applied_at IS NULL")),
    Index("ix_provider_callbacks_thread", "thread", "id", postgresql_where=text("thread IS NOT NULL")),
)

outgoing_events = Table(
    "outgoing_events",
    metadata,
    # Also the Nats-Msg-Id.
    _id(),
    Column("type", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    _created_at(),
    _instant("published_at"),
    Index("ix_outgoing_events_waiting", "created_at", "id", postgresql_where=text("published_at IS NULL")),
)
