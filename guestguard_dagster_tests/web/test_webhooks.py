"""Webhooks: only what a provider signed is taken, once; and what was taken is applied, whatever happens to NATS."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from guestguard_dagster.callbacks.applying import CallbackApplier
from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.callbacks import ProviderEvent, tags_of
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import Event
from guestguard_dagster.domain.messages import MessageChannel
from guestguard_dagster.local.nats import NatsServer
from guestguard_dagster.senders.ses.sns import SnsTopic
from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.operations.installation import InstallationRepo
from guestguard_dagster.storage.people.suppressions import SuppressionRepo
from guestguard_dagster.storage.providers.callbacks import CallbackRepo
from guestguard_dagster.streams.access import NatsAccess
from guestguard_dagster.streams.declaration import StreamDeclaration
from guestguard_dagster.streams.jetstream import JetStream
from guestguard_dagster.web.app import create_app
from guestguard_dagster_tests.factories import make_deliveries, make_guests, make_message
from guestguard_dagster_tests.web.conftest import ADDRESS
from guestguard_dagster_tests.web.signing import (
    CONFIRM_URL,
    RESEND_SECRET,
    TOPIC,
    TWILIO_TOKEN,
    Amazon,
    svix_headers,
    twilio_call,
)

_NUMBER, _GUEST_NUMBER = "+14155550100", "+491711234567"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    values = settings.model_dump() | {
        "resend_webhook_secret": RESEND_SECRET,
        "ses_sns_topic_arn": TOPIC,
        "twilio_auth_token": TWILIO_TOKEN,
        "twilio_from_number": _NUMBER,
    }
    return Settings.model_validate(values)


@pytest.fixture
def amazon(app: FastAPI) -> Amazon:
    """Stands in for Amazon's hosts, which no test can reach."""
    amazon = Amazon()
    services = app.state.services
    object.__setattr__(services, "sns", SnsTopic(TOPIC, amazon.session()))
    return amazon


@pytest.fixture
def delivery_id(database: Database, event: Event) -> int:
    """One that was handed off and accepted."""
    message = make_message(database, event)
    [delivery] = make_deliveries(
        database, message, make_guests(database, event), status=DeliveryStatus.SENT, provider_message_id="mail-1"
    )
    return delivery


@pytest.fixture
def tags(database: Database, delivery_id: int) -> dict[str, str]:
    """What that delivery's hand-off carried."""
    return tags_of(delivery_id, InstallationRepo(database).id)


def _apply(database: Database) -> Mapping[Any, int]:
    return CallbackApplier(database, sending_number=_NUMBER).apply_waiting()


def _status(database: Database, delivery_id: int) -> str:
    with database.transaction() as connection:
        query = text("SELECT status FROM message_deliveries WHERE id = :id")
        return str(connection.execute(query, {"id": delivery_id}).scalar_one())


def _resend(client: TestClient, event: Mapping[str, Any], **signed: Any) -> Any:
    body = json.dumps(event).encode()
    return client.post("/webhooks/resend", content=body, headers=svix_headers(body, **signed))


def _bounce(tags: Mapping[str, str], kind: str = "Permanent") -> dict[str, Any]:
    return {
        "type": "email.bounced",
        "data": {
            "email_id": "mail-1",
            "to": ["Gone@example.com"],
            "tags": tags,
            "bounce": {"type": kind, "subType": "General", "message": "550 no mailbox gone@example.com here"},
        },
    }


def test_a_bounce_that_resend_signed_moves_its_delivery_and_suppresses_the_address(
    anonymous: TestClient, database: Database, delivery_id: int, tags: dict[str, str]
) -> None:
    taken = _resend(anonymous, _bounce(tags))
    assert (taken.status_code, taken.json()) == (200, {"new": True})
    assert _status(database, delivery_id) == "sent", "applying is not the webhook's work"
    _apply(database)
    assert _status(database, delivery_id) == "bounced"
    assert SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "gone@example.com")
    with database.transaction() as connection:
        detail = connection.execute(text("SELECT error_detail FROM message_deliveries")).scalar_one()
    assert "gone@example.com" not in detail.lower()


