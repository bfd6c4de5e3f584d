"""The retry policy, for every answer and every row."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.delivery.settling import TRIED_FOR, backoff, draw_jitter, settle, settle_repeat, weigh
from guestguard_dagster.domain.deliveries import DeliveryStatus
from guestguard_dagster.domain.events import RsvpStatus
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts

NOTHING = timedelta()
AN_HOUR = timedelta(hours=1)
A_DAY = timedelta(days=1)
JITTER = draw_jitter()

error_classes = st.sampled_from([None, "ReadTimeout", "invalid_idempotent_request", "concurrent_idempotent_requests"])
wishes = st.none() | st.timedeltas(min_value=NOTHING, max_value=timedelta(days=7))


@st.composite
def all_facts(draw: st.DrawFn) -> RecipientFacts:
    return RecipientFacts(
        delivery_id=draw(st.integers(min_value=1)),
        queue_id=uuid4(),
        recipient_id=uuid4(),
        guest_id=uuid4(),
        round=draw(st.integers(min_value=1, max_value=5)),
        attempts=draw(st.integers(min_value=0, max_value=100)),
        trying_for=draw(st.none() | st.timedeltas(min_value=NOTHING, max_value=A_DAY)),
        provider_refusals=draw(st.integers(min_value=0, max_value=4)),
        guest_name="Guest",
        email="guest@example.com",
        phone=None,
        rsvp_status=RsvpStatus.PENDING,
        rsvp_token="token",
        removed=False,
    )


def outcomes(*classes: OutcomeClass) -> st.SearchStrategy[Outcome]:
    return st.builds(
        Outcome, st.sampled_from(classes or tuple(OutcomeClass)), error_class=error_classes, retry_after=wishes
    )


@given(all_facts(), st.none() | outcomes(), st.booleans())
def test_a_row_moves_only_as_its_state_allows_and_waits_a_bounded_time(
    facts: RecipientFacts, outcome: Outcome | None, repeatable: bool
) -> None:
    settlement = settle(facts, outcome, repeatable=repeatable, jitter=JITTER)

    assert (settlement.delivery_id, settlement.round, settlement.outcome) == (facts.delivery_id, facts.round, outcome)
    stays = settlement.status is DeliveryStatus.SENDING
    assert stays or DeliveryStatus.SENDING.can_become(settlement.status)
    if settlement.status.is_settled:
        assert settlement.wait is None
    else:
        assert NOTHING <= (settlement.wait or NOTHING) <= AN_HOUR
    assert not settlement.retryable or settlement.status is DeliveryStatus.FAILED


@given(all_facts(), st.none() | outcomes())
def test_a_repeat_leaves_the_row_in_doubt_or_ends_it_but_never_frees_it(
    facts: RecipientFacts, outcome: Outcome | None
) -> None:
    settlement = settle_repeat(facts, outcome, jitter=JITTER)
    assert settlement.status in {
        DeliveryStatus.SENDING,
        DeliveryStatus.SENT,
        DeliveryStatus.FAILED,
        DeliveryStatus.UNKNOWN,
    }
    assert not settlement.retryable, "what may have left is not tried again by a retry of the failed ones"
    if settlement.status is DeliveryStatus.SENDING:
        assert settlement.wait is not None
        assert NOTHING < settlement.wait <= AN_HOUR


@given(all_facts(), outcomes(OutcomeClass.PROVIDER_WIDE, OutcomeClass.TRANSIENT, OutcomeClass.DRY_RUN))
def test_being_turned_away_this_time_says_nothing_about_the_first_time(facts: RecipientFacts, outcome: Outcome) -> None:
    assert settle_repeat(facts, outcome, jitter=JITTER).status is DeliveryStatus.SENDING


@given(all_facts(), outcomes(OutcomeClass.UNKNOWN))
def test_a_lost_answer_is_never_followed_by_a_new_hand_off(facts: RecipientFacts, outcome: Outcome) -> None:
    assert settle(facts, outcome, repeatable=False, jitter=JITTER).status is DeliveryStatus.UNKNOWN
    is_hopeless = outcome.error_class == "invalid_idempotent_request"
    expected = DeliveryStatus.UNKNOWN if is_hopeless else DeliveryStatus.SENDING
    assert settle(facts, outcome, repeatable=True, jitter=JITTER).status is expected
    assert settle_repeat(facts, outcome, jitter=JITTER).status is expected


@given(all_facts(), outcomes(OutcomeClass.SENT))
def test_what_was_taken_is_sent(facts: RecipientFacts, outcome: Outcome) -> None:
    for settlement in (
        settle(facts, outcome, repeatable=False, jitter=JITTER),
        settle_repeat(facts, outcome, jitter=JITTER),
    ):
        assert settlement.status is DeliveryStatus.SENT
        assert not settlement.counts


@given(all_facts(), outcomes(OutcomeClass.PERMANENT))
def test_a_refused_recipient_is_not_tried_again(facts: RecipientFacts, outcome: Outcome) -> None:
    settlement = settle(facts, outcome, repeatable=False, jitter=JITTER)
    assert (settlement.status, settlement.retryable) == (DeliveryStatus.FAILED, False)


@given(all_facts(), outcomes(OutcomeClass.TRANSIENT), st.booleans())
def test_not_now_is_tried_again_for_some_hours_however_many_tries_that_are(
    facts: RecipientFacts, outcome: Outcome, repeatable: bool
) -> None:
    settlement = settle(facts, outcome, repeatable=repeatable, jitter=JITTER)
    assert settlement.counts
    if facts.trying_for is None or facts.trying_for < TRIED_FOR:
        assert settlement.status is DeliveryStatus.PENDING
        assert settlement.wait is not None
        assert settlement.wait >= min(outcome.retry_after or NOTHING, AN_HOUR)
    else:
        assert (settlement.status, settlement.retryable) == (DeliveryStatus.FAILED, True)


@given(all_facts(), st.none() | outcomes(OutcomeClass.PROVIDER_WIDE, OutcomeClass.UNAVAILABLE), st.booleans())
def test_what_is_nobodys_fault_burns_no_attempt(
    facts: RecipientFacts, outcome: Outcome | None, repeatable: bool
) -> None:
    settlement = settle(facts, outcome, repeatable=repeatable, jitter=JITTER)
    assert (settlement.status, settlement.counts) == (DeliveryStatus.PENDING, False)
    assert settlement.wait is None


@given(st.integers(min_value=0, max_value=10_000), wishes)
def test_waits_grow_up_to_a_bound_and_respect_the_providers_wish(attempts: int, wish: timedelta | None) -> None:
    wait = backoff(attempts, wish=wish, jitter=draw_jitter())
    assert timedelta(seconds=3) < wait <= AN_HOUR
    if wish is not None:
        assert wait >= min(wish, AN_HOUR)
    else:
        assert wait <= timedelta(minutes=25)
        assert wait < 2 * backoff(attempts + 1, jitter=draw_jitter())


def test_waits_of_batches_are_spread() -> None:
    assert len({draw_jitter() for _ in range(50)}) > 40


@given(st.lists(st.tuples(all_facts(), st.none() | outcomes()), min_size=1, max_size=8), st.booleans())
def test_a_provider_wide_answer_beside_accepted_mail_is_about_its_recipient_if_it_may_be(
    answers: list[tuple[RecipientFacts, Outcome | None]], may_be_recipient: bool
) -> None:
    recipients = [facts for facts, _ in answers]
    given_outcomes = [outcome and replace(outcome, may_be_recipient=may_be_recipient) for _, outcome in answers]
    has_accepted = any(o is not None and o.outcome is OutcomeClass.SENT for o in given_outcomes)
    for facts, before, after in zip(recipients, given_outcomes, weigh(recipients, given_outcomes), strict=True):
        if before is None or before.outcome is not OutcomeClass.PROVIDER_WIDE:
            assert after == before
        elif may_be_recipient and (has_accepted or facts.provider_refusals >= 2):
            assert after is not None
            assert after.outcome is OutcomeClass.PERMANENT
            assert settle(facts, after, repeatable=False, jitter=JITTER).status is DeliveryStatus.FAILED
        else:
            assert after == before
