"""Guests of an event, and which of them an audience means."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, insert, select, update

from guestguard_dagster.domain.addresses import email_as_kept, email_key
from guestguard_dagster.domain.events import Event, Guest, GuestDraft, RsvpStatus
from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.domain.phones import to_e164
from guestguard_dagster.storage.conditions import is_in_audience
from guestguard_dagster.storage.database import Database, database_now, sql
from guestguard_dagster.storage.errors import GuestNotFound
from guestguard_dagster.storage.locks import lock_event, share_events
from guestguard_dagster.storage.paging import page_behind
from guestguard_dagster.storage.rows import GUEST_COLUMNS, guest_from
from guestguard_dagster.storage.tables.people import guests

_TOKEN_BYTES = 24


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guest answered, and when (timezone-aware); without `plus_ones`, their number stays."""

    guest_id: UUID
    status: RsvpStatus
    responded_at: datetime
    plus_ones: int | None


class GuestRepo:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add_many(self, event_id: UUID, drafts: Sequence[GuestDraft]) -> list[Guest]:
        """Add guests, each with a secret token of its own; returns them in the order of the drafts.

        Email addresses are stored in their canonical form, phone numbers as E.164, read in the event's region; what
        cannot be read is kept as written, for the host to correct. Raises EventNotFound.
        """
        with self._database.transaction() as connection:
            region = share_events(connection, [event_id])[event_id].phone_region
            return _insert(connection, [_values(event_id, draft, region) for draft in drafts])

    def add_new(self, event_id: UUID, drafts: Sequence[GuestDraft]) -> list[Guest]:
        """As `add_many`, but for guests whose email address, in any spelling, is on the list already. Of two such
        calls, one waits.

        Raises EventNotFound.
        """
        with self._database.transaction() as connection:
            region = lock_event(connection, event_id).phone_region
            present = select(guests.c.email).where(
                guests.c.event_id == event_id, guests.c.removed_at.is_(None), guests.c.email.is_not(None)
            )
            known = {email_key(address) for address in connection.execute(present).scalars()}
            new = [draft for draft in drafts if not draft.email or email_key(draft.email) not in known]
            return _insert(connection, [_values(event_id, draft, region) for draft in new])

    def get(self, guest_id: UUID) -> Guest:
        """The guest, removed or not. Raises GuestNotFound."""
        with self._database.transaction() as connection:
            row = connection.execute(select(*GUEST_COLUMNS).where(guests.c.id == guest_id)).one_or_none()
        if row is None:
            raise GuestNotFound(guest_id)
        return guest_from(row)

    def names_of(self, guest_ids: Collection[UUID]) -> dict[UUID, str]:
        """The names of these guests, removed or not; ids that do not exist are missing."""
        query = select(guests.c.id, guests.c.name).where(guests.c.id.in_(guest_ids))
        with self._database.transaction() as connection:
            return {row.id: row.name for row in connection.execute(query)}

    def list_by_event(
        self,
        event_id: UUID,
        *,
        audience: MessageAudience = MessageAudience.EVERYONE,
        after: UUID | None = None,
        limit: int = 100,
    ) -> list[Guest]:
        """The next `limit` present guests behind the guest `after`, by the time they were added."""
        query = select(*GUEST_COLUMNS).where(guests.c.event_id == event_id, is_in_audience(guests, audience))
        place = (guests.c.created_at, guests.c.id)
        with self._database.transaction() as connection:
            rows = connection.execute(page_behind(query, place, after=after, limit=limit))
            return [guest_from(row) for row in rows]

    def update_rsvp(
        self, guest_id: UUID, status: RsvpStatus, *, responded_at: datetime, plus_ones: int | None = None
    ) -> bool:
        """Write an answer down; False when the guest has given a newer one. Raises GuestNotFound.

        Answers arrive in any order, and more than once: the newest `responded_at` (timezone-aware) counts. One in the
        future counts as now.
        """
        with self._database.transaction() as connection:
            responded_at = min(responded_at, database_now(connection))
            if record_answers(connection, [Answer(guest_id, status, responded_at, plus_ones)]):
                return True
        self.get(guest_id)
        return False

    def correct(self, guest_id: UUID, *, name: str, email: str | None, phone: str | None) -> Guest:
        """Write a guest's name and addresses anew; mails that leave from now on go there. Raises GuestNotFound."""
        with self._database.transaction() as connection:
            values = {"name": name, "email": email_as_kept(email), "phone": phone}
            statement = update(guests).where(guests.c.id == guest_id).values(values).returning(*GUEST_COLUMNS)
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise GuestNotFound(guest_id)
        return guest_from(row)

    def remove(self, guest_id: UUID) -> None:
        """Take the guest off the list; what was sent to them stays on record. Raises GuestNotFound."""
        statement = (
            update(guests)
            .where(guests.c.id == guest_id)
            .values(removed_at=func.coalesce(guests.c.removed_at, func.clock_timestamp()))
        )
        with self._database.transaction() as connection:
            if not connection.execute(statement).rowcount:
                raise GuestNotFound(guest_id)


def record_answers(connection: Connection, answers: Sequence[Answer]) -> int:
    """Write these answers down, each unless its guest has given a newer one; returns how many guests changed."""
    newest: dict[UUID, Answer] = {}
    for answer in sorted(answers, key=lambda answer: answer.responded_at):
        newest[answer.guest_id] = answer
    if not newest:
        return 0
    return connection.execute(
        sql(
            """
            UPDATE guests g
            SET rsvp_status = a.status, responded_at = a.responded_at, plus_ones = COALESCE(a.plus_ones, g.plus_ones)
            FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:instants AS timestamptz[]),
                CAST(:plus_ones AS int[])) AS a (id, status, responded_at, plus_ones)
            WHERE g.id = a.id AND (g.responded_at IS NULL OR g.responded_at < a.responded_at)
            """
        ),
        {
            "ids": list(newest),
            "statuses": [answer.status for answer in newest.values()],
            "instants": [answer.responded_at for answer in newest.values()],
            "plus_ones": [answer.plus_ones for answer in newest.values()],
        },
    ).rowcount


def read_phones_again(connection: Connection, event: Event) -> None:
    """Store as E.164 what the event's new region makes readable of the numbers that were kept as written."""
    as_written = select(guests.c.id, guests.c.phone).where(
        guests.c.event_id == event.id, ~guests.c.phone.startswith("+")
    )
    for guest_id, phone in connection.execute(as_written).all():
        number = to_e164(phone, event.phone_region)
        if number is not None:
            connection.execute(update(guests).where(guests.c.id == guest_id).values(phone=number))


def _insert(connection: Connection, rows: Sequence[dict[str, object]]) -> list[Guest]:
    if not rows:
        return []
    added = {row.id: guest_from(row) for row in connection.execute(insert(guests).returning(*GUEST_COLUMNS), rows)}
    return [added[row["id"]] for row in rows]


def _values(event_id: UUID, draft: GuestDraft, region: str | None) -> dict[str, object]:
    phone = (draft.phone or "").strip()
    return {
        "id": uuid4(),
        "event_id": event_id,
        "name": draft.name,
        "email": email_as_kept(draft.email),
        "phone": to_e164(phone, region) or phone or None,
        "rsvp_status": draft.rsvp_status,
        "rsvp_token": secrets.token_urlsafe(_TOKEN_BYTES),
    }
