"""One call for each recipient, a few at once: the way of the providers that take no batches (SES, Twilio)."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TypeVar

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.base import LeaseLost, Permit

Member = TypeVar("Member")


def call_each(
    workers: Executor, members: Sequence[Member], call: Callable[[Member], Outcome], permit: Permit
) -> list[Outcome | None]:
    """One outcome per member, in order; None for whom `permit` was refused when their turn came: they never left.

    Once the provider is out of reach or limits us, whoever has not left yet shares that answer.
    """
    unavailable: list[Outcome] = []

    def call_one(member: Member) -> Outcome | None:
        if unavailable:
            return replace(unavailable[0], duration_ms=0)
        try:
            permit()
        except LeaseLost:
            return None
        started = time.perf_counter()
        outcome = call(member)
        outcome = replace(outcome, duration_ms=round((time.perf_counter() - started) * 1000))
        if outcome.outcome is OutcomeClass.UNAVAILABLE:
            unavailable.append(outcome)
        return outcome

    return list(workers.map(call_one, members))
