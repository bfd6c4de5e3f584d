"""What Resend's answers mean, by status and error name (https://resend.com/docs/api-reference/errors). No I/O."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from resend.exceptions import ResendError

from guestguard_dagster.domain.outcomes import Outcome, OutcomeClass
from guestguard_dagster.senders.http_session import RATE_WAIT, name_of, never_left, unreachable, wished_wait
from guestguard_dagster.senders.scrub import scrub

# The engine never repeats a hand-off that was answered so: it would be answered so for ever.
INVALID_IDEMPOTENT_REQUEST = "invalid_idempotent_request"

_TRANSPORT_ERROR = "HttpClientError"
_QUOTA_WAITS = {"daily_quota_exceeded": timedelta(hours=1), "monthly_quota_exceeded": timedelta(hours=6)}
_CONCURRENT_WAIT = timedelta(seconds=2)

# The key, the sending domain or the account: the same for every recipient.
_ABOUT_THE_ACCOUNT = frozenset(
    {
        "missing_api_key",
        "invalid_api_key",
        "restricted_api_key",
        "suspended_api_key",
        "invalid_from_address",
        "invalid_region",
        "invalid_access",
        "security_error",
        "not_found",
        "method_not_allowed",
    }
)
_ACCOUNT_STATUSES = frozenset({401, 403, 404, 405, 451})
_DOMAIN_WORDS = re.compile(r"domain\b.*\bnot verified|verify a domain|`from`|testing emails", re.IGNORECASE)
# Without a verified domain the account reaches its owner, and nobody else.
_OWNER_ONLY_WORDS = re.compile(r"testing emails", re.IGNORECASE)


def of_error(error: ResendError, from_domain: str, hide: Sequence[str | None]) -> Outcome:
    """The outcome that all members of a hand-off share when the request as a whole came to nothing."""
    if error.error_type == _TRANSPORT_ERROR:
        return _of_transport_error(error.__context__)
    status = int(error.code) if str(error.code).isdigit() else 500
    headers = {name.lower(): value for name, value in error.headers.items()}
    wait = wished_wait(headers.get("retry-after")) or wished_wait(headers.get("ratelimit-reset"))
    outcome, wait = _verdict(status, error.error_type, str(error), wait)
    return Outcome(
        outcome,
        error_class=error.error_type,
        error_code=str(status),
        detail=f"Resend answered {status} {error.error_type}: {scrub(str(error), hide)}",
        retry_after=wait,
        may_be_recipient=outcome is OutcomeClass.PROVIDER_WIDE and _may_be_recipient(str(error), from_domain),
    )


def of_unreadable_answer(duration_ms: int = 0) -> Outcome:
    """Something was accepted, and what became of whom cannot be told from the answer."""
    return Outcome(
        OutcomeClass.UNKNOWN,
        error_class="unexpected_answer",
        error_code="200",
        detail="Resend accepted the request with an answer that does not fit it",
        duration_ms=duration_ms,
    )


def of_batch(
    answer: Mapping[str, Any], members: int, from_domain: str, hide: Sequence[str | None], *, duration_ms: int = 0
) -> list[Outcome]:
    """One outcome per member: `errors` names the refused by their index, `data` has the ids of the others in order."""
    accepted = answer.get("data")
    refused = {error.get("index"): str(error.get("message", "")) for error in answer.get("errors") or []}
    ids = iter([entry.get("id") for entry in accepted] if isinstance(accepted, list) else [])
    fits = isinstance(accepted, list) and refused.keys() <= set(range(members))
    if not fits or len(accepted or ()) + len(refused) != members:
        return [of_unreadable_answer(duration_ms)] * members
    return [
        _of_refused_member(refused[index], from_domain, hide, duration_ms)
        if index in refused
        else Outcome(OutcomeClass.SENT, next(ids), duration_ms=duration_ms)
        for index in range(members)
    ]


def of_single(answer: Mapping[str, Any], *, duration_ms: int = 0) -> Outcome:
    email_id = answer.get("id")
    if not isinstance(email_id, str):
        return of_unreadable_answer(duration_ms)
    return Outcome(OutcomeClass.SENT, email_id, duration_ms=duration_ms)


def _of_refused_member(message: str, from_domain: str, hide: Sequence[str | None], duration_ms: int) -> Outcome:
    about_a_domain = _DOMAIN_WORDS.search(message) is not None
    return Outcome(
        OutcomeClass.PROVIDER_WIDE if about_a_domain else OutcomeClass.PERMANENT,
        error_class="validation_error",
        error_code="422",
        detail=f"Resend refused this mail: {scrub(message, hide)}",
        duration_ms=duration_ms,
        may_be_recipient=about_a_domain and _may_be_recipient(message, from_domain),
    )


def _may_be_recipient(message: str, from_domain: str) -> bool:
    """Whether these words are about a domain or an address that may be the recipient's: it is not named as ours."""
    if _OWNER_ONLY_WORDS.search(message):
        return True
    is_ours = "`from`" in message or from_domain.casefold() in message.casefold()
    return not is_ours and _DOMAIN_WORDS.search(message) is not None


def _of_transport_error(error: BaseException | None) -> Outcome:
    if never_left(error):
        return unreachable("Resend", name_of(error))
    return Outcome(
        OutcomeClass.UNKNOWN,
        error_class=name_of(error),
        detail="the connection to Resend broke, or fell silent, before the answer came",
    )


def _verdict(status: int, name: str, message: str, wait: timedelta | None) -> tuple[OutcomeClass, timedelta | None]:
    if name in _QUOTA_WAITS:
        return OutcomeClass.PROVIDER_WIDE, max(_QUOTA_WAITS[name], wait or timedelta())
    if status == 429:
        return OutcomeClass.UNAVAILABLE, max(RATE_WAIT, wait or timedelta())
    if name == "concurrent_idempotent_requests":
        return OutcomeClass.UNKNOWN, wait or _CONCURRENT_WAIT
    if name == INVALID_IDEMPOTENT_REQUEST:
        return OutcomeClass.UNKNOWN, None
    if status >= 500 or status in {408, 409}:
        return OutcomeClass.UNKNOWN, wait
    if name in _ABOUT_THE_ACCOUNT or status in _ACCOUNT_STATUSES or _DOMAIN_WORDS.search(message):
        return OutcomeClass.PROVIDER_WIDE, wait
    return OutcomeClass.PERMANENT, None
