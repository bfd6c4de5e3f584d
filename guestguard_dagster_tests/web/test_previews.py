"""Previews and test sends: as a guest would get it, to oneself alone, by the same provider as everything else."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from guestguard_dagster.domain.events import Event, User
from guestguard_dagster.domain.messages import MessageChannel, MessageStatus
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster.storage.providers.breakers import BreakerRepo
from guestguard_dagster_tests.factories import make_guests, make_message, set_columns
from guestguard_dagster_tests.loopback.smtp import SmtpLoopback

_MAIL = {"subject": "News of {{event_name}}", "body": "Hi {{guest_name}},\n\n{{rsvp_link}}"}


@pytest.fixture
def mail_server() -> Iterator[SmtpLoopback]:
    with SmtpLoopback() as server:
        yield server


@pytest.fixture
def settings(settings: Settings, mail_server: SmtpLoopback) -> Settings:
    smtp = {
        "smtp_host": "127.0.0.1",
        "smtp_port": mail_server.port,
        "smtp_tls": "none",
        "smtp_from_email": "events@guestguard.example",
    }
    return Settings.model_validate(settings.model_dump() | smtp)


def _post(client: TestClient, event: Event, path: str, **body: Any) -> Any:
    return client.post(f"/events/{event.id}/messages/{path}", json=body)


def test_a_text_is_previewed_as_it_is_being_written(client: TestClient, database: Database, event: Event) -> None:
    set_columns(database, event, accent="#a3195b", sender_name="The Orangery")
    preview = _post(client, event, "preview", **_MAIL).json()
    assert preview["subject"] == "News of Garden Party"
    assert "Hi Alex Sample," in preview["text"]
    assert "#a3195b" in preview["html"]
    assert "/rsvp/preview" in preview["html"]
    assert "/u/preview" in preview["html"]


def test_a_preview_for_a_guest_has_their_name_and_not_their_secret_link(
    client: TestClient, database: Database, event: Event
) -> None:
    [guest] = make_guests(database, event, name="Zoë")
    preview = _post(client, event, "preview", **_MAIL, guest_id=str(guest.id))
    assert "Hi Zoë," in preview.json()["text"]
    assert guest.rsvp_token not in preview.text


def test_a_saved_message_is_previewed_with_what_is_not_saved_yet(
    client: TestClient, database: Database, event: Event
) -> None:
    message = make_message(database, event, status=MessageStatus.DRAFT)
    saved = _post(client, event, f"{message.id}/preview").json()
    changed = _post(client, event, f"{message.id}/preview", subject="Other").json()
    assert (saved["subject"], changed["subject"]) == ("About Garden Party", "Other")
    assert changed["text"] == saved["text"]


def test_a_text_message_is_previewed_with_its_segments(client: TestClient, event: Event) -> None:
    preview = _post(client, event, "preview", channel="sms", body="Hi {{guest_name}} " + "x" * 160).json()
    assert preview["segments"] == {"encoding": "GSM-7", "units": 175, "segments": 2}
    assert preview["html"] is None
    too_long = _post(client, event, "preview", channel="sms", body="ж" * 900)
    assert (too_long.status_code, too_long.json()["errors"][0]["field"]) == (422, "body")


def test_what_cannot_be_rendered_is_told_with_line_and_reason(client: TestClient, event: Event) -> None:
    refused = _post(client, event, "preview", subject="S", body="Hi\n{{gest_name}}")
    assert refused.status_code == 422
    [problem] = refused.json()["errors"]
    assert (problem["field"], problem["line"]) == ("body", 2)
    assert "guest_name" in problem["message"]


def test_a_test_mail_goes_to_oneself_by_the_configured_provider(
    client: TestClient, database: Database, event: Event, host: User, mail_server: SmtpLoopback
) -> None:
    make_guests(database, event, 3)
    sent = _post(client, event, "test-send", **_MAIL)
    assert (sent.status_code, sent.json()["outcome"], sent.json()["provider"]) == (200, "sent", "smtp")
    assert mail_server.recipients() == {host.email: 1}


def test_a_test_text_without_a_provider_says_so(client: TestClient, event: Event) -> None:
    text = {"channel": "sms", "body": "Hi {{guest_name}}"}
    assert _post(client, event, "test-send", **text).json()["errors"][0]["field"] == "phone"
    tried = _post(client, event, "test-send", **text, phone="+49 171 1234567").json()
    assert (tried["outcome"], tried["provider"], tried["segments"]["segments"]) == ("dry_run", "log", 1)


def test_a_suppressed_address_gets_no_test_either(
    client: TestClient, database: Database, event: Event, host: User, mail_server: SmtpLoopback
) -> None:
    SuppressionRepo(database).add(MessageChannel.EMAIL, host.email, reason="hard_bounce", source="test")
    assert _post(client, event, "test-send", **_MAIL).json()["code"] == "suppressed"
    assert not mail_server.recipients()


def test_while_the_provider_takes_nothing_no_test_is_tried(
    app: FastAPI, client: TestClient, database: Database, event: Event
) -> None:
    account = app.state.services.senders.email.account
    BreakerRepo(database).open(account, reason="the account is suspended")
    refused = _post(client, event, "test-send", **_MAIL)
    assert (refused.status_code, refused.json()["code"]) == (503, "provider_unavailable")
    assert "suspended" in refused.json()["detail"]


def test_who_tests_too_often_is_slowed_down(client: TestClient, event: Event) -> None:
    statuses = [_post(client, event, "test-send", channel="sms", body="x").status_code for _ in range(12)]
    assert statuses[-1] == 429
