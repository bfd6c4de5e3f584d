from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from guestguard_dagster.domain.events import EventDraft, GuestDraft, RsvpStatus
from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import EventNotFound, GuestNotFound
from guestguard_dagster.storage.people.events import EventRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster_tests.factories import make_event, make_guests

ANSWERED_AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_guests_come_back_in_the_order_given_each_with_a_secret_of_its_own(database: Database) -> None:
    event = make_event(database)
    drafts = [GuestDraft(f"Guest {number}", f"guest-{number}@example.com") for number in range(2500)]
    added = GuestRepo(database).add_many(event.id, drafts)
    assert [guest.name for guest in added] == [draft.name for draft in drafts]
    assert len({guest.rsvp_token for guest in added}) == 2500
    assert all(len(guest.rsvp_token) >= 32 for guest in added)


def test_a_phone_number_is_read_in_the_region_of_the_event(database: Database) -> None:
    event = make_event(database, phone_region="DE")
    german, foreign, unreadable = GuestRepo(database).add_many(
        event.id,
        [
            GuestDraft("German", None, "0171 1234567"),
            GuestDraft("Foreign", None, "+43 664 1234567"),
            GuestDraft("Unreadable", None, "call me"),
        ],
    )
    assert german.phone == "+491711234567"
    assert foreign.phone == "+436641234567"
    assert unreadable.phone == "call me"


def test_a_region_given_later_makes_earlier_numbers_readable(database: Database) -> None:
    event, guests = make_event(database), GuestRepo(database)
    national, words = guests.add_many(
        event.id, [GuestDraft("A", None, "0171 1234567"), GuestDraft("B", None, "call me")]
    )
    assert national.phone == "0171 1234567"
    draft = EventDraft(event.name, event.venue, event.starts_at, event.timezone, phone_region="DE")
    EventRepo(database).update(event.id, draft)
    assert guests.get(national.id).phone == "+491711234567"
    assert guests.get(words.id).phone == "call me"
    EventRepo(database).update(event.id, replace(draft, phone_region="AT"))
    assert guests.get(national.id).phone == "+491711234567"


def test_an_empty_address_is_no_address(database: Database) -> None:
    (guest,) = GuestRepo(database).add_many(make_event(database).id, [GuestDraft("A", "  ", "")])
    assert (guest.email, guest.phone) == (None, None)


def test_a_guest_needs_an_event_that_exists(database: Database) -> None:
    missing = uuid4()
    with pytest.raises(EventNotFound, match=str(missing)):
        GuestRepo(database).add_many(missing, [GuestDraft("A", "a@example.com")])
    assert GuestRepo(database).add_many(make_event(database).id, []) == []


def test_the_newest_answer_counts_in_whatever_order_answers_arrive(database: Database) -> None:
    guests = GuestRepo(database)
    (guest,) = make_guests(database, make_event(database), rsvp_status=RsvpStatus.PENDING)
    assert guests.update_rsvp(guest.id, RsvpStatus.ATTENDING, responded_at=ANSWERED_AT, plus_ones=2)
    older = ANSWERED_AT - timedelta(seconds=1)
    assert not guests.update_rsvp(guest.id, RsvpStatus.MAYBE, responded_at=older, plus_ones=0)
    assert not guests.update_rsvp(guest.id, RsvpStatus.MAYBE, responded_at=ANSWERED_AT)
    known = guests.get(guest.id)
    assert (known.rsvp_status, known.responded_at, known.plus_ones) == (RsvpStatus.ATTENDING, ANSWERED_AT, 2)

    assert guests.update_rsvp(guest.id, RsvpStatus.DECLINED, responded_at=ANSWERED_AT + timedelta(seconds=1))
    known = guests.get(guest.id)
    assert (known.rsvp_status, known.plus_ones) == (RsvpStatus.DECLINED, 2)


def test_an_answer_from_the_future_counts_as_given_now(database: Database) -> None:
    guests = GuestRepo(database)
    (guest,) = make_guests(database, make_event(database), rsvp_status=RsvpStatus.PENDING)
    before = database.now()
    guests.update_rsvp(guest.id, RsvpStatus.ATTENDING, responded_at=before + timedelta(days=400))
    responded_at = guests.get(guest.id).responded_at
    assert responded_at is not None
    assert before <= responded_at <= database.now()
    assert guests.update_rsvp(guest.id, RsvpStatus.DECLINED, responded_at=database.now())
    assert guests.get(guest.id).rsvp_status is RsvpStatus.DECLINED


def test_a_removed_guest_is_in_no_audience_and_stays_on_record(database: Database) -> None:
    guests, event = GuestRepo(database), make_event(database)
    stays, goes = make_guests(database, event, 2)
    guests.remove(goes.id)
    removed_at = guests.get(goes.id).removed_at
    assert removed_at is not None
    guests.remove(goes.id)
    assert guests.get(goes.id).removed_at == removed_at
    for audience in (MessageAudience.EVERYONE, MessageAudience.ATTENDING):
        assert guests.list_by_event(event.id, audience=audience) == [stays]


@pytest.mark.parametrize("audience", [audience for audience in MessageAudience if audience != "everyone"])
def test_an_audience_is_the_guests_with_that_rsvp(database: Database, audience: MessageAudience) -> None:
    event = make_event(database)
    by_status = {status: make_guests(database, event, 2, rsvp_status=status) for status in RsvpStatus}
    make_guests(database, make_event(database), 2, rsvp_status=RsvpStatus(audience))
    listed = GuestRepo(database).list_by_event(event.id, audience=audience)
    assert {guest.id for guest in listed} == {guest.id for guest in by_status[RsvpStatus(audience)]}
    assert len(GuestRepo(database).list_by_event(event.id)) == 8


def test_pages_of_guests_meet_without_gap_or_overlap(database: Database) -> None:
    guests, event = GuestRepo(database), make_event(database)
    everybody = {guest.id for guest in make_guests(database, event, 5) + make_guests(database, event, 4)}
    seen = []
    page = guests.list_by_event(event.id, limit=2)
    while page:
        seen += [guest.id for guest in page]
        page = guests.list_by_event(event.id, after=page[-1].id, limit=2)
    assert len(seen) == 9
    assert set(seen) == everybody


def test_a_missing_guest_is_named_by_id(database: Database) -> None:
    guests, missing = GuestRepo(database), uuid4()
    with pytest.raises(GuestNotFound, match=str(missing)):
        guests.get(missing)
    with pytest.raises(GuestNotFound, match=str(missing)):
        guests.remove(missing)
    with pytest.raises(GuestNotFound, match=str(missing)):
        guests.update_rsvp(missing, RsvpStatus.MAYBE, responded_at=ANSWERED_AT)


def test_a_guest_in_a_log_line_shows_neither_address_nor_token(database: Database) -> None:
    (guest,) = GuestRepo(database).add_many(
        make_event(database).id, [GuestDraft("A", "ada@example.com", "+49 171 1234567")]
    )
    shown = repr(guest) + repr(GuestDraft("A", "ada@example.com", "+49 171 1234567"))
    assert not any(secret in shown for secret in ("example.com", "1234567", guest.rsvp_token))
