"""What a provider's answer means for the delivery: the retry policy, as pure functions."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from guestguard_dagster.delivery.pace import FIRST_BACKOFF
from guestguard_dagster.domain.deliveries import DeliveryStatus, SkipReason
from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.storage.deliveries.recipient_facts import RecipientFacts
from guestguard_dagster.storage.deliveries.recording import Settlement

# How long a recipient who is not taken now is tried again: a greylisting, a full mailbox, a policy.
TRIED_FOR = timedelta(hours=6)
_LONGEST_BACKOFF = timedelta(minutes=20)
_LONGEST_WISH = timedelta(hours=1)

# Of provider-wide answers that may be about this recipient alone: the next one after so many is taken to be.
_MOST_PROVIDER_REFUSALS = 2

# A provider that says the key was used for another request will say so for ever.
_NEVER_REPEATED = frozenset({"invalid_idempotent_request"})

_ANSWERS_TO_A_REPEAT = frozenset({OutcomeClass.SENT, OutcomeClass.PERMANENT, OutcomeClass.UNKNOWN})


def weigh(recipients: Sequence[RecipientFacts], outcomes: Sequence[Outcome | None]) -> list[Outcome | None]:
    """The outcomes of one batch, each in the light of the others.

    Where others of the batch were accepted, a provider-wide answer that may be about its recipient alone is; and so is
    that of a recipient who has been answered so time and again.
    """
    has_accepted = any(outcome is not None and outcome.outcome is OutcomeClass.SENT for outcome in outcomes)
    return [
        replace(outcome, outcome=OutcomeClass.PERMANENT)
        if outcome is not None
        and outcome.outcome is OutcomeClass.PROVIDER_WIDE
        and outcome.may_be_recipient
        and (has_accepted or facts.provider_refusals >= _MOST_PROVIDER_REFUSALS)
        else outcome
        for facts, outcome in zip(recipients, outcomes, strict=True)
    ]


def settle(
    facts: RecipientFacts,
    outcome: Outcome | None,
    *,
    repeatable: bool,
    jitter: float,
    first_backoff: timedelta = FIRST_BACKOFF,
) -> Settlement:
    """The delivery's next state after one hand-off; `outcome` is None when the mail certainly never left.

    `jitter` (see `draw_jitter`) is the same for a batch, so that those who wait equally long form one batch again.
    """

    def to(
        status: DeliveryStatus,
        reason: str | None = None,
        *,
        retryable: bool = False,
        counts: bool = False,
        blames_recipient: bool = False,
        wait: timedelta | None = None,
    ) -> Settlement:
        return Settlement(
            facts.delivery_id, facts.round, status, outcome, reason, retryable, counts, blames_recipient, wait
        )

    if outcome is None:
        return to(DeliveryStatus.PENDING)
    match outcome.outcome:
        case OutcomeClass.SENT:
            return to(DeliveryStatus.SENT)
        case OutcomeClass.PERMANENT:
            return to(DeliveryStatus.FAILED, "refused", retryable=outcome.may_be_recipient)
        case OutcomeClass.UNAVAILABLE:
            return to(DeliveryStatus.PENDING)
        case OutcomeClass.PROVIDER_WIDE:
            return to(DeliveryStatus.PENDING, "provider_wide", blames_recipient=outcome.may_be_recipient)
        case OutcomeClass.DRY_RUN:
            return to(DeliveryStatus.SKIPPED, SkipReason.LOG_BACKEND)
        case OutcomeClass.TRANSIENT if facts.trying_for is not None and facts.trying_for >= TRIED_FOR:
            return to(DeliveryStatus.FAILED, "retries_exhausted", retryable=True, counts=True)
        case OutcomeClass.TRANSIENT:
            wait = backoff(facts.attempts, wish=outcome.retry_after, jitter=jitter, first=first_backoff)
            return to(DeliveryStatus.PENDING, "retry", counts=True, wait=wait)
        case OutcomeClass.UNKNOWN if repeatable and outcome.error_class not in _NEVER_REPEATED:
            wait = backoff(facts.attempts, wish=outcome.retry_after, jitter=jitter, first=first_backoff)
            return to(DeliveryStatus.SENDING, "answer_lost", counts=True, wait=wait)
        case OutcomeClass.UNKNOWN:
            return to(DeliveryStatus.UNKNOWN, "answer_lost")


def settle_repeat(
    facts: RecipientFacts, outcome: Outcome | None, *, jitter: float, first_backoff: timedelta = FIRST_BACKOFF
) -> Settlement:
    """The delivery's next state after a fixed request was repeated.

    Only an answer about this very request ends the doubt: being refused or turned away this time says nothing about
    the first time, so the same request is repeated again.
    """
    if outcome is not None and outcome.outcome in _ANSWERS_TO_A_REPEAT:
        return settle(facts, outcome, repeatable=True, jitter=jitter, first_backoff=first_backoff)
    return Settlement(
        facts.delivery_id,
        facts.round,
        DeliveryStatus.SENDING,
        outcome,
        reason="answer_lost",
        counts=outcome is not None,
        wait=backoff(facts.attempts, wish=outcome.retry_after if outcome else None, jitter=jitter, first=first_backoff),
    )


def backoff(
    attempts: int, *, wish: timedelta | None = None, jitter: float = 1.0, first: timedelta = FIRST_BACKOFF
) -> timedelta:
    """How long to wait after `attempts` earlier tries: doubling, no less than the provider's wish."""
    grown: timedelta = min(first * 2 ** min(attempts, 20), _LONGEST_BACKOFF) * jitter
    return max(grown, min(wish, _LONGEST_WISH)) if wish else grown


def draw_jitter() -> float:
    """What spreads the retries of different batches."""
    return random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, guards nothing
