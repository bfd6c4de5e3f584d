"""Messages over HTTP: compose, edit, send, cancel, stop, follow."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import Event, RsvpStatus, User
from guestguard_dagster.domain.messages import MessageChannel, MessageStatus
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.messages.repo import MessageRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster_tests.factories import make_deliveries, make_event, make_guests, make_message, read_message

_TEXT = {"subject": "About {{event_name}}", "body": "Hi {{guest_name}}, see you soon."}


def _create(client: TestClient, event: Event, **fields: Any) -> Any:
    return client.post(f"/events/{event.id}/messages", json={**_TEXT, "mode": "draft", **fields})


def _in(**duration: float) -> str:
    return (utc_now() + timedelta(**duration)).isoformat()


def test_a_message_goes_from_draft_to_patch_to_send_now_to_cancel_and_is_closed_to_patches_then(
    client: TestClient, event: Event
) -> None:
    draft = _create(client, event).json()
    messages = f"/events/{event.id}/messages"
    assert (draft["status"], draft["send_at"], draft["label"]) == ("draft", None, "Broadcast")

    patched = client.patch(f"{messages}/{draft['id']}", json={"version": draft["version"], "subject": "News"}).json()
    assert (patched["subject"], patched["body"], patched["status"]) == ("News", _TEXT["body"], "draft")

    sent = client.post(f"{messages}/{draft['id']}/send-now").json()
    assert sent["status"] == "scheduled"
    assert sent["send_at"] is not None

    cancelled = client.delete(f"{messages}/{draft['id']}").json()
    assert (cancelled["status"], cancelled["status_reason"]) == ("cancelled", "host")

    refused = client.patch(f"{messages}/{draft['id']}", json={"version": cancelled["version"], "subject": "Late"})
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["code"] == "message_not_editable"
    assert (problem["present"]["status"], problem["present"]["subject"]) == ("cancelled", "News")


def test_an_edit_that_expects_no_version_holds_whoever_has_saved_since(client: TestClient, event: Event) -> None:
    draft = _create(client, event).json()
    address = f"/events/{event.id}/messages/{draft['id']}"
    assert client.patch(address, json={"subject": "First"}).status_code == 200
    assert client.patch(address, json={"subject": "Second"}, headers={"If-Match": "*"}).status_code == 200

    read = client.get(address)
    assert read.json()["subject"] == "Second"
    matched = client.patch(address, json={"subject": "Third"}, headers={"If-Match": read.headers["ETag"]})
    assert (matched.status_code, matched.json()["subject"]) == (200, "Third")
    unreadable = client.patch(address, json={"subject": "Fourth"}, headers={"If-Match": "yesterday's"})
    assert unreadable.status_code == 422


def test_a_stale_edit_is_refused_and_told_what_is_there_now(client: TestClient, event: Event) -> None:
    draft = _create(client, event).json()
    address = f"/events/{event.id}/messages/{draft['id']}"
    assert client.patch(address, json={"version": draft["version"], "subject": "First"}).status_code == 200
    refused = client.patch(address, json={"version": draft["version"], "subject": "Second"})
    assert (refused.status_code, refused.json()["code"]) == (409, "stale_edit")
    assert refused.json()["present"]["subject"] == "First"
    by_tag = client.patch(address, json={"subject": "Third"}, headers={"If-Match": f'"{draft["version"]}"'})
    assert (by_tag.status_code, by_tag.json()["code"]) == (409, "stale_edit")
    late = client.post(f"{address}/send-now", json={"version": draft["version"]})
    assert (late.status_code, late.json()["code"]) == (409, "stale_edit")


@pytest.mark.parametrize("status", [MessageStatus.SENDING, MessageStatus.SENT, MessageStatus.FAILED])
def test_what_is_sending_or_over_is_neither_edited_nor_sent_nor_cancelled(
    client: TestClient, database: Database, event: Event, status: MessageStatus
) -> None:
    message = make_message(database, event, status=status)
    address = f"/events/{event.id}/messages/{message.id}"
    answers = [
        client.patch(address, json={"version": message.version, "subject": "Other"}),
        client.post(f"{address}/send-now"),
        client.delete(address),
    ]
    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert {answer.json()["present"]["status"] for answer in answers} == {status}


def test_a_message_is_scheduled_for_its_time_or_for_now(client: TestClient, event: Event) -> None:
    later = _in(hours=3)
    scheduled = _create(client, event, mode="schedule", send_at=later).json()
    assert (scheduled["status"], scheduled["send_at"]) == ("scheduled", later.replace("+00:00", "Z"))
    now = _create(client, event, mode="send_now")
    assert (now.status_code, now.json()["status"]) == (201, "scheduled")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mode": "schedule"}, "body"),
        ({"mode": "send_now", "send_at": "2050-01-01T00:00:00Z"}, "body"),
        ({"mode": "schedule", "send_at": "2020-01-01T00:00:00Z"}, "send_at"),
        ({"mode": "schedule", "send_at": "2050-01-01T00:00:00"}, "send_at"),
        ({"subject": "Hi {{gest_name}}"}, "subject"),
        ({"body": "\x00"}, "body"),
        ({"channel": "fax"}, "channel"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_cannot_be_a_message_is_refused_with_the_field(
    client: TestClient, event: Event, fields: dict[str, Any], field: str
) -> None:
    refused = _create(client, event, **fields)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert field in [error["field"] for error in refused.json()["errors"]]


def test_a_draft_becomes_scheduled_only_with_a_time(client: TestClient, event: Event) -> None:
    draft = _create(client, event).json()
    address = f"/events/{event.id}/messages/{draft['id']}"
    refused = client.patch(address, json={"version": draft["version"], "mode": "schedule"})
    assert (refused.status_code, refused.json()["code"]) == (422, "send_time_missing")
    timed = client.patch(address, json={"version": draft["version"], "mode": "schedule", "send_at": _in(days=1)})
    assert timed.json()["status"] == "scheduled"


def test_another_channel_brings_its_own_rules(client: TestClient, event: Event) -> None:
    draft = _create(client, event, channel="sms", subject="").json()
    address = f"/events/{event.id}/messages/{draft['id']}"
    refused = client.patch(address, json={"version": draft["version"], "channel": "email"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "subject")


def test_a_sending_message_stops_and_goes_on(client: TestClient, database: Database, event: Event) -> None:
    message = make_message(database, event, status=MessageStatus.SENDING)
    address = f"/events/{event.id}/messages/{message.id}"
    stopped = [client.post(f"{address}/stop") for _ in range(2)]
    assert [answer.status_code for answer in stopped] == [200, 200]
    assert stopped[1].json()["held_reason"] == "stopped by Hanna Host"
    resumed = client.post(f"{address}/resume")
    assert (resumed.status_code, resumed.json()["held_at"]) == (200, None)


def test_send_now_on_a_held_message_says_that_it_is_held_and_by_whom(
    client: TestClient, database: Database, event: Event
) -> None:
    message = make_message(database, event, send_in=timedelta(hours=5))
    MessageRepo(database).hold([message.id], reason="stopped by Hanna Host")
    address = f"/events/{event.id}/messages/{message.id}"

    refused = client.post(f"{address}/send-now", json={"version": message.version})

    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (409, "message_held")
    assert "stopped by Hanna Host" in problem["detail"]
    assert "resume it first" in problem["detail"]
    assert (problem["present"]["held_by"], problem["present"]["status"]) == ("host", "scheduled")
    assert client.post(f"{address}/resume").status_code == 200
    assert client.post(f"{address}/send-now").status_code == 200


def test_a_retry_after_the_events_start_is_refused_and_changes_nothing(
    client: TestClient, database: Database, host: User
) -> None:
    started = make_event(database, owner=host, starts_in=-timedelta(hours=1))
    message = make_message(database, started, status=MessageStatus.FAILED, send_in=-timedelta(hours=2))
    make_deliveries(database, message, make_guests(database, started, 1), status=DeliveryStatus.FAILED, retryable=True)
    refused = client.post(f"/events/{started.id}/messages/{message.id}/retry-failed")
    assert (refused.status_code, refused.json()["code"]) == (409, "message_too_late")
    assert refused.json()["present"]["status"] == "failed"
    assert "its event has started" in refused.json()["detail"]


def test_what_had_no_provider_is_offered_for_a_retry(client: TestClient, database: Database, event: Event) -> None:
    message = make_message(database, event, status=MessageStatus.FAILED)
    guests = make_guests(database, event, 2)
    make_deliveries(database, message, guests, status=DeliveryStatus.SKIPPED, reason="log_backend")
    address = f"/events/{event.id}/messages/{message.id}"
    assert client.get(address).json()["retryable"] == 2
    assert client.post(f"{address}/retry-failed").json()["reopened"] == 2


def test_only_a_sending_message_stops(client: TestClient, database: Database, event: Event) -> None:
    message = make_message(database, event, status=MessageStatus.SENT)
    refused = client.post(f"/events/{event.id}/messages/{message.id}/stop")
    assert (refused.status_code, refused.json()["present"]["status"]) == (409, "sent")


def test_progress_outcomes_and_retryable_recipients_are_told(
    client: TestClient, database: Database, event: Event
) -> None:
    message = make_message(database, event, status=MessageStatus.SENDING, recipient_count=4)
    guests = make_guests(database, event, 4)
    make_deliveries(database, message, guests[:1], status=DeliveryStatus.SENT, settled_at=database.now())
    make_deliveries(database, message, guests[1:2], status=DeliveryStatus.FAILED, retryable=True, reason="why")
    make_deliveries(database, message, guests[2:])
    detail = client.get(f"/events/{event.id}/messages/{message.id}").json()
    assert (detail["progress"]["total"], detail["progress"]["settled"]) == (4, 2)
    assert detail["progress"]["per_second"] > 0
    assert detail["progress"]["seconds_left"] > 0
    assert detail["retryable"] == 1
    assert {(each["status"], each["count"]) for each in detail["outcomes"]} == {
        ("pending", 2),
        ("sent", 1),
        ("failed", 1),
    }
    assert detail["runs"] is None
    listed = client.get(f"/events/{event.id}/messages").json()["items"][0]
    assert listed["outcomes"] == detail["outcomes"]


def test_retrying_takes_the_failed_retryable_recipients_only(
    client: TestClient, database: Database, event: Event
) -> None:
    message = make_message(database, event, status=MessageStatus.SENT)
    guests = make_guests(database, event, 3)
    make_deliveries(database, message, guests[:1], status=DeliveryStatus.FAILED, retryable=True)
    make_deliveries(database, message, guests[1:2], status=DeliveryStatus.FAILED)
    make_deliveries(database, message, guests[2:], status=DeliveryStatus.SENT)
    answer = client.post(f"/events/{event.id}/messages/{message.id}/retry-failed").json()
    assert (answer["reopened"], answer["message"]["status"]) == (1, "sending")
    assert read_message(database, message.id).status is MessageStatus.SENDING


def test_only_an_operator_may_risk_a_second_mail(client: TestClient, database: Database, event: Event) -> None:
    message = make_message(database, event, status=MessageStatus.SENT)
    address = f"/events/{event.id}/messages/{message.id}/retry-failed"
    assert client.post(address, json={"unknown_too": True}).json()["code"] == "operators_only"


def test_messages_are_listed_page_by_page_both_ways(client: TestClient, database: Database, event: Event) -> None:
    made = [str(make_message(database, event, send_in=timedelta(hours=hour)).id) for hour in range(5)]
    made.append(_create(client, event).json()["id"])

    def listed(order: str) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while True:
            query = {"limit": "2", "order": order} | ({"after": after} if after else {})
            page = client.get(f"/events/{event.id}/messages", params=query).json()
            found += [item["id"] for item in page["items"]]
            if (after := page["next"]) is None:
                return found

    assert listed("soonest") == made
    assert listed("latest") == made[::-1]


def test_a_message_of_another_event_is_not_found_here(client: TestClient, database: Database, event: Event) -> None:
    elsewhere = make_message(database, make_event(database))
    for message_id in (elsewhere.id, uuid4()):
        answer = client.get(f"/events/{event.id}/messages/{message_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_recipients_are_counted_for_every_audience_of_a_known_mix(
    client: TestClient, database: Database, event: Event
) -> None:
    mix = {RsvpStatus.ATTENDING: 4, RsvpStatus.PENDING: 3, RsvpStatus.DECLINED: 2, RsvpStatus.MAYBE: 1}
    for status, number in mix.items():
        make_guests(database, event, number, rsvp_status=status)
    make_guests(database, event, 1, name="Nobody Knows", email=None, phone="+491711234567")
    [unwilling] = make_guests(database, event, 1, name="Una Willing", rsvp_status=RsvpStatus.MAYBE)
    make_guests(database, event, 2, removed_at=database.now())
    SuppressionRepo(database).add(MessageChannel.EMAIL, unwilling.email or "", reason="unsubscribe", source="test")

    def count(audience: str, channel: str = "email") -> Any:
        query = {"audience": audience, "channel": channel}
        return client.get(f"/events/{event.id}/messages/recipient-count", params=query).json()

    counts = {audience: count(audience) for audience in ("everyone", "attending", "pending", "declined", "maybe")}
    assert {audience: (each["total"], each["reachable"]) for audience, each in counts.items()} == {
        "everyone": (12, 10),
        "attending": (5, 4),
        "pending": (3, 3),
        "declined": (2, 2),
        "maybe": (2, 1),
    }
    everyone = counts["everyone"]
    assert [guest["name"] for guest in everyone["guests_without_address"]] == ["Nobody Knows"]
    assert [guest["name"] for guest in everyone["suppressed_guests"]] == ["Una Willing"]
    assert everyone["provider"] == "log"
    assert (count("everyone", "sms")["total"], count("everyone", "sms")["reachable"]) == (12, 1)
