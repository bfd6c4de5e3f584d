"""The tables that hold this database against its ledger."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from guestguard_dagster.storage.tables.base import metadata


def _instant(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


# One row: up to where this database was seen to know what its ledger knows.
ledger_position = Table(
    "ledger_position",
    metadata,
    Column("is_the_one", Boolean, primary_key=True, server_default=text("true")),
    Column("stream", Text, nullable=False),
    # a stream that is deleted and made anew begins at sequence 1 again
    _instant("stream_created_at"),
    Column("sequence", BigInteger, nullable=False),
    # before the look that reached this sequence
    _instant("verified_at"),
    # what left before is not expected in the ledger
    _instant("complete_from"),
    # marks that were, or are about to be, written
    Column("mark_number", BigInteger, nullable=False, server_default="0"),
    # since when nothing may leave, because the ledger knows of batches that this database does not
    Column("behind_since", DateTime(timezone=True)),
    Column("unknown_batches", Integer),
    CheckConstraint("is_the_one", name="is_the_one"),
    CheckConstraint("(behind_since IS NULL) = (unknown_batches IS NULL)", name="behind"),
)

# Batches that were deleted, e.g. with their event, before their entries were looked at: a trigger writes them.
ledger_deleted_batches = Table(
    "ledger_deleted_batches",
    metadata,
    Column("batch_id", BigInteger, nullable=False),
    Column("key", Uuid, nullable=False),
    _now("deleted_at"),
    PrimaryKeyConstraint("key", "batch_id"),
)

# Notifications and system mails that left before a restore, and are not here again yet: they never leave again.
ledger_left = Table(
    "ledger_left",
    metadata,
    # the id that it has again when it is written down again
    Column("id", Uuid, primary_key=True),
    _instant("left_at"),
    _now("created_at"),
)

# Times before a restore in which mail may have left without an entry.
ledger_gaps = Table(
    "ledger_gaps",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _instant("since"),
    _instant("until"),
    _now("created_at"),
)
