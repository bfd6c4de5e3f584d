"""The RSVP page: looking changes nothing, answering counts, and its event reaches NATS whatever happens meanwhile."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from guestguard_dagster.domain.events import Event, Guest, RsvpStatus
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.local.ports import free_port
from guestguard_dagster.notifications.registry import declare_stream
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION, RsvpConfirmed
from guestguard_dagster.outbox.publishing import publish_waiting
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.outbox import OutboxRepo
from guestguard_dagster.storage.people.guests import GuestRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.errors import StreamFailed
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.web.app import create_app
from guestguard_dagster_tests.factories import make_event, make_guests, set_columns
from guestguard_dagster_tests.web.conftest import ADDRESS


@pytest.fixture
def guest(database: Database, event: Event) -> Guest:
    return make_guests(database, event, rsvp_status=RsvpStatus.PENDING)[0]


def _status(database: Database, guest: Guest) -> tuple[RsvpStatus, int]:
    now = GuestRepo(database).get(guest.id)
    return now.rsvp_status, now.plus_ones


def _answer(client: TestClient, guest: Guest, **fields: Any) -> Any:
    return client.post(f"/rsvp/{guest.rsvp_token}", data=fields)


def test_opening_the_link_shows_the_event_and_changes_nothing(
    anonymous: TestClient, database: Database, guest: Guest
) -> None:
    page = anonymous.get(f"/rsvp/{guest.rsvp_token}")
    assert page.status_code == 200
    assert "Garden Party" in page.text
    assert "Rose Garden" in page.text
    assert "Hanna Host invites you to" in page.text
    assert _status(database, guest) == (RsvpStatus.PENDING, 0)
    assert OutboxRepo(database).waiting() == []
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in page.headers["x-robots-tag"]


def test_an_answer_is_written_down_and_becomes_an_event_that_the_notifier_reads(
    anonymous: TestClient, database: Database, guest: Guest
) -> None:
    answered = _answer(anonymous, guest, answer="attending", plus_ones="2")
    assert answered.status_code == 303
    assert _status(database, guest) == (RsvpStatus.ATTENDING, 2)
    assert "You are on the list, with 2 guests of yours" in anonymous.get(answered.headers["location"]).text
    [outgoing] = OutboxRepo(database).waiting()
    assert outgoing.type == CONFIRMATION.type
    event = RsvpConfirmed.read(outgoing.payload)
    assert (event.guest_id, event.event_id, event.response, event.plus_ones) == (
        guest.id,
        guest.event_id,
        RsvpStatus.ATTENDING,
        2,
    )
    assert event.submitted_at == GuestRepo(database).get(guest.id).responded_at


def test_the_same_answer_twice_is_one_event_and_another_answer_is_another(
    anonymous: TestClient, database: Database, guest: Guest
) -> None:
    for answer in ("attending", "attending", "declined"):
        _answer(anonymous, guest, answer=answer, plus_ones="1")
    responses = [json.loads(each.payload)["response"] for each in OutboxRepo(database).waiting()]
    assert responses == ["attending", "declined"]
    assert _status(database, guest) == (RsvpStatus.DECLINED, 0)


def test_who_answers_on_the_page_has_the_last_word_even_against_a_clock_that_is_fast(
    anonymous: TestClient, database: Database, guest: Guest
) -> None:
    fast = database.now() + timedelta(days=30)
    set_columns(database, guest, rsvp_status=RsvpStatus.ATTENDING, responded_at=fast)
    _answer(anonymous, guest, answer="declined")
    assert _status(database, guest) == (RsvpStatus.DECLINED, 0)


@pytest.mark.parametrize(
    "fields", [{}, {"answer": "perhaps"}, {"answer": "pending"}, {"answer": "maybe", "plus_ones": "11"}]
)
def test_an_answer_that_is_none_is_told_so_on_the_page(
    anonymous: TestClient, database: Database, guest: Guest, fields: dict[str, str]
) -> None:
    refused = _answer(anonymous, guest, **fields)
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    assert _status(database, guest) == (RsvpStatus.PENDING, 0)


def test_a_link_that_opens_nothing_is_told_so(anonymous: TestClient) -> None:
    for answer in (anonymous.get("/rsvp/unknown"), anonymous.post("/rsvp/unknown", data={"answer": "attending"})):
        assert answer.status_code == 404
        assert "This link does not work" in answer.text


def test_the_link_of_a_preview_says_what_it_is(anonymous: TestClient) -> None:
    assert "Only a preview" in anonymous.get("/rsvp/preview").text
    assert "Only a preview" in anonymous.get("/u/preview").text


def test_cancelled_and_past_events_and_removed_guests_take_no_answer(
    anonymous: TestClient, database: Database, event: Event
) -> None:
    [removed] = make_guests(database, event, removed_at=database.now())
    [late] = make_guests(database, make_event(database, starts_in=timedelta(hours=-1)))
    [off] = make_guests(database, make_event(database, cancelled_at=database.now()))
    for guest, sentence in ((removed, "no longer on this guest list"), (late, "is over"), (off, "has been cancelled")):
        assert sentence in anonymous.get(f"/rsvp/{guest.rsvp_token}").text
        refused = _answer(anonymous, guest, answer="declined")
        assert (refused.status_code, sentence in refused.text) == (409, True)
        assert _status(database, guest) == (RsvpStatus.ATTENDING, 0)


def test_names_are_shown_as_text_and_the_accent_colour_is_the_events(
    anonymous: TestClient, database: Database, event: Event
) -> None:
    set_columns(database, event, name="<script>alert(1)</script>", accent="#a3195b")
    [guest] = make_guests(database, event, name="<b>Bob</b>", responded_at=None, rsvp_status=RsvpStatus.PENDING)
    page = anonymous.get(f"/rsvp/{guest.rsvp_token}")
    assert "<script>" not in page.text
    assert "<b>Bob" not in page.text
    assert "--brand: #a3195b" in page.text
    nonce = page.text.partition('nonce="')[2].partition('"')[0]
    assert f"'nonce-{nonce}'" in page.headers["content-security-policy"]


def test_a_guest_who_answers_over_and_over_is_slowed_down(anonymous: TestClient, guest: Guest) -> None:
    statuses = {_answer(anonymous, guest, answer="maybe").status_code for _ in range(20)}
    assert statuses == {303, 429}


def _with_nats(settings: Settings, url: str) -> Settings:
    name = f"T{uuid4().hex}"
    return settings.model_copy(
        update={
            "nats_url": SecretStr(url),
            "nats_stream": name,
            "nats_subject_prefix": name,
        }
    )


@pytest.fixture
def stream(settings: Settings, nats_server: NatsServer) -> Iterator[tuple[Settings, JetStream]]:
    with_nats = _with_nats(settings, nats_server.url)
    declaration = declare_stream(with_nats)
    with JetStream(NatsAccess.from_settings(with_nats), declaration) as jetstream:
        jetstream.survey()
        yield with_nats, jetstream


def test_the_running_application_publishes_an_answer(
    stream: tuple[Settings, JetStream], database: Database, guest: Guest
) -> None:
    settings, jetstream = stream
    with TestClient(create_app(settings, database), base_url=ADDRESS, follow_redirects=False) as client:
        assert _answer(client, guest, answer="attending").status_code == 303
        [message] = jetstream.fetch(CONFIRMATION.type, size=5, wait=timedelta(seconds=20))
    assert RsvpConfirmed.read(message.arrival.data).guest_id == guest.id
    assert message.arrival.message_id is not None


def test_with_nats_away_answers_wait_and_are_published_once_it_is_back(
    stream: tuple[Settings, JetStream], settings: Settings, database: Database, guest: Guest
) -> None:
    away = _with_nats(settings, f"nats://127.0.0.1:{free_port()}")
    with TestClient(create_app(away, database), base_url=ADDRESS, follow_redirects=False) as client:
        assert _answer(client, guest, answer="attending").status_code == 303
    outbox = OutboxRepo(database)
    with (
        JetStream(NatsAccess.from_settings(away), declare_stream(away)) as nowhere,
        pytest.raises(StreamFailed),
    ):
        publish_waiting(outbox, nowhere)
    assert len(outbox.waiting()) == 1
    assert publish_waiting(outbox, stream[1]) == 1
    assert outbox.waiting() == []
    assert publish_waiting(outbox, stream[1]) == 0
    assert len(stream[1].fetch(CONFIRMATION.type, size=5, wait=timedelta(seconds=5))) == 1
