"""Events as they are read: tolerant of what Go writes, firm about what can never work, and clear about what is one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.notifications import NotificationStatus, NotificationType, original_of
from guestguard_dagster.domain.payloads import Payload, PayloadRefused
from guestguard_dagster.notifications.registry import TYPES, definition_of
from guestguard_dagster.notifications.types.confirmation import CONFIRMATION, RsvpConfirmed
from guestguard_dagster.notifications.types.fraud_alert import BELOW_THRESHOLD, FRAUD_ALERT, FraudScored
from guestguard_dagster.notifications.types.invitation import HOST_MANAGED, INVITATION, InvitationSend
from guestguard_dagster_tests.notifications.events import RULES

ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
ANSWER: dict[str, Any] = {"rsvp_id": "r-1", "guest_id": ID, "event_id": ID, "response": "attending"}
SCORE: dict[str, Any] = {"guest_id": ID, "event_id": ID, "score": 61}
INVITE: dict[str, Any] = {"guest_id": ID, "event_id": ID, "guest_email": "ada@example.com"}

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def answer(**fields: Any) -> RsvpConfirmed:
    return CONFIRMATION.payload.read(json.dumps(ANSWER | fields).encode())


def score(**fields: Any) -> FraudScored:
    return FRAUD_ALERT.payload.read(json.dumps(SCORE | fields).encode())


def invite(**fields: Any) -> InvitationSend:
    return INVITATION.payload.read(json.dumps(INVITE | fields).encode())


def test_an_answer_as_go_writes_it() -> None:
    payload = answer(
        plus_ones=2.0, risk_score=1.5, submitted_at="2026-12-05T18:30:00.123456789+02:00", something_new={"a": [1]}
    )
    assert payload.response is RsvpStatus.ATTENDING
    assert payload.plus_ones == 2
    assert payload.submitted_at == datetime(2026, 12, 5, 16, 30, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize("zero", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:00", "", None])
def test_gos_zero_time_is_no_date(zero: str | None) -> None:
    assert answer(submitted_at=zero).submitted_at is None
    assert invite(event_date=zero).event_date is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("attending", RsvpStatus.ATTENDING),
        ("Yes", RsvpStatus.ATTENDING),
        (" declined ", RsvpStatus.DECLINED),
        ("no", RsvpStatus.DECLINED),
        ("MAYBE", RsvpStatus.MAYBE),
        ("confirmed", RsvpStatus.ATTENDING),
        ("going", RsvpStatus.ATTENDING),
        ("not attending", RsvpStatus.DECLINED),
        ("Not-Going", RsvpStatus.DECLINED),
    ],
)
def test_answers_in_other_words(word: str, meant: RsvpStatus) -> None:
    assert answer(response=word).response is meant


@pytest.mark.parametrize(("given", "kept"), [(0.25, 0.25), (3, 3.0), ("high", None), (None, None), (True, None)])
def test_a_risk_score_is_kept_and_refuses_no_answer(given: object, kept: float | None) -> None:
    assert answer(risk_score=given).risk_score == kept


def test_null_lists_and_texts_are_empty_ones() -> None:
    payload = score(reasons=None, risk=None, guest_id="")
    assert (payload.reasons, payload.risk, payload.guest_id) == ((), "", None)
    assert invite(guest_name=None, venue=None).guest_name == ""


def test_texts_are_one_harmless_line_each() -> None:
    payload = score(reasons=["a\r\nb", "\u202eevil\x00", 7, None, "  "], risk="high\n")
    assert (payload.reasons, payload.risk) == (("a b", "evil"), "high")
    assert invite(guest_name="A" * 10_000).guest_name == "A" * 79 + "…"


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "ftp://x", "//x", "http://", "https://a b", "https://a\nb", 7, None]
)
def test_only_web_addresses_become_links(link: object) -> None:
    assert invite(link=link).link is None


@pytest.mark.parametrize("link", ["https://rsvp.example.com/i/1?a=b", "HTTP://x"])
def test_web_addresses_stay_as_they_are(link: str) -> None:
    assert invite(link=link).link == link


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"guest_id": "somebody"}, "guest_id"),
        ({"guest_id": str(UUID(int=0))}, "guest_id: Value error, must not be the zero id"),
        ({"event_id": None}, "event_id"),
        ({"rsvp_id": None}, "rsvp_id"),
        ({"response": "perhaps"}, "response: Value error, must be attending, declined or maybe"),
        ({"plus_ones": 1.5}, "plus_ones"),
        ({"plus_ones": -1}, "plus_ones"),
        ({"submitted_at": "soon"}, "submitted_at"),
        ({"submitted_at": "2026-12-05T18:30:00"}, "submitted_at"),
        ({"submitted_at": "9999-12-31T23:59:59-12:00"}, "submitted_at"),
    ],
)
def test_what_can_never_work_is_refused_with_the_field(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PayloadRefused, match=said):
        answer(**fields)


def test_a_refusal_quotes_no_value() -> None:
    with pytest.raises(PayloadRefused) as caught:
        answer(guest_id="ada@example.com", response="secret words")
    assert "ada@" not in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.binary() | ANYTHING.map(lambda content: json.dumps(content).encode()), st.sampled_from(TYPES))
def test_whatever_comes_is_read_or_refused(data: bytes, kind: NotificationType) -> None:
    try:
        payload = definition_of(kind).payload.read(data)
    except PayloadRefused:
        return
    assert isinstance(payload, definition_of(kind).payload)


@given(
    st.sampled_from([ANSWER, SCORE, INVITE]),
    st.dictionaries(st.sampled_from([*ANSWER, *SCORE, *INVITE, "plus_ones", "submitted_at", "reasons"]), ANYTHING),
)
def test_what_was_read_is_the_same_after_it_was_stored(usual: dict[str, Any], fields: dict[str, Any]) -> None:
    kind = {id(ANSWER): CONFIRMATION.type, id(SCORE): FRAUD_ALERT.type}.get(id(usual), INVITATION.type)
    try:
        payload = definition_of(kind).payload.read(json.dumps(usual | fields).encode())
    except PayloadRefused:
        return
    stored = json.loads(json.dumps(payload.model_dump(mode="json")))
    assert definition_of(kind).payload.model_validate(stored) == payload
    assert "\\u0000" not in json.dumps(stored)


def test_an_alert_is_for_scores_from_the_threshold_up() -> None:
    assert FRAUD_ALERT.why_not_needed(score(score=RULES.alert_from_score - 0.01), RULES) == BELOW_THRESHOLD
    assert FRAUD_ALERT.why_not_needed(score(score=RULES.alert_from_score), RULES) is None


def test_an_invitation_without_an_address_is_the_hosts_business() -> None:
    assert INVITATION.why_not_needed(invite(guest_email=""), RULES) == HOST_MANAGED
    assert INVITATION.why_not_needed(invite(), RULES) is None
    with pytest.raises(PayloadRefused, match="needed to write to a guest"):
        invite(guest_id=None)


# --- what makes two events one ----------------------------------------------------------------------------------------

MOMENTS = st.timedeltas(timedelta(), timedelta(days=7000)).map(lambda passed: datetime(2020, 1, 1, tzinfo=UTC) + passed)


def test_the_order_of_fields_and_unknown_ones_do_not_make_another_event() -> None:
    same = FRAUD_ALERT.payload.read(json.dumps(dict(reversed(SCORE.items())) | {"x": 1}).encode())
    assert same.identity(None) == score().identity(None)


@given(MOMENTS, st.timedeltas(min_value=timedelta(days=-400), max_value=timedelta(days=400)))
def test_windows_are_measured_both_ways(moment: datetime, apart: timedelta) -> None:
    original = uuid4()
    for payload, window in ((score(), timedelta(hours=1)), (invite(), timedelta(minutes=10))):
        identity = payload.identity(None)
        found = original_of(identity, moment + apart, [(moment, original)])
        assert (found == original) is (abs(apart) <= window)


@given(MOMENTS, MOMENTS)
def test_an_answer_given_at_one_instant_is_one_for_ever(first: datetime, second: datetime) -> None:
    identity = answer(submitted_at="2026-12-05T18:30:00Z").identity("any id")
    original = uuid4()
    assert original_of(identity, first, [(second, original)]) == original


@pytest.mark.parametrize("change", [{"response": "no"}, {"rsvp_id": "r-2"}, {"submitted_at": "2026-12-05T18:30:01Z"}])
def test_a_changed_answer_is_another_event(change: dict[str, Any]) -> None:
    first = answer(submitted_at="2026-12-05T18:30:00Z")
    second = answer(**{"submitted_at": "2026-12-05T18:30:00Z"} | change)
    assert first.identity(None).key != second.identity(None).key


@pytest.mark.parametrize("payload", [score(), invite(), answer()])
def test_the_publishers_own_id_counts_for_ever(payload: Payload) -> None:
    assert payload.identity("an id").window is None
    assert payload.identity("an id") != payload.identity("another id")


def test_a_notification_can_stand_as_any_delivery_stands() -> None:
    assert {status.value for status in DeliveryStatus} < {status.value for status in NotificationStatus}


def test_every_type_has_a_queue_of_its_own_that_never_changes() -> None:
    assert len({kind.queue_id for kind in TYPES}) == len(TYPES)
    assert CONFIRMATION.type.queue_id == UUID("7cb89b0a-cfd3-589d-ac9a-52919fedb729")
