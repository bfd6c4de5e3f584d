"""What was deleted because of its age, and since when there is nothing missing."""

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Connection, select

from guestguard_dagster.storage.operations_schema import retention_marks

_EVER = datetime(1, 1, 1, tzinfo=UTC)


class Kept(StrEnum):
    """What is kept for a limited time."""

    ATTEMPTS = "attempts"
    BATCH_BODIES = "batch_bodies"


def kept_since(connection: Connection, what: Kept) -> datetime:
    """From this instant on nothing of it was deleted."""
    query = select(retention_marks.c.kept_since).where(retention_marks.c.what == what)
    since: datetime | None = connection.execute(query).scalar_one_or_none()
    return since or _EVER
