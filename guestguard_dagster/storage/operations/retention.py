"""What is deleted because of its age, in bounded chunks, and since when there is nothing missing.

Statistics and reports stay: they are made before, and what could not be counted again is not counted again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql import func

from guestguard_dagster.storage.database import Database, sql
from guestguard_dagster.storage.tables.operations import retention_marks

CHUNK = 5_000
_EVER = datetime(1, 1, 1, tzinfo=UTC)
_HEARTBEATS_KEPT = timedelta(days=7)


class Kept(StrEnum):
    """What is kept for a limited time, and has to be known as deleted afterwards."""

    ATTEMPTS = "attempts"


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Rows that are old enough, by their growing ids: `bound` finds the last one, `change` does away with a chunk."""

    bound: str
    change: str


_ATTEMPTS = _Chunks(
    "SELECT max(id) FROM delivery_attempts WHERE attempted_at < :before",
    """
    DELETE FROM delivery_attempts WHERE id IN (
        SELECT id FROM delivery_attempts WHERE id <= :last AND attempted_at < :before
        ORDER BY id LIMIT :chunk
    )
    """,
)
_CALLBACKS = _Chunks(
    "SELECT max(id) FROM provider_callbacks WHERE received_at < :before AND payload IS NOT NULL",
    """
    UPDATE provider_callbacks SET payload = NULL WHERE id IN (
        SELECT id FROM provider_callbacks
        WHERE id <= :last AND received_at < :before AND payload IS NOT NULL AND applied_at IS NOT NULL
        ORDER BY id LIMIT :chunk
    )
    """,
)
_BODIES = """
    UPDATE delivery_batches SET body = NULL WHERE id IN (
        SELECT id FROM delivery_batches WHERE body IS NOT NULL AND handed_off_at < :before
        ORDER BY handed_off_at LIMIT :chunk
    )
"""
_PUBLISHED = """
    DELETE FROM outgoing_events WHERE id IN (
        SELECT id FROM outgoing_events WHERE published_at < :before LIMIT :chunk
    )
"""
_HEARTBEATS = """
    DELETE FROM run_heartbeats WHERE run_id IN (
        SELECT run_id FROM run_heartbeats WHERE beat_at < :before LIMIT :chunk
    )
"""


class RetentionRepo:
    """Each method deletes chunk by chunk, each in a transaction of its own, and yields how many rows each had."""

    def __init__(self, database: Database, *, chunk: int = CHUNK) -> None:
        self._database = database
        self._chunk = chunk

    def delete_attempts(self, older_than: timedelta) -> Iterator[int]:
        """From the first chunk on it is known that older attempts are missing."""
        before = self._database.now() - older_than
        with self._database.transaction() as connection:
            mark = insert(retention_marks).values(what=Kept.ATTEMPTS, kept_since=before)
            later = func.greatest(retention_marks.c.kept_since, before)
            connection.execute(mark.on_conflict_do_update(index_elements=["what"], set_={"kept_since": later}))
        yield from self._by_id(_ATTEMPTS, before)

    def empty_batch_bodies(self, older_than: timedelta) -> Iterator[int]:
        """The mails within requests to providers. That they were called, and for whom, stays."""
        yield from self._chunks(_BODIES, self._database.now() - older_than)

    def empty_callbacks(self, older_than: timedelta) -> Iterator[int]:
        """What providers called back with, once it was applied. That they did stays, so that a repeat is known."""
        yield from self._by_id(_CALLBACKS, self._database.now() - older_than)

    def delete_published_events(self, older_than: timedelta) -> Iterator[int]:
        yield from self._chunks(_PUBLISHED, self._database.now() - older_than)

    def delete_heartbeats(self) -> Iterator[int]:
        """Of runs that ended long ago."""
        yield from self._chunks(_HEARTBEATS, self._database.now() - _HEARTBEATS_KEPT)

    def _by_id(self, chunks: _Chunks, before: datetime) -> Iterator[int]:
        # Found once: a chunk that has to look for it would read the whole table when nothing is left.
        with self._database.transaction() as connection:
            last: int | None = connection.execute(sql(chunks.bound), {"before": before}).scalar_one()
        if last is not None:
            yield from self._chunks(chunks.change, before, last=last)

    def _chunks(self, change: str, before: datetime, **values: object) -> Iterator[int]:
        while True:
            with self._database.transaction() as connection:
                rows = connection.execute(sql(change), {"before": before, "chunk": self._chunk, **values}).rowcount
            if rows:
                yield rows
            if rows < self._chunk:
                return


def kept_since(connection: Connection, what: Kept) -> datetime:
    """From this instant on nothing of it was deleted."""
    query = select(retention_marks.c.kept_since).where(retention_marks.c.what == what)
    since: datetime | None = connection.execute(query).scalar_one_or_none()
    return since or _EVER
