"""Calls for single recipients, a few at once: what is under way ends, what is not never leaves."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.one_by_one import call_each
from guestguard_dagster_tests.senders.items import PermitFor, always, classes

_AT_ONCE = 4
_SENT = Outcome(OutcomeClass.SENT)


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        yield executor


def test_when_the_lease_is_lost_only_what_is_under_way_has_left(workers: ThreadPoolExecutor) -> None:
    under_way = threading.Barrier(_AT_ONCE)
    left: list[int] = []

    def call(member: int) -> Outcome:
        left.append(member)
        under_way.wait(10)
        return _SENT

    outcomes = call_each(workers, range(50), call, PermitFor(_AT_ONCE))
    assert sorted(left) == list(range(_AT_ONCE))
    assert classes(outcomes) == [*[OutcomeClass.SENT] * _AT_ONCE, *[None] * (50 - _AT_ONCE)]


def test_once_the_provider_is_out_of_reach_nobody_else_is_tried() -> None:
    away = Outcome(OutcomeClass.UNAVAILABLE, detail="away", retry_after=timedelta(seconds=5))
    tried: list[int] = []

    def call(member: int) -> Outcome:
        tried.append(member)
        return away if member == 0 else _SENT

    # One at a time: the answer is there before the next one's turn.
    with ThreadPoolExecutor(1) as one:
        outcomes = call_each(one, range(50), call, always)
    assert tried == [0]
    assert {outcome and (outcome.outcome, outcome.retry_after) for outcome in outcomes} == {
        (OutcomeClass.UNAVAILABLE, timedelta(seconds=5))
    }


def test_a_refusal_of_one_recipient_stops_nobody_else(workers: ThreadPoolExecutor) -> None:
    about_one = Outcome(OutcomeClass.PROVIDER_WIDE, may_be_recipient=True)
    outcomes = call_each(workers, range(20), lambda member: about_one if member == 3 else _SENT, always)
    assert classes(outcomes).count(OutcomeClass.SENT) == 19
    assert outcomes[3] is not None
    assert outcomes[3].may_be_recipient
