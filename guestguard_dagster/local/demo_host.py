"""The host that `guestguard up` signs in, and the event that they find when they have none yet."""

from datetime import timedelta

from guestguard_dagster.domain.events import EventDraft, GuestDraft, RsvpStatus, User
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel, MessageDraft, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.access import AccessRepo
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.storage.people.users import UserRepo

_YES, _NO, _MAYBE, _OPEN = RsvpStatus.ATTENDING, RsvpStatus.DECLINED, RsvpStatus.MAYBE, RsvpStatus.PENDING

_GUESTS = (
    GuestDraft("Amira Haddad", "amira@example.com", "+4915155500101", _YES),
    GuestDraft("Ben Okafor", "ben@example.com", "+4915155500102", _YES),
    GuestDraft("Chiara Conti", "chiara@example.com", None, _YES),
    GuestDraft("Deniz Kaya", "deniz@example.com", "+4915155500104", _OPEN),
    GuestDraft("Eva Lindqvist", "eva@example.com", None, _MAYBE),
    GuestDraft("Farid Nazari", "farid@example.com", None, _NO),
    GuestDraft("Grandma Ilse", None, "+493315550107", _YES),
    GuestDraft("Hugo Marchand", "hugo@example.com", None, _OPEN),
    GuestDraft("Ines Duarte", "ines@example.com", None, _OPEN),
    GuestDraft("Jonas Weber", "jonas@example.com", "+4915155500110", _MAYBE),
)
_DRAFT_SUBJECT = "Parking, and what to bring to {{event_name}}"
_DRAFT_BODY = """\
Hi {{guest_name}},

there are a few parking spaces behind {{venue}}; the others are along the park.

Bring nothing but good company. We look forward to {{event_date}}!
"""


def demo_host(database: Database) -> User:
    """The host, with an event in three weeks if they have none: its guests, its reminders, and a draft."""
    host = UserRepo(database).get_or_create(email="host@example.com", name="Robin")
    if not AccessRepo(database).events_for(host.id, limit=1):
        _invite(database, host)
    return host


def _invite(database: Database, host: User) -> None:
    starts_at = database.now().replace(hour=16, minute=30, second=0, microsecond=0) + timedelta(days=21)
    event = EventRepo(database).create(
        EventDraft(
            name="Summer Garden Party",
            venue="The Orangery, Potsdam",
            starts_at=starts_at,
            ends_at=starts_at + timedelta(hours=5),
            timezone="Europe/Berlin",
            phone_region="DE",
        ),
        host.id,
    )
    GuestRepo(database).add_many(event.id, _GUESTS)
    MessageRepo(database).create(
        MessageDraft(
            event_id=event.id,
            channel=MessageChannel.EMAIL,
            audience=MessageAudience.ATTENDING,
            subject=_DRAFT_SUBJECT,
            body=_DRAFT_BODY,
            send_at=None,
            status=MessageStatus.DRAFT,
            created_by=host.id,
        )
    )
