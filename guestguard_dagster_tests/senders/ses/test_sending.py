"""SES v2 through boto3, against the service on loopback: its errors are classed, lost answers are called unknown."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from email import message_from_string, policy

import boto3
import pytest
from moto import mock_aws

from guestguard_dagster.domain.outcomes import OutcomeClass
from guestguard_dagster.senders.base import RateLimit
from guestguard_dagster.senders.picker import pick_senders
from guestguard_dagster.senders.raw_mail import MailComposer
from guestguard_dagster.senders.ses.sending import SesAccess, SesSender
from guestguard_dagster.settings import Settings, SettingsInvalid
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.ses import ACCESS_KEY_ID, SEND_EMAIL, SesLoopback
from guestguard_dagster_tests.senders.items import INSTALLATION, PermitFor, classes, hand_off_all, mail, mails, only

SENT, PERMANENT, UNAVAILABLE = OutcomeClass.SENT, OutcomeClass.PERMANENT, OutcomeClass.UNAVAILABLE
PROVIDER_WIDE, UNKNOWN = OutcomeClass.PROVIDER_WIDE, OutcomeClass.UNKNOWN

Connect = Callable[..., SesSender]


@pytest.fixture(autouse=True)
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "loopback-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


@pytest.fixture
def server() -> Iterator[SesLoopback]:
    with SesLoopback(configuration_sets=("events",)) as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:

        def sender(
            url: str,
            *,
            from_email: str = "events@guestguard.example",
            configuration_set: str | None = None,
            read_timeout: float = 10,
        ) -> SesSender:
            access = SesAccess("eu-central-1", configuration_set, url, timeouts=(2, read_timeout))
            made = SesSender(access, MailComposer(from_email))
            stack.callback(made.close)
            return made

        yield sender


def refusal(status: int, kind: str, message: str = "No.") -> Fault:
    headers = {"content-type": "application/json", "x-amzn-ErrorType": kind}
    body = json.dumps({"message": message})
    return Fault(at=SEND_EMAIL, do=FaultKind.REPLY, status=status, reply=body, headers=headers)


def test_a_mail_arrives_as_raw_mime_with_tags_and_configuration_set(server: SesLoopback, connect: Connect) -> None:
    outcome = only(hand_off_all(connect(server.url, configuration_set="events"), [mail(7)]))
    (accepted,) = server.accepted
    assert (outcome.outcome, outcome.provider_message_id) == (SENT, accepted.message_id)
    assert (accepted.to, accepted.sender) == (("guest7@example.org",), "events@guestguard.example")
    assert accepted.tags == {"delivery_id": "7", "installation_id": INSTALLATION}
    assert accepted.configuration_set == "events"
    message = message_from_string(accepted.content, policy=policy.default)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert {part.get_content_type() for part in message.walk()} >= {"text/plain", "text/html"}


def test_a_group_goes_over_a_few_kept_connections_in_order(server: SesLoopback, connect: Connect) -> None:
    sender = connect(server.url)
    outcomes = hand_off_all(sender, mails(120))
    assert set(classes(outcomes)) == {SENT}
    assert server.connections <= 8
    ids = {accepted.tags["delivery_id"]: accepted.message_id for accepted in server.accepted}
    assert [outcome and outcome.provider_message_id for outcome in outcomes] == [ids[str(n)] for n in range(1, 121)]


def test_an_independent_ses_takes_the_mail_too() -> None:
    with mock_aws():
        boto3.client("sesv2", "eu-central-1").create_email_identity(EmailIdentity="guestguard.example")
        sender = SesSender(SesAccess("eu-central-1"), MailComposer("events@guestguard.example"))
        outcome = only(hand_off_all(sender, [mail()]))
        sender.close()
    assert outcome.outcome is SENT


def test_the_send_rate_is_the_accounts(connect: Connect) -> None:
    with SesLoopback(max_send_rate=40) as server:
        assert connect(server.url).rate_limit == RateLimit(40, "recipient")


def test_where_the_account_may_not_be_read_no_limit_is_kept(connect: Connect) -> None:
    with SesLoopback(may_read_account=False) as server:
        assert connect(server.url).rate_limit is None


def test_throttled_mail_is_asked_to_wait(connect: Connect) -> None:
    with SesLoopback(max_send_rate=0, keeps_rate=True) as server:
        outcome = only(hand_off_all(connect(server.url), [mail()]))
    assert (outcome.outcome, outcome.retry_after) == (UNAVAILABLE, timedelta(seconds=1))


@pytest.mark.parametrize("state", ["paused", "suspended"])
def test_an_account_that_may_not_send_is_provider_wide(server: SesLoopback, connect: Connect, state: str) -> None:
    setattr(server, state, True)
    assert set(classes(hand_off_all(connect(server.url), mails(3)))) == {PROVIDER_WIDE}


def test_an_unverified_domain_and_an_unknown_configuration_set_are_provider_wide(
    server: SesLoopback, connect: Connect
) -> None:
    for sender in (
        connect(server.url, from_email="events@elsewhere.example"),
        connect(server.url, configuration_set="nothing"),
    ):
        assert only(hand_off_all(sender, [mail()])).outcome is PROVIDER_WIDE


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (refusal(400, "MailFromDomainNotVerifiedException"), PROVIDER_WIDE),
        (refusal(400, "MessageRejected", "Email address is not verified: events@guestguard.example"), PROVIDER_WIDE),
        (refusal(400, "MessageRejected", "The message contains a virus."), PERMANENT),
        (refusal(400, "BadRequestException", "Missing final '@domain' in guest1@example.org"), PERMANENT),
        (refusal(429, "TooManyRequestsException", "Daily message quota exceeded."), PROVIDER_WIDE),
        (refusal(400, "ThrottlingException", "Rate exceeded"), UNAVAILABLE),
        (refusal(403, "SignatureDoesNotMatch"), PROVIDER_WIDE),
        (refusal(403, "ExpiredTokenException"), PROVIDER_WIDE),
        (refusal(500, "InternalFailure"), UNKNOWN),
        (refusal(503, "ServiceUnavailable"), UNKNOWN),
        (Fault(at=SEND_EMAIL, do=FaultKind.REPLY, status=502, reply="<html>Bad gateway</html>"), UNKNOWN),
    ],
    ids=lambda value: value.headers.get("x-amzn-ErrorType", "html") if isinstance(value, Fault) else "",
)
def test_every_error_has_its_class_and_is_asked_once(
    server: SesLoopback, connect: Connect, fault: Fault, expected: OutcomeClass
) -> None:
    server.faults.add(fault)
    outcome = only(hand_off_all(connect(server.url), [mail(1)]))
    assert (outcome.outcome, outcome.may_be_recipient) == (expected, False)
    assert "guest1" not in repr(outcome)
    # botocore's own retries would have got through.
    assert server.accepted == []


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        (FaultKind.HANG, 0),
        (FaultKind.DROP, 0),
        (FaultKind.RESET, 0),
        (FaultKind.TAKE_THEN_HANG, 1),
        (FaultKind.TAKE_THEN_DROP, 1),
        (FaultKind.TAKE_THEN_RESET, 1),
    ],
)
def test_a_lost_answer_is_unknown(server: SesLoopback, connect: Connect, kind: FaultKind, taken: int) -> None:
    server.faults.add(Fault(at=SEND_EMAIL, do=kind))
    assert only(hand_off_all(connect(server.url, read_timeout=0.5), [mail()])).outcome is UNKNOWN
    assert len(server.accepted) == taken


def test_a_refused_connection_is_not_ambiguous(server: SesLoopback, connect: Connect) -> None:
    server.stop()
    outcome = only(hand_off_all(connect(server.url), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (UNAVAILABLE, "EndpointConnectionError")
    assert outcome.retry_after == timedelta(seconds=5)


def test_out_of_reach_the_rest_of_a_batch_is_not_tried(server: SesLoopback, connect: Connect) -> None:
    server.stop()
    outcomes = hand_off_all(connect(server.url), [*mails(100), mail(101, to="nobody")], PermitFor(8))
    assert classes(outcomes) == [*[UNAVAILABLE] * 100, PERMANENT]


@pytest.mark.parametrize("failed", ["guest1@example.org", "Guest1@Example.org"])
def test_a_recipient_whom_the_sandbox_has_not_verified_may_be_the_only_one(
    server: SesLoopback, connect: Connect, failed: str
) -> None:
    words = "Email address is not verified. The following identities failed the check in region EU-CENTRAL-1: "
    server.faults.add(refusal(400, "MessageRejected", words + failed))
    outcome = only(hand_off_all(connect(server.url), [mail(1)]))
    assert (outcome.outcome, outcome.may_be_recipient) == (PROVIDER_WIDE, True)
    server.faults.add(refusal(400, "MessageRejected", f"{words}events@guestguard.example, {failed}"))
    assert not only(hand_off_all(connect(server.url), [mail(1)])).may_be_recipient


def test_a_batch_is_one_hand_off_whatever_its_size(server: SesLoopback, connect: Connect) -> None:
    (request,) = connect(server.url).prepare(mails(130))
    assert request.members == tuple(range(1, 131))
    assert connect(server.url).prepare([]) == []


def test_without_credentials_the_account_is_at_fault(
    server: SesLoopback, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    outcome = only(hand_off_all(connect(server.url), [mail()]))
    assert (outcome.outcome, outcome.error_class) == (PROVIDER_WIDE, "NoCredentialsError")


def test_an_impossible_address_and_a_lost_lease_cost_no_call(server: SesLoopback, connect: Connect) -> None:
    items = [mail(1, to="nobody"), mail(2), mail(3), mail(4)]
    outcomes = hand_off_all(connect(server.url), items, PermitFor(1))
    assert outcomes[0] is not None
    assert outcomes[0].outcome is PERMANENT
    assert sorted(classes(outcomes[1:]), key=str) == [None, None, SENT]
    assert len(server.accepted) == 1


def test_no_address_is_logged(server: SesLoopback, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        hand_off_all(connect(server.url), [mail(7)])
    assert "guest7" not in caplog.text
    assert "loopback-secret" not in caplog.text


def test_the_picker_takes_ses_after_smtp_and_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    ses = {"ses_region": "eu-central-1", "ses_from_email": "events@guestguard.example"}
    senders = pick_senders(Settings.model_validate(ses))
    senders.close()
    assert senders.email.account == "ses:eu-central-1:guestguard.example"
    with pytest.raises(SettingsInvalid, match="SES_FROM_EMAIL"):
        pick_senders(Settings.model_validate({"ses_region": "eu-central-1"}))
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "guestguard_dagster.senders.ses.sending")
    with pytest.raises(SettingsInvalid, match=r"boto3 is missing.*guestguard-dagster\[ses\]"):
        pick_senders(Settings.model_validate(ses))
