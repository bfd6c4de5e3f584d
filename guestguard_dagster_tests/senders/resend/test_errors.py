"""What Resend's answers mean, where the words decide."""

from typing import Any

import pytest
from resend.exceptions import ResendError

from guestguard_dagster.domain.outcomes import OutcomeClass
from guestguard_dagster.senders.resend.errors import of_batch, of_error
from guestguard_dagster_tests.senders.items import classes

_FROM_DOMAIN = "guestguard.example"


@pytest.mark.parametrize(
    "words",
    [
        "You can only send testing emails to your own email address (ada@guestguard.example). To send emails to other "
        "recipients, please verify a domain, and change the `from` address to an email using this domain.",
        "The example.org domain is not verified.",
    ],
)
def test_words_about_a_recipients_address_or_domain_may_be_about_one_alone(words: str) -> None:
    whole = of_error(ResendError("403", "validation_error", words, ""), _FROM_DOMAIN, ())
    answer = {"data": [{"id": "one"}], "errors": [{"index": 1, "message": words}]}
    accepted, refused = of_batch(answer, 2, _FROM_DOMAIN, ())
    assert accepted.outcome is OutcomeClass.SENT
    for outcome in (whole, refused):
        assert (outcome.outcome, outcome.may_be_recipient) == (OutcomeClass.PROVIDER_WIDE, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("validation_error", "The GuestGuard.example domain is not verified. Please, add and verify your domain."),
        ("validation_error", "The domain is not verified. Please update your `from` domain."),
        ("invalid_api_key", "API key is invalid"),
        ("suspended_api_key", "No."),
        ("daily_quota_exceeded", "No."),
    ],
)
def test_a_fault_of_the_account_is_certain(name: str, words: str) -> None:
    outcome = of_error(ResendError("403", name, words, ""), _FROM_DOMAIN, ())
    assert (outcome.outcome, outcome.may_be_recipient) == (OutcomeClass.PROVIDER_WIDE, False)


def test_a_refused_address_is_that_recipients_own() -> None:
    words = "Invalid `to` field. Please use our testing email address instead of domains like `example.com`."
    answer = {"data": [], "errors": [{"index": 0, "message": words}]}
    [outcome] = of_batch(answer, 1, _FROM_DOMAIN, ())
    assert (outcome.outcome, outcome.may_be_recipient) == (OutcomeClass.PERMANENT, False)


@pytest.mark.parametrize(
    "answer",
    [{"data": [{"id": "one"}]}, {"data": [], "errors": [{"index": 9, "message": "?"}]}, {"data": None}, {}],
    ids=str,
)
def test_an_answer_that_does_not_fit_the_batch_is_unknown(answer: dict[str, Any]) -> None:
    assert classes(of_batch(answer, 3, _FROM_DOMAIN, ())) == [OutcomeClass.UNKNOWN] * 3
