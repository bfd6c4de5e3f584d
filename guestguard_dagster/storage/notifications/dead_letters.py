"""Dead letters: events that could not be used, kept as they came until somebody dismisses or replays them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.sql import func

from guestguard_dagster.domain.notifications import Arrival, NotificationType
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.tables.notifications import dead_letters


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One row of dead_letters. `payload` is the event's data as it came: it never reaches a log."""

    id: int
    type: NotificationType
    stream: str
    subject: str
    sequence: int
    published_at: datetime
    message_id: str | None = field(repr=False)
    payload: bytes = field(repr=False)
    reason: str
    deliveries: int
    created_at: datetime
    replayed_at: datetime | None
    dismissed_at: datetime | None

    @property
    def arrival(self) -> Arrival:
        """The event, as it came."""
        return Arrival(
            stream=self.stream,
            subject=self.subject,
            sequence=self.sequence,
            published_at=self.published_at,
            deliveries=self.deliveries,
            message_id=self.message_id,
            data=self.payload,
        )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: those that fit everything that is given. Instants are timezone-aware.

    `since` (included) and `until` (not included) are when they became dead letters; sequences are both included.
    """

    ids: Collection[int] | None = None
    since: datetime | None = None
    until: datetime | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None

    @property
    def is_everything(self) -> bool:
        return self == Selection()


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    type: NotificationType
    arrival: Arrival
    reason: str


class DeadLetterRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, letters: Sequence[NewDeadLetter]) -> None:
        """Keep these events; one that is kept already stays as it is."""
        if not letters:
            return
        rows = [
            {
                "type": letter.type,
                "stream": letter.arrival.stream,
                "subject": letter.arrival.subject,
                "sequence": letter.arrival.sequence,
                "published_at": letter.arrival.published_at,
                "message_id": letter.arrival.message_id,
                "payload": letter.arrival.data,
                "reason": letter.reason,
                "deliveries": letter.arrival.deliveries,
            }
            for letter in letters
        ]
        with self._database.transaction() as connection:
            connection.execute(insert_or_skip(dead_letters).on_conflict_do_nothing(), rows)

    def open(self, selection: Selection, *, limit: int = 1000) -> list[DeadLetter]:
        """The first `limit` that are neither replayed nor dismissed, oldest first."""
        query = select(dead_letters).where(_open(selection)).order_by(dead_letters.c.id).limit(limit)
        with self._database.transaction() as connection:
            return [
                DeadLetter(**row._asdict() | {"type": NotificationType(row.type)}) for row in connection.execute(query)
            ]

    def dismiss(self, selection: Selection) -> int:
        """Put them aside for good; returns how many."""
        statement = update(dead_letters).where(_open(selection)).values(dismissed_at=func.clock_timestamp())
        with self._database.transaction() as connection:
            return connection.execute(statement).rowcount

    def mark_replayed(self, ids: Sequence[int]) -> None:
        """They were used after all."""
        statement = update(dead_letters).where(dead_letters.c.id.in_(ids)).values(replayed_at=func.clock_timestamp())
        with self._database.transaction() as connection:
            connection.execute(statement)

    def explain(self, reasons: dict[int, str]) -> None:
        """Why they could not be used this time either."""
        with self._database.transaction() as connection:
            for id, reason in reasons.items():
                connection.execute(update(dead_letters).where(dead_letters.c.id == id).values(reason=reason))


def _open(selection: Selection) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [
        dead_letters.c.replayed_at.is_(None),
        dead_letters.c.dismissed_at.is_(None),
    ]
    if selection.ids is not None:
        conditions.append(dead_letters.c.id.in_(selection.ids))
    if selection.since is not None:
        conditions.append(dead_letters.c.created_at >= selection.since)
    if selection.until is not None:
        conditions.append(dead_letters.c.created_at < selection.until)
    if selection.first_sequence is not None:
        conditions.append(dead_letters.c.sequence >= selection.first_sequence)
    if selection.last_sequence is not None:
        conditions.append(dead_letters.c.sequence <= selection.last_sequence)
    return and_(*conditions)