def test_a_soft_bounce_suppresses_nobody(
    anonymous: TestClient, database: Database, delivery_id: int, tags: dict[str, str]
) -> None:
    _resend(anonymous, _bounce(tags, "Transient"))
    _apply(database)
    assert _status(database, delivery_id) == "bounced"
    assert not SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "gone@example.com")


def test_a_repeated_callback_is_taken_once(anonymous: TestClient, database: Database, tags: dict[str, str]) -> None:
    answers = [_resend(anonymous, _bounce(tags), message_id="msg_1") for _ in range(3)]
    assert [answer.json()["new"] for answer in answers] == [True, False, False]
    assert sum(_apply(database).values()) == 1


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_a_callback_signed_long_ago_or_in_the_future_is_refused(
    anonymous: TestClient, database: Database, age: timedelta
) -> None:
    assert _resend(anonymous, {"type": "email.sent"}, at=utc_now() - age).status_code == 403
    assert CallbackRepo(database).waiting() == []


def test_what_resend_did_not_sign_is_refused(anonymous: TestClient, database: Database) -> None:
    body = b'{"type": "email.sent"}'
    signed = svix_headers(body)
    forgeries: list[tuple[bytes, dict[str, str]]] = [
        (body + b" ", signed),
        (body, {**signed, "svix-id": "msg_other"}),
        (body, {**signed, "svix-signature": "v1,AAAA"}),
        (body, {**signed, "svix-signature": signed["svix-signature"].replace("v1", "v2")}),
        (body, {**signed, "svix-timestamp": "now"}),
        (body, {**signed, "svix-timestamp": "999999999999"}),
        (body, {"svix-id": "x"}),
    ]
    for content, headers in forgeries:
        assert anonymous.post("/webhooks/resend", content=content, headers=headers).status_code == 403
    assert CallbackRepo(database).waiting() == []


def test_one_valid_signature_among_several_is_enough(anonymous: TestClient) -> None:
    body = b'{"type": "email.sent"}'
    signed = svix_headers(body)
    signed["svix-signature"] = "v1,AAAA v1a,BBBB " + signed["svix-signature"]
    assert anonymous.post("/webhooks/resend", content=body, headers=signed).status_code == 200


def _post_sns(client: TestClient, message: Mapping[str, str]) -> Any:
    return client.post("/webhooks/ses", content=json.dumps(message), headers={"content-type": "text/plain"})


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_complaint_that_amazon_signed_moves_its_delivery_and_suppresses_the_address(
    anonymous: TestClient, database: Database, delivery_id: int, tags: dict[str, str], amazon: Amazon, version: str
) -> None:
    event = {
        "eventType": "Complaint",
        "mail": {"messageId": "mail-1", "tags": {name: [value] for name, value in tags.items()}},
        "complaint": {"complainedRecipients": [{"emailAddress": "angry@example.com"}]},
    }
    assert _post_sns(anonymous, amazon.message(event, SignatureVersion=version)).status_code == 200
    _apply(database)
    assert _status(database, delivery_id) == "complained"
    assert SuppressionRepo(database).is_suppressed(MessageChannel.EMAIL, "angry@example.com")


def test_a_feedback_notification_finds_its_delivery_by_the_providers_id(
    anonymous: TestClient, database: Database, delivery_id: int, amazon: Amazon
) -> None:
    event = {"notificationType": "Delivery", "mail": {"messageId": "mail-1"}, "delivery": {}}
    _post_sns(anonymous, amazon.message(event))
    _apply(database)
    assert _status(database, delivery_id) == "delivered"


