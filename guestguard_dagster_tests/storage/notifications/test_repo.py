"""Events are written down once: however often they come, and however many processes write at the same instant."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guestguard_dagster.domain.events import Event, Guest, RsvpStatus
from guestguard_dagster.domain.notifications import Arrival, NotificationStatus
from guestguard_dagster.notifications.registry import definition_of
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.notifications.repo import Fate, Incoming, NotificationRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster_tests.factories import make_event, make_guests
from guestguard_dagster_tests.storage.racing import race
from guestguard_dagster_tests.streams.events import rsvp_confirmed

RSVP = CONFIRMATION.type
START = datetime(2030, 1, 1, tzinfo=UTC)
_SEQUENCES = count(1000)


def incoming(data: bytes, sequence: int) -> Incoming:
    payload = definition_of(RSVP).payload.read(data)
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


def test_an_answer_from_the_future_does_not_beat_a_later_one(database: Database) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event, rsvp_status=RsvpStatus.PENDING)
    repo = NotificationRepo(database)
    repo.record(RSVP, [incoming(_answer(guest, event, "attending", "2099-01-01T00:00:00Z"), 1)])
    repo.record(RSVP, [incoming(_answer(guest, event, "declined", None), 2)])
    known = GuestRepo(database).get(guest.id)
    assert (known.rsvp_status, known.responded_at) == (RsvpStatus.DECLINED, START + timedelta(seconds=2))


def test_yes_no_yes_within_an_hour_ends_as_yes_and_each_is_confirmed_but_no_repeat(database: Database) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event, rsvp_status=RsvpStatus.PENDING)
    said = ["yes", "yes", "no", "no", "yes", "yes"]
    fates = [
        NotificationRepo(database).record(RSVP, [incoming(_answer(guest, event, word, None), number)])[0]
        for number, word in enumerate(said)
    ]
    assert fates == [Fate.RECORDED, Fate.DUPLICATE] * 3
    assert GuestRepo(database).get(guest.id).rsvp_status is RsvpStatus.ATTENDING


def test_a_repeat_counts_against_what_was_said_before_it_and_arrives_after_it(database: Database) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event, rsvp_status=RsvpStatus.PENDING)
    for number, word in ((1, "yes"), (3, "yes"), (2, "no")):
        NotificationRepo(database).record(RSVP, [incoming(_answer(guest, event, word, None), number)])
    assert GuestRepo(database).get(guest.id).rsvp_status is RsvpStatus.ATTENDING


# What was said, how long (s) before the event was stored, if it is dated (a fast clock: after it), and how it arrives.
_STORIES = st.lists(
    st.tuples(
        st.sampled_from(["yes", "no", "maybe"]),
        st.none() | st.integers(-(10**9), 10**6),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=_STORIES, order=st.randoms(use_true_random=False), in_order=st.booleans())
def test_the_last_word_counts_in_whatever_order_it_arrives(
    database: Database, story: list[tuple[str, int | None, int]], order: Random, in_order: bool
) -> None:
    event = make_event(database)
    (guest,) = make_guests(database, event, rsvp_status=RsvpStatus.PENDING)
    repo, events, last_words = NotificationRepo(database), [], []
    for number, (word, before, _) in enumerate(story):
        # Thirty seconds and some microseconds between them, so that no two are of one instant.
        stored = START + timedelta(seconds=30 * number, microseconds=number)
        submitted = None if before is None else (stored - timedelta(seconds=before)).isoformat()
        payload = definition_of(RSVP).payload.read(_answer(guest, event, word, submitted))
        arrival = Arrival("S", "subject", next(_SEQUENCES), stored, 1, None, b"")
        events.append(Incoming(arrival, payload, payload.identity(None), None))
        last_words.append((stored if before is None else min(stored, stored - timedelta(seconds=before)), word))
    if not in_order:
        order.shuffle(events)
    fates = []
    while events:
        group, events = events[: 1 + story[0][2]], events[1 + story[0][2] :]
        fates += repo.record(RSVP, group)

    meant = {"yes": RsvpStatus.ATTENDING, "no": RsvpStatus.DECLINED, "maybe": RsvpStatus.MAYBE}
    said_at, word = max(last_words)
    known = GuestRepo(database).get(guest.id)
    assert (known.rsvp_status, known.responded_at) == (meant[word], said_at)
    if in_order and all(before is None for _, before, _ in story):
        words = [word for word, _, _ in story]
        changed = [number == 0 or word != words[number - 1] for number, word in enumerate(words)]
        assert [fate is Fate.RECORDED for fate in fates] == changed


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
    assert rest[-1].guest_id == guests[-1].id
    assert repo.list_by_event(uuid4()) == []


def _answer(guest: Guest, event: Event, response: str, submitted_at: str | None) -> bytes:
    fields: dict[str, object] = json.loads(rsvp_confirmed(guest, event, rsvp_id=str(guest.id)))
    return json.dumps(fields | {"response": response, "submitted_at": submitted_at}).encode()
