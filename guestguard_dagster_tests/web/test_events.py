"""Events over HTTP: created with reminders, moved with them, cancelled with what is not sent."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster_tests.factories import make_message, read_message


def _new(**fields: Any) -> dict[str, Any]:
    starts_at = (utc_now() + timedelta(days=30)).replace(hour=17, minute=0, second=0, microsecond=0)
    return {"name": "Summer Party", "starts_at": starts_at.isoformat(), "timezone": "Europe/Berlin", **fields}


def _messages(client: TestClient, event_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get(f"/events/{event_id}/messages").json()["items"]
    return items


def test_a_future_event_gets_its_four_reminders_scheduled(client: TestClient) -> None:
    event = client.post("/events", json=_new())
    assert event.status_code == 201
    reminders = _messages(client, event.json()["id"])
    assert [(each["label"], each["status"]) for each in reminders] == [
        ("7-day reminder", "scheduled"),
        ("3-day last call", "scheduled"),
        ("1-day reminder", "scheduled"),
        ("Day-of reminder", "scheduled"),
    ]


def test_moving_an_event_moves_its_reminders(client: TestClient) -> None:
    event = client.post("/events", json=_new()).json()
    before = [datetime.fromisoformat(each["send_at"]) for each in _messages(client, event["id"])]
    later = datetime.fromisoformat(event["starts_at"]) + timedelta(days=2)
    moved = client.patch(
        f"/events/{event['id']}",
        json={"updated_at": event["updated_at"], "starts_at": later.isoformat(), "timezone": "UTC"},
    )
    assert moved.status_code == 200
    after = [datetime.fromisoformat(each["send_at"]) for each in _messages(client, event["id"])]
    assert all(new - old > timedelta(days=1) for old, new in zip(before, after, strict=True))


def test_a_stale_edit_of_an_event_is_refused(client: TestClient) -> None:
    event = client.post("/events", json=_new()).json()
    address = f"/events/{event['id']}"
    edit = {"updated_at": event["updated_at"], "venue": "Elsewhere"}
    assert client.patch(address, json=edit).status_code == 200
    refused = client.patch(address, json={**edit, "venue": "Nowhere"})
    assert (refused.status_code, refused.json()["code"]) == (409, "stale_edit")
    assert client.get(address).json()["venue"] == "Elsewhere"


def test_an_edit_clears_what_is_null_and_keeps_what_is_left_out(client: TestClient) -> None:
    starts_at = datetime(2060, 6, 1, 18, tzinfo=UTC)
    ends_at = starts_at + timedelta(hours=4)
    event = client.post(
        "/events", json=_new(starts_at=starts_at.isoformat(), ends_at=ends_at.isoformat(), phone_region="de")
    ).json()
    assert event["phone_region"] == "DE"
    edit = {
        "updated_at": event["updated_at"],
        "ends_at": None,
        "email_quiet_from": "22:00",
        "email_quiet_until": "08:00",
    }
    edited = client.patch(f"/events/{event['id']}", json=edit).json()
    assert (edited["ends_at"], edited["phone_region"], edited["email_quiet_from"]) == (None, "DE", "22:00:00")


@pytest.mark.parametrize(
    "fields",
    [
        {"timezone": "Mars/Olympus"},
        {"name": "  "},
        {"ends_at": "2020-01-01T00:00:00Z"},
        {"starts_at": "2060-01-01T00:00:00"},
        {"starts_at": "9999-12-31T23:59:59-14:00"},
        {"phone_region": "XX"},
        {"email_quiet_from": "22:00"},
        {"name": "a\x00b"},
    ],
)
def test_what_cannot_be_an_event_is_refused(client: TestClient, fields: dict[str, Any]) -> None:
    assert client.post("/events", json=_new(**fields)).status_code == 422


def test_cancelling_an_event_takes_its_messages_along_but_for_those_meant_to_survive(
    client: TestClient, database: Database, event: Event
) -> None:
    ordinary = make_message(database, event, send_in=timedelta(days=1))
    surviving = make_message(database, event, send_in=timedelta(days=1), survives_event_cancel=True)
    cancelled = client.post(f"/events/{event.id}/cancel")
    assert cancelled.status_code == 200
    assert cancelled.json()["cancelled_at"] is not None
    assert read_message(database, ordinary.id).status is MessageStatus.CANCELLED
    assert read_message(database, surviving.id).status is MessageStatus.SCHEDULED
    edit = client.patch(f"/events/{event.id}", json={"updated_at": cancelled.json()["updated_at"], "name": "Other"})
    assert (edit.status_code, edit.json()["code"]) == (409, "event_cancelled")


def test_events_are_listed_to_those_who_work_on_them(client: TestClient, event: Event) -> None:
    created = client.post("/events", json=_new()).json()
    listed = client.get("/events").json()["items"]
    assert [(each["id"], each["role"]) for each in listed] == [(created["id"], "owner"), (str(event.id), "owner")]


def test_branding_is_kept_and_cleared(client: TestClient, event: Event) -> None:
    address = f"/events/{event.id}/branding"
    values = {
        "accent": "#a3195b",
        "logo_url": "https://example.com/logo.png",
        "sender_name": "The Orangery",
        "postal_address": "Main Street 1,\n12345 Town",
    }
    assert client.put(address, json=values).status_code == 200
    kept = {**values, "postal_address": "Main Street 1, 12345 Town"}
    assert client.get(address).json() == kept
    assert client.put(address, json={"logo_url": ""}).json() == dict.fromkeys(values)
    for wrong in ({"accent": "red"}, {"logo_url": "http://example.com/a.png"}, {"logo_url": 'https://x/"onload'}):
        assert client.put(address, json=wrong).status_code == 422