def test_a_subscription_of_our_topic_is_confirmed_and_no_other(anonymous: TestClient, amazon: Amazon) -> None:
    confirmation = {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": CONFIRM_URL}
    assert _post_sns(anonymous, amazon.message(None, **confirmation)).status_code == 200
    assert CONFIRM_URL in amazon.asked
    elsewhere = amazon.message(None, **confirmation, TopicArn=f"{TOPIC}-other")
    assert _post_sns(anonymous, elsewhere).status_code == 403
    stranger = amazon.message(None, **confirmation | {"SubscribeURL": "https://attacker.example/"})
    assert _post_sns(anonymous, stranger).status_code == 403
    assert "attacker" not in str(amazon.asked)


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-central-1.amazonaws.com/a.pem",
        "https://sns.eu-central-1.amazonaws.com.attacker.example/a.pem",
        "https://attacker.example/sns.eu-central-1.amazonaws.com/a.pem",
        "https://sns.eu-central-1.amazonaws.com@attacker.example/a.pem",
        "https://s3.amazonaws.com/bucket/a.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/a.pem",
        "file:///etc/passwd",
    ],
)
def test_a_certificate_that_is_not_on_amazons_own_host_is_never_fetched(
    anonymous: TestClient, database: Database, amazon: Amazon, url: str
) -> None:
    assert _post_sns(anonymous, amazon.message({}, SigningCertURL=url)).status_code == 403
    assert amazon.asked == []
    assert CallbackRepo(database).waiting() == []


def test_a_message_that_was_changed_or_signed_by_another_is_refused(anonymous: TestClient, amazon: Amazon) -> None:
    changed = {**amazon.message({"eventType": "Send"}), "Message": "{}"}
    foreign = Amazon().message({"eventType": "Send"})
    for message in (changed, foreign, {**amazon.message({}), "Signature": "?"}):
        assert _post_sns(anonymous, message).status_code == 403


def test_while_amazon_is_away_the_message_is_asked_for_again(anonymous: TestClient, amazon: Amazon) -> None:
    amazon.is_away = True
    message = amazon.message({"eventType": "Send"})
    assert _post_sns(anonymous, message).status_code == 503
    amazon.is_away = False
    assert _post_sns(anonymous, message).status_code == 200


def _twilio(client: TestClient, fields: Mapping[str, str], query: Mapping[str, Any] | None = None) -> Any:
    return client.post(**twilio_call(ADDRESS, fields, query))


