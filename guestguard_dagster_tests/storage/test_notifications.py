"""Events are written down once: however often they come, and however many processes write at the same instant."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

from guestguard_dagster.domain.events import Event, Guest, RsvpStatus
from guestguard_dagster.domain.notifications import Arrival, NotificationStatus, NotificationType, read_payload
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.guests import GuestRepo
from guestguard_dagster.storage.notifications import Fate, Incoming, NotificationRepo
from guestguard_dagster_tests.factories import make_event, make_guests
from guestguard_dagster_tests.storage.racing import race
from guestguard_dagster_tests.streams.events import rsvp_confirmed

RSVP = NotificationType.CONFIRMATION
START = datetime(2030, 1, 1, tzinfo=UTC)


def incoming(data: bytes, sequence: int) -> Incoming:
    payload = read_payload(RSVP, data)
    arrival = Arrival("S", "subject", sequence, START + timedelta(seconds=sequence), 1, None, data)
    return Incoming(arrival, payload, payload.identity(None), None)


def test_of_processes_that_write_the_same_event_down_at_once_one_gets_its_mail(database: Database) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event)
    repo = NotificationRepo(database)
    for round_number in range(15):
        data = rsvp_confirmed(guest, event)
        groups = [[incoming(data, 4 * round_number + number)] for number in range(4)]
        fates = race([partial(repo.record, RSVP, group) for group in groups])
        assert fates.count([Fate.RECORDED]) == 1
        assert fates.count([Fate.DUPLICATE]) == 3


def test_of_processes_that_got_the_same_delivery_one_writes_it_down(database: Database) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 10)
    repo = NotificationRepo(database)
    group = [incoming(rsvp_confirmed(guest, event), sequence) for sequence, guest in enumerate(guests)]
    fates = race([lambda: repo.record(RSVP, group), lambda: repo.record(RSVP, group[::-1])])
    assert fates.count([Fate.RECORDED] * 10) == 1
    assert fates.count([Fate.KNOWN] * 10) == 1


def test_an_older_answer_changes_nothing_about_the_guest(database: Database) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event, rsvp_status=RsvpStatus.PENDING)
    repo = NotificationRepo(database)
    repo.record(RSVP, [incoming(_answer(guest, event, "declined", "2026-12-05T18:30:01Z"), 1)])
    repo.record(RSVP, [incoming(_answer(guest, event, "attending", "2026-12-05T18:30:00Z"), 2)])
    assert GuestRepo(database).get(guest.id).rsvp_status is RsvpStatus.DECLINED


def test_a_host_reads_an_events_notifications_page_by_page(database: Database) -> None:
    event = make_event(database)
    guests = make_guests(database, event, 5)
    repo = NotificationRepo(database)
    for sequence, guest in enumerate(guests):
        repo.record(RSVP, [incoming(rsvp_confirmed(guest, event), sequence)])
    first = repo.list_by_event(event.id, limit=3)
    rest = repo.list_by_event(event.id, after=first[-1].id, limit=3)
    assert [notification.sequence for notification in [*first, *rest]] == [0, 1, 2, 3, 4]
    assert {notification.status for notification in rest} == {NotificationStatus.PENDING}
    assert rest[-1].payload.guest_id == guests[-1].id
    assert repo.list_by_event(uuid4()) == []


def _answer(guest: Guest, event: Event, response: str, submitted_at: str) -> bytes:
    fields: dict[str, object] = json.loads(rsvp_confirmed(guest, event))
    return json.dumps(fields | {"response": response, "submitted_at": submitted_at}).encode()
