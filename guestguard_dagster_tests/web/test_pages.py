"""The hosts' pages as answers: who gets which, and under which policy."""

import json
import re
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import CollaboratorRole, Event, User
from guestguard_dagster.domain.messages import MessageAudience
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.factories import make_event, make_user
from guestguard_dagster_tests.web.conftest import ClientOf

_TABS = ("guests", "collaborators", "communications", "branding")


@pytest.mark.parametrize("tab", _TABS)
@pytest.mark.parametrize("role", [CollaboratorRole.EDITOR, CollaboratorRole.VIEWER])
def test_everybody_who_works_on_an_event_sees_its_tabs(
    client_of: ClientOf,
    collaborator: Callable[[CollaboratorRole], User],
    event: Event,
    tab: str,
    role: CollaboratorRole,
) -> None:
    answer = client_of(collaborator(role)).get(f"/manage/{event.id}/{tab}")
    assert answer.status_code == 200
    assert event.name in answer.text


@pytest.mark.parametrize("tab", _TABS)
def test_an_event_of_others_is_not_found(client_of: ClientOf, database: Database, event: Event, tab: str) -> None:
    answer = client_of(make_user(database)).get(f"/manage/{event.id}/{tab}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert event.name not in answer.text


@pytest.mark.parametrize("path", ["/", *(f"/manage/00000000-0000-0000-0000-000000000000/{tab}" for tab in _TABS)])
def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(anonymous: TestClient, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=" + path.replace("/", "%2F")


def test_pages_run_only_our_own_scripts_and_are_framed_by_nobody(client: TestClient, event: Event) -> None:
    answer = client.get(f"/manage/{event.id}/communications")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy  # falls back to default-src
    assert "<script>" not in answer.text
    assert "onclick" not in answer.text


def test_an_events_own_address_leads_to_its_communications(client: TestClient, event: Event) -> None:
    answer = client.get(f"/manage/{event.id}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/manage/{event.id}/communications")


def test_a_name_with_markup_is_shown_and_not_run(client: TestClient, database: Database, host: User) -> None:
    event = make_event(database, owner=host, name="<script>alert(1)</script>\"'>")
    answer = client.get(f"/manage/{event.id}/branding")
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text


def test_a_page_offers_every_audience_and_tells_its_scripts_the_same_names(client: TestClient, event: Event) -> None:
    page = client.get(f"/manage/{event.id}/communications").text
    written = re.search(r"data-labels='([^']*)'", page)
    assert written
    labels = json.loads(written[1])
    assert labels["audiences"] == {audience.value: audience.label for audience in MessageAudience}
    assert labels["outcomes"] == {status.value: status.label for status in DeliveryStatus}
    for audience in MessageAudience:
        assert f'<option value="{audience}">{audience.label}</option>' in page
