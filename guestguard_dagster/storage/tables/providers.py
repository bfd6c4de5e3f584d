"""Providers' accounts: breakers, rates, and what providers called back."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from guestguard_dagster.storage.tables.base import instant, metadata

breakers = Table(
    "breakers",
    metadata,
    Column("account", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    instant("opened_at", required=True),
    instant("open_until", required=True),
    Column("open_seconds", Integer, nullable=False),
    # the process that won the probe, and until when it may use it
    Column("probe_token", Uuid),
    instant("probe_expires_at"),
)


rate_buckets = Table(
    "rate_buckets",
    metadata,
    Column("account", Text, primary_key=True),
    # theoretical arrival time of the generic cell rate algorithm
    instant("theoretical_arrival", required=True),
    # the run that uses the whole rate of an account that is too slow for several, and until when it is known to live
    Column("run_token", Uuid),
    instant("run_until"),
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
    instant("applied_at"),
    # what applying it did
    Column("outcome", Text),
    UniqueConstraint("provider", "callback_key"),
    Index("ix_provider_callbacks_waiting", "next_try_at", postgresql_where=text("applied_at IS NULL")),
    Index("ix_provider_callbacks_thread", "thread", "id", postgresql_where=text("thread IS NOT NULL")),
)