def test_the_status_that_twilio_signed_for_the_public_address_moves_its_delivery(
    anonymous: TestClient, database: Database, delivery_id: int, tags: dict[str, str]
) -> None:
    fields = {"MessageSid": "mail-1", "MessageStatus": "delivered", "To": _GUEST_NUMBER, "From": _NUMBER, "Empty": ""}
    taken = _twilio(anonymous, fields, tags)
    assert (taken.status_code, taken.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    _apply(database)
    assert _status(database, delivery_id) == "delivered"


def test_a_text_of_another_installation_moves_nothing(
    anonymous: TestClient, database: Database, delivery_id: int, tags: dict[str, str]
) -> None:
    fields = {"MessageSid": "mail-1", "MessageStatus": "delivered", "To": _GUEST_NUMBER, "From": _NUMBER}
    _twilio(anonymous, fields, tags | {"installation_id": str(uuid4())})
    _apply(database)
    assert _status(database, delivery_id) == "sent"


def test_a_dead_number_is_suppressed(
    anonymous: TestClient, database: Database, delivery_id: int, tags: dict[str, str]
) -> None:
    fields = {"MessageSid": "mail-1", "MessageStatus": "undelivered", "ErrorCode": "30005", "To": _GUEST_NUMBER}
    _twilio(anonymous, fields, tags)
    _apply(database)
    assert _status(database, delivery_id) == "bounced"
    assert SuppressionRepo(database).is_suppressed(MessageChannel.SMS, _GUEST_NUMBER)


def test_what_twilio_did_not_sign_is_refused(anonymous: TestClient, delivery_id: int) -> None:
    fields = {"MessageSid": "mail-1", "MessageStatus": "delivered"}
    call = twilio_call(ADDRESS, fields, {"delivery_id": delivery_id})
    assert anonymous.post(**call | {"url": f"/webhooks/twilio?delivery_id={delivery_id + 1}"}).status_code == 403
    assert anonymous.post(**call | {"data": {**fields, "MessageStatus": "failed"}}).status_code == 403
    assert anonymous.post(**call | {"headers": {}}).status_code == 403
    assert anonymous.post(**twilio_call("https://elsewhere.example", fields)).status_code == 403


def _write_back(client: TestClient, word: str) -> Any:
    fields = {
        "MessageSid": f"SM{uuid4().hex}",
        "SmsStatus": "received",
        "Body": word,
        "From": _GUEST_NUMBER,
        "To": _NUMBER,
    }
    return _twilio(client, fields)


def test_stop_suppresses_this_number_and_start_lifts_it(anonymous: TestClient, database: Database) -> None:
    suppressions, scopes = SuppressionRepo(database), [f"number:{_NUMBER}"]
    for word, is_stopped in ((" Stop. ", True), ("thanks", True), ("START", False), ("unsubscribe", True)):
        assert _write_back(anonymous, word).status_code == 200
        _apply(database)
        assert suppressions.is_suppressed(MessageChannel.SMS, _GUEST_NUMBER, scopes=scopes) is is_stopped
    assert not suppressions.is_suppressed(MessageChannel.SMS, _GUEST_NUMBER, scopes=["number:+14155550199"])


def test_the_last_word_counts_in_whatever_order_the_words_are_applied(
    anonymous: TestClient, database: Database
) -> None:
    for word in ("STOP", "START", "STOP", "START"):
        _write_back(anonymous, word)
    applier = CallbackApplier(database, sending_number=_NUMBER)
    for callback in reversed(CallbackRepo(database).waiting()):
        applier.apply(callback)
    scopes = [f"number:{_NUMBER}"]
    assert not SuppressionRepo(database).is_suppressed(MessageChannel.SMS, _GUEST_NUMBER, scopes=scopes)


def test_without_a_secret_a_webhook_takes_nothing(database: Database, settings: Settings, tags: dict[str, str]) -> None:
    nothing = {"resend_webhook_secret": None, "ses_sns_topic_arn": None, "twilio_auth_token": None}
    with TestClient(create_app(settings.model_copy(update=nothing), database), base_url=ADDRESS) as client:
        assert _resend(client, _bounce(tags)).status_code == 404
        assert _post_sns(client, {"Type": "Notification"}).status_code == 404
        assert _twilio(client, {"MessageSid": "mail-1", "MessageStatus": "sent"}).status_code == 404


def test_a_callback_is_announced_on_nats(
    database: Database, settings: Settings, tags: dict[str, str], nats_server: NatsServer
) -> None:
    name = f"T{uuid4().hex}"
    values = settings.model_dump() | {
        "nats_url": nats_server.url,
        "nats_stream": name,
        "nats_subject_provider_callback": f"{name}.callback",
    }
    with_nats = Settings.model_validate(values)
    with (
        TestClient(create_app(with_nats, database), base_url=ADDRESS) as client,
        JetStream(NatsAccess.from_settings(with_nats), StreamDeclaration.of_callbacks(with_nats)) as stream,
    ):
        stream.survey()
        assert _resend(client, _bounce(tags)).status_code == 200
        [message] = stream.fetch(ProviderEvent.CALLBACK_STORED, size=5, wait=timedelta(seconds=20))
    [stored] = CallbackRepo(database).waiting()
    assert json.loads(message.arrival.data) == {"callback_id": stored.id}


def test_an_unknown_delivery_is_settled_by_its_callback(
    anonymous: TestClient, database: Database, event: Event
) -> None:
    [guest] = make_guests(database, event)
    [delivery] = make_deliveries(database, make_message(database, event), [guest], status=DeliveryStatus.UNKNOWN)
    carried = tags_of(delivery, InstallationRepo(database).id)
    _resend(anonymous, {"type": "email.sent", "data": {"email_id": "m", "tags": carried}})
    _apply(database)
    assert _status(database, delivery) == "sent"
