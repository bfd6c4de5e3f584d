"""What a provider's answer means for the delivery row: the retry policy, as one pure function."""

import random
from datetime import timedelta

from guestguard_dagster.domain.deliveries import DeliveryStatus, SkipReason
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.storage.deliveries import RecipientFacts, Settlement

MAX_ATTEMPTS = 8
_FIRST_BACKOFF = timedelta(seconds=5)
_LONGEST_BACKOFF = timedelta(minutes=10)
_LONGEST_WISH = timedelta(hours=1)

# A provider that says the key was used for another request will say so for ever.
_NEVER_REPEATED = frozenset({"invalid_idempotent_request"})

_ANSWERS_TO_A_REPEAT = frozenset({OutcomeClass.SENT, OutcomeClass.PERMANENT, OutcomeClass.UNKNOWN})

_NOTHING = timedelta()


def settle(facts: RecipientFacts, outcome: Outcome | None, *, repeatable: bool) -> Settlement:
    """The row's next state after one hand-off; `outcome` is None when the mail certainly never left."""

    def to(
        status: DeliveryStatus,
        *,
        reason: str | None = None,
        retryable: bool = False,
        burns_attempt: bool = False,
        wait: timedelta | None = None,
    ) -> Settlement:
        return Settlement(facts.delivery_id, facts.round, status, outcome, reason, retryable, burns_attempt, wait)

    if outcome is None:
        return to(DeliveryStatus.PENDING, wait=_NOTHING)
    match outcome.outcome:
        case OutcomeClass.SENT:
            return to(DeliveryStatus.SENT)
        case OutcomeClass.PERMANENT:
            return to(DeliveryStatus.FAILED, reason="refused")
        case OutcomeClass.UNAVAILABLE:
            return to(DeliveryStatus.PENDING, wait=_NOTHING)
        case OutcomeClass.PROVIDER_WIDE:
            return to(DeliveryStatus.PENDING, reason="provider_wide", wait=_NOTHING)
        case OutcomeClass.DRY_RUN:
            return to(DeliveryStatus.SKIPPED, reason=SkipReason.LOG_BACKEND)
        case OutcomeClass.TRANSIENT if facts.attempts + 1 >= MAX_ATTEMPTS:
            return to(DeliveryStatus.FAILED, reason="retries_exhausted", retryable=True, burns_attempt=True)
        case OutcomeClass.TRANSIENT:
            wait = backoff(facts.attempts, wish=outcome.retry_after)
            return to(DeliveryStatus.PENDING, reason="retry", burns_attempt=True, wait=wait)
        case OutcomeClass.UNKNOWN if repeatable and outcome.error_class not in _NEVER_REPEATED:
            wait = backoff(facts.attempts, wish=outcome.retry_after)
            return to(DeliveryStatus.SENDING, reason="answer_lost", burns_attempt=True, wait=wait)
        case OutcomeClass.UNKNOWN:
            return to(DeliveryStatus.UNKNOWN, reason="answer_lost")


def settle_repeat(facts: RecipientFacts, outcome: Outcome | None) -> Settlement:
    """The row's next state after a fixed request was repeated.

    Only an answer about this very request ends the doubt: being refused or turned away this time says nothing about
    the first time, so the same request is repeated again.
    """
    if outcome is not None and outcome.outcome in _ANSWERS_TO_A_REPEAT:
        return settle(facts, outcome, repeatable=True)
    wait = backoff(facts.attempts, wish=outcome.retry_after if outcome else None)
    return Settlement(
        facts.delivery_id,
        facts.round,
        DeliveryStatus.SENDING,
        outcome,
        reason="answer_lost",
        burns_attempt=outcome is not None,
        next_attempt_in=wait,
    )


def backoff(attempts: int, *, wish: timedelta | None = None) -> timedelta:
    """How long to wait after `attempts` earlier tries: doubling, jittered, no less than the provider's wish."""
    grown = min(_FIRST_BACKOFF * 2 ** min(attempts, 20), _LONGEST_BACKOFF)
    jittered: timedelta = grown * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
    return max(jittered, min(wish, _LONGEST_WISH)) if wish else jittered
