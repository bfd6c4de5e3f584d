"""Unsubscribing: a page that changes nothing, a POST that acts, one click from the mail program, and the way back."""

from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from guestguard_dagster.domain.events import Event, Guest, User
from guestguard_dagster.domain.messages import MessageAudience, MessageChannel
from guestguard_dagster.domain.suppressions import for_host
from guestguard_dagster.rendering.links import unsubscribe_url
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster_tests.factories import make_event, make_guests


@pytest.fixture
def guest(database: Database, event: Event) -> Guest:
    return make_guests(database, event)[0]


@pytest.fixture
def link(settings: Settings, guest: Guest) -> str:
    return unsubscribe_url(settings.public_base_url, settings.require_secret_key(), guest.id, guest.event_id)


def _is_suppressed(database: Database, guest: Guest, host: User) -> bool:
    return SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, guest.email or "", scopes=[for_host(host.id)])


def test_opening_the_link_changes_nothing_and_hides_most_of_the_address(
    anonymous: TestClient, database: Database, guest: Guest, host: User, link: str
) -> None:
    page = anonymous.get(link)
    assert (page.status_code, "Unsubscribe?" in page.text) == (200, True)
    assert guest.email is not None
    assert guest.email not in page.text
    assert not _is_suppressed(database, guest, host)


def test_one_click_of_a_mail_program_unsubscribes_without_a_redirect_also_when_repeated(
    anonymous: TestClient, database: Database, guest: Guest, host: User, link: str
) -> None:
    for _ in range(2):
        answer = anonymous.post(link, data={"List-Unsubscribe": "One-Click"})
        assert (answer.status_code, "You are unsubscribed" in answer.text) == (200, True)
        assert _is_suppressed(database, guest, host)
    assert "You are unsubscribed" in anonymous.get(link).text


def test_one_click_as_multipart_form_unsubscribes_too(
    anonymous: TestClient, database: Database, guest: Guest, host: User, link: str
) -> None:
    anonymous.post(link, files={"List-Unsubscribe": (None, "One-Click")})
    assert _is_suppressed(database, guest, host)


def test_unsubscribing_covers_all_events_of_this_host_and_of_no_other(
    anonymous: TestClient, database: Database, guest: Guest, host: User, link: str
) -> None:
    anonymous.post(link)
    same_host, other_host = make_event(database, owner=host), make_event(database)
    reachable = []
    for event in (same_host, other_host):
        make_guests(database, event, email=guest.email)
        count = MessageRepo(database).count_recipients(event.id, MessageAudience.EVERYONE, MessageChannel.EMAIL)
        reachable.append(count.reachable)
    assert reachable == [0, 1]


def test_undo_lets_mail_through_again_also_when_repeated(
    anonymous: TestClient, database: Database, guest: Guest, host: User, link: str
) -> None:
    anonymous.post(link)
    for _ in range(2):
        answer = anonymous.post(link, data={"action": "undo"})
        assert (answer.status_code, "You receive mail again" in answer.text) == (200, True)
        assert not _is_suppressed(database, guest, host)


def test_a_link_that_was_not_signed_here_does_nothing(
    anonymous: TestClient, settings: Settings, database: Database, guest: Guest, host: User, link: str
) -> None:
    forged = [
        unsubscribe_url(settings.public_base_url, "another secret", guest.id, guest.event_id),
        unsubscribe_url(settings.public_base_url, settings.require_secret_key(), guest.id, uuid4()),
        link[:-1],
        link.rpartition("/")[0] + "/x",
    ]
    for address in forged:
        assert anonymous.get(address).status_code == 404
        assert anonymous.post(address).status_code == 404
    assert not _is_suppressed(database, guest, host)
