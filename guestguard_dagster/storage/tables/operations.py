"""By what this service is operated: reports and system mail, alerts, signs of life, what was deleted, its id."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from guestguard_dagster.domain.system_mail import SystemMailKind
from guestguard_dagster.storage.tables.base import created_at, id_column, metadata, one_of
from guestguard_dagster.storage.tables.people import users


def _id() -> Column[object]:
    return Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid())


def _instant(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


delivery_reports = Table(
    "delivery_reports",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    # of a report to a host; no reference, because a report outlives its event
    Column("event_id", Uuid),
    Column("title", Text, nullable=False),
    Column("html", Text, nullable=False),
    # the same in short, as Markdown
    Column("summary", Text, nullable=False),
    Column("is_empty", Boolean, nullable=False),
    # how often it was written anew, e.g. because late news came
    Column("revision", Integer, nullable=False, server_default="1"),
    _now("created_at"),
    _now("updated_at"),
    CheckConstraint("kind IN ('daily', 'weekly', 'event')", name="kind"),
    CheckConstraint("(kind = 'event') = (event_id IS NOT NULL)", name="event_known"),
    Index("uq_delivery_reports_period", "kind", "first_day", unique=True, postgresql_where=text("event_id IS NULL")),
    Index("uq_delivery_reports_event", "event_id", unique=True, postgresql_where=text("event_id IS NOT NULL")),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    # what is wrong, e.g. a check or a job; open once at a time
    Column("subject", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("link", Text),
    _now("opened_at"),
    _instant("closed_at"),
    # when operators were told
    _instant("told_at"),
    Index("uq_alerts_open", "subject", unique=True, postgresql_where=text("closed_at IS NULL")),
)

sensor_ticks = Table(
    "sensor_ticks",
    metadata,
    Column("sensor", Text, primary_key=True),
    _now("ticked_at"),
)

retention_marks = Table(
    "retention_marks",
    metadata,
    Column("what", Text, primary_key=True),
    # what is older may have been deleted
    Column("kept_since", DateTime(timezone=True), nullable=False),
)

installation = Table(
    "installation",
    metadata,
    _id(),
    Index("uq_installation_one_row", text("(true)"), unique=True),
)

run_heartbeats = Table(
    "run_heartbeats",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("beat_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


memos = Table(
    "memos",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),
    # what it is about: nobody gets two mails about the same
    Column("occasion", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("html", Text, nullable=False),
    created_at(),
    one_of("kind", SystemMailKind),
    Index("uq_memos_occasion_address_folded", "occasion", text("lower(address)"), unique=True),
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
    created_at(),
    PrimaryKeyConstraint("user_id", "key"),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
