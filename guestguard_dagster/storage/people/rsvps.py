"""Answers that guests give on the web, found by the secret token of their link."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, select

from guestguard_dagster.domain.events import Event, Guest, RsvpStatus, User
from guestguard_dagster.domain.notifications import NotificationType
from guestguard_dagster.storage.database import Database, database_now
from guestguard_dagster.storage.errors import EventCancelled, Refused
from guestguard_dagster.storage.outbox import put_in_outbox
from guestguard_dagster.storage.people.guests import Answer, record_answers
from guestguard_dagster.storage.rows import (
    EVENT_COLUMNS,
    GUEST_COLUMNS,
    USER_COLUMNS,
    event_from,
    guest_from,
    user_from,
)
from guestguard_dagster.storage.tables.people import event_collaborators, events, guests, users

_JUST_AFTER = timedelta(microseconds=1)


class EventOver(Refused):
    def __init__(self, event_id: UUID) -> None:
        super().__init__(f"event {event_id} is over; it takes no more answers")
        self.event_id = event_id


class GuestGone(Refused):
    def __init__(self, guest_id: UUID) -> None:
        super().__init__(f"guest {guest_id} is no longer on the guest list; only the host can change that")
        self.guest_id = guest_id


@dataclass(frozen=True, slots=True)
class Invitation:
    """A guest, what they are invited to, and by whom."""

    guest: Guest
    event: Event
    host: User
    is_over: bool

    @property
    def takes_answers(self) -> bool:
        return self.guest.removed_at is None and self.event.cancelled_at is None and not self.is_over


class RsvpRepo:
    """Answers are published as events of the type `published_as`."""

    def __init__(self, database: Database, published_as: NotificationType) -> None:
        self._database = database
        self._published_as = published_as

    def by_token(self, rsvp_token: str) -> Invitation | None:
        """The invitation that this token opens, or None."""
        with self._database.transaction() as connection:
            row = connection.execute(select(*GUEST_COLUMNS).where(guests.c.rsvp_token == rsvp_token)).one_or_none()
            return None if row is None else _invitation(connection, guest_from(row))

    def by_guest(self, guest_id: UUID) -> Invitation | None:
        """The invitation of this guest, or None."""
        with self._database.transaction() as connection:
            row = connection.execute(select(*GUEST_COLUMNS).where(guests.c.id == guest_id)).one_or_none()
            return None if row is None else _invitation(connection, guest_from(row))

    def answer(self, guest_id: UUID, status: RsvpStatus, plus_ones: int) -> bool:
        """Write a guest's answer down, and RSVPConfirmed into the outbox; False when it was their answer already.

        Raises EventCancelled, EventOver and GuestGone.
        """
        with self._database.transaction() as connection:
            locked = select(*GUEST_COLUMNS).where(guests.c.id == guest_id).with_for_update(key_share=True)
            invitation = _invitation(connection, guest_from(connection.execute(locked).one()))
            _require_open(invitation)
            guest = invitation.guest
            if guest.responded_at is not None and (guest.rsvp_status, guest.plus_ones) == (status, plus_ones):
                return False
            # Whoever answers here and now has the last word, even if an earlier answer came by a clock that is fast.
            now = database_now(connection)
            if guest.responded_at is not None:
                now = max(now, guest.responded_at + _JUST_AFTER)
            record_answers(connection, [Answer(guest.id, status, now, plus_ones)])
            put_in_outbox(
                connection,
                self._published_as,
                {
                    "rsvp_id": str(guest.id),
                    "guest_id": str(guest.id),
                    "event_id": str(guest.event_id),
                    "response": status.value,
                    "plus_ones": plus_ones,
                    "submitted_at": now.isoformat(),
                },
            )
            return True


def _require_open(invitation: Invitation) -> None:
    if invitation.guest.removed_at is not None:
        raise GuestGone(invitation.guest.id)
    if invitation.event.cancelled_at is not None:
        raise EventCancelled(invitation.event.id)
    if invitation.is_over:
        raise EventOver(invitation.event.id)


def _invitation(connection: Connection, guest: Guest) -> Invitation:
    event = event_from(connection.execute(select(*EVENT_COLUMNS).where(events.c.id == guest.event_id)).one())
    owner = (
        select(*USER_COLUMNS)
        .join_from(event_collaborators, users)
        .where(event_collaborators.c.event_id == event.id, event_collaborators.c.role == "owner")
    )
    host = user_from(connection.execute(owner).one())
    return Invitation(guest, event, host, is_over=(event.ends_at or event.starts_at) <= database_now(connection))
