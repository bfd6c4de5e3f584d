"""Twilio through its SDK, against its API on loopback: error bodies are classed, lost answers are called unknown."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from guestguard_dagster.clock import utc_now
from guestguard_dagster.domain.outcomes import OutcomeClass
from guestguard_dagster.senders.twilio.sending import TwilioAccess, TwilioSender
from guestguard_dagster_tests.loopback.faults import Fault, FaultKind
from guestguard_dagster_tests.loopback.twilio import (
    ACCOUNT_SID,
    AUTH_TOKEN,
    FROM_NUMBER,
    SERVICE_SID,
    TwilioLoopback,
    error_body,
)
from guestguard_dagster_tests.senders.items import INSTALLATION, PermitFor, classes, hand_off_all, only, text

SENT, PERMANENT, UNAVAILABLE = OutcomeClass.SENT, OutcomeClass.PERMANENT, OutcomeClass.UNAVAILABLE
PROVIDER_WIDE, UNKNOWN = OutcomeClass.PROVIDER_WIDE, OutcomeClass.UNKNOWN

Connect = Callable[..., TwilioSender]


@pytest.fixture
def server() -> Iterator[TwilioLoopback]:
    with TwilioLoopback() as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as stack:

        def sender(url: str, **access: object) -> TwilioSender:
            given = {
                "account_sid": ACCOUNT_SID,
                "auth_token": AUTH_TOKEN,
                "from_number": FROM_NUMBER,
                "timeouts": (2, 10),
            }
            made = TwilioSender(TwilioAccess(base_url=url, **{**given, **access}), messages_per_second=100)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield sender


def refusal(server: TwilioLoopback, status: int, code: int, message: str = "No.") -> Fault:
    return Fault(at=server.path, do=FaultKind.REPLY, status=status, reply=json.dumps(error_body(status, code, message)))


def test_a_text_arrives_with_its_callback_and_validity(server: TwilioLoopback, connect: Connect) -> None:
    sender = connect(server.url, callback_base_url="https://guestguard.example/")
    outcome = only(hand_off_all(sender, [text(7, valid_until=utc_now() + timedelta(minutes=10))]))
    (accepted,) = server.accepted
    assert (outcome.outcome, outcome.provider_message_id) == (SENT, accepted.sid)
    assert (accepted.to, accepted.sender, accepted.body) == ("+4915112345678", FROM_NUMBER, "See you there.")
    called_back_at = f"https://guestguard.example/webhooks/twilio?delivery_id=7&installation_id={INSTALLATION}"
    assert accepted.status_callback == called_back_at
    assert 590 <= accepted.validity_period <= 600


def test_a_messaging_service_takes_the_place_of_the_number(server: TwilioLoopback, connect: Connect) -> None:
    sender = connect(server.url, from_number=None, messaging_service_sid=SERVICE_SID)
    assert only(hand_off_all(sender, [text()])).outcome is SENT
    assert (server.accepted[0].sender, server.accepted[0].messaging_service_sid) == (None, SERVICE_SID)


@pytest.mark.parametrize("base_url", [None, "http://localhost:8000", "http://127.0.0.1:8000"])
def test_a_callback_that_twilio_could_never_reach_is_left_out(
    server: TwilioLoopback, connect: Connect, base_url: str | None
) -> None:
    assert only(hand_off_all(connect(server.url, callback_base_url=base_url), [text()])).outcome is SENT
    assert server.accepted[0].status_callback is None


def test_the_validity_stays_within_what_twilio_takes(server: TwilioLoopback, connect: Connect) -> None:
    items = [text(1, valid_until=utc_now() + timedelta(days=30)), text(2)]
    assert classes(hand_off_all(connect(server.url), items)) == [SENT, SENT]
    assert [accepted.validity_period for accepted in server.accepted] == [36000, 36000]


def test_a_text_whose_time_is_over_is_not_sent(server: TwilioLoopback, connect: Connect) -> None:
    outcome = only(hand_off_all(connect(server.url), [text(valid_until=utc_now() + timedelta(seconds=2))]))
    assert (outcome.outcome, outcome.error_class) == (PERMANENT, "validity_over")
    assert server.connections == 0


def test_a_group_keeps_its_connections_and_its_order(server: TwilioLoopback, connect: Connect) -> None:
    server.landlines.add("+4915100000003")
    items = [text(number, to=f"+491510000000{number}") for number in range(1, 10)]
    sender = connect(server.url)
    for _ in range(2):
        outcomes = hand_off_all(sender, items)
        assert classes(outcomes) == [SENT, SENT, PERMANENT, *[SENT] * 6]
    assert server.connections <= 4
    sids = {accepted.to: accepted.sid for accepted in server.accepted[8:]}
    assert [outcome and outcome.provider_message_id for outcome in outcomes] == [
        sids.get(item.to_phone) for item in items
    ]


def test_who_answered_stop_is_suppressed(server: TwilioLoopback, connect: Connect) -> None:
    server.opted_out.add("+4915112345678")
    outcome = only(hand_off_all(connect(server.url), [text()]))
    assert (outcome.outcome, outcome.error_code, outcome.suppress) == (PERMANENT, "21610", "stop")


@pytest.mark.parametrize(
    ("status", "code", "expected", "retry_after"),
    [
        (400, 21211, PERMANENT, None),
        (400, 21614, PERMANENT, None),
        (400, 21408, PERMANENT, None),
        (400, 21617, PERMANENT, None),
        (400, 21660, PROVIDER_WIDE, None),
        (400, 21703, PROVIDER_WIDE, None),
        (400, 21609, PROVIDER_WIDE, None),
        (401, 20003, PROVIDER_WIDE, None),
        (403, 20005, PROVIDER_WIDE, None),
        (404, 20404, PROVIDER_WIDE, None),
        (429, 63038, PROVIDER_WIDE, timedelta(hours=1)),
        (429, 20429, UNAVAILABLE, timedelta(seconds=1)),
        (429, 14107, UNAVAILABLE, timedelta(seconds=1)),
        (400, 30001, UNAVAILABLE, timedelta(minutes=1)),
        (400, 21611, UNAVAILABLE, timedelta(minutes=1)),
        (500, 20500, UNKNOWN, None),
        (503, 20503, UNKNOWN, None),
    ],
)
def test_every_error_code_has_its_class(
    server: TwilioLoopback,
    connect: Connect,
    status: int,
    code: int,
    expected: OutcomeClass,
    retry_after: timedelta | None,
) -> None:
    server.faults.add(refusal(server, status, code, "about +49 151 12345678"))
    outcome = only(hand_off_all(connect(server.url), [text()]))
    assert (outcome.outcome, outcome.error_code, outcome.retry_after) == (expected, str(code), retry_after)
    assert outcome.suppress is None
    assert not outcome.may_be_recipient
    assert "12345678" not in repr(outcome)


@pytest.mark.parametrize("code", [21606, 21608, 21612, 21657, 21659, 30034])
def test_what_may_be_about_one_country_or_number_says_so(server: TwilioLoopback, connect: Connect, code: int) -> None:
    server.faults.add(refusal(server, 400, code))
    outcome = only(hand_off_all(connect(server.url), [text()]))
    assert (outcome.outcome, outcome.may_be_recipient) == (PROVIDER_WIDE, True)


def test_an_error_in_the_newer_form_is_classed_the_same(server: TwilioLoopback, connect: Connect) -> None:
    problem = {"type": "https://www.twilio.com/docs/api/errors/20003", "title": "Authenticate", "status": 401}
    server.faults.add(
        Fault(at=server.path, do=FaultKind.REPLY, status=401, reply=json.dumps({**problem, "code": 20003}))
    )
    outcome = only(hand_off_all(connect(server.url), [text()]))
    assert (outcome.outcome, outcome.error_code) == (PROVIDER_WIDE, "20003")


def test_a_wrong_token_is_about_the_account_and_stays_unsaid(server: TwilioLoopback, connect: Connect) -> None:
    outcome = only(hand_off_all(connect(server.url, auth_token="wrong-but-secret"), [text()]))
    assert (outcome.outcome, outcome.error_code) == (PROVIDER_WIDE, "20003")
    assert "wrong-but-secret" not in repr(outcome)


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        (FaultKind.HANG, 0),
        (FaultKind.DROP, 0),
        (FaultKind.RESET, 0),
        (FaultKind.TAKE_THEN_HANG, 1),
        (FaultKind.TAKE_THEN_DROP, 1),
        (FaultKind.TAKE_THEN_RESET, 1),
        (FaultKind.TAKE_THEN_REPLY, 1),
    ],
)
def test_a_lost_answer_is_unknown(server: TwilioLoopback, connect: Connect, kind: FaultKind, taken: int) -> None:
    server.faults.add(Fault(at=server.path, do=kind, status=502, reply="<html>Bad gateway</html>"))
    outcome = only(hand_off_all(connect(server.url, timeouts=(2, 0.5)), [text()]))
    assert outcome.outcome is UNKNOWN
    assert len(server.accepted) == taken


def test_an_unreadable_success_is_unknown(server: TwilioLoopback, connect: Connect) -> None:
    server.faults.add(Fault(at=server.path, do=FaultKind.TAKE_THEN_REPLY, status=201, reply="<html>ok</html>"))
    assert only(hand_off_all(connect(server.url), [text()])).outcome is UNKNOWN


def test_a_refused_connection_is_not_ambiguous(server: TwilioLoopback, connect: Connect) -> None:
    server.stop()
    outcome = only(hand_off_all(connect(server.url), [text()]))
    assert (outcome.outcome, outcome.error_class) == (UNAVAILABLE, "ConnectionRefusedError")
    assert outcome.retry_after == timedelta(seconds=5)


def test_once_there_are_too_many_requests_the_rest_of_a_batch_is_not_asked_for(
    server: TwilioLoopback, connect: Connect
) -> None:
    server.faults.add(*[refusal(server, 429, 20429)] * 4)
    outcomes = hand_off_all(connect(server.url), [text(number) for number in range(1, 41)])
    assert set(classes(outcomes)) == {UNAVAILABLE}
    assert server.accepted == []


def test_a_batch_is_one_hand_off_whatever_its_size(server: TwilioLoopback, connect: Connect) -> None:
    (request,) = connect(server.url).prepare([text(number) for number in range(1, 131)])
    assert request.members == tuple(range(1, 131))
    assert connect(server.url).prepare([]) == []


def test_a_lost_lease_says_which_texts_never_left(server: TwilioLoopback, connect: Connect) -> None:
    items = [text(number, to=f"+491510000000{number}") for number in range(1, 7)]
    outcomes = hand_off_all(connect(server.url), items, PermitFor(2))
    assert sorted(classes(outcomes), key=str) == [None, None, None, None, SENT, SENT]
    assert {item.to_phone for item, outcome in zip(items, outcomes, strict=True) if outcome} == set(server.recipients())


def test_neither_number_nor_token_nor_text_is_logged(
    server: TwilioLoopback, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        hand_off_all(connect(server.url), [text()])
    for secret in ("4915112345678", AUTH_TOKEN, "See you there", "BEGIN Twilio API Request"):
        assert secret not in caplog.text
